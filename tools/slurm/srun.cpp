// srun: inside of a job, tasks of it; elsewhere, a job of its own whose output comes here.
#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <random>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state/units.h"
#include "tools/cli/follow.h"
#include "tools/cli/job_draft.h"
#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/job_options.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/options.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

// ---- tasks of the job that this runs in -----------------------------------------------------------------------------

constexpr std::int64_t kKillWaitMs = 30'000;  // from SIGTERM to SIGKILL

struct Task {
  pid_t pid = -1;
  int out = -1, error = -1;  // where its lines come from, with --label
  std::string held_out, held_error;
  int status = 0;
  bool ended = false;
};

class Tasks {
 public:
  Tasks(const Given& given, std::uint32_t count) : given_(given), tasks_(count), label_(given.has("label")) {}

  int run(const Words& words) {
    sigset_t watched;
    sigemptyset(&watched);
    for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&watched, signal);
    sigprocmask(SIG_BLOCK, &watched, &before_);
    if (const int failed = start_all(words); failed != 0) return failed;
    const bool kill_others = given_.has("kill-on-bad-exit") && given_.text("kill-on-bad-exit") != "0";
    std::int64_t wait_s = 0;
    if (given_.has("wait")) {
      const auto seconds = parse_integer(given_.text("wait"), "wait", 0, 1'000'000);
      if (!seconds) return fail("srun", "Invalid --wait specification");
      wait_s = *seconds;
    }
    std::int64_t limit_ms = 0;  // of the step, when it began counting
    if (given_.has("time")) {
      const auto limit = parse_limit_ms(given_.text("time"));
      if (!limit) return fail("srun", limit.error().message);
      if (*limit != 0) limit_ms = now_ms() + *limit;
    }
    std::int64_t deadline_ms = 0;
    while (std::any_of(tasks_.begin(), tasks_.end(), [](const Task& t) { return !t.ended; }) || reading()) {
      pump();
      timespec moment{0, label_ ? 20'000'000 : 200'000'000};
      const int signal = sigtimedwait(&watched, nullptr, &moment);
      if (signal > 0 && signal != SIGCHLD) pass_on(signal);
      if (limit_ms != 0 && now_ms() >= limit_ms) {
        fmt::print(stderr, "srun: error: the step has reached its time limit\n");
        pass_on(SIGTERM);
        limit_ms = 0;
        deadline_ms = now_ms() + kKillWaitMs;
      }
      const bool failed = reap();
      if (failed && kill_others) pass_on(SIGTERM);
      const bool some_ended = std::any_of(tasks_.begin(), tasks_.end(), [](const Task& t) { return t.ended; });
      if (wait_s != 0 && some_ended && deadline_ms == 0) deadline_ms = now_ms() + wait_s * 1000;
      if (deadline_ms != 0 && now_ms() >= deadline_ms) pass_on(SIGKILL);
    }
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
        fmt::print(stderr, "srun: error: {}: task {}: cannot execute {}: {}\n", node(), i, words[0],
                   std::strerror(failed));
        tasks_[i].ended = true;
        tasks_[i].status = (failed == ENOENT ? 2 : 126) << 8;
      }
    }
    return 0;
  }

  int start(std::size_t number, const Words& words, int out, int error) {
    std::vector<std::string> environment;
    for (char** variable = environ; *variable != nullptr; ++variable) environment.emplace_back(*variable);
    const auto set = [&](const std::string& name, const std::string& value) {
      std::erase_if(environment, [&](const std::string& v) { return v.starts_with(name + "="); });
      environment.push_back(name + "=" + value);
    };
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
    set("SLURM_STEP_NODELIST", node());
    set("SLURM_STEP_ID", "0");
    set("SLURM_STEPID", "0");
    std::string ranks;
    for (std::size_t i = 0; i < tasks_.size(); ++i) ranks += (i == 0 ? "" : ",") + std::to_string(i);
    set("SLURM_GTIDS", ranks);
    for (const std::string& word : split(given_.text("export"), ',')) {
      const std::size_t equals = word.find('=');
      if (equals != std::string::npos && equals != 0) set(word.substr(0, equals), word.substr(equals + 1));
    }
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
    const int flags =
        O_WRONLY | O_CREAT | (given_.text("open-mode").starts_with("a") || number != 0 ? O_APPEND : O_TRUNC);
    std::string output = file_of("output", number), errors = file_of("error", number);
    if (!output.empty()) {
      posix_spawn_file_actions_addopen(&actions, 1, output.c_str(), flags, 0666);
    } else if (out >= 0) {
      posix_spawn_file_actions_adddup2(&actions, out, 1);
    }
    if (!errors.empty()) {
      posix_spawn_file_actions_addopen(&actions, 2, errors.c_str(), flags, 0666);
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
    for (std::string& variable : environment) env.push_back(variable.data());
    env.push_back(nullptr);
    const int failed = posix_spawnp(&tasks_[number].pid, argv[0], &actions, &attributes, argv.data(), env.data());
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return failed;
  }

  // Slurm's patterns, of a task.
  std::string file_of(const char* option, std::size_t task) const {
    std::string pattern = given_.text(option);
    if (pattern.empty()) return "";
    if (pattern == "none") return "/dev/null";
    std::string ranked;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      if (pattern.compare(i, 2, "%t") == 0) {
        ranked += std::to_string(task);
        ++i;
      } else if (pattern.compare(i, 2, "%s") == 0) {
        ranked += "0";
        ++i;
      } else {
        ranked += pattern[i];
      }
    }
    const auto text = [](const char* name) {
      const char* value = std::getenv(name);
      return std::string(value != nullptr ? value : "");
    };
    const auto job = parse_integer(text("SLURM_JOB_ID"), "job", 1, std::int64_t{1} << 62);
    const auto index = parse_integer(text("SLURM_ARRAY_TASK_ID"), "index", 0, std::int64_t{1} << 31);
    const std::string user = text("USER"), name = text("SLURM_JOB_NAME"), where = node();
    return expand_path(output_pattern(ranked, index.ok()),
                       {static_cast<std::uint64_t>(job ? *job : 0), static_cast<std::uint32_t>(index ? *index : 0),
                        where, user, name});
  }

  static std::string node() {
    const char* name = std::getenv("SLURMD_NODENAME");
    if (name != nullptr) return name;
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    return host;
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
    while (from >= 0) {
      const ssize_t got = ::read(from, piece.data(), piece.size());
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (got > 0) held.append(piece.data(), static_cast<std::size_t>(got));
      if (got <= 0) {
        ::close(std::exchange(from, -1));
        if (!held.empty()) held += '\n';
      }
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

  void pass_on(int signal) {
    for (const Task& task : tasks_) {
      if (!task.ended && task.pid > 0) ::kill(-task.pid, signal);
    }
  }

  // True if one has failed.
  bool reap() {
    bool failed = false;
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      Task& task = tasks_[i];
      if (task.ended || task.pid <= 0 || waitpid(task.pid, &task.status, WNOHANG) != task.pid) continue;
      task.ended = true;
      if (WIFSIGNALED(task.status)) {
        fmt::print(stderr, "srun: error: {}: task {}: {}\n", node(), i, strsignal(WTERMSIG(task.status)));
      } else if (WEXITSTATUS(task.status) != 0) {
        fmt::print(stderr, "srun: error: {}: task {}: Exited with exit code {}\n", node(), i, WEXITSTATUS(task.status));
      }
      failed |= task.status != 0;
    }
    return failed;
  }

  int exit_code() const {
    int code = 0;
    for (const Task& task : tasks_) {
      code = std::max(code, WIFSIGNALED(task.status) ? 128 + WTERMSIG(task.status) : WEXITSTATUS(task.status));
    }
    return code;
  }

  const Given& given_;
  std::vector<Task> tasks_;
  bool label_;
  sigset_t before_{};
};

