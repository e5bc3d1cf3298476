#include "tools/load/fleet.h"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <utility>

#include "api/wire/tls.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr std::int64_t kConnectTimeoutMs = 30'000;
constexpr std::int64_t kRetryFirstMs = 100;
constexpr std::int64_t kRetryLastMs = 3'000;
constexpr std::int64_t kHeartbeatSlices = 50;
constexpr std::int64_t kLogHoldMaxMs = 1'000;

TimeUs now_us() {
  using namespace std::chrono;
  return duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
}

// Long pods may end a little late together; short ones nearly in time.
std::int64_t wheel_tick_us(std::int64_t pod_time_us) {
  return std::clamp<std::int64_t>(pod_time_us / 20, 1'000, 50'000);
}

// Trying again cannot help.
bool is_final_refusal(const Error& error) {
  return error.code == ErrorCode::kInvalid || error.code == ErrorCode::kDenied;
}

}  // namespace

Fleet::Fleet(wire::Loop& loop, FleetOptions options, Events events)
    : loop_(loop),
      options_(std::move(options)),
      events_(std::move(events)),
      instance_(wire::random_hex(8)),
      agents_(options_.count),
      retry_ms_(kRetryFirstMs),
      wheel_(wheel_tick_us(options_.pod_time_us)) {
  wire::Hello hello;
  hello.role = wire::PeerRole::kAgent;
  hello.software = "berth bench agents";
  hello_frame_ = wire::encode_frame({0, std::move(hello)});
  heartbeat_frame_ = wire::encode_frame({0, AgentHeartbeat{}});
}

Fleet::~Fleet() = default;

std::string Fleet::name_of(std::uint32_t index) const {
  return fmt::format("{}{:05}", options_.name_prefix, index + 1);
}

std::size_t Fleet::pods_running() const {
  std::size_t sum = 0;
  for (const Agent& agent : agents_) sum += agent.node.running();
  return sum;
}

std::size_t Fleet::pods_unacknowledged() const {
  std::size_t sum = 0;
  for (const Agent& agent : agents_) sum += agent.node.known() - agent.node.running();
  return sum;
}

void Fleet::admit(std::uint32_t index, std::unique_ptr<wire::Enrolment> identity) {
  agents_[index].identity = std::move(identity);
  ready_.push_back(index);
  pump();
}

// ---- connecting -----------------------------------------------------------------------------------------------------
void Fleet::pump() {
  while (connecting_ < options_.connecting_max && !ready_.empty()) {
    const std::uint32_t index = ready_.front();
    ready_.pop_front();
    open(index);
  }
}

void Fleet::open(std::uint32_t index) {
  Agent& agent = agents_[index];
  std::shared_ptr<wire::TlsContext> tls;
  if (agent.identity) {
    auto made =
        wire::client_tls(agent.identity->authority_pem, agent.identity->certificate_pem, agent.identity->key_pem);
    if (!made) return events_.on_refused(made.error());
    tls = std::move(*made);
  }
  agent.phase = Phase::kConnecting;
  ++connecting_;
  wire::connect(
      loop_, options_.server, std::move(tls), kConnectTimeoutMs,
      [this, index](Result<std::shared_ptr<wire::Connection>> made) { on_connected(index, std::move(made)); });
}

void Fleet::on_connected(std::uint32_t index, Result<std::shared_ptr<wire::Connection>> made) {
  if (!made) {
    --connecting_;
    retry_later(index, made.error());
    return pump();
  }
  Agent& agent = agents_[index];
  agent.phase = Phase::kGreeting;
  agent.connection = std::move(*made);
  wire::Connection::Handlers handlers;
  handlers.on_frame = [this, index](std::span<const std::byte> bytes) { on_frame(index, bytes); };
  handlers.on_close = [this, index](const Error& error) { on_lost(index, error); };
  agent.connection->start(std::move(handlers));
  agent.connection->send(hello_frame_);
}

