#include "tools/load/load_run.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <random>
#include <utility>

#include "state/launch.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr auto kAskEvery = std::chrono::milliseconds(5);
constexpr auto kStallLimit = std::chrono::seconds(60);
constexpr std::uint32_t kRowsAtOnce = 10'000;
// The server forgets ended jobs past some 200,000 pods: rows are read long before that.
constexpr std::uint64_t kEndedUncheckedMax = 40'000;
constexpr std::int64_t kIdleWaitMs = 1'000;

std::uint64_t mix(std::uint64_t x) {  // the finaliser of splitmix64
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

std::uint64_t ended_in(const JobCounts& counts) {
  std::uint64_t sum = 0;
  for (std::size_t s = 0; s < kPodStates; ++s) {
    if (is_final(static_cast<PodState>(s))) sum += counts.by_state[s];
  }
  return sum;
}

bool is_timeout(const Error& error) { return error.code == ErrorCode::kUnavailable && error.message == "timeout"; }

}  // namespace

JobSpec load_spec(const LoadOptions& options) {
  Launch launch;
  launch.argv = {"/bin/true"};
  launch.cwd = "/";
  JobSpec spec;
  spec.name = "bench";
  spec.request.resources = options.resources;
  spec.time_limit_ms = options.time_limit_ms;
  spec.launch = encode_launch(launch);
  if (options.mode == LoadOptions::Mode::kArrays) {
    spec.kind = JobKind::kArray;
    spec.elements = IndexSet::dense(options.array_size);
  }
  return spec;
}

LoadRun::LoadRun(client::Client& client, const LoadOptions& options)
    : client_(client), options_(options), spec_(load_spec(options)) {
  std::random_device random;
  // Room below for the keys of a whole run; never 0.
  next_key_ = ((std::uint64_t{random()} << 32) ^ (std::uint64_t{random()} << 4)) | 1;
}

Result<LoadResult> LoadRun::run() {
  if (Status ready = begin(); !ready) return ready.error();
  while (!finished()) {
    if (Status sent = send_more(); !sent) return sent.error();
    if (Status asked = ask_server(); !asked) return asked.error();
    auto message = client_.receive(wait_ms());
    if (message) {
      if (Status taken = take(*message); !taken) return taken.error();
    } else if (!is_timeout(message.error())) {
      return message.error();
    }
    if (Status moves = check_stall(); !moves) return moves.error();
  }
  const auto seconds = [&](Clock::time_point at) { return std::chrono::duration<double>(at - start_).count(); };
  result_.submit_s = seconds(last_ack_);
  result_.total_s = seconds(last_end_);
  return std::move(result_);
}

Status LoadRun::begin() {
  auto info = client_.call_for<ServerInfo>(ServerInfoRequest{});
  if (!info) return info.error();
  if (info->nodes_connected == 0) {
    return Error{ErrorCode::kUnavailable, "",
                 "no node is connected: start some with `berth bench agents` or `berth agent`", 0};
  }
  others_active_ = info->pods_pending + info->pods_live;
  start_ = last_ack_ = last_end_ = moved_at_ = hold_until_ = ask_at_ = Clock::now();
  return Unit{};
}

// ---- submitting -----------------------------------------------------------------------------------------------------
std::uint32_t LoadRun::next_batch() const {
  if (options_.pods == 0) {
    const bool over = Clock::now() - start_ >= std::chrono::duration<double>(options_.seconds);
    return over ? 0 : options_.batch;
  }
  const std::uint64_t jobs = (options_.pods + pods_per_job() - 1) / pods_per_job();
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(options_.batch, jobs - jobs_sent_));
}

std::uint64_t LoadRun::outstanding() const {
  if (arrays()) return jobs_sent_ * pods_per_job() - pods_seen_ended_;
  return jobs_sent_ - jobs_surely_ended_;
}

Status LoadRun::send_more() {
  if (Clock::now() < hold_until_) return Unit{};
  while (!put_off_.empty() && in_flight_.size() < options_.window) {
    const Frame again = put_off_.back();
    put_off_.pop_back();
    if (Status sent = send_submit(again.submit_key, again.jobs); !sent) return sent;
  }
  while (in_flight_.size() < options_.window) {
    const std::uint32_t jobs = next_batch();
    if (jobs == 0 || (outstanding() != 0 && outstanding() + jobs * pods_per_job() > options_.backlog)) break;
    if (Status sent = send_submit(next_key_, jobs); !sent) return sent;
    next_key_ += jobs;
    jobs_sent_ += jobs;
  }
  return Unit{};
}

