#include "tools/slurm/local_step.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <set>
#include <spawn.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include "state/launch.h"
#include "state/units.h"
#include "tools/cli/output.h"
#include "tools/cli/server_link.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/job_options.h"
#include "tools/slurm/text.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): not every libc declares it

namespace berth::tools::slurm {

using namespace state;

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// What --export leaves of the environment, and what an agent would add to that.
std::vector<std::string> passed_on(const Given& given) {
  std::vector<std::string> mine;
  for (char** line = environ; *line != nullptr; ++line) mine.emplace_back(*line);
  std::vector<std::string> out = exported(given, mine);
  const auto name_of = [](const std::string& line) { return line.substr(0, line.find('=')); };
  std::set<std::string> there;
  for (const std::string& line : out) there.insert(name_of(line));
  for (const std::string& line : mine) {
    const std::string name = name_of(line);
    const bool added = name.starts_with("BERTH_") || name == "CUDA_VISIBLE_DEVICES" || name.starts_with("CUDA_MPS_") ||
                       name == "PATH" || name == "HOME" || name == "USER" || name == "HOSTNAME" || name == "TMPDIR" ||
                       name == "SLURMD_NODENAME";
    if (added && !there.contains(name)) out.push_back(line);
  }
  return out;
}

constexpr std::int64_t kDrainMs = 1'000;
constexpr int kPiecesMax = 64;  // read of a task in one go: more than a pipe holds

struct Task {
  pid_t pid = -1;
  int out = -1, error = -1;  // where its lines come from, with --label
  std::string held_out, held_error;
  int code = 0;
  bool ended = false;
};

// Started, they run in process groups of their own; what they leave behind there ends with the last of them.
class LocalTasks {
 public:
  LocalTasks(const Given& given, std::uint32_t count, const std::optional<StepWarning>& warning,
             std::int64_t kill_wait_ms)
      : given_(given),
        environment_(passed_on(given)),
        warning_(warning),
        tasks_(count),
        label_(given.has("label")),
        kill_wait_ms_(kill_wait_ms) {
    add_step_variables(given, count, 1, environment_);
    if (!variable("SLURM_NTASKS").empty() || given.has("ntasks")) {
      set_variable(environment_, "SLURM_DISTRIBUTION", count <= 1 ? "cyclic" : "block");
    }
  }

  int run(const Words& words) {
    sigset_t watched;
    sigemptyset(&watched);
    for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&watched, signal);
    sigprocmask(SIG_BLOCK, &watched, &before_);
    const bool kill_others = given_.has("kill-on-bad-exit") && given_.text("kill-on-bad-exit") != "0";
    std::int64_t wait_s = 0;
    if (given_.has("wait")) {
      const auto seconds = parse_integer(given_.text("wait"), "wait", 0, 1'000'000);
      if (!seconds) return fail("srun", "Invalid --wait specification");
      wait_s = *seconds;
    }
    std::int64_t limit_ms = 0;  // when the step ends
    if (given_.has("time")) {
      const auto limit = parse_limit_ms(given_.text("time"));
      if (!limit) return fail("srun", limit.error().message);
      if (*limit != 0) limit_ms = now_ms() + *limit;
    }
    if (const int failed = start_all(words); failed != 0) {
      clean_up();
      return failed;
    }
    std::int64_t deadline_ms = 0;  // from then on SIGKILL
    const auto end_by = [&](std::int64_t at) { deadline_ms = deadline_ms == 0 ? at : std::min(deadline_ms, at); };
    bool told_to_end = false;
    while (std::any_of(tasks_.begin(), tasks_.end(), [](const Task& t) { return !t.ended; })) {
      pump();
      timespec moment{0, label_ ? 20'000'000 : 200'000'000};
      const int signal = sigtimedwait(&watched, nullptr, &moment);
      if (signal > 0 && signal != SIGCHLD) pass_on(signal);
      if (warning_ && wall_clock_us() >= warning_->at_us) {
        pass_on(warning_->signal);
        warning_.reset();
      }
      if (limit_ms != 0 && now_ms() >= limit_ms) {
        fmt::print(stderr, "srun: error: the step has reached its time limit\n");
        pass_on(SIGTERM);
        limit_ms = 0;
        end_by(now_ms() + kill_wait_ms_);
      }
      if (note_ends() && kill_others && !std::exchange(told_to_end, true)) {
        pass_on(SIGTERM);
        end_by(now_ms() + kill_wait_ms_);
      }
      tell_ends(false);
      const bool some_ended = std::any_of(tasks_.begin(), tasks_.end(), [](const Task& t) { return t.ended; });
      if (wait_s != 0 && some_ended && !std::exchange(waited_, true)) end_by(now_ms() + wait_s * 1000);
      if (deadline_ms != 0 && now_ms() >= deadline_ms) pass_on(SIGKILL);
    }
    tell_ends(true);
    clean_up();
    sigprocmask(SIG_SETMASK, &before_, nullptr);
    return exit_code();
  }

