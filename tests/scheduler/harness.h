// Harness: the core under a virtual clock, with everything that leaves it caught. After every turn it checks the core's
// invariants, and that a second cluster which replays the encoded batches has the same hash. Effects that a test did
// not look at fail the test when the harness ends: nothing leaves unnoticed.
#pragma once

#include <deque>
#include <gtest/gtest.h>
#include <map>
#include <string>
#include <vector>

#include "scheduler/core.h"
#include "state/event_codec.h"

namespace berth::scheduler {

struct FakeAgent {
  std::string name;
  std::uint64_t session = 0;
  std::map<state::PodRef, state::TimeUs> running;  // with their start
  std::map<state::PodRef, std::uint64_t> gpus;     // of all it was ever told to start
  std::vector<state::PodRef> stopped;              // told to stop, in order
  std::vector<state::PodRef> forgotten;
  bool welcomed = false;
};

class Harness {
 public:
  explicit Harness(CoreOptions options = {}) : options_(options) {
    core_ = std::make_unique<Core>(options_, state::Cluster{}, now_);
  }
  ~Harness() {
    EXPECT_TRUE(replies_.empty()) << replies_.size() << " replies were not looked at";
    EXPECT_TRUE(refused_agents_.empty()) << "an agent was refused unnoticed";
  }

  // ---- time and turns ----
  state::TimeUs now() const { return now_; }
  void advance_ms(std::int64_t ms) {
    now_ += ms * 1000;
    turn({Tick{}});
  }
  void turn(std::vector<Command> commands) {
    now_ += 10;
    Turn result = core_->step(commands, now_);
    if (!result.batch.events.empty()) {
      ASSERT_EQ(result.batch.index, replica_.applied_index() + 1);
      journal_.push_back(state::encode_batch(result.batch));
      auto decoded = state::decode_batch(std::as_bytes(std::span(journal_.back())));
      ASSERT_TRUE(decoded.ok()) << decoded.error().message;
      const auto applied = replica_.apply(*decoded);
      ASSERT_TRUE(applied.ok()) << applied.error().message;
    }
    ASSERT_EQ(replica_.hash(), core_->cluster().hash());
    ASSERT_EQ(core_->check_invariants(), "");
    for (Effect& effect : result.effects) std::visit([this](auto& body) { take(body); }, effect);
  }
  // The server dies and comes back from its journal; agents have to connect again.
  void restart() {
    state::Cluster cluster;
    for (const std::string& bytes : journal_) {
      auto decoded = state::decode_batch(std::as_bytes(std::span(bytes)));
      ASSERT_TRUE(decoded.ok());
      ASSERT_TRUE(cluster.apply(*decoded).ok());
    }
    core_ = std::make_unique<Core>(options_, std::move(cluster), now_);
    for (auto& [session, agent] : agents_) agent.welcomed = false;
  }

  // ---- clients ----
  static Caller user(std::uint32_t uid) { return {uid, uid, "user" + std::to_string(uid), {uid}, false}; }
  static Caller admin() { return {0, 0, "root", {0}, true}; }
  state::ServerReply ask(state::ClientRequest request, Caller caller = admin()) {
    const ReplyTo to{1, ++request_};
    turn({ClientCommand{to, std::move(caller), std::move(request)}});
    return reply_to(to);
  }
  state::ServerReply reply_to(const ReplyTo& to) {
    for (auto it = replies_.begin(); it != replies_.end(); ++it) {
      if (it->to == to) {
        state::ServerReply body = std::move(it->body);
        replies_.erase(it);
        return body;
      }
    }
    ADD_FAILURE() << "no reply to request " << to.request;
    return state::Ok{};
  }
  template <class T>
  T ask_for(state::ClientRequest request, Caller caller = admin()) {
    state::ServerReply body = ask(std::move(request), std::move(caller));
    if (auto* good = std::get_if<T>(&body)) return std::move(*good);
    if (auto* bad = std::get_if<state::Error>(&body)) {
      ADD_FAILURE() << bad->message;
    } else {
      ADD_FAILURE() << "a reply of another kind";
    }
    return T{};
  }
  state::Error ask_refused(state::ClientRequest request, Caller caller = admin()) {
    state::ServerReply body = ask(std::move(request), std::move(caller));
    if (auto* bad = std::get_if<state::Error>(&body)) return *bad;
    ADD_FAILURE() << "it was not refused";
    return {};
  }
  state::JobId submit(state::JobSpec spec, Caller caller = admin()) {
    const auto done = ask_for<state::SubmitReply>(state::SubmitRequest{{std::move(spec)}, 0, false}, std::move(caller));
    return done.jobs.empty() ? state::JobId{} : done.jobs[0];
  }
  std::vector<Reply> take_replies() { return std::exchange(replies_, {}); }

