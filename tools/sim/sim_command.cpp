// `berth sim`: a job log under the production scheduler and a virtual clock.
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <tuple>
#include <unistd.h>

#include "state/units.h"
#include "tools/cli/command.h"
#include "tools/cli/json.h"
#include "tools/cli/output.h"
#include "tools/cli/table.h"
#include "tools/cli/terminal.h"
#include "tools/cli/text.h"
#include "tools/sim/plot.h"
#include "tools/sim/report.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr const char* kDescription =
    "Runs the jobs of a log through the scheduler that the server uses, under a virtual clock, and prints how long "
    "they\n"
    "waited. The log is in the Standard Workload Format, plain or gzip. Several policies are compared side by side.\n"
    "\n"
    "The cluster is one pool of as many processors as the log's machine had, unless --nodes and --cpus say otherwise.\n"
    "The slowdown of a job is (wait + run) / run, where a run counts as 10 s at least. A job that ran for longer than "
    "it\n"
    "asked for is taken to have asked for what it ran; jobs that never ran are left out. The same input gives the "
    "same\n"
    "output, speed aside.";

constexpr const char* kExamples =
    "  berth sim KTH-SP2.swf.gz\n"
    "  berth sim KTH-SP2.swf.gz --policy easy --policy default --by user\n"
    "  berth sim log.swf --nodes 64 --cpus 16 --policy easy --jobs starts.csv";

struct Options {
  std::string log;
  std::vector<std::string> policies;
  std::uint32_t nodes = 0, cpus = 0;
  std::string by, jobs, plot, fair_share, half_life, shares;
  bool exact = false, check = false, json = false;
};

struct Run {
  const scheduler::QueuePolicy* policy;
  SimResult result;
  SimFigures figures;
  double jobs_per_s = 0;
};

Result<SimCluster> cluster_of(const Options& options, const JobLog& log) {
  SimCluster cluster;
  if (options.nodes != 0 && options.cpus == 0) {
    return Error{ErrorCode::kInvalid, "--nodes", "needs --cpus N, the processors of each", 0};
  }
  cluster.nodes = std::max(options.nodes, 1U);
  cluster.cpus = options.cpus;
  if (cluster.cpus != 0) return cluster;
  if (log.processors == 0) {
    return Error{ErrorCode::kInvalid, "--cpus", "the log does not say how many processors its machine had", 0};
  }
  if (log.processors > 1'000'000) {
    return Error{ErrorCode::kInvalid, "--cpus",
                 "the log's machine has " + std::to_string(log.processors) + " processors; at most 1,000,000", 0};
  }
  cluster.cpus = static_cast<std::uint32_t>(log.processors);
  return cluster;
}

Status write_file(const std::string& path, std::string_view text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  int failed = fd < 0 ? errno : write_all(fd, text);
  if (fd >= 0 && ::close(fd) != 0 && failed == 0) failed = errno;
  if (failed == 0) return Unit{};
  return Error{ErrorCode::kInternal, "", path + ": " + std::strerror(failed), 0};
}

std::string number(double value, int digits = 0) { return fmt::format("{:.{}f}", value, digits); }

void print_runs(Output& out, const JobLog& log, const std::vector<Run>& runs) {
  Table table(out,
              {{"POLICY"},
               {"MEAN WAIT", true},
               {"P50", true},
               {"P95", true},
               {"MAX", true},
               {"MEAN SLOWDOWN", true},
               {"P50", true},
               {"P95", true},
               {"MAX", true},
               {"USED", true},
               {"AS IN LOG", true},
               {"JOBS/S", true}},
              0);
  for (const Run& run : runs) {
    const SimFigures& f = run.figures;
    const std::string same =
        f.in_log == 0 ? "-" : number(100.0 * static_cast<double>(f.as_in_log) / static_cast<double>(f.in_log), 2) + "%";
    table.add({{std::string(run.policy->name)},
               {number(f.wait_s.mean, 1) + "s"},
               {number(f.wait_s.p50) + "s"},
               {number(f.wait_s.p95) + "s"},
               {number(f.wait_s.most) + "s"},
               {number(f.slowdown.mean, 2)},
               {number(f.slowdown.p50, 2)},
               {number(f.slowdown.p95, 2)},
               {number(f.slowdown.most)},
               {number(f.utilisation_pct, 2) + "%"},
               {same},
               {number(run.jobs_per_s)}});
  }
  table.finish();
  if (log.left_out != 0)
    out.write(counted(log.left_out, "job") + " of the log never ran and " + (log.left_out == 1 ? "is" : "are") +
              " left out\n");
  if (log.raised != 0) out.write(counted(log.raised, "job") + " ran for longer than asked for\n");
}

