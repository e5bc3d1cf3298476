// Following jobs to their end: what `berth wait`, `berth run` and `berth logs -f` are made of. Each survives a restart
// of the server by connecting again and asking for the rest.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "state/requests.h"
#include "tools/cli/output.h"
#include "tools/cli/progress.h"
#include "tools/cli/server_link.h"

namespace berth::tools {

struct WaitOptions {
  std::int64_t timeout_ms = 0;  // 0: for ever
};
// Waits until all have ended, with a progress bar on a terminal and lines otherwise. 0 if every pod succeeded, else
// kExitRefused; errors are reported.
int wait_for_jobs(ServerLink& link, const std::vector<state::JobId>& jobs, const WaitOptions& options);

// One stream of output that is read to its end.
struct PodOutput {
  std::uint32_t element = 0;
  std::optional<std::uint32_t> index;  // as the user names it; absent: the job's only pod
  bool error_stream = false;
  std::string prefix;  // before each line, "" for none
  std::uint64_t offset = 0;
  std::string line;                // the beginning of a line, held back while there is a prefix
  std::uint32_t attempt = 0;       // whose output it is; 0: not known yet
  std::uint64_t request = 0;       // outstanding; 0: none
  std::int64_t due_ms = 0;         // when to ask, if none is outstanding
  std::int64_t away_since_ms = 0;  // since when its node does not answer
  bool check_attempt = false;
  bool done = false;
};

// Streams the output of a job's pods, and watches the job if asked to.
class Follower {
 public:
  struct Options {
    bool watch_job = false;  // until the job has ended, too
    bool requeues = false;   // pods may run again, with a new output
    Interrupts* interrupts = nullptr;
    std::function<bool()> on_interrupt;  // false: stop following
  };
  Follower(ServerLink& link, state::JobId job, std::vector<PodOutput> outputs, Options options, Output& out);
  // Until everything has ended. False if it was interrupted.
  state::Result<bool> run();
  const state::JobProgress& progress() const { return progress_; }
  void cancel_job();  // asks the server to cancel it; the pods' last output still comes

 private:
  state::Status start();  // (again) on a new connection
  state::Status ask_due();
  state::Status ask(PodOutput& output);
  state::Status on_message(const wire::Message& message);
  void on_progress(const state::JobProgress& progress);
  void on_chunk(PodOutput& output, const state::LogChunk& chunk);
  void on_attempt(PodOutput& output, const state::PodRow& row);
  state::Status on_log_error(PodOutput& output, const state::Error& error);
  void write(PodOutput& output, const std::string& bytes);
  void finish(PodOutput& output);
  bool done() const;
  std::int64_t next_due_ms() const;

  ServerLink& link_;
  state::JobId job_;
  std::vector<PodOutput> outputs_;
  Options options_;
  Output& out_;
  state::JobProgress progress_;
  std::uint64_t watch_request_ = 0;
  bool cancel_wanted_ = false;
  std::uint64_t cancel_request_ = 0;
};

}  // namespace berth::tools