  // ---- agents ----
  FakeAgent& join(const std::string& name, state::Resources capacity = {4000, 8192, 0},
                  std::vector<std::string> features = {}, const std::string& instance = "") {
    FakeAgent agent;
    agent.name = name;
    return connect(std::move(agent), capacity, std::move(features), instance);
  }
  FakeAgent& join_as(state::NodeInfo info) {
    FakeAgent agent;
    agent.name = info.name;
    agent.session = ++session_;
    FakeAgent& kept = agents_[session_] = std::move(agent);
    if (info.instance.empty()) info.instance = "instance of " + info.name;
    turn({AgentConnected{kept.session, {std::move(info), {}}}});
    return kept;
  }
  // The same agent, with what it runs, on a new connection.
  FakeAgent& rejoin(FakeAgent agent, state::Resources capacity = {4000, 8192, 0}) {
    agent.welcomed = false;
    agents_.erase(agent.session);
    return connect(std::move(agent), capacity, {}, "");
  }
  void leave(FakeAgent& agent) { turn({AgentGone{agent.session}}); }
  // `times`: an agent may say the same several times, in one report too.
  void start_all(FakeAgent& agent, int times = 1) {
    state::AgentStatus status;
    for (const auto& [ref, order] : orders_of(agent)) {
      agent.running[ref] = now_;
      for (int i = 0; i < times; ++i) status.starts.push_back({ref, now_});
    }
    pending_orders_[agent.session].clear();
    if (!status.starts.empty()) turn({AgentReported{agent.session, std::move(status)}});
  }
  void end(FakeAgent& agent, const state::PodRef& ref, state::PodState how = state::PodState::kSucceeded, int code = 0,
           int times = 1) {
    state::PodEnd done;
    done.ref = ref;
    done.outcome.state = how;
    done.outcome.exit_code = static_cast<std::int16_t>(code);
    done.outcome.started_at = agent.running.contains(ref) ? agent.running[ref] : 0;
    done.outcome.ended_at = now_;
    agent.running.erase(ref);
    state::AgentStatus status;
    for (int i = 0; i < times; ++i) status.ends.push_back(done);
    turn({AgentReported{agent.session, std::move(status)}});
  }
  const std::map<state::PodRef, state::StartOrder>& orders_of(const FakeAgent& agent) {
    return pending_orders_[agent.session];
  }
  FakeAgent* find_agent(std::uint64_t session) {
    const auto found = agents_.find(session);
    return found == agents_.end() ? nullptr : &found->second;
  }
  // Of an agent that a test connected by hand.
  FakeAgent& name_agent(std::uint64_t session, const std::string& name) {
    FakeAgent& agent = agents_[session];
    agent.name = name;
    agent.session = session;
    return agent;
  }
  FakeAgent& agent_at(std::uint64_t session) { return agents_.at(session); }
  std::vector<std::pair<std::uint64_t, state::Error>> take_refused_agents() {
    return std::exchange(refused_agents_, {});
  }

  Core& core() { return *core_; }
  const state::Cluster& cluster() const { return core_->cluster(); }
  const state::Job& job(state::JobId id) const { return *cluster().job(id); }
  state::PodState state_of(state::JobId id, std::uint32_t element = 0) const {
    return cluster().pod_state(job(id), element);
  }

