// The core by itself, on one thread and without a disk: submissions in, 5,000 nodes that end every pod at once, until
// nothing is left. What the one writer costs a pod, and with it the encoding of its batches for the journal.
//   core_bench NODES PODS   prints one flat JSON object.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fmt/format.h>
#include <string>
#include <vector>

#include "scheduler/core.h"
#include "state/event_codec.h"
#include "state/launch.h"

namespace {

using namespace berth;
using namespace berth::state;
using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const std::string& what) {
  fmt::print(stderr, "core_bench: {}\n", what);
  std::exit(1);
}

class Drive {
 public:
  explicit Drive(std::uint32_t nodes) : core_({}, Cluster(), now_) {
    for (std::uint32_t i = 1; i <= nodes; ++i) {
      AgentHello hello;
      hello.info.name = "node" + std::to_string(i);
      hello.info.instance = "0";
      hello.info.capacity = {64'000, 262'144, 0};
      commands_.push_back(scheduler::AgentConnected{i, std::move(hello)});
    }
    turn();
  }

  // Submits all of it in frames of `batch` jobs, one frame a turn, and lets it run to its end.
  void run(const char* name, std::uint64_t pods, const JobSpec& spec, std::uint32_t batch) {
    const std::uint64_t jobs = pods / spec.elements.size();
    step_s_ = encode_s_ = 0;
    turns_ = ended_ = bytes_ = 0;
    const Clock::time_point start = Clock::now();
    for (std::uint64_t sent = 0; sent < jobs || !commands_.empty();) {
      if (sent < jobs) {
        scheduler::ClientCommand command;
        command.reply_to = {1'000'000, sent + 1};
        command.caller = {0, 0, "root", {}, true};
        SubmitRequest request;
        request.jobs.assign(static_cast<std::size_t>(std::min<std::uint64_t>(batch, jobs - sent)), spec);
        request.submit_key = next_key_;
        next_key_ += request.jobs.size();
        sent += request.jobs.size();
        command.request = std::move(request);
        commands_.push_back(std::move(command));
      }
      turn();
    }
    const double total_s = std::chrono::duration<double>(Clock::now() - start).count();
    if (ended_ != jobs * spec.elements.size())
      fail(fmt::format("{} of {} pods ended", ended_, jobs * spec.elements.size()));
    const double count = static_cast<double>(ended_);
    fmt::print("  \"{}_step_ns_per_pod\": {:.1f},\n  \"{}_encode_ns_per_pod\": {:.1f},\n", name, step_s_ / count * 1e9,
               name, encode_s_ / count * 1e9);
    fmt::print("  \"{}_journal_bytes_per_pod\": {:.1f},\n  \"{}_pods_per_turn\": {:.1f},\n", name,
               static_cast<double>(bytes_) / count, name, count / static_cast<double>(turns_));
    fmt::print("  \"{}_core_pods_per_s\": {:.0f},\n", name, count / (step_s_ + encode_s_));
    fmt::print("  \"{}_with_bench_pods_per_s\": {:.0f},\n", name, count / total_s);
  }

 private:
  void turn() {
    now_ += 100;
    const Clock::time_point begin = Clock::now();
    scheduler::Turn turn = core_.step(commands_, now_);
    const Clock::time_point stepped = Clock::now();
    if (turn.batch.index != 0) bytes_ += encode_batch(turn.batch).size();
    encode_s_ += std::chrono::duration<double>(Clock::now() - stepped).count();
    step_s_ += std::chrono::duration<double>(stepped - begin).count();
    ++turns_;
    commands_.clear();
    for (scheduler::Effect& effect : turn.effects) {
      if (auto* to_agent = std::get_if<scheduler::ToAgent>(&effect)) answer(*to_agent);
      if (auto* reply = std::get_if<scheduler::Reply>(&effect)) {
        if (auto* error = std::get_if<Error>(&reply->body)) fail(error->message);
      }
      if (auto* refused = std::get_if<scheduler::RefuseAgent>(&effect)) fail(refused->error.message);
    }
    const auto deadline = core_.next_deadline();
    if (commands_.empty() && deadline && *deadline <= now_) commands_.push_back(scheduler::Tick{});
  }

  void answer(const scheduler::ToAgent& to) {
    const auto* starts = std::get_if<StartPods>(&to.body);
    if (starts == nullptr) return;
    AgentStatus status;
    for (const StartOrder& order : starts->orders) {
      for (const PodToStart& pod : order.pods) {
        PodEnd end;
        end.ref = {{order.job, pod.element}, pod.attempt};
        end.outcome.state = PodState::kSucceeded;
        end.outcome.started_at = end.outcome.ended_at = now_;
        status.starts.push_back({end.ref, now_});
        status.ends.push_back(std::move(end));
      }
    }
    ended_ += status.ends.size();
    commands_.push_back(scheduler::AgentReported{to.session, std::move(status)});
  }

  TimeUs now_ = 1'700'000'000'000'000;
  scheduler::Core core_;
  std::vector<scheduler::Command> commands_;
  std::uint64_t next_key_ = 1;
  double step_s_ = 0, encode_s_ = 0;
  std::uint64_t turns_ = 0, ended_ = 0, bytes_ = 0;
};

JobSpec make_spec(JobKind kind, std::uint32_t elements) {
  Launch launch;
  launch.argv = {"/bin/true"};
  launch.cwd = "/";
  JobSpec spec;
  spec.name = "bench";
  spec.kind = kind;
  spec.elements = IndexSet::dense(elements);
  spec.request.resources = {1'000, 1'024, 0};
  spec.launch = encode_launch(launch);
  return spec;
}

}  // namespace

int main(int argc, char** argv) {
  const int nodes = argc == 3 ? std::atoi(argv[1]) : 0;
  const long pods = argc == 3 ? std::atol(argv[2]) : 0;
  if (nodes < 1 || pods < 1'000) {
    fmt::print(stderr, "usage: core_bench NODES PODS (at least 1 and 1,000)\n");
    return 2;
  }
  Drive drive(static_cast<std::uint32_t>(nodes));
  fmt::print("{{\n");
  drive.run("arrays", static_cast<std::uint64_t>(pods), make_spec(JobKind::kArray, 1'000), 1);
  drive.run("singles", static_cast<std::uint64_t>(pods), make_spec(JobKind::kSingle, 1), 100);
  drive.run("singles_one_per_frame", static_cast<std::uint64_t>(pods) / 10, make_spec(JobKind::kSingle, 1), 1);
  fmt::print("  \"nodes\": {}\n}}\n", nodes);
  return 0;
}
