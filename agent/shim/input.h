// The shim's orders and its record: pointers into a mapping of the pod's file.
#pragma once

#include <cstddef>
#include <cstdint>

#include "agent/shim/record.h"

namespace berth::shim {

// All texts of one tag, in order. Items of a tag are found by a walk: no tables, no allocation.
class Input {
 public:
  // False if the file cannot be mapped or is not what it should be; record() is there if it could be mapped.
  bool load();
  PodRecord* record() const { return record_; }
  const char* first(Tag tag) const;  // nullptr if there is none
  bool has(Tag tag) const { return first(tag) != nullptr; }
  std::int64_t number(Tag tag, std::int64_t otherwise) const;
  std::size_t count(Tag tag) const;
  // A null-terminated vector of the tag's texts, in a mapping of its own; nullptr if memory is short.
  char** vector(Tag tag) const;
  template <class F>
  void each(Tag tag, F&& f) const {
    for (const char* at = bytes_; at != end_;) {
      if (*at == tag) f(at + 1);
      at = next(at);
    }
  }

 private:
  static const char* next(const char* item);
  PodRecord* record_ = nullptr;
  const char* bytes_ = nullptr;
  const char* end_ = nullptr;
};

}  // namespace berth::shim
