#include "state/fbs_convert.h"

#include <cstring>

namespace berth::state::convert {

namespace fb = flatbuffers;

Aligned::Aligned(std::span<const std::byte> bytes)
    : data_(reinterpret_cast<const std::uint8_t*>(bytes.data())), size_(bytes.size()) {
  if (reinterpret_cast<std::uintptr_t>(data_) % alignof(std::uint64_t) == 0) return;
  copy_ = std::make_unique_for_overwrite<std::uint64_t[]>(size_ / sizeof(std::uint64_t) + 1);
  std::memcpy(copy_.get(), bytes.data(), size_);
  data_ = reinterpret_cast<const std::uint8_t*>(copy_.get());
}

std::vector<std::string> strings(const Strings* list) {
  std::vector<std::string> out;
  if (list == nullptr) return out;
  out.reserve(list->size());
  for (const auto* s : *list) out.push_back(text(s));
  return out;
}

fb::Offset<Strings> strings(fb::FlatBufferBuilder& b, const std::vector<std::string>& list) {
  return list.empty() ? fb::Offset<Strings>() : b.CreateVectorOfStrings(list);
}

fb::Offset<spec::Owner> owner(fb::FlatBufferBuilder& b, const Owner& owner) {
  const auto user = text(b, owner.user);
  const auto groups = owner.groups.empty() ? 0 : b.CreateVector(owner.groups);
  return spec::CreateOwner(b, owner.uid, owner.gid, user, groups);
}

Owner to_owner(const spec::Owner* table) {
  // Nobody (65534) where it is missing: a lost field must never turn into root.
  if (table == nullptr) return Owner{65534, 65534, "", {}};
  Owner out{table->uid(), table->gid(), text(table->user()), {}};
  if (table->groups() != nullptr) out.groups.assign(table->groups()->begin(), table->groups()->end());
  return out;
}

fb::Offset<Countables> countables(fb::FlatBufferBuilder& b, const std::vector<Countable>& list) {
  if (list.empty()) return {};
  std::vector<fb::Offset<spec::Countable>> out;
  for (const Countable& item : list) out.push_back(spec::CreateCountable(b, text(b, item.name), item.count));
  return b.CreateVector(out);
}

std::vector<Countable> to_countables(const Countables* list) {
  std::vector<Countable> out;
  if (list == nullptr) return out;
  for (const auto* item : *list) out.push_back({text(item->name()), item->count()});
  return out;
}

fb::Offset<spec::Topology> topology(fb::FlatBufferBuilder& b, const Topology& topology) {
  if (topology.empty()) return {};
  std::vector<std::uint8_t> sizes;
  std::vector<std::uint32_t> threads;
  for (const auto& core : topology.cores) {
    sizes.push_back(static_cast<std::uint8_t>(core.size()));
    threads.insert(threads.end(), core.begin(), core.end());
  }
  std::vector<spec::Domain> domains;
  for (const Topology::Domain& d : topology.domains) {
    domains.emplace_back(static_cast<std::uint8_t>(d.part), d.number, d.cores.first, d.cores.end);
  }
  std::vector<spec::MemoryNode> memories;
  for (const Topology::Memory& m : topology.memories) {
    memories.emplace_back(m.mem_mib, m.numa, m.cores.first, m.cores.end);
  }
  std::vector<fb::Offset<spec::Device>> devices;
  for (const Topology::Device& d : topology.devices) {
    const auto name = text(b, d.name);
    const auto bus = text(b, d.bus);
    devices.push_back(spec::CreateDevice(b, d.is_gpu, name, bus, d.cores.first, d.cores.end));
  }
  const auto size_list = b.CreateVector(sizes);
  const auto thread_list = b.CreateVector(threads);
  const auto domain_list = b.CreateVectorOfStructs(domains);
  const auto memory_list = b.CreateVectorOfStructs(memories);
  const auto device_list = b.CreateVector(devices);
  return spec::CreateTopology(b, size_list, thread_list, domain_list, memory_list, device_list);
}

bool to_topology(const spec::Topology* table, Topology& out) {
  out = {};
  if (table == nullptr) return true;
  if (table->core_sizes() == nullptr || table->threads() == nullptr ||
      !is_aligned(table->threads(), alignof(std::uint32_t))) {
    return false;
  }
  const auto* threads = table->threads();
  fb::uoffset_t next = 0;
  for (const std::uint8_t size : *table->core_sizes()) {
    if (size == 0 || threads->size() - next < size) return false;
    auto& core = out.cores.emplace_back();
    for (std::uint8_t i = 0; i < size; ++i) core.push_back(threads->Get(next++));
  }
  if (next != threads->size()) return false;
  const bool parts =
      each(table->domains(),
           [&](const spec::Domain& d) {
             out.domains.push_back({static_cast<Topology::Part>(d.part()), d.number(), {d.first(), d.end()}});
             return d.part() <= static_cast<std::uint8_t>(Topology::Part::kL3);
           }) &&
      each(table->memories(), [&](const spec::MemoryNode& m) {
        out.memories.push_back({m.numa(), m.mem_mib(), {m.first(), m.end()}});
        return true;
      });
  if (!parts) return false;
  if (table->devices() != nullptr) {
    for (const auto* d : *table->devices()) {
      out.devices.push_back({d->is_gpu(), text(d->name()), text(d->bus()), {d->first(), d->end()}});
    }
  }
  return check_topology(out).empty();
}

fb::Offset<spec::Pinning> pinning(fb::FlatBufferBuilder& b, std::size_t of, const Pinning& pinning) {
  const auto cpus = text(b, pinning.cpus);
  std::vector<spec::PinnedMemory> memories;
  for (const Pinning::Memory& m : pinning.memories) memories.emplace_back(m.mem_mib, m.numa);
  const auto list = memories.empty() ? 0 : b.CreateVectorOfStructs(memories);
  return spec::CreatePinning(b, static_cast<std::uint32_t>(of), cpus, list, pinning.near, pinning.idle);
}

bool to_pinning(const spec::Pinning& table, Pinning& out) {
  out.cpus = text(table.cpus());
  out.near = table.near();
  out.idle = table.idle();
  if (out.idle > kTopologyThreadsMax) return false;
  std::vector<std::uint32_t> cpus;
  if (out.cpus.empty() || !parse_cpus(out.cpus, cpus) || format_cpus(cpus) != out.cpus) return false;
  return each(table.memories(), [&](const spec::PinnedMemory& m) {
    out.memories.push_back({m.numa(), m.mem_mib()});
    return true;
  });
}

namespace {

fb::Offset<spec::Request> request_of(fb::FlatBufferBuilder& b, const Request& request) {
  const auto& resources = request.resources;
  const auto features = strings(b, request.features);
  if (request.plain() && request.licences.empty()) {
    return spec::CreateRequest(b, resources.cpu_milli, resources.mem_mib, resources.gpus, features);
  }
  const auto where = text(b, request.where);
  const auto prefers = strings(b, request.prefers);
  const auto tolerates = strings(b, request.tolerates);
  const auto labels = strings(b, request.labels);
  fb::Offset<fb::Vector<fb::Offset<spec::PodRule>>> rules;
  if (!request.rules.empty()) {
    std::vector<fb::Offset<spec::PodRule>> list;
    for (const PodRule& rule : request.rules) {
      const auto selector = text(b, rule.selector);
      const auto domain = text(b, rule.domain);
      list.push_back(
          spec::CreatePodRule(b, static_cast<std::uint8_t>(rule.kind), rule.soft, selector, domain, rule.skew));
    }
    rules = b.CreateVector(list);
  }
  const auto counts = countables(b, request.counts);
  const auto licences = countables(b, request.licences);
  return spec::CreateRequest(b, resources.cpu_milli, resources.mem_mib, resources.gpus, features, where, prefers,
                             tolerates, labels, rules, request.exclusive, counts, licences, request.gpu_share_milli,
                             static_cast<std::uint8_t>(request.cores.level), request.cores.require,
                             request.cores.threads_per_core);
}

bool to_request(const spec::Request& table, Request& out) {
  out.resources = {table.cpu_milli(), table.mem_mib(), table.gpus()};
  out.features = strings(table.features());
  out.where = text(table.where());
  out.prefers = strings(table.prefers());
  out.tolerates = strings(table.tolerates());
  out.labels = strings(table.labels());
  out.exclusive = table.exclusive();
  out.counts = to_countables(table.counts());
  out.licences = to_countables(table.licences());
  out.gpu_share_milli = table.gpu_share_milli();
  if (table.cores_level() > static_cast<std::uint8_t>(CoreFit::Level::kPackage)) return false;
  out.cores = {static_cast<CoreFit::Level>(table.cores_level()), table.cores_require(), table.threads_per_core()};
  if (table.rules() == nullptr) return true;
  for (const auto* rule : *table.rules()) {
    if (rule->kind() > static_cast<std::uint8_t>(PodRule::Kind::kSpread)) return false;
    out.rules.push_back({static_cast<PodRule::Kind>(rule->kind()), rule->soft(), text(rule->selector()),
                         text(rule->domain()), rule->skew()});
  }
  return true;
}

}  // namespace

fb::Offset<spec::JobSpec> job_spec(fb::FlatBufferBuilder& b, const JobSpec& job) {
  const auto request = request_of(b, job.request);
  const auto name = text(b, job.name);
  const auto queue = text(b, job.queue);
  fb::Offset<fb::Vector<const spec::IndexRange*>> elements;
  const auto& ranges = job.elements.ranges();
  const bool one = ranges.size() == 1 && ranges[0] == IndexRange{0, 0, 1};
  if (!one) {
    std::vector<spec::IndexRange> structs;
    structs.reserve(ranges.size());
    for (const IndexRange& r : ranges) structs.emplace_back(r.first, r.last, r.step);
    elements = b.CreateVectorOfStructs(structs);
  }
  fb::Offset<fb::Vector<const spec::Dependency*>> depends;
  if (!job.depends.empty()) {
    std::vector<spec::Dependency> structs;
    for (const Dependency& d : job.depends) {
      structs.emplace_back(d.job.value, d.delay_ms, static_cast<std::uint8_t>(d.kind),
                           static_cast<std::uint8_t>(d.state));
    }
    depends = b.CreateVectorOfStructs(structs);
  }
  std::vector<spec::DependencyIndex> indexes;
  for (std::uint32_t i = 0; i < job.depends.size(); ++i) {
    if (job.depends[i].index) indexes.emplace_back(i, *job.depends[i].index);
  }
  const auto depends_on = indexes.empty() ? 0 : b.CreateVectorOfStructs(indexes);
  fb::Offset<spec::GangShape> gang;
  if (const GangShape& g = job.gang; g.any()) {
    gang = spec::CreateGangShape(b, g.nodes_min, g.nodes_max, g.per_node, g.switches, g.contiguous, g.compact);
  }
  fb::Offset<spec::Step> step;
  if (job.is_step()) {
    step = spec::CreateStep(b, job.step_of.value, job.step.number, job.step.overlap, job.step.whole, job.step.cyclic,
                            job.step.relative);
  }
  const auto account = text(b, job.account);
  const auto comment = text(b, job.comment);
  const auto qos = text(b, job.qos);
  const auto launch = b.CreateVector(reinterpret_cast<const std::uint8_t*>(job.launch.data()), job.launch.size());
  const auto of_service = replica(b, job.replica);
  return spec::CreateJobSpec(b, name, queue, static_cast<std::uint8_t>(job.kind), elements, job.throttle,
                             job.distinct_nodes, request, job.priority, job.time_limit_ms, job.requeues_max, launch,
                             static_cast<std::uint8_t>(job.hold), job.begin_at, depends, job.any_dependency, account,
                             comment, gang, job.lead_only, step, job.keep_going, qos, of_service, depends_on,
                             job.deadline, job.time_min_ms);
}

bool to_job_spec(const spec::JobSpec* table, JobSpec& out) {
  if (table == nullptr || table->kind() > static_cast<std::uint8_t>(JobKind::kGang)) return false;
  out.name = text(table->name());
  out.queue = text(table->queue());
  out.kind = static_cast<JobKind>(table->kind());
  if (const auto* ranges = table->elements(); ranges != nullptr) {
    std::vector<IndexRange> list;
    list.reserve(ranges->size());
    const auto take = [&](const spec::IndexRange& r) {
      list.push_back({r.first(), r.last(), r.step()});
      return true;
    };
    if (!each(ranges, take)) return false;
    auto set = IndexSet::from_ranges(std::move(list));
    if (!set || set->empty()) return false;
    out.elements = std::move(*set);
  }
  out.throttle = table->throttle();
  out.distinct_nodes = table->distinct_nodes();
  if (const auto* request = table->request(); request != nullptr && !to_request(*request, out.request)) return false;
  out.priority = table->priority();
  out.time_limit_ms = table->time_limit_ms();
  out.requeues_max = table->requeues_max();
  if (const auto* launch = table->launch(); launch != nullptr) {
    out.launch.assign(reinterpret_cast<const char*>(launch->data()), launch->size());
  }
  if (table->hold() > static_cast<std::uint8_t>(Hold::kAdmin)) return false;
  out.hold = static_cast<Hold>(table->hold());
  out.begin_at = table->begin_at();
  out.any_dependency = table->any_dependency();
  out.account = text(table->account());
  out.comment = text(table->comment());
  out.qos = text(table->qos());
  out.lead_only = table->lead_only();
  out.keep_going = table->keep_going();
  out.deadline = table->deadline();
  out.time_min_ms = table->time_min_ms();
  out.replica = to_replica(table->replica());
  if (const auto* step = table->step(); step != nullptr) {
    out.step_of = JobId{step->of()};
    out.step = {step->number(), step->overlap(), step->whole(), step->cyclic(), step->relative()};
  }
  if (const auto* gang = table->gang(); gang != nullptr) {
    out.gang = {gang->nodes_min(), gang->nodes_max(),  gang->per_node(),
                gang->switches(),  gang->contiguous(), gang->compact()};
  }
  const bool known = each(table->depends(), [&](const spec::Dependency& d) {
    out.depends.push_back({static_cast<Dependency::Kind>(d.kind()), JobId{d.job()}, d.delay_ms(),
                           static_cast<Dependency::State>(d.state())});
    return d.kind() <= static_cast<std::uint8_t>(Dependency::Kind::kAfterCorr) &&
           d.state() <= static_cast<std::uint8_t>(Dependency::State::kFailed);
  });
  return known && each(table->depends_on(), [&](const spec::DependencyIndex& d) {
           if (d.number() >= out.depends.size()) return false;
           out.depends[d.number()].index = d.index();
           return true;
         });
}

}  // namespace berth::state::convert
