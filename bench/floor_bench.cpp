// What this machine can do without Berth, to hold its figures against: a write with fdatasync, and frames over a Unix
// socket.
//   floor_bench DIRECTORY SECONDS   prints one flat JSON object. The directory decides which disk is measured.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fmt/format.h>
#include <string>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

double median(std::vector<double>& values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// Median time of one write + fdatasync of `bytes`. A journal that has allocated its segment beforehand overwrites
// zeros; one that has not grows the file, which costs the file system's own journal as well.
double sync_us(const std::string& directory, std::size_t bytes, bool grow, double seconds) {
  const std::string path = directory + "/floor.tmp";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) fail(path.c_str());
  constexpr std::size_t kFile = 16U << 20;
  if (!grow) {
    const std::string zeros(kFile, '\0');
    if (write(fd, zeros.data(), zeros.size()) != static_cast<ssize_t>(zeros.size()) || fsync(fd) != 0) fail("write");
    if (lseek(fd, 0, SEEK_SET) != 0) fail("lseek");
  }
  const std::string block(bytes, 'b');
  std::vector<double> times;
  std::size_t at = 0;
  for (const Clock::time_point start = Clock::now(); us_since(start) < seconds * 1e6;) {
    if (!grow && at + bytes > kFile) {
      at = 0;
      if (lseek(fd, 0, SEEK_SET) != 0) fail("lseek");
    }
    const Clock::time_point begin = Clock::now();
    if (write(fd, block.data(), block.size()) != static_cast<ssize_t>(block.size()) || fdatasync(fd) != 0)
      fail("fdatasync");
    times.push_back(us_since(begin));
    at += bytes;
  }
  close(fd);
  unlink(path.c_str());
  return median(times);
}

bool read_all(int fd, char* data, std::size_t size) {
  while (size != 0) {
    const ssize_t got = read(fd, data, size);
    if (got <= 0) return false;
    data += got;
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

struct Echo {
  double round_trip_us = 0;
  double frames_per_s = 0;
};

// A child sends back every frame (a length and that many bytes), one at a time as a client that waits, then many in
// flight.
Echo echo_frames(std::uint32_t payload, double seconds) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) fail("socketpair");
  const pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    close(fds[0]);
    std::vector<char> buffer(1U << 16);
    for (;;) {
      const ssize_t got = read(fds[1], buffer.data(), buffer.size());
      if (got <= 0) _exit(0);
      for (ssize_t sent = 0; sent < got;) {
        const ssize_t put = write(fds[1], buffer.data() + sent, static_cast<std::size_t>(got - sent));
        if (put <= 0) _exit(0);
        sent += put;
      }
    }
  }
  close(fds[1]);
  std::string frame(sizeof(payload) + payload, 'f');
  std::copy_n(reinterpret_cast<const char*>(&payload), sizeof(payload), frame.begin());
  const auto round = [&](std::size_t frames) {
    std::string burst;
    for (std::size_t i = 0; i < frames; ++i) burst += frame;
    std::vector<char> back(burst.size());
    if (write(fds[0], burst.data(), burst.size()) != static_cast<ssize_t>(burst.size())) fail("write");
    if (!read_all(fds[0], back.data(), back.size())) fail("read");
  };
  Echo out;
  std::vector<double> times;
  for (const Clock::time_point start = Clock::now(); us_since(start) < seconds * 5e5;) {
    const Clock::time_point begin = Clock::now();
    round(1);
    times.push_back(us_since(begin));
  }
  out.round_trip_us = median(times);
  constexpr std::size_t kInFlight = 64;
  std::size_t frames = 0;
  const Clock::time_point start = Clock::now();
  while (us_since(start) < seconds * 5e5) {
    round(kInFlight);
    frames += kInFlight;
  }
  out.frames_per_s = static_cast<double>(frames) / us_since(start) * 1e6;
  close(fds[0]);
  waitpid(child, nullptr, 0);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || std::atof(argv[2]) <= 0) {
    fmt::print(stderr, "usage: floor_bench DIRECTORY SECONDS\n");
    return 2;
  }
  const std::string directory = argv[1];
  const double seconds = std::atof(argv[2]) / 4;
  const double sync_512 = sync_us(directory, 512, false, seconds);
  const double sync_64k = sync_us(directory, 64U << 10, false, seconds);
  const double sync_grow = sync_us(directory, 512, true, seconds);
  const Echo echo = echo_frames(200, seconds);
  fmt::print(
      "{{\n  \"fdatasync_512_us\": {:.1f},\n  \"fdatasync_64k_us\": {:.1f},\n  \"fdatasync_512_growing_us\": {:.1f},\n",
      sync_512, sync_64k, sync_grow);
  fmt::print("  \"frame_echo_us\": {:.2f},\n  \"frame_echo_pipelined_per_s\": {:.0f}\n}}\n", echo.round_trip_us,
             echo.frames_per_s);
  return 0;
}
