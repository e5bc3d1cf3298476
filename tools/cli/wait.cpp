#include <algorithm>
#include <poll.h>

#include "tools/cli/follow.h"
#include "tools/cli/list_commands.h"
#include "tools/cli/terminal.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr std::int64_t kBarEveryMs = 200;
constexpr std::int64_t kLineEveryMs = 10'000;

class Waiter {
 public:
  Waiter(ServerLink& link, const std::vector<JobId>& jobs, const WaitOptions& options)
      : link_(link),
        jobs_(jobs),
        terminal_(stderr_is_terminal()),
        until_ms_(options.timeout_ms == 0 ? 0 : now_ms() + options.timeout_ms) {
    std::sort(jobs_.begin(), jobs_.end());
    jobs_.erase(std::unique(jobs_.begin(), jobs_.end()), jobs_.end());
  }

  int run() {
    if (Status begun = watch(); !begun) return fail(begun.error());
    shown_ms_ = now_ms();
    while (!progress_.all_ended(jobs_.size())) {
      if (until_ms_ != 0 && now_ms() >= until_ms_) return timed_out();
      auto message = link_.client().receive(pause_ms());
      Status good = Unit{};
      if (message) {
        good = on_message(*message);
      } else if (ServerLink::is_lost(message.error())) {
        good = again();
      } else if (message.error().message != "timeout") {
        good = message.error();
      }
      if (!good) return fail(good.error());
      show(false);
    }
    return finish();
  }

 private:
  Status watch() {
    WatchJobsRequest request;
    for (const JobId id : jobs_) {
      const auto known = progress_.jobs().find(id);
      if (known == progress_.jobs().end() || !known->second.ended) request.jobs.push_back(id);
    }
    const auto sent = link_.client().send(std::move(request));
    return sent ? Status(Unit{}) : Status(sent.error());
  }

  Status again() {
    while (true) {
      if (Status good = link_.reconnect(ServerLink::kPatienceMs); !good) return good;
      const Status good = watch();
      if (good || !ServerLink::is_lost(good.error())) return good;
    }
  }

  Status on_message(const wire::Message& message) {
    const auto* reply = std::get_if<ServerReply>(&message.body);
    if (reply == nullptr) return Unit{};
    if (const auto* error = std::get_if<Error>(reply)) {
      if (error->code != ErrorCode::kUnavailable || error->retry_after_ms == 0) return *error;
      sleep_ms(error->retry_after_ms);
      return watch();
    }
    if (const auto* progress = std::get_if<JobProgress>(reply)) {
      progress_.update(*progress, now_ms());
      // On a terminal the bar says it all; in a file, each job's end is a line.
      if (progress->ended && !terminal_ && jobs_.size() > 1) say(ended_line(*progress));
    }
    return Unit{};
  }

  std::int64_t pause_ms() const {
    const std::int64_t pause = terminal_ ? kBarEveryMs : std::max<std::int64_t>(1, shown_ms_ + kLineEveryMs - now_ms());
    return until_ms_ == 0 ? pause : std::clamp<std::int64_t>(until_ms_ - now_ms(), 0, pause);
  }

  void show(bool last) {
    const std::int64_t now = now_ms();
    if (progress_.pods() == 0) return;
    if (terminal_) {
      if (last || drawn_ms_ == 0 || now - drawn_ms_ >= kBarEveryMs)
        show_progress_line(progress_.bar(now, terminal_width() - 1));
      if (drawn_ms_ == 0 || now - drawn_ms_ >= kBarEveryMs) drawn_ms_ = now;
    } else if (!last && now - shown_ms_ >= kLineEveryMs) {
      shown_ms_ = now;
      say(progress_.line());
    }
  }

  void say(const std::string& line) {
    Output out;
    out.write(line + "\n");
  }

  int timed_out() {
    show(true);
    return report(Error{ErrorCode::kUnavailable, "", "gave up waiting; " + progress_.line(), 0});
  }

  int finish() {
    show(true);
    end_progress_line();
    Output out;
    if (terminal_ || jobs_.size() == 1) {
      for (const auto& [id, progress] : progress_.jobs()) out.write(ended_line(progress) + "\n");
    } else {
      out.write(progress_.line() + "\n");
    }
    const int wrote = out.finish();
    if (wrote != 0) return wrote;
    return progress_.all_succeeded() ? 0 : kExitRefused;
  }

  ServerLink& link_;
  std::vector<JobId> jobs_;
  bool terminal_;
  std::int64_t until_ms_;
  std::int64_t shown_ms_ = 0;
  std::int64_t drawn_ms_ = 0;
  Progress progress_;
};

}  // namespace

int wait_for_jobs(ServerLink& link, const std::vector<JobId>& jobs, const WaitOptions& options) {
  return Waiter(link, jobs, options).run();
}

}  // namespace berth::tools
