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

// f(item) for every table or struct of a vector that may be absent.
template <class List, class F>
void each(const List* list, F&& f) {
  if (list == nullptr) return;
  for (const auto* item : *list) f(*item);
}

inline bool is_pod_state(std::uint8_t value) { return value < kPodStates; }

}  // namespace berth::state::convert
