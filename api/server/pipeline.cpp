#include "api/server/pipeline.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <pthread.h>

#include "api/server/read_only.h"
#include "state/event_codec.h"

namespace berth::server {

using scheduler::Command;
using scheduler::Effect;
using scheduler::Turn;
using state::Error;
using state::ErrorCode;
using state::Status;

namespace {

template <class ClockType>
std::int64_t us_of() {
  return std::chrono::duration_cast<std::chrono::microseconds>(ClockType::now().time_since_epoch()).count();
}

// Whose request an agent is to answer; nullptr: the effect is no such.
const scheduler::ReplyTo* forwarded_for(const Effect& effect) {
  if (const auto* log = std::get_if<scheduler::ForwardLog>(&effect)) return &log->to;
  if (const auto* exec = std::get_if<scheduler::ForwardExec>(&effect)) return &exec->to;
  return nullptr;
}

// Reads that stand in line behind changes when the store turns out to take nothing are told so instead of being left to
// wait: moves them from `effects` to `refused`. When they come again they are answered.
void refuse_reads(std::vector<Effect>& effects, std::vector<Effect>& refused, const Error& why) {
  std::erase_if(effects, [&](const Effect& effect) {
    const auto* reply = std::get_if<scheduler::Reply>(&effect);
    const scheduler::ReplyTo* to = forwarded_for(effect);
    if (reply != nullptr && answers_a_read(reply->body)) to = &reply->to;
    if (to == nullptr) return false;
    refused.push_back(scheduler::Reply{*to, why});
    return true;
  });
}

}  // namespace

state::TimeUs wall_clock_us() { return us_of<std::chrono::system_clock>(); }
std::int64_t steady_clock_us() { return us_of<std::chrono::steady_clock>(); }

Pipeline::Pipeline(std::unique_ptr<scheduler::Core> core, store::Store& store, PipelineLimits limits, Handlers handlers,
                   Watch watch)
    : core_(std::move(core)),
      store_(store),
      limits_(limits),
      commands_(limits.queue_commands),
      handlers_(std::move(handlers)),
      last_durable_job_(core_->cluster().last_job_id().value),
      own_metrics_(watch.metrics == nullptr ? std::make_unique<Metrics>() : nullptr),
      metrics_(watch.metrics == nullptr ? *own_metrics_ : *watch.metrics),
      trace_(watch.trace),
      clock_(std::max(wall_clock_us(), core_->cluster().applied_at()), steady_clock_us()) {}

Pipeline::~Pipeline() {
  {
    const std::lock_guard lock(mutex_);
    abandon_ = true;
  }
  stop();
  if (core_thread_.joinable()) core_thread_.join();
  if (journal_thread_.joinable()) journal_thread_.join();
}

void Pipeline::start() {
  journal_thread_ = std::thread([this] { run_journal(); });
  core_thread_ = std::thread([this] { run_core(); });
  pthread_setname_np(journal_thread_.native_handle(), "berth-journal");
  pthread_setname_np(core_thread_.native_handle(), "berth-core");
}

bool Pipeline::push(Command&& command, std::size_t bytes, std::uint64_t number) {
  const std::size_t before = queued_bytes_.fetch_add(bytes, std::memory_order_relaxed);
  Item item{std::move(command), bytes, number, trace_ == nullptr ? 0 : steady_clock_ns()};
  metrics_.commands_waiting.fetch_add(1, std::memory_order_relaxed);
  // A frame that is longer than all the room gets in when it is alone.
  if ((before != 0 && before + bytes > limits_.queue_bytes) || !commands_.push(std::move(item))) {
    queued_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    metrics_.commands_waiting.fetch_sub(1, std::memory_order_relaxed);
    command = std::move(item.command);
    return false;
  }
  sleeper_.wake();
  return true;
}

void Pipeline::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  sleeper_.wake();
  turns_ready_.notify_all();
  room_ready_.notify_all();
}

// ---- core thread ----------------------------------------------------------------------------------------------------

void Pipeline::run_core() {
  while (!abandon_) {
    if (figures_wanted_.load(std::memory_order_relaxed)) tell_figures();
    if (suspended_) {
      serve_reads();
      continue;
    }
    const std::size_t bytes = take_turn();
    const auto deadline = core_->next_deadline();
    const state::TimeUs time = now();
    if (turn_.empty() && (!deadline || *deadline > time)) {
      if (stopping_ && !commands_.ready()) break;
      const std::int64_t wait_ms = deadline ? (*deadline - time) / 1000 + 1 : -1;
      sleeper_.sleep(wait_ms, [this] { return commands_.ready() || stopping_ || suspended_ || figures_wanted_; });
      continue;
    }
    hand_over(step(time), bytes);
  }
  const std::lock_guard lock(mutex_);
  core_done_ = true;
  turns_ready_.notify_one();
}

