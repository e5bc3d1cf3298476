// Result<T>: what can fail, as a value. An Error is what a user reads: one clear line that names the field, the value
// and what is accepted. Assertions are for what cannot happen; no input reaches one.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>

namespace berth::state {

enum class ErrorCode : std::uint8_t {
  kInvalid = 1,      // the request itself is wrong; repeating it cannot help
  kNotFound = 2,     // names something that does not exist
  kDenied = 3,       // the caller may not do this
  kConflict = 4,     // does not fit the present state (already ended, name taken)
  kUnavailable = 5,  // cannot be served now; retry_after_ms says when to come back
  kTooLarge = 6,     // over a limit
  kProtocol = 7,     // the peer does not speak our protocol, or another version
  kInternal = 8,     // our fault
};

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string field;    // the option or field at fault, "" if none
  std::string message;  // one line, complete in itself, no trailing full stop
  std::uint32_t retry_after_ms = 0;

  bool operator==(const Error&) const = default;
};

inline Error invalid(std::string field, std::string message) {
  return Error{ErrorCode::kInvalid, std::move(field), std::move(message), 0};
}

struct Unit {
  bool operator==(const Unit&) const = default;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : held_(std::in_place_index<0>, std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : held_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return held_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() { return std::get<0>(held_); }
  const T& value() const { return std::get<0>(held_); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  Error& error() { return std::get<1>(held_); }
  const Error& error() const { return std::get<1>(held_); }

 private:
  std::variant<T, Error> held_;
};

using Status = Result<Unit>;

}  // namespace berth::state
