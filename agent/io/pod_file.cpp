#include "agent/io/pod_file.h"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <span>
#include <sys/file.h>
#include <unistd.h>

#include "agent/io/oci_json.h"
#include "agent/shim/record.h"
#include "api/wire/message.h"

namespace berth::agent {

using namespace state;

namespace {

constexpr std::size_t kFrameHead = 4;

std::optional<shim::PodRecord> read_record(int fd) {
  shim::PodRecord record;
  // Twice, because the shim may be writing: what the second reading finds marked as ended was whole before.
  std::uint32_t ended = 0;
  if (pread(fd, &ended, sizeof ended, offsetof(shim::PodRecord, ended)) != sizeof ended) return std::nullopt;
  if (pread(fd, &record, sizeof record, 0) != sizeof record || record.magic != shim::kRecordMagic) return std::nullopt;
  record.ended = ended;
  record.failure[sizeof record.failure - 1] = 0;
  return record;
}

// A runtime's own words come with its time and level.
std::string plain_failure(std::string_view failure) {
  constexpr std::string_view kRuntimeSays = "cannot start the container: ";
  if (!failure.starts_with(kRuntimeSays)) return std::string(failure);
  return std::string(kRuntimeSays) + plain_runtime_error(failure.substr(kRuntimeSays.size()));
}

}  // namespace

Result<Fd> create_pod_file(const std::string& path, const std::string& input, const std::string& order) {
  Fd fd(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  // Locked here and inherited: at no moment is a starting shim's lock free.
  if (!fd || flock(fd.get(), LOCK_EX | LOCK_NB) != 0) return system_error("make the pod's file", path, errno);
  shim::PodRecord record;
  record.input_size = static_cast<std::uint32_t>(input.size());
  record.order_size = static_cast<std::uint32_t>(order.size());
  std::string bytes(shim::kInputAt, '\0');
  std::memcpy(bytes.data(), &record, sizeof record);
  bytes += input;
  bytes += order;
  if (write(fd.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
    const int error = errno;
    unlink(path.c_str());
    return system_error("write the pod's file", path, error == 0 ? ENOSPC : error);
  }
  return fd;
}

std::string encode_order(const StartOrder& order, const PodToStart& pod) {
  StartPods start;
  start.orders.push_back(order);
  start.orders[0].pods = {pod};
  return wire::encode_frame({0, std::move(start)});
}

std::optional<PodFacts> read_pod_facts(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto record = fd ? read_record(fd.get()) : std::nullopt;
  if (!record) return std::nullopt;
  PodFacts facts;
  facts.shim_pid = record->shim_pid;
  facts.started_at = record->started_us;
  if (record->stopped_us != 0 && record->stop_state >= static_cast<std::uint32_t>(PodState::kSucceeded) &&
      record->stop_state <= static_cast<std::uint32_t>(PodState::kNodeLost)) {
    facts.stop = StopMark{static_cast<PodState>(record->stop_state), record->stopped_us};
  }
  if (record->ended != 0) {
    ShimEnded end;
    end.started_at = record->started_us;
    end.ended_at = record->ended_us;
    end.exit_code = record->exit_code;
    end.signal = record->signal;
    end.oom_killed = record->oom_kills > 0;
    end.mem_peak_mib = static_cast<std::uint32_t>((record->peak_bytes + (1 << 20) - 1) >> 20);
    end.failure = plain_failure(record->failure);
    const auto counted = [](std::int64_t value) {
      return static_cast<std::uint64_t>(std::max<std::int64_t>(value, 0));
    };
    end.use = {counted(record->cpu_user_us), counted(record->cpu_system_us), counted(record->read_bytes),
               counted(record->written_bytes)};
    facts.end = std::move(end);
  }
  return facts;
}

std::optional<StartOrder> read_pod_order(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto record = fd ? read_record(fd.get()) : std::nullopt;
  if (!record || record->order_size < kFrameHead || record->order_size > wire::kMaxFrameBytes) return std::nullopt;
  std::string bytes(record->order_size, '\0');
  const auto at = static_cast<off_t>(shim::kInputAt + record->input_size);
  if (pread(fd.get(), bytes.data(), bytes.size(), at) != static_cast<ssize_t>(bytes.size())) return std::nullopt;
  auto message = wire::decode_message(std::as_bytes(std::span(bytes)).subspan(kFrameHead));
  if (!message) return std::nullopt;
  auto* start = std::get_if<StartPods>(&message->body);
  if (start == nullptr || start->orders.size() != 1 || start->orders[0].pods.size() != 1) return std::nullopt;
  return std::move(start->orders[0]);
}

std::optional<std::string> read_pod_input(const std::string& path) {
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto record = fd ? read_record(fd.get()) : std::nullopt;
  if (!record || record->input_size == 0 || record->input_size > wire::kMaxFrameBytes) return std::nullopt;
  std::string bytes(record->input_size, '\0');
  const ssize_t got = pread(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(shim::kInputAt));
  if (got != static_cast<ssize_t>(bytes.size()) || bytes.back() != '\0') return std::nullopt;
  return bytes;
}

void write_stop(const std::string& path, const StopMark& mark) {
  const Fd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  const auto record = fd ? read_record(fd.get()) : std::nullopt;
  if (!record || record->stopped_us != 0) return;
  const auto state = static_cast<std::uint32_t>(mark.state);
  // If this fails, the pod is stopped all the same. The state first: without a time it means nothing.
  [[maybe_unused]] ssize_t wrote = pwrite(fd.get(), &state, sizeof state, offsetof(shim::PodRecord, stop_state));
  wrote = pwrite(fd.get(), &mark.at, sizeof mark.at, offsetof(shim::PodRecord, stopped_us));
}

}  // namespace berth::agent