 private:
  int start_all(const Words& words) {
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      int out[2] = {-1, -1}, error[2] = {-1, -1};
      if (label_ && (pipe2(out, O_CLOEXEC) != 0 || pipe2(error, O_CLOEXEC) != 0)) {
        return fail("srun", std::string("cannot make a pipe: ") + std::strerror(errno));
      }
      const int failed = start(i, words, out[1], error[1]);
      if (label_) {
        ::close(out[1]);
        ::close(error[1]);
        tasks_[i].out = out[0];
        tasks_[i].error = error[0];
        fcntl(out[0], F_SETFL, O_NONBLOCK);
        fcntl(error[0], F_SETFL, O_NONBLOCK);
      }
      if (failed != 0) {
        fmt::print(stderr, "srun: error: {}: task {}: cannot execute {}: {}\n", node_here(), i, words[0],
                   std::strerror(failed));
        tasks_[i].ended = true;
        tasks_[i].code = failed == ENOENT ? 2 : 126;
      }
    }
    return 0;
  }

  int start(std::size_t number, const Words& words, int out, int error) {
    std::vector<std::string> environment = environment_;
    const auto set = [&](const std::string& name, const std::string& value) { set_variable(environment, name, value); };
    const std::string rank = std::to_string(number), count = std::to_string(tasks_.size());
    set("SLURM_PROCID", rank);
    set("SLURM_LOCALID", rank);
    set("SLURM_NODEID", "0");
    set("SLURM_NTASKS", count);
    set("SLURM_NPROCS", count);
    set("SLURM_STEP_NUM_TASKS", count);
    set("SLURM_STEP_NUM_NODES", "1");
    set("SLURM_STEP_TASKS_PER_NODE", count);
    set("SLURM_TASKS_PER_NODE", count);
    set("SLURM_STEP_NODELIST", node_here());
    set("SLURM_STEP_ID", "0");
    set("SLURM_STEPID", "0");
    std::string ranks;
    for (std::size_t i = 0; i < tasks_.size(); ++i) ranks += (i == 0 ? "" : ",") + std::to_string(i);
    set("SLURM_GTIDS", ranks);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t defaults;
    sigfillset(&defaults);
    posix_spawnattr_setsigmask(&attributes, &before_);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    // Only the first task reads what comes in, as with --input=0; the others find the end of it.
    if (number != 0 || given_.has("input")) posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    const std::string output = file_of("output", number), errors = file_of("error", number);
    const auto to_file = [&](int fd, const std::string& path) {
      // LocalTasks that share a file write one behind the other.
      const bool first = opened_.insert(path).second && !given_.text("open-mode").starts_with("a");
      const int flags = O_WRONLY | O_CREAT | O_APPEND | (first ? O_TRUNC : 0);
      posix_spawn_file_actions_addopen(&actions, fd, path.c_str(), flags, 0666);
    };
    if (!output.empty()) {
      to_file(1, output);
    } else if (out >= 0) {
      posix_spawn_file_actions_adddup2(&actions, out, 1);
    }
    if (!errors.empty()) {
      to_file(2, errors);
    } else if (!output.empty()) {
      posix_spawn_file_actions_adddup2(&actions, 1, 2);
    } else if (error >= 0) {
      posix_spawn_file_actions_adddup2(&actions, error, 2);
    }
    if (given_.has("chdir")) posix_spawn_file_actions_addchdir_np(&actions, given_.text("chdir").c_str());
    std::vector<char*> argv, env;
    Words copy = words;
    for (std::string& word : copy) argv.push_back(word.data());
    argv.push_back(nullptr);
    for (std::string& line : environment) env.push_back(line.data());
    env.push_back(nullptr);
    const int failed = posix_spawnp(&tasks_[number].pid, argv[0], &actions, &attributes, argv.data(), env.data());
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return failed;
  }

  // Where a task's output goes: "", if here.
  std::string file_of(const char* option, std::size_t task) const {
    const std::string given = given_.text(option);
    if (const auto one = one_task(given)) return *one == task ? "" : "/dev/null";
    const auto job = parse_integer(variable("SLURM_JOB_ID"), "job", 1, std::int64_t{1} << 62);
    const auto index = parse_integer(variable("SLURM_ARRAY_TASK_ID"), "index", 0, std::int64_t{1} << 31);
    StepNames names{std::nullopt, variable("SLURM_JOB_NAME"), true};
    if (index) names.index = static_cast<std::uint32_t>(*index);
    const auto pattern = step_pattern(given, names);
    if (!pattern) return "";  // of one node all of them are good
    const std::string user = variable("USER"), where = node_here();
    return expand_path(*pattern, {static_cast<std::uint64_t>(job ? *job : 0), static_cast<std::uint32_t>(task), where,
                                  user, names.job});
  }

  bool reading() const {
    return std::any_of(tasks_.begin(), tasks_.end(), [](const Task& t) { return t.out >= 0 || t.error >= 0; });
  }

  void pump() {
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      read_lines(i, tasks_[i].out, tasks_[i].held_out, STDOUT_FILENO);
      read_lines(i, tasks_[i].error, tasks_[i].held_error, STDERR_FILENO);
    }
  }

  void read_lines(std::size_t number, int& from, std::string& held, int to) {
    std::array<char, 16384> piece{};
    for (int pieces = 0; from >= 0 && pieces < kPiecesMax; ++pieces) {
      const ssize_t got = ::read(from, piece.data(), piece.size());
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (got > 0) held.append(piece.data(), static_cast<std::size_t>(got));
      if (got <= 0) ::close(std::exchange(from, -1));
      std::string lines;
      std::size_t first = 0;
      for (std::size_t end = held.find('\n'); end != std::string::npos; end = held.find('\n', first)) {
        lines += std::to_string(number) + ": " + held.substr(first, end + 1 - first);
        first = end + 1;
      }
      held.erase(0, first);
      (void)write_all(to, lines);
    }
  }

  // Nothing more is expected: the beginning of a line is one.
  static void finish_lines(std::size_t number, int& from, std::string& held, int to) {
    if (from >= 0) ::close(std::exchange(from, -1));
    if (!held.empty()) (void)write_all(to, std::to_string(number) + ": " + held + "\n");
    held.clear();
  }

  void pass_on(int signal) {
    for (const Task& task : tasks_) {
      if (!task.ended && task.pid > 0) ::kill(-task.pid, signal);
    }
  }

  // True if one has failed. Their zombies stay until all have ended: for so long the numbers of their groups are
  // theirs.
  bool note_ends() {
    bool failed = false;
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      Task& task = tasks_[i];
      siginfo_t end{};
      if (task.ended || task.pid <= 0) continue;
      if (waitid(P_PID, static_cast<id_t>(task.pid), &end, WEXITED | WNOHANG | WNOWAIT) != 0 || end.si_pid == 0)
        continue;
      task.ended = true;
      const bool exited = end.si_code == CLD_EXITED;
      task.code = exited ? end.si_status : 128 + end.si_status;
      if (!exited) {
        note_end(i, strsignal(end.si_status));
      } else if (task.code != 0) {
        note_end(i, fmt::format("Exited with exit code {}", task.code));
      }
      failed |= task.code != 0;
    }
    return failed;
  }

  void note_end(std::size_t task, const std::string& how) {
    if (ended_.empty()) first_end_ms_ = now_ms();
    ended_[how].push_back(static_cast<std::uint32_t>(task));
  }

  // Those that ended alike in one line, as Slurm tells of them: it waits a moment for more.
  void tell_ends(bool all) {
    constexpr std::int64_t kMomentMs = 100;
    if (ended_.empty() || (!all && now_ms() - first_end_ms_ < kMomentMs)) return;
    for (const auto& [how, tasks] : ended_) {
      fmt::print(stderr, "srun: error: {}: {}: {}\n", node_here(), task_numbers(tasks), how);
    }
    ended_.clear();
  }

  // Ends what they have left behind, and reads what there is of their output. Who left his group and holds a pipe open
  // is not waited for.
  void clean_up() {
    for (const Task& task : tasks_) {
      if (task.pid > 0) ::kill(-task.pid, SIGKILL);
    }
    const std::int64_t until = now_ms() + kDrainMs;
    for (pump(); reading() && now_ms() < until; pump()) sleep_ms(5);
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      Task& task = tasks_[i];
      finish_lines(i, task.out, task.held_out, STDOUT_FILENO);
      finish_lines(i, task.error, task.held_error, STDERR_FILENO);
      if (task.pid > 0) waitpid(task.pid, nullptr, 0);
    }
  }

  int exit_code() const {
    int code = 0;
    for (const Task& task : tasks_) code = std::max(code, task.code);
    return code;
  }

  const Given& given_;
  std::vector<std::string> environment_;  // before what is each task's own
  std::optional<StepWarning> warning_;    // until it was passed on
  std::vector<Task> tasks_;
  std::set<std::string> opened_;
  std::int64_t first_end_ms_ = 0;
  std::map<std::string, std::vector<std::uint32_t>> ended_;  // how, and not told yet
  bool label_, waited_ = false;
  std::int64_t kill_wait_ms_;
  sigset_t before_{};
};

}  // namespace

std::string task_numbers(const std::vector<std::uint32_t>& tasks) {
  std::vector<std::string> names;
  for (const std::uint32_t task : tasks) names.push_back("t" + std::to_string(task));
  std::string list = hostlist(std::move(names)).substr(1);  // "3", "[0-1,3]"
  if (list.starts_with('[')) list = list.substr(1, list.size() - 2);
  return (tasks.size() > 1 ? "tasks " : "task ") + list;
}

std::string node_here() {
  if (std::string name = variable("SLURMD_NODENAME"); !name.empty()) return name;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  return host;
}

int run_local_step(const Given& given, std::uint32_t tasks, const std::optional<StepWarning>& warning,
                   std::int64_t kill_wait_ms) {
  return LocalTasks(given, tasks, warning, kill_wait_ms).run(given.words);
}

}  // namespace berth::tools::slurm