Turn Pipeline::step(state::TimeUs time) {
  const std::int64_t began_ns = steady_clock_ns();
  metrics_.core.turn_began_us.set(static_cast<std::uint64_t>(began_ns / 1000));
  metrics_.core.commands.add(turn_.size());
  const auto reports = std::count_if(turn_.begin(), turn_.end(), [](const Command& command) {
    return std::holds_alternative<scheduler::AgentReported>(command);
  });
  metrics_.core.reports.add(static_cast<std::uint64_t>(reports));
  Turn turn = core_->step(turn_, time);
  const std::int64_t ended_ns = steady_clock_ns();
  metrics_.core.turn_began_us.set(0);
  metrics_.core.turn.add((ended_ns - began_ns) / 1000);
  if (trace_ != nullptr) {
    trace_->span(
        Trace::kCore, "turn", began_ns, ended_ns,
        fmt::format(R"("batch":{},"commands":{},"first_command":{},"last_command":{},"events":{},"effects":{})",
                    turn.batch.index, turn_.size(), turn_first_, turn_last_, turn.batch.events.size(),
                    turn.effects.size()));
  }
  return turn;
}

void Pipeline::tell_figures() {
  auto figures = std::make_shared<const scheduler::Figures>(core_->figures());
  const std::lock_guard lock(figures_mutex_);
  figures_wanted_ = false;
  told_ = {std::move(figures), steady_clock_us()};
  figures_told_.notify_all();
}

Pipeline::Told Pipeline::figures(std::int64_t wait_ms) {
  constexpr std::int64_t kFreshUs = 1'000'000;
  std::unique_lock lock(figures_mutex_);
  const std::int64_t before = told_.at_us;
  if (before != 0 && steady_clock_us() - before < kFreshUs) return told_;
  figures_wanted_ = true;
  lock.unlock();
  sleeper_.wake();
  lock.lock();
  figures_told_.wait_for(lock, std::chrono::milliseconds(wait_ms), [&] { return told_.at_us != before; });
  return told_;
}

std::size_t Pipeline::turns_waiting() {
  const std::lock_guard lock(mutex_);
  return turns_.size();
}

// Fills turn_ with what waits, as much as one turn takes; returns how many bytes that was on the wire.
std::size_t Pipeline::take_turn() {
  turn_.clear();
  turn_first_ = turn_last_ = 0;
  std::size_t bytes = 0;
  Item item;
  while (turn_.size() < limits_.turn_commands && bytes < limits_.turn_bytes) {
    if (!held_.empty()) {
      item = std::move(held_.front());
      held_.pop_front();
    } else if (!commands_.pop(item)) {
      break;
    }
    bytes += item.bytes;
    note_taken(item);
    turn_.push_back(std::move(item.command));
  }
  queued_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
  return bytes;
}

void Pipeline::note_taken(const Item& item) {
  metrics_.commands_waiting.fetch_sub(1, std::memory_order_relaxed);
  if (trace_ == nullptr || item.number == 0) return;
  if (turn_first_ == 0) turn_first_ = item.number;
  turn_last_ = item.number;
  trace_->waited("queued", item.number, item.pushed_ns, steady_clock_ns());
}

// What only reads is answered, if that is for us to do; the rest waits in its order.
void Pipeline::serve_reads() {
  turn_.clear();
  turn_first_ = turn_last_ = 0;
  std::vector<Effect> refused;
  const state::JobId last_durable{last_durable_job_};
  const std::string why = store_.unwritable_reason();
  const Status in_charge = store_.in_charge();
  bool room = false;
  {
    const std::lock_guard lock(mutex_);
    room = turns_.size() < limits_.turns_ahead;
  }
  Item item;
  bool any = false;
  while (turn_.size() < limits_.turn_commands && commands_.pop(item)) {
    any = true;
    auto* client = std::get_if<scheduler::ClientCommand>(&item.command);
    if (client == nullptr || !only_reads(client->request)) {
      held_.push_back(std::move(item));
      continue;
    }
    queued_bytes_.fetch_sub(item.bytes, std::memory_order_relaxed);
    note_taken(item);
    // Time passes in a turn that reads, too, and what then happens has to wait; there is a bound to that.
    std::optional<Error> error;
    if (!in_charge) {
      error = suspended_error();
    } else {
      error = room ? refuse_unless_durable(client->request, last_durable, why) : suspended_error();
    }
    if (error) {
      refused.push_back(scheduler::Reply{client->reply_to, std::move(*error)});
    } else {
      turn_.push_back(std::move(item.command));
    }
  }
  deliver_now(std::move(refused));
  if (turn_.empty()) {
    if (!any) sleeper_.sleep(-1, [this] { return commands_.ready() || !suspended_ || abandon_ || figures_wanted_; });
    return;
  }
  Turn turn = step(now());
  answer_reads(turn.effects);
  hand_over(std::move(turn), 0);
}

