#include "api/server/trace.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>
#include <utility>

namespace berth::server {

using state::Error;
using state::ErrorCode;
using state::Result;

namespace {

constexpr std::size_t kBufferBytes = 64 * 1024;
constexpr std::size_t kEndBytes = 1024;  // kept for the last lines

double us(std::int64_t ns) { return static_cast<double>(ns) / 1000; }

}  // namespace

std::int64_t steady_clock_ns() {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Result<std::unique_ptr<Trace>> Trace::open(const std::string& path, std::uint64_t bytes_max) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) {
    return Error{ErrorCode::kUnavailable, "trace", "cannot write the trace to " + path + ": " + std::strerror(errno),
                 0};
  }
  return std::unique_ptr<Trace>(new Trace(fd, bytes_max));
}

Trace::Trace(int fd, std::uint64_t bytes_max) : fd_(fd), bytes_max_(bytes_max), pid_(::getpid()) {
  buffer_ = "[\n";
  const auto name = [this](Thread thread, std::string_view text) {
    put(fmt::format(R"({{"name":"thread_name","ph":"M","pid":{},"tid":{},"args":{{"name":"{}"}}}})", pid_,
                    static_cast<int>(thread), text));
  };
  name(kLoop, "sessions");
  name(kCore, "core");
  name(kJournal, "journal");
}

Trace::~Trace() {
  const std::lock_guard lock(mutex_);
  if (!full_) {
    buffer_ += fmt::format(R"({{"name":"the server ended","ph":"i","s":"g","pid":{},"tid":{},"ts":{:.3f}}})", pid_,
                           static_cast<int>(kLoop), us(steady_clock_ns()));
    buffer_ += "\n]\n";
  }
  write_out();
  ::close(fd_);
}

void Trace::span(Thread thread, std::string_view name, std::int64_t from_ns, std::int64_t until_ns,
                 std::string_view arguments) {
  if (full()) return;
  put(fmt::format(R"({{"name":"{}","ph":"X","pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f},"args":{{{}}}}})", name, pid_,
                  static_cast<int>(thread), us(from_ns), us(until_ns - from_ns), arguments));
}

void Trace::waited(std::string_view name, std::uint64_t id, std::int64_t from_ns, std::int64_t until_ns) {
  if (full()) return;
  for (const auto& [phase, at] : {std::pair{'b', from_ns}, std::pair{'e', until_ns}}) {
    put(fmt::format(R"({{"name":"{}","cat":"{}","ph":"{}","id":{},"pid":{},"tid":{},"ts":{:.3f}}})", name, name, phase,
                    id, pid_, static_cast<int>(kCore), us(at)));
  }
}

void Trace::flush() {
  const std::lock_guard lock(mutex_);
  write_out();
}

void Trace::put(std::string_view line) {
  const std::lock_guard lock(mutex_);
  if (full_) return;
  if (bytes_ + buffer_.size() + line.size() + kEndBytes > bytes_max_) {
    full_ = true;
    buffer_ += fmt::format(
        R"({{"name":"the trace ends here, at its limit of {} bytes","ph":"i","s":"g","pid":{},"tid":{},"ts":{:.3f}}})",
        bytes_max_, pid_, static_cast<int>(kLoop), us(steady_clock_ns()));
    buffer_ += "\n]\n";
    write_out();
    return spdlog::warn("the trace has reached its limit of {} bytes and ends", bytes_max_);
  }
  buffer_ += line;
  buffer_ += ",\n";
  if (buffer_.size() >= kBufferBytes) write_out();
}

// A disk that takes no more ends the trace, not the server.
void Trace::write_out() {
  std::string_view rest = buffer_;
  while (!rest.empty()) {
    const ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      if (!full_.exchange(true)) spdlog::warn("the trace ends: it cannot be written: {}", std::strerror(errno));
      break;
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  bytes_ += buffer_.size();
  buffer_.clear();
}

}  // namespace berth::server