std::optional<std::uint32_t> number_of(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  const auto value = parse_integer(text, variable, 1, 100'000);
  return value ? std::optional(static_cast<std::uint32_t>(*value)) : std::nullopt;
}

int run_inside(const Given& given) {
  for (const char* name : {"signal", "test-only"}) {
    if (given.has(name)) return fail("srun", std::string("--") + name + " is not supported by Berth inside of a job");
  }
  if (given.has("verbose")) {
    for (const char* name :
         {"account",     "begin",         "comment",       "constraint", "dependency", "exclude",  "exclusive",
          "gpus",        "gpus-per-node", "gpus-per-task", "gres",       "hold",       "job-name", "mem",
          "mem-per-cpu", "mem-per-gpu",   "nice",          "nodelist",   "partition",  "prefer",   "priority",
          "qos"}) {
      if (given.has(name)) fmt::print(stderr, "srun: --{} has no effect inside of a job, which has it all\n", name);
    }
  }
  auto made = make_job(given, "srun", JobUse::kTasks);  // for its checks
  if (!made) return fail("srun", made.error().message);
  if (made->shape.nodes_min > 1) {
    return fail("srun", fmt::format("Unable to create step for job {}: Requested node count exceeds the job's 1",
                                    std::getenv("SLURM_JOB_ID")));
  }
  std::uint32_t tasks = made->shape.tasks;
  if (!made->shape.tasks_given) tasks = number_of("SLURM_NTASKS").value_or(1);
  const std::uint32_t cpus = number_of("SLURM_CPUS_ON_NODE").value_or(1);
  if (!made->shape.tasks_given && given.has("nodes")) tasks = 1;
  if (std::uint64_t{tasks} * made->shape.cpus_per_task > cpus && made->shape.tasks_given) {
    return fail("srun", fmt::format("Unable to create step for job {}: More processors requested than permitted",
                                    std::getenv("SLURM_JOB_ID")));
  }
  if (tasks > 4096) return fail("srun", "at most 4096 tasks run on a node");
  return Tasks(given, tasks).run(given.words);
}

// ---- a job of its own -----------------------------------------------------------------------------------------------

int exit_code_of(ServerLink& link, JobId id, bool array) {
  int code = 0;
  std::uint32_t cancelled = 0;
  ListPodsRequest request{id, {}, 0, 10'000};
  while (true) {
    auto page = link.call_patiently_for<PodPage>(request);
    if (!page) return fail("srun", slurm_error(page.error()));
    for (const PodRow& row : page->rows) {
      if (row.state == PodState::kSucceeded) continue;
      const int own = row.state == PodState::kOutOfMemory ? 253 : row.exit_code > 0 ? row.exit_code : 1;
      if (row.state == PodState::kCancelled && array) {  // with another one that failed, or all of them
        ++cancelled;
        continue;
      }
      if (row.state == PodState::kFailed && row.exit_code > 0) {
        fmt::print(stderr, "srun: error: {}: task {}: Exited with exit code {}\n", row.node, row.index, own);
      } else {
        fmt::print(stderr, "srun: error: {}: task {}: {}\n", row.node, row.index,
                   row.message.empty() ? std::string(name_of(row.state)) : row.message);
      }
      code = std::max(code, own);
    }
    if (!page->more) {
      if (code != 0 || cancelled == 0) return code;
      fmt::print(stderr, "srun: error: {} tasks were cancelled\n", cancelled);
      return 128 + SIGTERM;
    }
    request.from_element = page->next_element;
  }
}

// Submits it and stays with it to its end.
int run_job(const Context& context, const Given& given, const JobSpec& spec, const Launch& launch,
            const char* failure) {
  const std::uint32_t tasks = spec.elements.size();
  ServerLink link(context);
  if (Status reached = link.connect(); !reached) return fail("srun", failure + slurm_error(reached.error()));
  SubmitRequest request;
  request.dry_run = given.has("test-only");
  std::random_device random;
  if (!request.dry_run) request.submit_key = (std::uint64_t{random()} << 32 | random()) | 1;
  request.jobs.push_back(spec);
  Interrupts interrupts;
  auto done = link.call_patiently_for<SubmitReply>(request, 10'000);
  if (!done) {
    const std::string known = slurm_error(done.error());
    const std::string more = known != done.error().message ? " (" + done.error().message + ")" : "";
    return fail("srun", failure + known + more);
  }
  if (request.dry_run) {
    fmt::print(stderr, "srun: Job could be run in partition {}; it was not submitted\n", spec.queue);
    return 0;
  }
  const JobId id = done->jobs.at(0);
  const bool many = spec.kind == JobKind::kGang;
  std::vector<PodOutput> outputs;
  for (std::uint32_t e = 0; e < tasks && launch.output_path.empty(); ++e) {
    PodOutput output;
    output.element = e;
    if (many) output.index = e;
    if (given.has("label")) output.prefix = std::to_string(e) + ": ";
    outputs.push_back(output);
  }
  Output out;
  int interrupted = 0;
  Follower* following = nullptr;
  Follower::Options follow;
  follow.watch_job = true;
  follow.interrupts = &interrupts;
  follow.on_interrupt = [&] {
    if (++interrupted > 1) return false;
    fmt::print(stderr, "srun: interrupt (one more to give up waiting)\n");
    following->cancel_job();
    return true;
  };
  Follower follower(link, id, std::move(outputs), std::move(follow), out);
  following = &follower;
  auto ended = follower.run();
  const int written = out.finish();
  if (!ended) return fail("srun", slurm_error(ended.error()));
  if (!*ended || interrupted != 0) return 130;
  const int code = exit_code_of(link, id, many);
  return code != 0 ? code : written;
}

bool ends_all(const Given& given) { return given.has("kill-on-bad-exit") && given.text("kill-on-bad-exit") != "0"; }

// Slurm's %t is the task, which Berth calls the rank.
std::string task_pattern(std::string pattern) {
  std::string out;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern.compare(i, 2, "%t") == 0) {
      out += "%r";
      ++i;
    } else if (pattern[i] == '%' && i + 1 < pattern.size() && std::strchr("sjJA", pattern[i + 1]) != nullptr) {
      out += pattern[i + 1] == 's' ? "%s" : "%j";
      ++i;
    } else if (pattern[i] == '%' && i + 1 < pattern.size() && pattern[i + 1] == 'N') {
      out += "%n";
      ++i;
    } else {
      out += pattern[i];
    }
  }
  return out == "none" ? "/dev/null" : out;
}

// ---- a step of a job over several nodes -----------------------------------------------------------------------------

int run_step(const Context& context, const Given& given, JobId job) {
  for (const char* name : {"signal", "test-only"}) {
    if (given.has(name)) return fail("srun", std::string("--") + name + " is not supported by Berth inside of a job");
  }
  const std::string failure = fmt::format("Unable to create step for job {}: ", job.value);
  JobSpec spec;
  spec.step_of = job;
  const std::string& program = given.words.front();
  spec.name = given.text("job-name", program.substr(program.find_last_of('/') + 1)).substr(0, kMaxNameBytes);
  const std::uint32_t nodes = number_of("SLURM_JOB_NUM_NODES").value_or(1);
  const std::uint32_t tasks = number_of("SLURM_NTASKS").value_or(nodes);
  if (Status good = set_step(given, nodes, tasks, spec); !good) return fail("srun", good.error().message);
  spec.keep_going = !ends_all(given);
  if (given.has("time")) {
    const auto limit = parse_limit_ms(given.text("time"));
    if (!limit) return fail("srun", limit.error().message);
    spec.time_limit_ms = *limit;
  }
  if (given.has("input") && given.text("input") != "none" && given.text("input") != "/dev/null") {
    return fail("srun", "--input is not supported by Berth for steps over several nodes but for none and /dev/null");
  }
  const Surroundings here = this_process();
  Launch launch;
  launch.argv = given.words;
  launch.cwd = given.text("chdir", here.directory);
  if (launch.cwd.empty() || launch.cwd[0] != '/') launch.cwd = here.directory + "/" + launch.cwd;
  launch.umask = here.umask;
  launch.grace_ms = kKillWaitMs;
  launch.slurm_variables = true;
  launch.append = given.text("open-mode").starts_with("a");
  launch.output_path = task_pattern(given.text("output"));
  launch.error_path = task_pattern(given.text("error"));
  launch.env = exported(given, here.environment);
  std::erase_if(launch.env, [](const std::string& v) { return v.starts_with("BERTH_CPUS="); });
  if (given.has("cpus-per-task")) set_variable(launch.env, "SLURM_CPUS_PER_TASK", given.text("cpus-per-task"));
  std::sort(launch.env.begin(), launch.env.end());
  spec.launch = encode_launch(launch);
  return run_job(context, given, spec, launch, failure.c_str());
}

int run_outside(const Context& context, const Given& given) {
  const std::string& program = given.words.front();
  auto made = make_job(given, program.substr(program.find_last_of('/') + 1), JobUse::kTasks);
  if (!made) return fail("srun", made.error().message);
  JobSpec& spec = made->spec;
  Launch& launch = made->launch;
  launch.argv = given.words;
  spec.keep_going = spec.kind == JobKind::kGang && !ends_all(given);
  launch.output_path = task_pattern(given.text("output"));
  launch.error_path = task_pattern(given.text("error"));
  spec.launch = encode_launch(launch);
  return run_job(context, given, spec, launch, "Unable to allocate resources: ");
}

}  // namespace

