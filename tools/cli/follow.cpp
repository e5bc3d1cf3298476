#include "tools/cli/follow.h"

#include <algorithm>
#include <poll.h>
#include <unistd.h>

#include "tools/cli/terminal.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr std::uint32_t kHoldMs = 30'000;  // how long the node may hold an answer until there is more
constexpr std::uint32_t kChunkBytes = 256U << 10;
constexpr std::int64_t kAwayMostMs = 30'000;  // after the job's end, how long a node that is away is waited for

}  // namespace

Follower::Follower(ServerLink& link, JobId job, std::vector<PodOutput> outputs, Options options, Output& out)
    : link_(link), job_(job), outputs_(std::move(outputs)), options_(std::move(options)), out_(out) {
  for (PodOutput& output : outputs_) output.check_attempt = options_.requeues;
}

Result<bool> Follower::run() {
  Status good = start();
  while (good && !done()) {
    good = ask_due();
    auto message = good ? link_.client().receive(0) : Result<wire::Message>(good.error());
    if (message) {
      good = on_message(*message);
    } else if (ServerLink::is_lost(message.error())) {
      good = link_.reconnect(ServerLink::kPatienceMs, options_.interrupts);
      if (good) good = start();
    } else if (message.error().message != "timeout") {
      return message.error();
    } else {
      out_.flush();
      const std::int64_t wait =
          next_due_ms() == 0 ? 60'000 : std::clamp<std::int64_t>(next_due_ms() - now_ms(), 0, 60'000);
      pollfd ready[2] = {{link_.client().fd(), POLLIN, 0},
                         {options_.interrupts == nullptr ? -1 : options_.interrupts->fd(), POLLIN, 0}};
      poll(ready, 2, static_cast<int>(wait));
    }
    if (out_.failed()) return Error{ErrorCode::kInternal, "", "the output cannot be written", 0};
    if (options_.interrupts != nullptr && options_.interrupts->take() && !options_.on_interrupt()) return false;
    if (!good && ServerLink::is_lost(good.error())) good = Unit{};  // found out while sending; receive() will say so
  }
  if (!good) return good.error();
  out_.flush();
  return true;
}

Status Follower::start() {
  for (PodOutput& output : outputs_) {
    output.request = 0;
    output.due_ms = 0;
  }
  if (cancel_wanted_) cancel_job();
  if (!options_.watch_job || progress_.ended) return Unit{};
  const auto sent = link_.client().send(WatchJobsRequest{{job_}});
  if (!sent) return sent.error();
  watch_request_ = *sent;
  return Unit{};
}

void Follower::cancel_job() {
  cancel_wanted_ = true;
  if (const auto sent = link_.client().send(CancelRequest{job_, std::nullopt})) cancel_request_ = *sent;
}

Status Follower::ask_due() {
  // Nothing can have been written before the first pod runs; the watch tells when that is.
  const bool none_ran =
      options_.watch_job && progress_.counts.of(PodState::kRunning) == 0 && !progress_.ended &&
      progress_.counts.active() == progress_.counts.of(PodState::kPending) + progress_.counts.of(PodState::kBound);
  const bool any_ended = std::any_of(progress_.counts.by_state.begin() + 3, progress_.counts.by_state.end(),
                                     [](std::uint32_t n) { return n != 0; });
  if (none_ran && !any_ended) return Unit{};
  const std::int64_t now = now_ms();
  for (PodOutput& output : outputs_) {
    if (output.done || output.request != 0 || output.due_ms > now) continue;
    if (Status good = ask(output); !good) return good;
  }
  return Unit{};
}

Status Follower::ask(PodOutput& output) {
  ClientRequest request;
  if (output.check_attempt) {
    request = ListPodsRequest{job_, {}, output.element, 1};
  } else {
    ReadLogRequest read;
    read.job = job_;
    read.index = output.index;
    read.error_stream = output.error_stream;
    read.offset = output.offset;
    read.max_bytes = kChunkBytes;
    read.wait_ms = kHoldMs;
    request = read;
  }
  const auto sent = link_.client().send(std::move(request));
  if (!sent) return sent.error();
  output.request = *sent;
  return Unit{};
}

