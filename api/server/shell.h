// Shell: sessions on the loop thread. It proves who is there, decodes, bounds, and hands commands to the pipeline; what
// the pipeline delivers goes out to the sessions. All on the loop's thread, but for deliver().
//
// Its parts: shell.cpp (sessions), shell_house.cpp (silence, backlog, stopping), shell_requests.cpp (what comes in),
// shell_effects.cpp (what goes out), shell_exec.cpp (streams between clients and agents); beside it outbox.h (frames)
// and joining.h (tokens and certificates).
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "api/server/archive.h"
#include "api/server/joining.h"
#include "api/server/outbox.h"
#include "api/server/pipeline.h"
#include "api/server/server.h"
#include "api/server/users.h"
#include "api/wire/connection.h"
#include "api/wire/exec_window.h"
#include "api/wire/message.h"

namespace berth::server {

class Shell {
 public:
  Shell(wire::Loop& loop, const ServerOptions& options, Joining& joining, Metrics& metrics);
  ~Shell();

  // `tell_store`: how the store stands; on the pipeline's thread.
  void attach(Pipeline& pipeline, Archive& archive, std::function<void(state::StoreInfo&)> tell_store) {
    pipeline_ = &pipeline;
    archive_ = &archive;
    tell_store_ = std::move(tell_store);
  }
  void accept(std::shared_ptr<wire::Connection> connection);
  // Any thread: frames are made here, on the caller's thread, and sent on the loop's.
  void deliver(Delivery delivery);
  // Asks for a node token in the core's name; the token line comes to on_first_token once it is durable.
  void request_first_token();
  void configure(state::ClientRequest request);  // on behalf of the configuration
  // From now on nothing is taken any more.
  void begin_stop() { stopping_ = true; }
  // Ends every session once what is queued for it is out; `done` when it is, or when a few seconds are over.
  void close_all(std::function<void()> done);

 private:
  using Peer = Metrics::Peer;
  enum class Stage : std::uint8_t { kHello, kClient, kAgentHello, kAgent, kJoin };
  struct Session {
    std::uint64_t id = 0;
    std::shared_ptr<wire::Connection> connection;
    Stage stage = Stage::kHello;
    bool counted_unproven = false;
    bool watches = false;      // the core has to hear when this client goes
    scheduler::Caller caller;  // clients
    std::string certified;     // agents with a certificate: the only name they may have
    std::string node;          // agents: the name they gave
    std::int64_t last_heard_us = 0;
    std::int64_t second = 0;  // of the rate limit
    std::uint32_t requests = 0;
    std::uint32_t execs = 0;             // clients: commands that run in pods for them
    std::vector<std::uint64_t> stalled;  // agents: clients that are not read until their input is out
  };
  struct Waiting {
    scheduler::Command command;
    std::size_t bytes = 0;
    std::uint64_t number = 0;
  };
  struct PendingAsk {
    scheduler::ReplyTo to;
    std::size_t kind = 0;  // of the request
    std::uint64_t agent = 0;
    std::string node;
    std::int64_t deadline_us = 0;
  };
  struct PendingLog {
    scheduler::ReplyTo to;
    std::uint64_t agent = 0;
    std::int64_t deadline_us = 0;
  };

  struct Exec {
    scheduler::ReplyTo to;
    std::uint64_t agent = 0;
    wire::ExecWindow input, output;
  };

  // ---- shell.cpp ----
  void refuse_and_close(Session& session, state::Error error);
  void drop(std::uint64_t id);
  void forget_agent(std::uint64_t id);
  void enter(Session& session, Stage stage);
  static Peer peer_of(const Session& session);
  void put(Session& session, std::string frame);

  // ---- shell_house.cpp ----
  void push_surely(scheduler::Command command, std::size_t bytes = 0, std::uint64_t number = 0);
  void flush_backlog();
  void arm_backlog_timer();
  void keep_house();
  void close_silent(std::int64_t now_us);
  void close_flushed(std::int64_t until_us, std::function<void()> done);