int srun(const Context& context, const Words& words) {
  const CommandTable& table = table_of("srun");
  auto parsed = parse(table, words);
  if (!parsed) return fail("srun", parsed.error().message);
  Given& given = *parsed;
  if (const auto code = answer_about_itself(table, given)) return *code;
  if (given.has("verbose")) tell_ignored(table, given);
  if (given.words.empty()) return fail("srun", "No command given to execute.");
  if (given.has("mpi") && given.text("mpi") != "none") {
    return fail("srun", "--mpi=" + given.text("mpi") + " is not supported by Berth: only none");
  }
  // In a job on one node its tasks are started here; those of a job on several, or of an allocation that is elsewhere,
  // by the agents.
  const char* id = std::getenv("SLURM_JOB_ID");
  const bool in_pod = std::getenv("BERTH_JOB_ID") != nullptr;
  if (given.has("jobid")) {
    const auto named = parse_integer(given.text("jobid"), "jobid", 1, std::int64_t{1} << 62);
    if (!named) return fail("srun", "Invalid numeric value \"" + given.text("jobid") + "\" for --jobid.");
    if (id == nullptr || given.text("jobid") != id || !in_pod) {
      return run_step(context, given, JobId{static_cast<std::uint64_t>(*named)});
    }
  }
  if (id == nullptr) {
    fill_from_environment(given, "SLURM_");
    return run_outside(context, given);
  }
  const bool several = number_of("SLURM_JOB_NUM_NODES").value_or(1) > 1;
  if (in_pod && !several) return run_inside(given);
  const auto job = parse_integer(id, "SLURM_JOB_ID", 1, std::int64_t{1} << 62);
  if (!job) return fail("srun", "Invalid SLURM_JOB_ID in the environment");
  return run_step(context, given, JobId{static_cast<std::uint64_t>(*job)});
}

}  // namespace berth::tools::slurm
