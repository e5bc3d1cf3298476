// The few helpers that the shim builds on: no allocation, no stdio, no exceptions, so that its memory stays tiny.
#pragma once

#include <cstddef>
#include <cstdint>

namespace berth::shim {

// A text of bounded size; what does not fit is cut off.
class Text {
 public:
  Text() { bytes_[0] = 0; }  // the rest stays untouched: memory that is not written costs nothing
  Text& add(const char* text);
  Text& add(const char* text, std::size_t size);
  Text& add(std::int64_t number);
  Text& add_error(int error);  // ": No such file or directory"
  const char* c_str() const { return bytes_; }
  const char* data() const { return bytes_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  void clear() { size_ = 0, bytes_[0] = 0; }

 private:
  char bytes_[4608];
  std::size_t size_ = 0;
};

std::int64_t now_us();
std::int64_t parse_number(const char* text);  // leading digits; 0 if none
// Writes a whole file in one go over `flags`; returns 0 or an errno.
int write_file(const char* path, int flags, const char* bytes, std::size_t size);
// Reads at most size - 1 bytes and ends them with a NUL; -1 if the file cannot be read.
long read_file(const char* path, char* bytes, std::size_t size);
// Removes what is below `path`, and `path` itself; follows no symbolic links.
void remove_tree(const char* path);

// Calls f(context, name) for each name in a directory.
void each_name(const char* path, bool directories_only, void (*f)(void* context, const char* name), void* context);

}  // namespace berth::shim