Status LoadRun::send_submit(std::uint64_t submit_key, std::uint32_t jobs) {
  SubmitRequest request;
  request.jobs.assign(jobs, spec_);
  request.submit_key = submit_key;
  const Clock::time_point now = Clock::now();
  auto number = client_.send(std::move(request));
  if (!number) return number.error();
  in_flight_.emplace(*number, Frame{now, submit_key, jobs});
  return Unit{};
}

Status LoadRun::on_reply(const Frame& frame, const SubmitReply& reply) {
  last_ack_ = Clock::now();
  result_.ack_us.push_back(std::chrono::duration_cast<std::chrono::microseconds>(last_ack_ - frame.sent_at).count());
  ++result_.frames;
  if (reply.jobs.size() != frame.jobs) {
    return Error{ErrorCode::kProtocol, "",
                 fmt::format("{} jobs were submitted and {} acknowledged", frame.jobs, reply.jobs.size()), 0};
  }
  result_.jobs_acknowledged += frame.jobs;
  result_.pods_acknowledged += frame.jobs * pods_per_job();
  if (!arrays()) {
    unchecked_.insert(unchecked_.end(), reply.jobs.begin(), reply.jobs.end());
    return Unit{};
  }
  for (const JobId id : reply.jobs) watched_.emplace(id, 0);
  auto number = client_.send(WatchJobsRequest{reply.jobs});
  return number ? Status(Unit{}) : Status(number.error());
}

// A full server says when to come back; the same key makes sure that nothing is submitted twice.
Status LoadRun::on_refusal(const Frame& frame, const Error& error) {
  if (error.code != ErrorCode::kUnavailable) return error;
  ++result_.retries;
  put_off_.push_back(frame);
  hold_until_ = Clock::now() + std::chrono::milliseconds(std::max<std::uint32_t>(1, error.retry_after_ms));
  return Unit{};
}

// ---- following ------------------------------------------------------------------------------------------------------
bool LoadRun::all_acknowledged() const { return in_flight_.empty() && put_off_.empty() && next_batch() == 0; }

bool LoadRun::finished() const {
  return all_acknowledged() && watched_.empty() && unchecked_.empty() && info_request_ == 0 && rows_request_ == 0;
}

std::int64_t LoadRun::wait_ms() const {
  const Clock::time_point now = Clock::now();
  Clock::time_point until = now + std::chrono::milliseconds(kIdleWaitMs);
  if (hold_until_ > now) until = std::min(until, hold_until_);
  if (!arrays()) until = std::min(until, std::max(ask_at_, now));
  if (options_.pods == 0) {
    const auto over =
        start_ + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options_.seconds));
    if (over > now) until = std::min(until, over);
  }
  return std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::milliseconds>(until - now).count());
}

// Single jobs only: the totals now and then; rows at the end, or before the server forgets them.
Status LoadRun::ask_server() {
  const Clock::time_point now = Clock::now();
  if (arrays() || now < ask_at_ || info_request_ != 0 || rows_request_ != 0) return Unit{};
  const bool totals_will_not_tell = all_acknowledged() && (idle_ || others_active_ != 0);
  ask_at_ = now + kAskEvery;
  if (!unchecked_.empty() && (totals_will_not_tell || jobs_surely_ended_ > result_.pods_ended + kEndedUncheckedMax)) {
    ListJobsRequest request;
    rows_asked_ = std::min<std::size_t>(kRowsAtOnce, unchecked_.size());
    request.filter.jobs.assign(unchecked_.begin(), unchecked_.begin() + static_cast<std::ptrdiff_t>(rows_asked_));
    request.limit = kRowsAtOnce;
    auto number = client_.send(std::move(request));
    if (!number) return number.error();
    rows_request_ = *number;
  } else if (!totals_will_not_tell) {
    acknowledged_when_asked_ = result_.jobs_acknowledged;
    asked_after_last_ = all_acknowledged();
    auto number = client_.send(ServerInfoRequest{});
    if (!number) return number.error();
    info_request_ = *number;
  }
  return Unit{};
}