// Takes the replies to reads out of the effects, and delivers them.
void Pipeline::answer_reads(std::vector<Effect>& effects) {
  std::vector<Effect> answers, others;
  for (Effect& effect : effects) {
    auto* reply = std::get_if<scheduler::Reply>(&effect);
    const bool pushed = reply != nullptr && std::holds_alternative<state::JobProgress>(reply->body);
    const bool answer = (reply != nullptr && !pushed) || forwarded_for(effect) != nullptr;
    if (reply != nullptr && answer) hide_undurable(reply->body, state::JobId{last_durable_job_});
    (answer ? answers : others).push_back(std::move(effect));
  }
  effects = std::move(others);
  deliver_now(std::move(answers));
}

void Pipeline::hand_over(Turn turn, std::size_t bytes) {
  std::optional<accounting::Ended> ended;
  if (handlers_.collect) ended = handlers_.collect(core_->cluster(), turn.batch);
  if (turn.batch.index == 0 && turn.effects.empty() && !ended) return;
  Pending pending{std::move(turn.batch), std::move(turn.effects), bytes, core_->cluster().last_job_id(),
                  std::move(ended)};
  std::vector<Effect> refused;
  {
    std::unique_lock lock(mutex_);
    room_ready_.wait(lock, [this] {
      const bool room = turns_.size() < limits_.turns_ahead && bytes_ahead_ < limits_.bytes_ahead;
      return room || abandon_ || suspended_;
    });
    if (suspended_) refuse_reads(pending.effects, refused, suspended_error());  // it began during this turn
    bytes_ahead_ += bytes;
    turns_.push_back(std::move(pending));
    turns_ready_.notify_one();
  }
  deliver_now(std::move(refused));
}

void Pipeline::deliver_now(std::vector<Effect> effects) {
  if (effects.empty()) return;
  Delivery delivery;
  delivery.turns.push_back(std::move(effects));
  handlers_.deliver(std::move(delivery));
}

// ---- journal thread -------------------------------------------------------------------------------------------------

void Pipeline::run_journal() {
  std::vector<Pending> turns;
  while (true) {
    turns.clear();
    {
      std::unique_lock lock(mutex_);
      turns_ready_.wait(lock, [this] { return !turns_.empty() || core_done_ || abandon_; });
      if (abandon_) return;
      if (turns_.empty()) break;
      turns.swap(turns_);
      bytes_ahead_ = 0;
    }
    room_ready_.notify_one();
    if (!make_durable(turns)) return;
    count(turns);
    release(turns);
  }
  if (handlers_.stopped) handlers_.stopped();
}

// One write for all of them. A store that takes nothing is waited out: nothing was acknowledged, so nothing is lost.
// Who may not speak for the cluster just now does not answer what only reads, either.
bool Pipeline::make_durable(std::vector<Pending>& turns) {
  std::vector<std::string> records;
  records.reserve(turns.size());
  std::uint64_t first = 0;
  for (const Pending& turn : turns) {
    if (turn.batch.index == 0) continue;
    if (first == 0) first = turn.batch.index;
    records.push_back(state::encode_batch(turn.batch));
  }
  constexpr auto kLongestPause = std::chrono::milliseconds(1000);
  std::size_t events = 0;
  for (const Pending& turn : turns) events += turn.batch.events.size();
  bool appended = records.empty();
  for (auto pause = std::chrono::milliseconds(20);; pause = std::min(pause * 2, kLongestPause)) {
    Status done = appended ? Status(state::Unit{}) : append(first, records, events);
    appended = done.ok();
    if (done) done = store_.in_charge();
    if (done) break;
    if (done.error().code != ErrorCode::kUnavailable) {
      handlers_.failed(done.error());
      return false;
    }
    suspend(turns);
    std::unique_lock lock(mutex_);
    turns_ready_.wait_for(lock, pause, [this] { return stopping_ || abandon_; });
    if (abandon_) return false;
    if (stopping_) {
      lock.unlock();
      handlers_.failed({ErrorCode::kUnavailable, "",
                        "stopped, and what was not acknowledged is dropped: " + suspended_error().message, 0});
      return false;
    }
  }
  last_durable_job_ = turns.back().last_job.value;
  resume();
  return true;
}

Error Pipeline::suspended_error() const {
  const Status in_charge = store_.in_charge();
  return server::suspended_error(in_charge ? store_.unwritable_reason() : in_charge.error().message);
}

