// Between records and their FlatBuffers tables, for the codecs of state/ and api/wire: written once. The `to_…`
// functions check bounds and enum ranges and return false for what could not have been written by us. Not for anything
// but codecs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "state/records.h"
#include "state/schema/spec_generated.h"

namespace berth::state::convert {

using Strings = flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>;

inline std::string text(const flatbuffers::String* s) { return s == nullptr ? std::string() : s->str(); }
inline flatbuffers::Offset<flatbuffers::String> text(flatbuffers::FlatBufferBuilder& b, const std::string& s) {
  return s.empty() ? flatbuffers::Offset<flatbuffers::String>() : b.CreateString(s);
}
std::vector<std::string> strings(const Strings* list);
flatbuffers::Offset<Strings> strings(flatbuffers::FlatBufferBuilder& b, const std::vector<std::string>& list);

flatbuffers::Offset<spec::Owner> owner(flatbuffers::FlatBufferBuilder& b, const Owner& owner);
Owner to_owner(const spec::Owner* table);  // null gives nobody (65534), never root

flatbuffers::Offset<spec::JobSpec> job_spec(flatbuffers::FlatBufferBuilder& b, const JobSpec& job);
bool to_job_spec(const spec::JobSpec* table, JobSpec& out);

flatbuffers::Offset<spec::Account> account(flatbuffers::FlatBufferBuilder& b, const Account& account);
bool to_account(const spec::Account* table, Account& out);
flatbuffers::Offset<spec::Member> member(flatbuffers::FlatBufferBuilder& b, const Member& member);
bool to_member(const spec::Member* table, Member& out);
flatbuffers::Offset<spec::Qos> qos(flatbuffers::FlatBufferBuilder& b, const Qos& qos);
bool to_qos(const spec::Qos* table, Qos& out);

flatbuffers::Offset<spec::Service> service(flatbuffers::FlatBufferBuilder& b, const Service& service);
bool to_service(const spec::Service* table, Service& out);  // but for its revisions
flatbuffers::Offset<spec::ServiceStatus> service_status(flatbuffers::FlatBufferBuilder& b, const ServiceStatus& status);
bool to_service_status(const spec::ServiceStatus* table, ServiceStatus& out);
using ServicePorts = flatbuffers::Vector<flatbuffers::Offset<spec::ServicePort>>;
flatbuffers::Offset<ServicePorts> service_ports(flatbuffers::FlatBufferBuilder& b,
                                                const std::vector<ServicePort>& ports);
bool to_service_ports(const ServicePorts* list, std::vector<ServicePort>& out);
inline flatbuffers::Offset<spec::Replica> replica(flatbuffers::FlatBufferBuilder& b, const Replica& replica) {
  if (replica.of == ServiceId{}) return {};
  return spec::CreateReplica(b, replica.of.value, replica.revision, replica.slot);
}
inline Replica to_replica(const spec::Replica* table) {
  return table == nullptr ? Replica{} : Replica{ServiceId{table->of()}, table->revision(), table->slot()};
}

using Countables = flatbuffers::Vector<flatbuffers::Offset<spec::Countable>>;
flatbuffers::Offset<Countables> countables(flatbuffers::FlatBufferBuilder& b, const std::vector<Countable>& list);
std::vector<Countable> to_countables(const Countables* list);
flatbuffers::Offset<spec::Topology> topology(flatbuffers::FlatBufferBuilder& b, const Topology& topology);
bool to_topology(const spec::Topology* table, Topology& out);  // absent: empty; false as well if it is not sound
using Pins = flatbuffers::Vector<flatbuffers::Offset<spec::Pinning>>;
flatbuffers::Offset<spec::Pinning> pinning(flatbuffers::FlatBufferBuilder& b, std::size_t of, const Pinning& pinning);
// Of those items that have one, `pinning_of(item)` says; in order.
template <class Items, class PinningOf>
flatbuffers::Offset<Pins> pins(flatbuffers::FlatBufferBuilder& b, const Items& items, PinningOf&& pinning_of) {
  std::vector<flatbuffers::Offset<spec::Pinning>> list;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const Pinning* of = pinning_of(items[i]);
    if (of != nullptr && !of->empty()) list.push_back(pinning(b, i, *of));
  }
  return list.empty() ? flatbuffers::Offset<Pins>() : b.CreateVector(list);
}
bool to_pinning(const spec::Pinning& table, Pinning& out);
// put(number of the item, pinning) for each; false if one is not sound or of an item that is not there.
template <class Put>
bool to_pins(const Pins* list, std::size_t items, Put&& put);

// FlatBuffers reads its numbers in place: bytes that do not lie at a multiple of eight are copied to where they do.
class Aligned {
 public:
  explicit Aligned(std::span<const std::byte> bytes);
  const std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::unique_ptr<std::uint64_t[]> copy_;
  const std::uint8_t* data_;
  std::size_t size_;
};

// The verifier of FlatBuffers does not look at the alignment of what is in a vector: false if reading it in place would
// be undefined.
template <class T>
bool is_aligned(const flatbuffers::Vector<T>* list, std::size_t alignment) {
  return list == nullptr || list->size() == 0 || reinterpret_cast<std::uintptr_t>(list->Data()) % alignment == 0;
}

// f(item) for every struct or table of a vector that may be absent, until f returns false; false if one did, or if the
// vector is misaligned.
template <class T, class F>
bool each(const flatbuffers::Vector<const T*>* list, F&& f) {
  if (list == nullptr) return true;
  if (!is_aligned(list, alignof(T))) return false;
  for (const T* item : *list) {
    if (!f(*item)) return false;
  }
  return true;
}
template <class T, class F>
bool each(const flatbuffers::Vector<flatbuffers::Offset<T>>* list, F&& f) {
  if (list == nullptr) return true;
  for (const T* item : *list) {
    if (!f(*item)) return false;
  }
  return true;
}

template <class Put>
bool to_pins(const Pins* list, std::size_t items, Put&& put) {
  return each(list, [&](const spec::Pinning& table) {
    Pinning out;
    if (table.of() >= items || !to_pinning(table, out)) return false;
    put(table.of(), std::move(out));
    return true;
  });
}

inline bool is_pod_state(std::uint8_t value) { return value < kPodStates; }

}  // namespace berth::state::convert
