// JsonWriter: JSON text, piece by piece, into an Output. Strings that are not UTF-8 come out with U+FFFD in place of
// the bad bytes, so that the result is JSON whatever a user put into a name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/cli/output.h"

namespace berth::tools {

class JsonWriter {
 public:
  explicit JsonWriter(Output& out) : out_(out) {}
  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(std::string_view name);
  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(std::int64_t number);
  JsonWriter& value(std::uint64_t number);
  JsonWriter& value(std::uint32_t number) { return value(std::uint64_t{number}); }
  JsonWriter& value(std::int32_t number) { return value(std::int64_t{number}); }
  JsonWriter& value(double number);  // finite; up to 4 digits behind the point
  JsonWriter& value(bool truth);
  JsonWriter& null();
  template <class T>
  JsonWriter& field(std::string_view name, T&& of) {
    return key(name).value(std::forward<T>(of));
  }
  // A time in microseconds, or null for 0.
  JsonWriter& time(std::string_view name, std::int64_t at_us);
  JsonWriter& strings(std::string_view name, const std::vector<std::string>& list);
  // Each item of the outermost array stands on a line of its own.
  void end_document();

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  void separate();

  Output& out_;
  std::vector<bool> any_;  // for each open bracket: whether something is in it
  bool after_key_ = false;
};

std::string json_string(std::string_view text);  // with its quotes

}  // namespace berth::tools