  // ---- shell_requests.cpp ----
  void on_frame(std::uint64_t id, std::span<const std::byte> bytes);
  void on_message(Session& session, wire::Message&& message, std::size_t bytes);
  void trace_frame(std::uint64_t id, Stage stage, std::size_t bytes, std::int64_t began_ns);
  std::uint64_t next_command();
  void answered(std::size_t kind, const state::ServerReply& body);
  void on_hello(Session& session, const wire::Hello& hello);
  std::string admit(Session& session, wire::PeerRole role);
  void on_client(Session& session, std::uint64_t request, state::ClientRequest&& body, std::size_t bytes);
  void on_archive(Session& session, std::uint64_t request, state::ArchiveRequest&& body);
  state::Status prepare(Session& session, std::uint64_t request, state::ClientRequest& body);
  void on_join(Session& session, const wire::JoinRequest& request);
  bool on_agent(Session& session, wire::Body&& body, std::size_t bytes);
  void on_agent_hello(Session& session, state::AgentHello&& hello, std::size_t bytes);
  void on_log_reply(Session& session, state::LogReply&& reply);
  bool within_rate(Session& session, std::uint64_t request);

  // ---- shell_nodes.cpp ----
  void on_node_request(Session& session, std::uint64_t request, state::NodeRequest&& body);
  void on_node_answer(Session& session, state::NodeAnswer&& answer);
  template <class Gone>
  void give_up_asks(Gone&& gone, const char* why);
  void give_up_asks_of(std::uint64_t agent);
  void give_up_late_asks(std::int64_t now_us);

  // ---- shell_exec.cpp ----
  void forward_exec(scheduler::ForwardExec& forward);
  void on_exec_from_client(Session& session, std::uint64_t request, state::ExecPart&& part);
  void on_exec_from_agent(Session& session, state::ExecPart&& part);
  void on_drained(std::uint64_t id);
  void read_again(const std::vector<std::uint64_t>& clients);
  void forget_exec(std::uint64_t token);
  void end_execs_of_client(std::uint64_t client);
  void end_execs_of_agent(std::uint64_t agent);

  // ---- shell_effects.cpp ----
  void finish(Outgoing& outgoing);
  void finish_token(scheduler::Reply& reply);
  void forward_log(scheduler::ForwardLog& forward);
  void send(std::uint64_t session, std::string frame);
  void send_reply(const scheduler::ReplyTo& to, state::ServerReply body);

  wire::Loop& loop_;
  const ServerOptions& options_;
  Joining& joining_;
  Metrics& metrics_;
  Trace* const trace_;
  Pipeline* pipeline_ = nullptr;
  Archive* archive_ = nullptr;
  std::function<void(state::StoreInfo&)> tell_store_;
  Users users_;
  boost::unordered_flat_map<std::uint64_t, std::unique_ptr<Session>> sessions_;
  std::uint64_t last_session_ = 0;
  std::size_t unproven_ = 0;
  // Commands that must not be lost and found the queue full; while there are many, agents are not read.
  std::deque<Waiting> backlog_;
  std::vector<std::uint64_t> paused_;
  std::shared_ptr<wire::Loop::Timer> backlog_timer_, house_timer_, closing_timer_;
  std::int64_t house_due_us_ = 0;
  std::map<std::uint64_t, PendingLog> logs_;
  std::map<std::uint64_t, PendingAsk> asks_;
  std::uint64_t last_ask_ = 0;
  // Of the frame that is looked at, for the trace: its request, and the command that it became.
  std::string_view frame_kind_;
  std::uint64_t last_command_ = 0, frame_command_ = 0;
  std::map<std::uint64_t, Exec> execs_;                                            // by token
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> exec_streams_;  // (session, request) -> token
  std::uint64_t last_exec_ = 0;
  // (session, request) -> the token that was made for it, with its secret
  std::map<std::pair<std::uint64_t, std::uint64_t>, wire::JoinToken> new_tokens_;
  bool stopping_ = false;
};

}  // namespace berth::server
