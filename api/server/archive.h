// Archive: the accounting as the server has it: the core's feed, the accountant that writes it down, and who answers
// from it. Questions are answered on a thread of its own with a connection of its own, one after the other, so that
// nothing else waits for them. Without accounting it refuses them in one line.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "api/server/feed.h"
#include "scheduler/core.h"
#include "state/accounting/accountant.h"
#include "state/requests.h"

namespace berth::server {

struct AccountingOptions {
  std::string where = "none";  // "none", "sqlite" or postgresql://…
  std::int64_t keep_ms = 0;    // 0: for ever
};
// Is it one of those?
state::Status check_accounting(const std::string& where, const std::string& field);

class Archive {
 public:
  // `cluster`: what tells this cluster from all others. `journal_index`: where the journal ends.
  Archive(const AccountingOptions& options, const std::string& directory, const std::string& cluster,
          std::uint64_t journal_index);
  ~Archive();

  // `nudge`: makes the core take a turn, from any thread.
  void start(std::function<void()> nudge);
  void stop();

  bool on() const { return feed_ != nullptr; }
  // The core's thread, after each turn; and the journal's, when that is durable.
  std::optional<accounting::Ended> collect(const state::Cluster& cluster, const state::Batch& batch);
  void durable(accounting::Ended unit);

  using Answer = std::function<void(state::ServerReply)>;
  // Any thread; `answer` comes on the archive's thread, or at once where there is nothing to wait for.
  void ask(const scheduler::Caller& caller, state::ArchiveRequest request, Answer answer);
  void tell(state::ServerInfo& info) const;  // any thread: how it stands

 private:
  struct Question {
    scheduler::Caller caller;
    state::ArchiveRequest request;
    Answer answer;
  };
  void run();
  state::ServerReply reply_to(const Question& question);
  state::Result<state::ServerReply> look_up(const Question& question);

  const AccountingOptions options_;
  const std::string database_, cluster_;
  accounting::Accountant accountant_;
  std::string broken_;          // why nothing can be kept, "" if all is well
  std::unique_ptr<Feed> feed_;  // none: no accounting
  std::function<void()> nudge_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable asked_;
  std::deque<Question> questions_;
  bool stopping_ = false;

  std::unique_ptr<accounting::Database> reading_;  // the archive's thread
  std::thread thread_;
};

}  // namespace berth::server