void Pipeline::suspend(std::vector<Pending>& turns) {
  if (suspended_) return;
  const Error why = suspended_error();
  std::vector<Effect> refused;
  for (Pending& turn : turns) refuse_reads(turn.effects, refused, why);
  {
    const std::lock_guard lock(mutex_);
    suspended_ = true;
    for (Pending& turn : turns_) refuse_reads(turn.effects, refused, why);
  }
  room_ready_.notify_all();
  sleeper_.wake();
  deliver_now(std::move(refused));
}

void Pipeline::resume() {
  if (!suspended_) return;
  {
    const std::lock_guard lock(mutex_);
    suspended_ = false;
  }
  sleeper_.wake();
}

Status Pipeline::append(std::uint64_t first, std::span<const std::string> records, std::size_t events) {
  auto& journal = metrics_.journal;
  const std::int64_t began_ns = steady_clock_ns();
  journal.append_began_us.set(static_cast<std::uint64_t>(began_ns / 1000));
  Status done = store_.append(first, records);
  const std::int64_t ended_ns = steady_clock_ns();
  journal.append_began_us.set(0);
  if (!done) journal.failures.add();
  if (!done) return done;
  std::size_t bytes = 0;
  for (const std::string& record : records) bytes += record.size();
  journal.batches.add(records.size());
  journal.events.add(events);
  journal.bytes.add(bytes);
  journal.append.add((ended_ns - began_ns) / 1000);
  const std::int64_t sync_ns = store_.sync_began_ns();
  if (sync_ns != 0) journal.sync.add((ended_ns - sync_ns) / 1000);
  if (trace_ != nullptr) {
    trace_->span(Trace::kJournal, "append", began_ns, ended_ns,
                 fmt::format(R"("first_batch":{},"last_batch":{},"events":{},"bytes":{})", first,
                             first + records.size() - 1, events, bytes));
    if (sync_ns != 0) {
      trace_->span(Trace::kJournal, "write", began_ns, sync_ns);
      trace_->span(Trace::kJournal, "fdatasync", sync_ns, ended_ns);
    }
  }
  return done;
}

// What has become durable.
void Pipeline::count(const std::vector<Pending>& turns) {
  auto& journal = metrics_.journal;
  for (const Pending& turn : turns) {
    for (const state::Event& event : turn.batch.events) {
      if (const auto* submitted = std::get_if<state::JobSubmitted>(&event)) {
        journal.jobs_submitted.add();
        journal.pods_submitted.add(submitted->spec.elements.size());
      } else if (const auto* bound = std::get_if<state::PodsBound>(&event)) {
        journal.pods_bound.add(bound->binds.size());
      } else if (const auto* started = std::get_if<state::PodsStarted>(&event)) {
        journal.pods_started.add(started->starts.size());
      } else if (const auto* adopted = std::get_if<state::PodsAdopted>(&event)) {
        journal.pods_adopted.add(adopted->pods.size());
      } else if (const auto* cancelled = std::get_if<state::ElementsCancelled>(&event)) {
        std::uint64_t pods = 0;
        for (const state::ElementRange& range : cancelled->elements) pods += range.end - range.first;
        journal.pods_ended[static_cast<std::size_t>(state::PodState::kCancelled)].add(pods);
      } else if (const auto* ended = std::get_if<state::PodsEnded>(&event)) {
        for (const state::PodEnd& end : ended->ends) {
          (end.requeue ? journal.pods_requeued : journal.pods_ended[static_cast<std::size_t>(end.outcome.state)]).add();
          if (end.outcome.started_at != 0) journal.run.add(end.outcome.ended_at - end.outcome.started_at);
        }
      }
    }
  }
}

void Pipeline::release(std::vector<Pending>& turns) {
  const std::int64_t began_ns = trace_ == nullptr ? 0 : steady_clock_ns();
  Delivery delivery;
  delivery.turns.reserve(turns.size());
  for (Pending& turn : turns) {
    if (turn.ended) handlers_.ended(std::move(*turn.ended));
    if (turn.batch.index != 0) delivery.last_batch = turn.batch.index;
    for (state::Event& event : turn.batch.events) {
      const bool token =
          std::holds_alternative<state::TokenAdded>(event) || std::holds_alternative<state::TokenRemoved>(event);
      if (token) delivery.token_events.push_back(std::move(event));
    }
    if (!turn.effects.empty()) delivery.turns.push_back(std::move(turn.effects));
  }
  const std::uint64_t last_batch = delivery.last_batch;
  if (!delivery.turns.empty() || !delivery.token_events.empty()) handlers_.deliver(std::move(delivery));
  if (trace_ != nullptr) {
    trace_->span(Trace::kJournal, "effects", began_ns, steady_clock_ns(),
                 fmt::format(R"("turns":{},"last_batch":{})", turns.size(), last_batch));
  }
}

}  // namespace berth::server
