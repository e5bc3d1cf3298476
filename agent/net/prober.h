// Prober: asks pods what their probes ask: an HTTP request, a connection, or a command run inside the pod. Few at a
// time; never waits for one. Loop thread only.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/core/probe_schedule.h"
#include "agent/net/commands.h"

namespace berth::agent {

class Prober {
 public:
  // The command that runs `argv` inside the pod.
  using InPod = std::function<state::Result<Command>(const state::PodRef&, const std::vector<std::string>& argv)>;
  using Answered = std::function<void(const state::PodRef&, ProbeRole, ProbeAnswer)>;
  Prober(wire::Loop& loop, Commands& commands, InPod in_pod, Answered answered);
  ~Prober();
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;

  void ask(AskPod question);  // the answer never comes at once

 private:
  struct Talk {  // over a socket
    AskPod question;
    Fd socket;
    std::string request, reply;
    std::size_t sent = 0;
    bool connected = false, answered = false;
    std::shared_ptr<wire::Loop::Timer> timer;
  };
  void pump();
  void run_command(AskPod question);
  void connect(AskPod question);
  void on_sockets();
  void go_on(std::uint64_t id, std::uint32_t events);
  void receive(std::uint64_t id, Talk& talk);
  void answer(Talk& talk, bool good, const std::string& what);
  void drop(std::uint64_t id);

  wire::Loop& loop_;
  Commands& commands_;
  const InPod in_pod_;
  const Answered answered_;
  std::deque<AskPod> waiting_;
  std::size_t commands_running_ = 0, talking_ = 0;
  Fd epoll_;  // one descriptor for the loop, however many sockets
  std::shared_ptr<wire::Loop::Watch> watch_;
  std::map<std::uint64_t, std::unique_ptr<Talk>> talks_;
  std::uint64_t next_id_ = 1;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace berth::agent
