// Shell: sessions on the loop thread. It proves who is there, decodes, bounds, and hands commands to the pipeline; what
// the pipeline delivers goes out to the sessions. All on the loop's thread, but for deliver().
//
// Its parts: shell.cpp (sessions and housekeeping), shell_requests.cpp (what comes in), shell_effects.cpp (what goes
// out), joining.cpp (tokens and certificates).
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "api/server/joining.h"
#include "api/server/pipeline.h"
#include "api/server/server.h"
#include "api/server/users.h"
#include "api/wire/connection.h"
#include "api/wire/message.h"

namespace berth::server {

class Shell {
 public:
  Shell(wire::Loop& loop, const ServerOptions& options, Joining& joining);
  ~Shell();

  void attach(Pipeline& pipeline) { pipeline_ = &pipeline; }
  void accept(std::shared_ptr<wire::Connection> connection);
  // Any thread: frames are made here, on the caller's thread, and sent on the loop's.
  void deliver(Delivery delivery);
  // Asks for a node token in the core's name; the token line comes to on_first_token once it is durable.
  void request_first_token();
  void set_queues();
  // Says goodbye to everybody, flushing what is queued.
  void close_all();

 private:
  enum class Stage : std::uint8_t { kHello, kClient, kAgentHello, kAgent, kJoin };
  struct Session {
    std::uint64_t id = 0;
    std::shared_ptr<wire::Connection> connection;
    Stage stage = Stage::kHello;
    scheduler::Caller caller;  // clients
    std::string node;          // agents with a certificate: the only name they may have
    std::int64_t last_heard_us = 0;
    std::int64_t second = 0;  // of the rate limit
    std::uint32_t requests = 0;
    bool known_to_core = false;
  };
  struct PendingLog {
    scheduler::ReplyTo to;
    std::uint64_t agent = 0;
    std::int64_t deadline_us = 0;
  };
  // What goes to one session, ready to send; `special` is what only the loop thread can finish.
  struct Outgoing {
    std::uint64_t session = 0;
    std::string frame;
    std::unique_ptr<scheduler::Effect> special;
  };

  // ---- shell_requests.cpp ----
  void on_frame(std::uint64_t id, std::span<const std::byte> bytes);
  void on_hello(Session& session, const wire::Hello& hello);
  void on_client(Session& session, std::uint64_t request, state::ClientRequest&& body);
  void on_join(Session& session, const wire::JoinRequest& request);
  bool on_agent(Session& session, wire::Body&& body);
  void on_log_reply(Session& session, state::LogReply&& reply);
  bool within_rate(Session& session, std::uint64_t request);

  // ---- shell_effects.cpp ----
  void finish(Outgoing& outgoing);
  void send(std::uint64_t session, std::string frame);
  void send_reply(const scheduler::ReplyTo& to, state::ServerReply body);

  // ---- shell.cpp ----
  void refuse_and_close(Session& session, state::Error error);
  void on_close(std::uint64_t id);
  void drop(std::uint64_t id);
  void push_surely(scheduler::Command command);
  void flush_backlog();
  void keep_house();

  wire::Loop& loop_;
  const ServerOptions& options_;
  Joining& joining_;
  Pipeline* pipeline_ = nullptr;
  Users users_;
  boost::unordered_flat_map<std::uint64_t, std::unique_ptr<Session>> sessions_;
  std::uint64_t last_session_ = 0;
  // Commands that must not be lost and found the queue full; while there are any, agents are not read.
  std::deque<scheduler::Command> backlog_;
  std::vector<std::uint64_t> paused_;
  std::shared_ptr<wire::Loop::Timer> backlog_timer_, house_timer_;
  std::map<std::uint64_t, PendingLog> logs_;
  std::map<std::pair<std::uint64_t, std::uint64_t>, wire::JoinToken>
      new_tokens_;  // (session, request) -> with its secret
  // Sessions that ended: their delivery may still be on its way.
  bool closing_ = false;
};

}  // namespace berth::server
