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

fb::Offset<spec::JobSpec> job_spec(fb::FlatBufferBuilder& b, const JobSpec& job) {
  const auto features = strings(b, job.request.features);
  const auto& resources = job.request.resources;
  const auto request = spec::CreateRequest(b, resources.cpu_milli, resources.mem_mib, resources.gpus, features);
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
  const auto launch = b.CreateVector(reinterpret_cast<const std::uint8_t*>(job.launch.data()), job.launch.size());
  return spec::CreateJobSpec(b, name, queue, static_cast<std::uint8_t>(job.kind), elements, job.throttle,
                             job.distinct_nodes, request, job.priority, job.time_limit_ms, job.requeues_max, launch);
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
  if (const auto* request = table->request(); request != nullptr) {
    out.request.resources = {request->cpu_milli(), request->mem_mib(), request->gpus()};
    out.request.features = strings(request->features());
  }
  out.priority = table->priority();
  out.time_limit_ms = table->time_limit_ms();
  out.requeues_max = table->requeues_max();
  if (const auto* launch = table->launch(); launch != nullptr) {
    out.launch.assign(reinterpret_cast<const char*>(launch->data()), launch->size());
  }
  return true;
}

}  // namespace berth::state::convert
