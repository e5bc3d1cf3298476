// Trace: what the server's threads do and when, in Chrome's trace event format, for chrome://tracing and Perfetto. A
// line of the file is an event, and whole: a server that is killed leaves a file that wants only its closing bracket,
// which both do without. Any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "state/result.h"

namespace berth::server {

std::int64_t steady_clock_ns();

class Trace {
 public:
  static constexpr std::uint64_t kBytesMax = 256ULL << 20;
  enum Thread : std::uint8_t { kLoop = 1, kCore = 2, kJournal = 3 };

  // Replaces what the file had. Past so many bytes it says so, and takes nothing more.
  static state::Result<std::unique_ptr<Trace>> open(const std::string& path, std::uint64_t bytes_max = kBytesMax);
  ~Trace();  // writes the end

  // `arguments`: members of a JSON object, "" for none.
  void span(Thread thread, std::string_view name, std::int64_t from_ns, std::int64_t until_ns,
            std::string_view arguments = {});
  // What is not a thread's doing: a command that waits. `id` tells it from others of the name.
  void waited(std::string_view name, std::uint64_t id, std::int64_t from_ns, std::int64_t until_ns);
  void flush();
  bool full() const { return full_.load(std::memory_order_relaxed); }

 private:
  Trace(int fd, std::uint64_t bytes_max);
  void put(std::string_view line);
  void write_out();

  const int fd_;
  const std::uint64_t bytes_max_;
  const int pid_;
  std::atomic<bool> full_{false};
  std::mutex mutex_;  // guards what follows
  std::string buffer_;
  std::uint64_t bytes_ = 0;
};

}  // namespace berth::server