using Groups = std::vector<std::map<std::uint32_t, Group>>;  // by run

Groups groups_of(const Options& options, const JobLog& log, const std::vector<Run>& runs) {
  Groups groups;
  for (const Run& run : runs) {
    groups.push_back(options.by == "user"    ? by_user(log, run.result)
                     : options.by == "group" ? by_group(log, run.result)
                                             : by_size(log, run.result));
  }
  return groups;
}

void print_groups(Output& out, const Options& options, const std::vector<Run>& runs, const Groups& groups) {
  std::vector<TableColumn> columns{{options.by == "user"    ? "USER"
                                    : options.by == "group" ? "GROUP"
                                                            : "PROCESSORS"},
                                   {"JOBS", true}};
  for (const Run& run : runs) {
    columns.push_back({"WAIT " + std::string(run.policy->name), true});
    columns.push_back({"SLOWDOWN", true});
  }
  out.write("\n");
  Table table(out, std::move(columns), 0);
  for (const auto& [key, first] : groups[0]) {
    std::vector<Cell> row{{options.by == "size" ? "up to " + std::to_string(key) : std::to_string(key)},
                          {std::to_string(first.jobs)}};
    for (const auto& of_run : groups) {
      row.push_back({number(of_run.at(key).wait_s) + "s"});
      row.push_back({number(of_run.at(key).slowdown, 2)});
    }
    table.add(std::move(row));
  }
  table.finish();
}

void json_spread(JsonWriter& json, const std::string& name, const Spread& spread) {
  json.field("mean_" + name, spread.mean).field("p50_" + name, spread.p50);
  json.field("p95_" + name, spread.p95).field("max_" + name, spread.most);
}

int print_json(const Options& options, const JobLog& log, const SimCluster& cluster, const std::vector<Run>& runs) {
  Output out;
  JsonWriter json(out);
  const Groups groups = options.by.empty() ? Groups{} : groups_of(options, log, runs);
  json.begin_array();
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const Run& run = runs[i];
    json.begin_object().field("policy", run.policy->name).field("jobs", run.figures.jobs);
    json.field("left_out", log.left_out).field("nodes", cluster.nodes).field("cpus_per_node", cluster.cpus);
    json_spread(json, "wait_s", run.figures.wait_s);
    json_spread(json, "slowdown", run.figures.slowdown);
    json.field("utilisation_pct", run.figures.utilisation_pct);
    json.field("starts_in_log", run.figures.in_log).field("starts_as_in_log", run.figures.as_in_log);
    json.field("waiting_most", std::uint64_t{run.result.waiting_most}).field("passes", run.result.passes);
    json.field("jobs_per_s", run.jobs_per_s);
    if (!groups.empty()) {
      json.key("by_" + options.by).begin_array();
      for (const auto& [key, group] : groups[i]) {
        json.begin_object().field(options.by, key).field("jobs", group.jobs).field("mean_wait_s", group.wait_s);
        json.field("mean_slowdown", group.slowdown).end_object();
      }
      json.end_array();
    }
    json.end_object();
  }
  json.end_array();
  json.end_document();
  return out.finish();
}

