// Output: standard output, written in large pieces. A reader that went away (`| head`) ends the program as SIGPIPE
// does, without a word; any other failure is told by finish(). One thread.
#pragma once

#include <string>
#include <string_view>

namespace berth::tools {

class Output {
 public:
  Output() = default;
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;
  ~Output() { flush(); }

  void write(std::string_view text);
  void flush();
  bool failed() const { return error_ != 0; }
  // Flushes; 0, or kExitRefused after an error line if something could not be written. A command's last word.
  int finish();

 private:
  std::string buffer_;
  int error_ = 0;
};

// All of the bytes to a descriptor; 0 or errno.
int write_all(int fd, std::string_view bytes);

}  // namespace berth::tools
