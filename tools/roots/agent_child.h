// AgentChild: a `berth agent` as a child process, started again when it dies, for `berth dev`.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace berth::tools {

class AgentChild {
 public:
  explicit AgentChild(std::vector<std::string> arguments) : arguments_(std::move(arguments)) {}
  ~AgentChild() { stop(); }
  void start();
  void stop();  // SIGTERM, and waits; its pods go on
  // The agent could not even begin several times in a row: its last exit code; 0 while all is well.
  int gave_up() const { return gave_up_; }

 private:
  void keep_running();
  std::vector<std::string> arguments_;
  std::thread keeper_;
  void reap(int pid, int& status);
  std::mutex mutex_;  // guards stopping_ and pid_: whom stop() signals has not been reaped
  std::condition_variable wake_;
  bool stopping_ = false;
  int pid_ = 0;
  std::atomic<int> gave_up_{0};
};

}  // namespace berth::tools