Status Follower::on_message(const wire::Message& message) {
  const auto* reply = std::get_if<ServerReply>(&message.body);
  if (reply == nullptr) return Unit{};
  const auto* error = std::get_if<Error>(reply);
  if (const auto* progress = std::get_if<JobProgress>(reply)) {
    on_progress(*progress);
    return Unit{};
  }
  if (message.request == cancel_request_ && cancel_request_ != 0) return Unit{};  // it may have ended by itself
  const auto output = std::find_if(outputs_.begin(), outputs_.end(),
                                   [&](const PodOutput& o) { return o.request == message.request && o.request != 0; });
  if (output == outputs_.end()) {
    if (error == nullptr) return Unit{};
    if (error->code != ErrorCode::kUnavailable || error->retry_after_ms == 0) return *error;
    sleep_ms(error->retry_after_ms, options_.interrupts);  // the watch was put off
    return start();
  }
  output->request = 0;
  output->due_ms = 0;
  if (error != nullptr) return on_log_error(*output, *error);
  if (const auto* chunk = std::get_if<LogChunk>(reply)) {
    on_chunk(*output, *chunk);
  } else if (const auto* page = std::get_if<PodPage>(reply); page != nullptr && !page->rows.empty()) {
    on_attempt(*output, page->rows.front());
  }
  return Unit{};
}

void Follower::on_progress(const JobProgress& progress) {
  progress_ = progress;
  for (PodOutput& output : outputs_) output.due_ms = 0;  // what could not be read may now be
}

void Follower::on_attempt(PodOutput& output, const PodRow& row) {
  output.check_attempt = false;
  if (output.attempt != 0 && row.attempt != output.attempt && output.offset != 0) {
    finish(output);
    output.done = false;
    output.offset = 0;
    note("pod " + std::to_string(job_.value) + "." + std::to_string(row.index) + " runs again, as attempt " +
         std::to_string(row.attempt));
  }
  output.attempt = row.attempt;
  // What never ran has no output.
  if (is_final(row.state) && row.started_at == 0) finish(output);
}

void Follower::on_chunk(PodOutput& output, const LogChunk& chunk) {
  output.away_since_ms = 0;
  output.offset = chunk.offset + chunk.bytes.size();
  write(output, chunk.bytes);
  if (chunk.ended) finish(output);
}

Status Follower::on_log_error(PodOutput& output, const Error& error) {
  const std::int64_t now = now_ms();
  // Not started yet, between two attempts, or its node is away: ask again, also who it is by then.
  if (error.code == ErrorCode::kUnavailable) {
    if (output.away_since_ms == 0) output.away_since_ms = now;
    output.check_attempt = true;
    output.due_ms = now + std::max<std::uint32_t>(error.retry_after_ms, 50);
    if (!progress_.ended || now - output.away_since_ms < kAwayMostMs) return Unit{};
  }
  if (!options_.watch_job) return error;
  note(error.message);
  finish(output);
  return Unit{};
}

void Follower::write(PodOutput& output, const std::string& bytes) {
  const auto put = [&](std::string_view text) {
    if (!output.error_stream) return out_.write(text);
    out_.flush();
    write_all(STDERR_FILENO, text);
  };
  if (output.prefix.empty()) return put(bytes);
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const std::size_t end = rest.find('\n');
    output.line += rest.substr(0, end);
    if (end == std::string_view::npos) return;
    put(output.prefix + output.line + "\n");
    output.line.clear();
    rest.remove_prefix(end + 1);
  }
}

void Follower::finish(PodOutput& output) {
  if (!output.line.empty()) write(output, "\n");
  output.done = true;
}

bool Follower::done() const {
  return (!options_.watch_job || progress_.ended) &&
         std::all_of(outputs_.begin(), outputs_.end(), [](const PodOutput& o) { return o.done; });
}

std::int64_t Follower::next_due_ms() const {
  std::int64_t next = 0;
  for (const PodOutput& output : outputs_) {
    if (!output.done && output.request == 0 && output.due_ms != 0 && (next == 0 || output.due_ms < next))
      next = output.due_ms;
  }
  return next;
}

}  // namespace berth::tools
