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

namespace {

fb::Offset<spec::Request> request_of(fb::FlatBufferBuilder& b, const Request& request) {
  const auto& resources = request.resources;
  const auto features = strings(b, request.features);
  if (request.plain()) {
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
  return spec::CreateRequest(b, resources.cpu_milli, resources.mem_mib, resources.gpus, features, where, prefers,
                             tolerates, labels, rules, request.exclusive);
}

bool to_request(const spec::Request& table, Request& out) {
  out.resources = {table.cpu_milli(), table.mem_mib(), table.gpus()};
  out.features = strings(table.features());
  out.where = text(table.where());
  out.prefers = strings(table.prefers());
  out.tolerates = strings(table.tolerates());
  out.labels = strings(table.labels());
  out.exclusive = table.exclusive();
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
  const auto account = text(b, job.account);
  const auto comment = text(b, job.comment);
  const auto launch = b.CreateVector(reinterpret_cast<const std::uint8_t*>(job.launch.data()), job.launch.size());
  return spec::CreateJobSpec(b, name, queue, static_cast<std::uint8_t>(job.kind), elements, job.throttle,
                             job.distinct_nodes, request, job.priority, job.time_limit_ms, job.requeues_max, launch,
                             static_cast<std::uint8_t>(job.hold), job.begin_at, depends, job.any_dependency, account,
                             comment);
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
  return each(table->depends(), [&](const spec::Dependency& d) {
    out.depends.push_back({static_cast<Dependency::Kind>(d.kind()), JobId{d.job()}, d.delay_ms(),
                           static_cast<Dependency::State>(d.state())});
    return d.kind() <= static_cast<std::uint8_t>(Dependency::Kind::kSingleton) &&
           d.state() <= static_cast<std::uint8_t>(Dependency::State::kFailed);
  });
}

}  // namespace berth::state::convert