 private:
  FakeAgent& connect(FakeAgent agent, state::Resources capacity, std::vector<std::string> features,
                     const std::string& instance) {
    state::AgentHello hello;
    hello.info.name = agent.name;
    hello.info.instance = instance.empty() ? "instance of " + agent.name : instance;
    hello.info.capacity = capacity;
    hello.info.features = std::move(features);
    for (const auto& [ref, started_at] : agent.running) hello.pods.push_back({ref, true, agent.gpus[ref], started_at});
    agent.session = ++session_;
    FakeAgent& kept = agents_[session_] = std::move(agent);
    turn({AgentConnected{kept.session, std::move(hello)}});
    return kept;
  }
  void take(Reply& reply) { replies_.push_back(std::move(reply)); }
  void take(RefuseAgent& refuse) { refused_agents_.emplace_back(refuse.session, refuse.error); }
  void take(ToAgents& message) {
    for (const std::uint64_t session : message.sessions) deliver(agents_[session], message.body);
  }
  void take(ForwardLog& forward) { logs.push_back(std::move(forward)); }
  void take(ForwardExec& forward) { execs.push_back(std::move(forward)); }
  void take(ToAgent& message) {
    std::visit([&](auto& body) { deliver(agents_[message.session], body); }, message.body);
  }
  void deliver(FakeAgent& agent, state::AgentWelcome&) { agent.welcomed = true; }
  void deliver(FakeAgent& agent, state::StartPods& start) {
    for (const state::StartOrder& order : start.orders) {
      for (const state::PodToStart& pod : order.pods) {
        const state::PodRef ref{{order.job, pod.element}, pod.attempt};
        if (agent.running.contains(ref)) continue;  // agents start an attempt once
        pending_orders_[agent.session].emplace(ref, order);
        agent.gpus[ref] = pod.gpu_mask;
        EXPECT_TRUE(ever_sent_.insert({ref, agent.name}).second || resend_allowed) << "an attempt was sent twice";
      }
    }
  }
  void deliver(FakeAgent& agent, state::StopPods& stop) {
    for (const state::PodStop& s : stop.stops) agent.stopped.push_back(s.ref);
  }
  void deliver(FakeAgent& agent, state::ForgetPods& forget) {
    agent.forgotten.insert(agent.forgotten.end(), forget.pods.begin(), forget.pods.end());
  }
  void deliver(FakeAgent&, state::ForgetJobs& forget) {
    forgotten_jobs.insert(forgotten_jobs.end(), forget.jobs.begin(), forget.jobs.end());
  }
  void deliver(FakeAgent&, state::ReadLog&) {}
  void deliver(FakeAgent&, state::NetworkUpdate& update) { network.push_back(update); }

 public:
  std::vector<ForwardLog> logs;
  std::vector<ForwardExec> execs;
  std::vector<state::JobId> forgotten_jobs;
  std::vector<state::NetworkUpdate> network;
  bool resend_allowed = false;

 private:
  CoreOptions options_;
  state::TimeUs now_ = 1'700'000'000'000'000;
  std::unique_ptr<Core> core_;
  state::Cluster replica_;
  std::vector<std::string> journal_;
  std::vector<Reply> replies_;
  std::vector<std::pair<std::uint64_t, state::Error>> refused_agents_;
  std::map<std::uint64_t, FakeAgent> agents_;
  std::map<std::uint64_t, std::map<state::PodRef, state::StartOrder>> pending_orders_;
  std::set<std::pair<state::PodRef, std::string>> ever_sent_;
  std::uint64_t session_ = 100;
  std::uint64_t request_ = 0;
};

inline state::JobSpec single(std::uint32_t cpu_milli = 1000) {
  state::JobSpec spec;
  spec.name = "job";
  spec.request.resources = {cpu_milli, 64, 0};
  spec.launch = "opaque";
  return spec;
}
inline state::JobSpec array(std::uint32_t size, std::uint32_t throttle = 0) {
  state::JobSpec spec = single();
  spec.kind = state::JobKind::kArray;
  spec.elements = state::IndexSet::dense(size);
  spec.throttle = throttle;
  return spec;
}
inline state::JobSpec gang(std::uint32_t size, bool distinct = false) {
  state::JobSpec spec = single();
  spec.kind = state::JobKind::kGang;
  spec.elements = state::IndexSet::dense(size);
  spec.distinct_nodes = distinct;
  return spec;
}

}  // namespace berth::scheduler
