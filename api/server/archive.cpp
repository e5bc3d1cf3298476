#include "api/server/archive.h"

#include <pthread.h>
#include <spdlog/spdlog.h>

namespace berth::server {

using namespace state;
using accounting::Access;
using accounting::Accountant;
using accounting::AccountantOptions;
using accounting::Database;
using accounting::Ended;
using accounting::Whose;

namespace {

constexpr std::size_t kQuestionsMax = 256;
constexpr std::int64_t kSettleMs = 500;  // for what ended just now to come in
constexpr std::uint32_t kRetryMs = 1'000;

AccountantOptions accountant_options(const AccountingOptions& options, const std::string& directory,
                                     const std::string& cluster, std::uint64_t journal_index,
                                     std::function<void()> idle) {
  AccountantOptions out;
  out.directory = directory;
  out.where = options.where;
  out.cluster = cluster;
  out.journal_index = journal_index;
  out.keep_ms = options.keep_ms;
  out.idle = std::move(idle);
  out.say = [](bool trouble, const std::string& line) {
    trouble ? spdlog::error("accounting: {}", line) : spdlog::info("accounting: {}", line);
  };
  return out;
}

// Whose rows the caller sees; an error if he asks for somebody else's.
Result<std::optional<Whose>> sight(const scheduler::Caller& caller, const ArchiveRequest& request) {
  if (caller.admin) return std::optional<Whose>();
  const auto* history = std::get_if<HistoryRequest>(&request);
  if (history != nullptr && !history->filter.user.empty() && history->filter.user != caller.user) {
    return Error{ErrorCode::kDenied, "user", "only administrators see other users' jobs", 0};
  }
  return std::optional<Whose>(Whose{caller.uid, caller.user});
}

}  // namespace

Status check_accounting(const std::string& where, const std::string& field) {
  if (where == "none" || where == "sqlite" || accounting::is_postgres(where)) return Unit{};
  return invalid(field, "'" + where.substr(0, 64) + "' is no database; accepted: sqlite, none, or postgresql://…");
}

Archive::Archive(const AccountingOptions& options, const std::string& directory, const std::string& cluster,
                 std::uint64_t journal_index)
    : options_(options),
      database_(accounting::is_postgres(options.where) ? options.where : directory + "/accounting.db"),
      cluster_(cluster),
      accountant_(accountant_options(options, directory, cluster, journal_index, [this] {
        if (feed_->behind()) nudge_();
      })) {
  if (options_.where == "none") return;
  if (const Status opened = accountant_.open(); !opened) {
    broken_ = opened.error().message;
    return;
  }
  feed_ = std::make_unique<Feed>(accountant_.complete_at());
}

Archive::~Archive() { stop(); }

void Archive::start(std::function<void()> nudge) {
  nudge_ = std::move(nudge);
  if (!on()) return;
  accountant_.start();
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "berth-history");
  nudge_();
}

void Archive::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  asked_.notify_all();
  accountant_.stop();
  if (thread_.joinable()) thread_.join();
}

std::optional<Ended> Archive::collect(const Cluster& cluster, const Batch& batch) {
  return feed_->collect(cluster, batch, !feed_->behind() || accountant_.has_room());
}

void Archive::durable(Ended unit) {
  if (!feed_->is_whole(unit)) unit.index = 0;
  if (unit.jobs.empty() && unit.index == 0) return;
  // When the queue has emptied, what has no room now is read from the state.
  const TimeUs from = unit.jobs.empty() ? unit.at : unit.jobs.front().row.job.ended_at;
  if (!accountant_.offer(std::move(unit))) feed_->missed(from);
}

void Archive::ask(const scheduler::Caller& caller, ArchiveRequest request, Answer answer) {
  if (options_.where == "none") {
    return answer(
        Error{ErrorCode::kConflict, "", "this server keeps no accounting (its setting accounting is none)", 0});
  }
  if (!on()) return answer(Error{ErrorCode::kConflict, "", "this server keeps no accounting: " + broken_, 0});
  {
    const std::lock_guard lock(mutex_);
    if (questions_.size() < kQuestionsMax && !stopping_) {
      questions_.push_back({caller, std::move(request), std::move(answer)});
      asked_.notify_one();
      return;
    }
  }
  answer(Error{ErrorCode::kUnavailable, "", "the server has more questions about the past waiting than it takes",
               kRetryMs});
}

void Archive::tell(ServerInfo& info) const {
  info.accounting = options_.where == "none"                  ? ""
                    : accounting::is_postgres(options_.where) ? accounting::without_password(options_.where)
                                                              : "SQLite";
  info.accounting_error = broken_;
  if (!on()) return;
  const Accountant::Standing standing = accountant_.standing();
  info.accounting_error = standing.error;
  info.accounting_index = standing.index;
  info.accounting_waiting = standing.waiting;
  if (standing.error.empty() && feed_->lost() != 0) {
    info.accounting_error = std::to_string(feed_->lost()) + " jobs ended and were forgotten at once: they are missing";
  }
}

// ---- the archive's thread -------------------------------------------------------------------------------------------

void Archive::run() {
  while (true) {
    Question question;
    {
      std::unique_lock lock(mutex_);
      asked_.wait(lock, [this] { return !questions_.empty() || stopping_; });
      if (stopping_) return;
      question = std::move(questions_.front());
      questions_.pop_front();
    }
    question.answer(reply_to(question));
  }
}

ServerReply Archive::reply_to(const Question& question) {
  accountant_.settle(kSettleMs);
  auto reply = look_up(question);
  // A connection may have gone since it was last used: a fresh one says more.
  if (!reply && reply.error().code == ErrorCode::kUnavailable) reply = look_up(question);
  if (reply) return std::move(*reply);
  Error& error = reply.error();
  if (error.code != ErrorCode::kUnavailable && error.code != ErrorCode::kInternal) return std::move(error);
  return Error{ErrorCode::kUnavailable, "", "the accounting cannot be read: " + error.message, kRetryMs};
}

Result<ServerReply> Archive::look_up(const Question& question) {
  const auto whose = sight(question.caller, question.request);
  if (!whose) return whose.error();
  if (reading_ == nullptr) {
    auto opened = Database::open(database_, Access::kRead, cluster_);
    if (!opened) return opened.error();
    reading_ = std::move(*opened);
  }
  auto reply = std::visit(
      [&]<class T>(const T& request) -> Result<ServerReply> {
        const auto wrap = [](auto&& found) -> Result<ServerReply> {
          if (!found) return found.error();
          return ServerReply(std::move(*found));
        };
        if constexpr (std::is_same_v<T, HistoryRequest>) return wrap(reading_->history(request, *whose));
        if constexpr (std::is_same_v<T, HistoryPodsRequest>) return wrap(reading_->pods(request, *whose));
        if constexpr (std::is_same_v<T, UsageRequest>) return wrap(reading_->usage(request, *whose));
      },
      question.request);
  const bool broken =
      !reply && (reply.error().code == ErrorCode::kUnavailable || reply.error().code == ErrorCode::kInternal);
  if (broken) reading_.reset();
  return reply;
}

}  // namespace berth::server
