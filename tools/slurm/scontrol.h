// What scontrol changes and shows. Each takes the words behind its verb, and returns an exit code.
#pragma once

#include "tools/cli/output.h"
#include "tools/cli/server_link.h"
#include "tools/slurm/commands.h"

namespace berth::tools::slurm {

int hold_jobs(ServerLink& link, const Words& words, bool held);
// What runs of them goes back to the queue, and is held there if `hold`.
int requeue_jobs(ServerLink& link, const Words& words, bool hold, bool quiet);
// JobId=… or NodeName=…, and what is to become of it.
int update_things(ServerLink& link, const Words& words);

int show_config(ServerLink& link, Output& out);
// Of these jobs (12, 12.0), or all.
int show_steps(ServerLink& link, const Words& words, bool one_line, Output& out);
int show_aliases(ServerLink& link, Output& out);
// Slurm's numbers of errors, as far as they are ever said here.
int error_text(const Words& words, Output& out);
// The name of this machine, as `scontrol ping` has it.
std::string host_name();

// Lines of a record: indented below the first, or all in one.
class RecordText {
 public:
  explicit RecordText(bool one_line) : one_line_(one_line) {}
  void line(const std::string& text) {
    if (!out_.empty()) out_ += one_line_ ? " " : "\n   ";
    out_ += text;
  }
  std::string text() const { return out_ + (one_line_ ? "\n" : "\n\n"); }

 private:
  bool one_line_;
  std::string out_;
};

}  // namespace berth::tools::slurm