Status LoadRun::take(wire::Message& message) {
  auto* reply = std::get_if<ServerReply>(&message.body);
  if (reply == nullptr) return Error{ErrorCode::kProtocol, "", "the server sent an unexpected message", 0};
  const auto* error = std::get_if<Error>(reply);
  if (const auto at = in_flight_.find(message.request); at != in_flight_.end()) {
    const Frame frame = at->second;
    in_flight_.erase(at);
    if (error != nullptr) return on_refusal(frame, *error);
    if (const auto* done = std::get_if<SubmitReply>(reply)) return on_reply(frame, *done);
    return Error{ErrorCode::kProtocol, "", "the server sent an unexpected reply to a submission", 0};
  }
  if (error != nullptr) return *error;
  if (const auto* progress = std::get_if<JobProgress>(reply)) on_progress(*progress);
  if (const auto* info = std::get_if<ServerInfo>(reply)) on_info(*info);
  if (const auto* page = std::get_if<JobPage>(reply)) return on_rows(*page);
  return Unit{};
}

void LoadRun::on_progress(const JobProgress& progress) {
  const auto at = watched_.find(progress.job);
  if (at == watched_.end()) return;
  const std::uint64_t ended = ended_in(progress.counts);
  pods_seen_ended_ += ended - at->second;
  at->second = ended;
  if (!progress.ended) return;
  watched_.erase(at);
  last_end_ = Clock::now();
  check(progress.job, progress.counts);
}

void LoadRun::on_info(const ServerInfo& info) {
  info_request_ = 0;
  const std::uint64_t active = info.pods_pending + info.pods_live;
  const std::uint64_t ours = active > others_active_ ? active - others_active_ : 0;
  if (acknowledged_when_asked_ > ours) {
    jobs_surely_ended_ = std::max(jobs_surely_ended_, acknowledged_when_asked_ - ours);
  }
  if (asked_after_last_ && active == 0 && !idle_) {
    idle_ = true;
    last_end_ = Clock::now();
    ask_at_ = last_end_;
  }
}

Status LoadRun::on_rows(const JobPage& page) {
  rows_request_ = 0;
  std::map<JobId, const JobRow*> rows;
  for (const JobRow& row : page.rows) rows.emplace(row.id, &row);
  std::vector<JobId> still_active;
  for (std::size_t i = 0; i < rows_asked_; ++i) {
    const JobId id = unchecked_.front();
    unchecked_.pop_front();
    const auto at = rows.find(id);
    if (at == rows.end()) {
      wrong(id, "was acknowledged and is unknown");
    } else if (at->second->counts.active() != 0 && !idle_) {
      still_active.push_back(id);
    } else {
      check(id, at->second->counts);
    }
  }
  unchecked_.insert(unchecked_.begin(), still_active.begin(), still_active.end());
  if (still_active.empty()) ask_at_ = Clock::now();
  if (!idle_) last_end_ = Clock::now();
  return Unit{};
}

// ---- checking -------------------------------------------------------------------------------------------------------
void LoadRun::check(JobId id, const JobCounts& counts) {
  const std::uint64_t ended = ended_in(counts);
  result_.pods_ended += ended;
  result_.pods_succeeded += counts.of(PodState::kSucceeded);
  std::uint64_t hash = pods_per_job();
  for (const std::uint32_t count : counts.by_state) hash = mix(hash * 0x9E3779B97F4A7C15ULL + count);
  result_.outcome_hash += hash;
  if (counts.active() != 0 || ended != pods_per_job()) {
    wrong(id, fmt::format("has {} pods: {} ended, {} did not", pods_per_job(), ended, counts.active()));
  }
}

void LoadRun::wrong(JobId id, const std::string& why) {
  if (result_.jobs_wrong++ == 0) result_.first_wrong = fmt::format("job {} {}", id.value, why);
}

Status LoadRun::check_stall() {
  const std::uint64_t moved =
      result_.frames + pods_seen_ended_ + jobs_surely_ended_ + result_.pods_ended + result_.jobs_wrong;
  const Clock::time_point now = Clock::now();
  if (moved != std::exchange(moved_, moved)) moved_at_ = now;
  if (now - moved_at_ < kStallLimit) return Unit{};
  return Error{
      ErrorCode::kUnavailable, "",
      fmt::format("nothing has ended for {} s, with {} of {} acknowledged pods checked: is there room on the nodes?",
                  std::chrono::duration_cast<std::chrono::seconds>(now - moved_at_).count(), result_.pods_ended,
                  result_.pods_acknowledged),
      0};
}

}  // namespace berth::tools