void Fleet::on_lost(std::uint32_t index, const Error& error) {
  Agent& agent = agents_[index];
  if (agent.phase == Phase::kServing) {
    --connected_;
  } else if (agent.phase == Phase::kGreeting) {
    --connecting_;
  } else {
    return;
  }
  // The connection calls us: it may not be destroyed under its own feet.
  loop_.post([gone = std::exchange(agent.connection, nullptr)] {});
  retry_later(index, error);
  pump();
}

void Fleet::retry_later(std::uint32_t index, const Error& error) {
  agents_[index].phase = Phase::kAway;
  events_.on_trouble(error);
  waiting_.push_back(index);
  if (waiting_.size() > 1) return;  // the timer runs
  const std::int64_t delay_ms = std::max<std::int64_t>(retry_ms_, error.retry_after_ms);
  retry_ms_ = std::min(retry_ms_ * 2, kRetryLastMs);
  retry_timer_ = loop_.after_ms(delay_ms, [this] {
    ready_.insert(ready_.end(), waiting_.begin(), waiting_.end());
    waiting_.clear();
    pump();
  });
}

void Fleet::send_hello(std::uint32_t index) {
  Agent& agent = agents_[index];
  AgentHello hello;
  hello.info.name = name_of(index);
  hello.info.instance = fmt::format("{}-{}", instance_, index);
  hello.info.version = "hollow";
  hello.info.limits = "none";
  hello.info.capacity = options_.capacity;
  hello.info.features = options_.features;
  hello.pods = agent.node.known_pods();
  agent.connection->send(wire::encode_frame({0, std::move(hello)}));
}

// ---- what the server says -------------------------------------------------------------------------------------------
void Fleet::on_frame(std::uint32_t index, std::span<const std::byte> bytes) {
  if (!agents_[index].connection) return;  // given up while its last bytes were being read
  ++totals_.frames;
  auto message = wire::decode_message(bytes);
  if (!message) return on_lost(index, message.error());
  std::visit([&](const auto& body) { handle(index, body); }, message->body);
}

template <class Other>
void Fleet::handle(std::uint32_t index, const Other&) {
  on_lost(index, Error{ErrorCode::kProtocol, "", "the server sent a message that is not for agents", 0});
}

void Fleet::handle(std::uint32_t index, const wire::Welcome&) { send_hello(index); }

void Fleet::handle(std::uint32_t index, const ServerReply& reply) {
  const auto* error = std::get_if<Error>(&reply);
  if (error == nullptr)
    return on_lost(index, Error{ErrorCode::kProtocol, "", "the server answered what was not asked", 0});
  if (is_final_refusal(*error)) return events_.on_refused(*error);
  on_lost(index, *error);
}

void Fleet::handle(std::uint32_t index, const AgentWelcome& welcome) {
  Agent& agent = agents_[index];
  if (agent.phase != Phase::kGreeting) return;
  agent.phase = Phase::kServing;
  --connecting_;
  ++connected_;
  ++totals_.connections;
  retry_ms_ = kRetryFirstMs;
  if (heartbeat_ms_ == 0) {
    heartbeat_ms_ = std::max<std::int64_t>(welcome.heartbeat_ms, kHeartbeatSlices);
    send_heartbeats();
  }
  AgentStatus again = agent.node.unacknowledged();
  if (!again.ends.empty() || !again.readiness.empty()) send_report(agent, std::move(again));
  pump();
  if (connected_ == options_.count) events_.on_all_connected();
}

void Fleet::handle(std::uint32_t index, const StartPods& request) {
  Agent& agent = agents_[index];
  const TimeUs now = now_us();
  AgentStatus report;
  dues_.clear();
  agent.node.on_start(request, now, options_.pod_time_us, report, dues_, totals_.pods);
  for (const HollowNode::Due& due : dues_) wheel_.add(due.due_at, DuePod{index, due.ref});
  if (!dues_.empty()) arm_wheel();
  if (!report.starts.empty()) send_report(agent, std::move(report));
}

void Fleet::handle(std::uint32_t index, const StopPods& request) {
  Agent& agent = agents_[index];
  AgentStatus report;
  agent.node.on_stop(request, now_us(), report, totals_.pods);
  if (!report.ends.empty()) send_report(agent, std::move(report));
}

void Fleet::handle(std::uint32_t index, const ForgetPods& request) {
  agents_[index].node.on_forget(request, totals_.pods);
}

