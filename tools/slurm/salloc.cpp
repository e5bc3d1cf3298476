// salloc: an allocation for as long as a command, or a shell, runs here. Its first pod waits on the first of its nodes
// until it is told to end; srun finds the job in the environment.
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <pwd.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "state/text.h"
#include "tools/cli/follow.h"
#include "tools/cli/text.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/job_options.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/options.h"
#include "tools/slurm/submit.h"
#include "tools/slurm/text.h"
#include "tools/slurm/variables.h"

extern char** environ;  // NOLINT(readability-redundant-declaration): not every libc declares it

namespace berth::tools::slurm {

using namespace state;

namespace {

const std::string kFailure = "Job submit/allocate failed: ";

volatile std::sig_atomic_t g_interrupted = 0;
void on_interrupt(int) { g_interrupted = 1; }

std::string shell_of_user() {
  if (const char* shell = std::getenv("SHELL"); shell != nullptr && *shell != 0) return shell;
  const passwd* user = getpwuid(getuid());
  return user != nullptr && user->pw_shell != nullptr && *user->pw_shell != 0 ? user->pw_shell : "/bin/sh";
}

// What the command finds in its environment; the nodes are those of the ranks.
std::vector<std::string> environment_of(const MadeJob& made, JobId job, const std::vector<std::string>& ranks) {
  std::vector<std::string> environment = made.launch.env;
  const auto set = [&](const char* name, const std::string& value) { set_variable(environment, name, value); };
  for (const char* gone : {"SLURM_NODEID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_GTIDS", "ENVIRONMENT",
                           "SLURM_CPUS_ON_NODE", "SLURM_PRIO_PROCESS", "BERTH_JOB_ID"}) {
    std::erase_if(environment, [&](const std::string& v) { return v.starts_with(std::string(gone) + "="); });
  }
  std::vector<std::string> nodes;
  std::vector<std::uint32_t> units;
  for (const std::string& node : ranks) {
    if (nodes.empty() || nodes.back() != node) {
      nodes.push_back(node);
      units.push_back(0);
    }
    ++units.back();
  }
  const std::uint32_t cpus = cpus_of(made.spec.request.resources);
  const std::uint32_t tasks_each = made.shape.tasks / std::max(made.shape.units(), 1U);
  std::vector<std::uint32_t> cpus_on, tasks_on;
  for (const std::uint32_t n : units) {
    cpus_on.push_back(n * cpus);
    tasks_on.push_back(n * tasks_each);
  }
  const std::string list = host_list(nodes), count = std::to_string(nodes.size());
  set("SLURM_JOB_ID", std::to_string(job.value));
  set("SLURM_JOBID", std::to_string(job.value));
  set("SLURM_JOB_NODELIST", list);
  set("SLURM_NODELIST", list);
  set("SLURM_JOB_NUM_NODES", count);
  set("SLURM_NNODES", count);
  set("SLURM_JOB_CPUS_PER_NODE", per_node_text(cpus_on));
  set("SLURM_TASKS_PER_NODE", per_node_text(tasks_on));
  return environment;
}

// Until it runs; nullopt: it ended before, or was given up.
std::optional<std::vector<std::string>> wait_for_nodes(ServerLink& link, JobId job, bool quiet) {
  bool told = false;
  for (int round = 0;; ++round) {
    if (g_interrupted != 0) return std::nullopt;
    auto detail = link.call_patiently_for<JobDetail>(ShowJobRequest{job});
    if (!detail) {
      fail("salloc", slurm_error(detail.error()));
      return std::nullopt;
    }
    const JobCounts& counts = detail->row.counts;
    if (counts.of(PodState::kRunning) == detail->row.pods) break;
    if (counts.active() == 0) {
      fail("salloc", "Job allocation " + std::to_string(job.value) + " has been revoked: " + detail->row.reason);
      return std::nullopt;
    }
    if (counts.of(PodState::kPending) != 0 && round > 2 && !told) {
      told = true;
      if (!quiet) {
        fmt::print(stderr, "salloc: Pending job allocation {}\nsalloc: job {} queued and waiting for resources\n",
                   job.value, job.value);
      }
    }
    sleep_ms(round < 20 ? 5 : 200);
  }
  if (told && !quiet) fmt::print(stderr, "salloc: job {} has been allocated resources\n", job.value);
  std::vector<std::string> ranks;
  ListPodsRequest request{job, {}, 0, 10'000};
  while (true) {
    auto page = link.call_patiently_for<PodPage>(request);
    if (!page) {
      fail("salloc", slurm_error(page.error()));
      return std::nullopt;
    }
    for (const PodRow& row : page->rows) ranks.push_back(row.node);
    if (!page->more) return ranks;
    request.from_element = page->next_element;
  }
}

int run_here(const Words& words, const std::vector<std::string>& environment) {
  std::vector<char*> argv, env;
  Words copy = words;
  std::vector<std::string> variables = environment;
  for (std::string& word : copy) argv.push_back(word.data());
  argv.push_back(nullptr);
  for (std::string& variable : variables) env.push_back(variable.data());
  env.push_back(nullptr);
  pid_t child = -1;
  // The terminal's keys are for the command.
  struct sigaction ignore {
  }, before{};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGINT, &ignore, &before);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigfillset(&defaults);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  const int failed = posix_spawnp(&child, argv[0], nullptr, &attributes, argv.data(), env.data());
  posix_spawnattr_destroy(&attributes);
  if (failed != 0) {
    if (failed == ENOENT) return fail("salloc", fmt::format("_fork_command: Unable to find command \"{}\"", words[0]));
    return fail("salloc", fmt::format("Unable to exec command \"{}\": {}", words[0], std::strerror(failed)));
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    if (g_interrupted != 0) ::kill(child, SIGTERM);
  }
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace

int salloc(const Context& context, const Words& words) {
  const CommandTable& table = table_of("salloc");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  Given& given = *parsed;
  if (const auto code = answer_about_itself(table, given)) return *code;
  if (Status good = fill_from_environment(table, Reader::kSalloc, given); !good) {
    return fail("salloc", good.error().message);
  }
  if (given.has("verbose")) tell_ignored(table, given);
  const bool quiet = given.has("quiet");
  auto made = make_job(given, "interactive", JobUse::kPlace);
  if (!made) return fail_job("salloc", made.error(), kFailure);
  Launch wait = made->launch;
  wait.argv = {"/bin/sleep", "infinity"};
  wait.cwd = "/";
  wait.output_path = wait.error_path = "/dev/null";
  wait.env = {"PATH=/usr/bin:/bin"};
  wait.grace_ms = 1'000;
  made->spec.launch = encode_launch(wait);

  struct sigaction action {};
  action.sa_handler = on_interrupt;
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  ServerLink link(context);
  add_default_account(link, made->spec, made->launch.env);
  const auto done = submit(link, made->spec, false, 10'000);
  if (!done) return fail("salloc", kFailure + done.error().message);
  const JobId job = *done;
  const auto relinquish = [&] {
    if (!quiet) fmt::print(stderr, "salloc: Relinquishing job allocation {}\n", job.value);
    (void)link.call_patiently_for<Ok>(CancelRequest{job, std::nullopt}, 5'000);
  };
  const auto ranks = wait_for_nodes(link, job, quiet);
  if (!ranks) {
    relinquish();
    return 1;
  }
  if (!quiet) fmt::print(stderr, "salloc: Granted job allocation {}\n", job.value);
  if (given.has("no-shell")) return 0;
  if (given.has("bell")) fmt::print(stderr, "\a");
  const Words command = given.words.empty() ? Words{shell_of_user()} : given.words;
  const int code = run_here(command, environment_of(*made, job, *ranks));
  relinquish();
  return code;
}

}  // namespace berth::tools::slurm