// "8=3,2=1": of group 8 three shares, of group 2 one.
Status set_shares(const Options& options, SimOptions& sim) {
  for (const auto& [text, option, to] :
       {std::tuple{&options.fair_share, "--fair-share", true}, std::tuple{&options.half_life, "--half-life", false}}) {
    if (text->empty()) continue;
    const auto ms = parse_duration_ms(*text, option);
    if (!ms) return ms.error();
    if (to) {
      sim.shares.head_start = *ms * 1000;
    } else {
      sim.shares.half_life = *ms * 1000;
    }
  }
  if (options.fair_share.empty() && !(options.half_life.empty() && options.shares.empty())) {
    return invalid("--fair-share", "is needed for shares to decide anything");
  }
  if (options.shares.empty()) return Unit{};
  for (const std::string& word : split(options.shares, ',')) {
    const std::size_t sign = word.find('=');
    const auto group = parse_integer(word.substr(0, sign), "--shares", 0, 1'000'000'000);
    const auto shares = sign == std::string::npos ? Result<std::int64_t>(invalid("--shares", ""))
                                                  : parse_integer(word.substr(sign + 1), "--shares", 1, kSharesMax);
    if (!group || !shares) {
      return invalid("--shares",
                     "'" + printable(word) + "'; accepted: GROUP=SHARES, with commas between, as in 8=3,2=1");
    }
    sim.group_shares[static_cast<std::uint32_t>(*group)] = static_cast<std::uint32_t>(*shares);
  }
  return Unit{};
}

int run(const Options& options) {
  std::vector<const scheduler::QueuePolicy*> policies;
  for (const std::string& name : options.policies) {
    const auto policy = scheduler::parse_queue_policy(name, "--policy");
    if (!policy) return report(policy.error(), true);
    policies.push_back(*policy);
  }
  if (policies.empty()) policies = {scheduler::find_queue_policy("easy"), &scheduler::default_queue_policy()};
  if (!options.jobs.empty() && policies.size() != 1) {
    return report({ErrorCode::kInvalid, "--jobs", "writes the schedule of one policy: name it with --policy", 0}, true);
  }
  auto log = read_job_log(options.log);
  if (!log) return report(log.error());
  const auto cluster = cluster_of(options, *log);
  if (!cluster) return report(cluster.error(), true);
  SimOptions sim;
  sim.cluster = *cluster;
  sim.exact_limits = options.exact;
  sim.check = options.check;
  if (Status good = set_shares(options, sim); !good) return report(good.error(), true);
  std::vector<Run> runs;
  for (const auto* policy : policies) {
    const auto begin = std::chrono::steady_clock::now();
    sim.policy = policy;
    auto result = simulate(*log, sim);
    const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    if (!result) return report(result.error());
    SimFigures figures = figures_of(*log, *cluster, *result);
    runs.push_back({policy, std::move(*result), figures, took > 0 ? static_cast<double>(log->jobs.size()) / took : 0});
  }
  if (!options.jobs.empty()) {
    if (Status good = write_file(options.jobs, jobs_csv(*log, runs[0].result)); !good) return report(good.error());
  }
  if (!options.plot.empty()) {
    std::vector<PlottedRun> plotted;
    for (const Run& one : runs) plotted.push_back({std::string(one.policy->name), &one.result});
    if (Status good = write_file(options.plot, plot_svg(*log, *cluster, plotted)); !good) return report(good.error());
  }
  if (options.json) return print_json(options, *log, *cluster, runs);
  Output out;
  out.write(counted(log->jobs.size(), "job") + " on " +
            (cluster->nodes == 1 ? "" : counted(cluster->nodes, "node") + " with ") +
            counted(cluster->cpus, "processor") + (cluster->nodes == 1 ? "\n" : " each\n"));
  print_runs(out, *log, runs);
  if (!options.by.empty()) print_groups(out, options, runs, groups_of(options, *log, runs));
  return out.finish();
}

}  // namespace

void add_sim_command(CLI::App& app, Context& context) {
  CLI::App* command =
      add_command(app, "sim", "Run a job log through the scheduler under a virtual clock", kDescription, kExamples);
  command->group("About machines");
  auto options = std::make_shared<Options>();
  std::string policies;
  for (const auto& policy : scheduler::queue_policies()) {
    policies += (policies.empty() ? "" : "; ") + std::string(policy.name) + ": " + std::string(policy.summary);
  }
  command->add_option("LOG", options->log, "the log, in the Standard Workload Format")->required();
  command
      ->add_option("--policy", options->policies,
                   "the order of the queue, several times to compare; default: easy and default (" + policies + ")")
      ->type_name("NAME")
      ->allow_extra_args(false);
  command->add_option("--nodes", options->nodes, "nodes of the cluster; a job is spread over them by processors")
      ->type_name("N")
      ->check(CLI::Range(1U, 1'000'000U));
  command->add_option("--cpus", options->cpus, "processors of each node, or of the pool")
      ->type_name("N")
      ->check(CLI::Range(1U, 1'000'000U));
  command->add_flag("--exact-limits", options->exact, "as if every user had known the run time exactly");
  command->add_option("--by", options->by, "also the means by user, by group or by size")
      ->type_name("WHAT")
      ->check(CLI::IsMember({"user", "group", "size"}));
  command
      ->add_option("--fair-share", options->fair_share,
                   "the log's groups have shares, their users equal ones of those: how far who used the least stands "
                   "before who used the most")
      ->type_name("TIME");
  command->add_option("--half-life", options->half_life, "half of what was used is forgotten after this (default: 7d)")
      ->type_name("TIME");
  command->add_option("--shares", options->shares, "of the groups: GROUP=N,… (default: 1 each)")->type_name("LIST");
  command->add_option("--jobs", options->jobs, "write a line for each job to this file, as CSV")->type_name("FILE");
  command->add_option("--plot", options->plot, "draw processors in use and jobs that wait over time, as SVG")
      ->type_name("FILE");
  command->add_flag("--check", options->check, "check the scheduler's invariants at every step; slow");
  command->add_flag("--json", options->json, "print the figures as JSON");
  on_run(command, context, [options] { return run(*options); });
}

}  // namespace berth::tools