void Fleet::handle(std::uint32_t, const ForgetJobs&) {}  // a hollow pod leaves no output behind

void Fleet::send_report(Agent& agent, AgentStatus report) {
  ++totals_.reports;
  agent.connection->send(wire::encode_frame({0, std::move(report)}));
}

// ---- output ---------------------------------------------------------------------------------------------------------
// A reader that follows a running pod is held for a moment, so that it does not ask in a circle.
void Fleet::handle(std::uint32_t index, const ReadLog& request) {
  const bool nothing_new = request.request.offset != 0 && agents_[index].node.is_running(request.ref);
  if (!nothing_new || request.request.wait_ms == 0) return answer_log(index, request);
  const std::int64_t hold_ms = std::min<std::int64_t>(request.request.wait_ms, kLogHoldMaxMs);
  held_logs_[request.token] = loop_.after_ms(hold_ms, [this, index, request] {
    answer_log(index, request);
    loop_.post([this, token = request.token] { held_logs_.erase(token); });
  });
}

void Fleet::answer_log(std::uint32_t index, const ReadLog& request) {
  Agent& agent = agents_[index];
  if (agent.phase != Phase::kServing) return;
  std::string text;
  if (!request.request.error_stream) {
    text = fmt::format("hollow pod {}.{} of {} on {}\n", request.ref.pod.job.value, request.index, request.user,
                       name_of(index));
  }
  LogChunk chunk;
  chunk.offset = std::min<std::uint64_t>(request.request.offset, text.size());
  chunk.bytes = text.substr(chunk.offset, request.request.max_bytes);
  chunk.ended = chunk.offset + chunk.bytes.size() == text.size() && !agent.node.is_running(request.ref);
  ++totals_.logs;
  agent.connection->send(wire::encode_frame({0, LogReply{request.token, std::move(chunk)}}));
}

void Fleet::handle(std::uint32_t index, const ExecStart& start) {
  ExecPart end;
  end.token = start.token;
  end.kind = ExecPart::Kind::kEnd;
  end.bytes = "a hollow pod runs nothing";
  end.count = 1;
  agents_[index].connection->send(wire::encode_frame({0, std::move(end)}));
}

// ---- time -----------------------------------------------------------------------------------------------------------
void Fleet::arm_wheel() {
  const auto next = wheel_.next();
  if (!next || (wheel_at_ != 0 && wheel_at_ <= *next)) return;
  wheel_at_ = *next;
  const std::int64_t delay_ms = std::max<std::int64_t>(1, (*next - now_us() + 999) / 1000);
  wheel_timer_ = loop_.after_ms(delay_ms, [this] { turn_wheel(); });
}

void Fleet::turn_wheel() {
  wheel_at_ = 0;
  const TimeUs now = now_us();
  for (const DuePod& due : wheel_.take(now)) {
    Agent& agent = agents_[due.agent];
    agent.node.on_due(due.ref, now, agent.report, totals_.pods);
    if (!std::exchange(agent.due_report, true)) touched_.push_back(due.agent);
  }
  for (const std::uint32_t index : touched_) {
    Agent& agent = agents_[index];
    agent.due_report = false;
    AgentStatus report = std::exchange(agent.report, {});
    // An agent that is away keeps its ends and repeats them when it is back.
    if (!report.ends.empty() && agent.phase == Phase::kServing) send_report(agent, std::move(report));
  }
  touched_.clear();
  arm_wheel();
}

void Fleet::send_heartbeats() {
  for (heartbeat_debt_ += options_.count; heartbeat_debt_ >= kHeartbeatSlices; heartbeat_debt_ -= kHeartbeatSlices) {
    Agent& agent = agents_[heartbeat_next_];
    heartbeat_next_ = (heartbeat_next_ + 1) % options_.count;
    if (agent.phase != Phase::kServing) continue;
    ++totals_.heartbeats;
    agent.connection->send(heartbeat_frame_);
  }
  heartbeat_timer_ = loop_.after_ms(heartbeat_ms_ / kHeartbeatSlices, [this] { send_heartbeats(); });
}

}  // namespace berth::tools
