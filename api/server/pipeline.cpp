#include "api/server/pipeline.h"

#include <chrono>
#include <pthread.h>

#include "state/event_codec.h"

namespace berth::server {

using scheduler::Command;
using scheduler::Turn;

state::TimeUs wall_clock_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Pipeline::Pipeline(std::unique_ptr<scheduler::Core> core, store::Store& store, std::size_t queue_capacity,
                   Handlers handlers)
    : core_(std::move(core)), store_(store), commands_(queue_capacity), handlers_(std::move(handlers)) {}

Pipeline::~Pipeline() {
  abandon_ = true;
  stop();
  turns_ready_.notify_all();
  room_ready_.notify_all();
  if (core_thread_.joinable()) core_thread_.join();
  if (journal_thread_.joinable()) journal_thread_.join();
}

void Pipeline::start() {
  journal_thread_ = std::thread([this] { run_journal(); });
  core_thread_ = std::thread([this] { run_core(); });
  pthread_setname_np(journal_thread_.native_handle(), "berth-journal");
  pthread_setname_np(core_thread_.native_handle(), "berth-core");
}

bool Pipeline::push(Command&& command) {
  if (!commands_.push(std::move(command))) return false;
  sleeper_.wake();
  return true;
}

void Pipeline::stop() {
  stopping_ = true;
  sleeper_.wake();
}

void Pipeline::run_core() {
  std::vector<Command> commands;
  while (!abandon_) {
    commands.clear();
    Command command;
    while (commands.size() < kCommandsPerTurn && commands_.pop(command)) commands.push_back(std::move(command));
    const auto deadline = core_->next_deadline();
    const state::TimeUs now = wall_clock_us();
    if (commands.empty() && (!deadline || *deadline > now)) {
      if (stopping_ && !commands_.ready()) break;
      const std::int64_t wait_ms = deadline ? (*deadline - now) / 1000 + 1 : -1;
      sleeper_.sleep(wait_ms, [this] { return commands_.ready() || stopping_; });
      continue;
    }
    hand_over(core_->step(commands, now));
  }
  const std::lock_guard lock(mutex_);
  core_done_ = true;
  turns_ready_.notify_one();
}

void Pipeline::hand_over(Turn turn) {
  Pending pending;
  pending.index = turn.batch.index;
  if (turn.batch.index != 0) {
    pending.record = state::encode_batch(turn.batch);
    for (state::Event& event : turn.batch.events) {
      const bool token =
          std::holds_alternative<state::TokenAdded>(event) || std::holds_alternative<state::TokenRemoved>(event);
      if (token) pending.delivery.token_events.push_back(std::move(event));
    }
  }
  pending.delivery.effects = std::move(turn.effects);
  if (pending.record.empty() && pending.delivery.effects.empty()) return;
  std::unique_lock lock(mutex_);
  room_ready_.wait(lock, [this] { return turns_.size() < kTurnsAhead || abandon_; });
  turns_.push_back(std::move(pending));
  turns_ready_.notify_one();
}

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
    }
    room_ready_.notify_one();
    if (!make_durable(turns)) return;
    Delivery all = std::move(turns[0].delivery);
    for (std::size_t i = 1; i < turns.size(); ++i) {
      Delivery& more = turns[i].delivery;
      all.effects.insert(all.effects.end(), std::make_move_iterator(more.effects.begin()),
                         std::make_move_iterator(more.effects.end()));
      all.token_events.insert(all.token_events.end(), std::make_move_iterator(more.token_events.begin()),
                              std::make_move_iterator(more.token_events.end()));
    }
    handlers_.deliver(std::move(all));
  }
  if (handlers_.stopped) handlers_.stopped();
}

// One write and one fdatasync for all of them. A full disk is waited out: nothing was acknowledged, so nothing is lost.
bool Pipeline::make_durable(std::vector<Pending>& turns) {
  std::vector<std::string> records;
  std::uint64_t first = 0;
  for (Pending& turn : turns) {
    if (turn.record.empty()) continue;
    if (first == 0) first = turn.index;
    records.push_back(std::move(turn.record));
  }
  if (records.empty()) return true;
  while (true) {
    const state::Status done = store_.append(first, records);
    if (done.ok()) {
      disk_full_ = false;
      return true;
    }
    if (done.error().code != state::ErrorCode::kUnavailable) {
      handlers_.failed(done.error());
      return false;
    }
    disk_full_ = true;
    constexpr auto kRetry = std::chrono::milliseconds(200);
    std::this_thread::sleep_for(kRetry);
    if (abandon_) return false;
  }
}

}  // namespace berth::server
