#include "agent/io/log_reader.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <span>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/io/clock.h"
#include "agent/io/pod_input.h"
#include "state/launch.h"

namespace berth::agent {

using namespace state;

namespace {

constexpr std::int64_t kLookEveryMs = 20;
constexpr std::uint32_t kChunkMax = 1U << 20;
constexpr std::int64_t kWaitMaxMs = 60'000;

Fd open_log(const std::string& path, bool own, const ReadLog& request, const StartOrder* order) {
  const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  if (own) return Fd(open(path.c_str(), flags | O_NOFOLLOW));
  std::vector<std::uint32_t> groups;
  if (order != nullptr && order->owner.uid == request.uid) groups = order->owner.groups;
  const UserScope as_reader(request.uid, request.gid, groups.data(), groups.size());
  const int fd = open(path.c_str(), flags);
  const int error = errno;
  Fd opened(fd);
  errno = error;
  return opened;
}

}  // namespace

LogReader::LogReader(wire::Loop& loop, const Layout& layout, const NodeCore& core, std::string node_name, Send send)
    : loop_(loop), layout_(layout), core_(core), node_name_(std::move(node_name)), send_(std::move(send)) {}

void LogReader::on_read(ReadLog request) {
  const std::int64_t wait_ms = std::min<std::int64_t>(request.request.wait_ms, kWaitMaxMs);
  if (auto reply = answer(request, wait_ms > 0)) return send_(std::move(*reply));
  waiters_.push_back({std::move(request), steady_ms() + wait_ms});
  arm();
}

std::optional<LogReply> LogReader::answer(const ReadLog& request, bool may_wait) const {
  const auto refuse = [&](ErrorCode code, std::string message) {
    return LogReply{request.token, Error{code, "", std::move(message), 0}};
  };
  PodRef ref = request.ref;
  if (ref.attempt == 0) ref = core_.latest_attempt(ref.pod).value_or(ref);
  const StartOrder* order = core_.order_of(ref);
  const std::string& bytes = order != nullptr ? order->launch : request.launch;
  const auto launch = decode_launch(std::as_bytes(std::span(bytes)));
  if (!launch) return refuse(ErrorCode::kInternal, "the job's launch description cannot be read");
  const auto paths = output_paths(layout_, ref.pod.job, *launch,
                                  {(request.step_of != JobId{} ? request.step_of : ref.pod.job).value, request.index,
                                   node_name_, request.user, request.job_name, request.step});
  if (!paths) return LogReply{request.token, paths.error()};
  const bool error_stream = request.request.error_stream;
  if (error_stream && paths->error.empty()) {
    return refuse(ErrorCode::kNotFound, "job " + std::to_string(ref.pod.job.value) +
                                            " has no error file of its own: its errors are in its output");
  }
  const std::string& path = error_stream ? paths->error : paths->output;

  // Before the file is read: what a pod wrote before it was seen to have ended is then in what we read.
  const NodeCore::Phase phase = core_.phase(ref);
  const bool ended = phase == NodeCore::Phase::kEnded || phase == NodeCore::Phase::kUnknown;
  LogChunk chunk;
  chunk.offset = request.request.offset;
  const Fd file = open_log(path, paths->own && !error_stream, request, order);
  if (!file) {
    const int error = errno;
    if (error != ENOENT)
      return refuse(error == EACCES ? ErrorCode::kDenied : ErrorCode::kInternal,
                    "cannot read the output '" + path + "': " + std::strerror(error));
    if (phase == NodeCore::Phase::kUnknown)
      return refuse(ErrorCode::kNotFound, "the output file '" + path + "' is not there");
    chunk.ended = ended;
    if (!ended && may_wait) return std::nullopt;
    return LogReply{request.token, std::move(chunk)};
  }
  struct stat about {};
  if (fstat(file.get(), &about) != 0 || !S_ISREG(about.st_mode)) {
    return refuse(ErrorCode::kInvalid, "the output '" + path + "' is not a regular file");
  }
  chunk.bytes.resize(std::min(request.request.max_bytes, kChunkMax));
  const ssize_t got = chunk.offset > static_cast<std::uint64_t>(about.st_size)
                          ? 0
                          : pread(file.get(), chunk.bytes.data(), chunk.bytes.size(), static_cast<off_t>(chunk.offset));
  chunk.bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  const bool at_end = chunk.offset + chunk.bytes.size() >= static_cast<std::uint64_t>(about.st_size);
  chunk.ended = ended && at_end;
  if (chunk.bytes.empty() && !chunk.ended && may_wait && request.request.max_bytes != 0) return std::nullopt;
  return LogReply{request.token, std::move(chunk)};
}

void LogReader::arm() {
  if (!waiters_.empty() && !timer_) timer_ = loop_.after_ms(kLookEveryMs, [this] { look(); });
}

void LogReader::look() {
  timer_.reset();
  poke();
}

void LogReader::poke() {
  const std::int64_t now_ms = steady_ms();
  std::vector<Waiter> still;
  for (Waiter& waiter : std::exchange(waiters_, {})) {
    auto reply = answer(waiter.request, now_ms < waiter.until_ms);
    if (reply) {
      send_(std::move(*reply));
    } else {
      still.push_back(std::move(waiter));
    }
  }
  waiters_ = std::move(still);
  arm();
}

void LogReader::clear() {
  waiters_.clear();
  timer_.reset();
}

}  // namespace berth::agent
