#include "tools/cli/top_command.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>

#include "state/units.h"
#include "tools/cli/job_name.h"
#include "tools/cli/list_commands.h"
#include "tools/cli/node_asking.h"
#include "tools/cli/rows.h"
#include "tools/cli/terminal.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr std::int64_t kFirstLookMs = 500;  // between the two looks that a rate needs

struct NodeUse {
  std::string name;
  std::uint32_t cpus = 0;
  double busy_cpus = 0;
  std::uint64_t mem_bytes = 0, mem_used_bytes = 0;
  std::uint64_t pods = 0;
};

struct PodNow {
  std::string node;
  PodTop pod;
  double cpus = 0;  // since the last look; at the first since it started
  TimeUs at = 0;
};

std::string in_cpus(double cpus) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", cpus);
  return text;
}

std::string name_of_pod(const PodTop& pod) {
  if (pod.step_of != JobId{}) {
    return std::to_string(pod.step_of.value) + " step " + std::to_string(pod.step) + "." + std::to_string(pod.index);
  }
  return std::to_string(pod.ref.pod.job.value) + "." + std::to_string(pod.index);
}

const std::vector<Column<NodeUse>>& columns_for(const NodeUse*) {
  using Row = NodeUse;
  static const std::vector<Column<Row>> columns = {
      {"NODE", false, false, [](const Row& r, TimeUs) { return Cell{r.name}; }},
      {"CPUS BUSY", true, false,
       [](const Row& r, TimeUs) { return Cell{in_cpus(r.busy_cpus) + "/" + std::to_string(r.cpus)}; }},
      {"MEMORY", true, false,
       [](const Row& r, TimeUs) { return Cell{format_bytes(r.mem_used_bytes) + "/" + format_bytes(r.mem_bytes)}; }},
      {"PODS", true, false, [](const Row& r, TimeUs) { return Cell{std::to_string(r.pods)}; }},
  };
  return columns;
}

const std::vector<Column<PodNow>>& columns_for(const PodNow*) {
  using Row = PodNow;
  static const std::vector<Column<Row>> columns = {
      {"POD", false, false, [](const Row& r, TimeUs) { return Cell{name_of_pod(r.pod)}; }},
      {"NAME", false, false, [](const Row& r, TimeUs) { return Cell{clip(printable(r.pod.job_name), 24)}; }},
      {"USER", false, false, [](const Row& r, TimeUs) { return Cell{printable(r.pod.user)}; }},
      {"NODE", false, false, [](const Row& r, TimeUs) { return Cell{r.node}; }},
      {"CPUS", true, false,
       [](const Row& r, TimeUs) { return Cell{in_cpus(r.cpus) + "/" + format_cpu_milli(r.pod.resources.cpu_milli)}; }},
      {"CPU TIME", true, false,
       [](const Row& r, TimeUs) {
         return Cell{
             format_duration_ms(static_cast<std::int64_t>((r.pod.use.cpu_user_us + r.pod.use.cpu_system_us) / 1000))};
       }},
      {"MEMORY", true, false,
       [](const Row& r, TimeUs) {
         const std::uint64_t limit = r.pod.resources.mem_mib << 20;
         return Cell{format_bytes(r.pod.mem_bytes) + (limit == 0 ? "" : "/" + format_bytes(limit))};
       }},
      {"PEAK", true, false, [](const Row& r, TimeUs) { return Cell{format_bytes(r.pod.mem_peak_bytes)}; }},
      {"READ", true, false, [](const Row& r, TimeUs) { return Cell{format_bytes(r.pod.use.read_bytes)}; }},
      {"WRITTEN", true, false, [](const Row& r, TimeUs) { return Cell{format_bytes(r.pod.use.written_bytes)}; }},
      {"PROCESSES", true, false, [](const Row& r, TimeUs) { return Cell{std::to_string(r.pod.processes)}; }},
  };
  return columns;
}

void write_fields(JsonWriter& json, const NodeUse& r) {
  json.field("node", std::string_view(r.name)).field("cpus", r.cpus).field("cpus_busy", r.busy_cpus);
  json.field("mem_bytes", r.mem_bytes).field("mem_used_bytes", r.mem_used_bytes).field("pods", r.pods);
}

void write_fields(JsonWriter& json, const PodNow& r) {
  const PodTop& pod = r.pod;
  json.field("job", pod.ref.pod.job.value).field("index", pod.index).field("attempt", pod.ref.attempt);
  if (pod.step_of != JobId{}) json.field("step_of", pod.step_of.value).field("step", pod.step);
  json.field("name", std::string_view(pod.job_name)).field("user", std::string_view(pod.user));
  json.field("node", std::string_view(r.node)).time("started_at_us", pod.started_at);
  write_resources(json, pod.resources);
  json.field("cpus_used", r.cpus).field("cpu_user_us", pod.use.cpu_user_us);
  json.field("cpu_system_us", pod.use.cpu_system_us).field("mem_bytes", pod.mem_bytes);
  json.field("mem_peak_bytes", pod.mem_peak_bytes).field("read_bytes", pod.use.read_bytes);
  json.field("written_bytes", pod.use.written_bytes).field("processes", pod.processes);
}

struct Look {
  TimeUs at = 0;
  std::uint64_t us = 0;
};

double rate(const Look& before, const Look& now) {
  if (now.at <= before.at || now.us < before.us) return 0;
  return static_cast<double>(now.us - before.us) / static_cast<double>(now.at - before.at);
}

// Looks again and again; what was seen the last time makes the rates.
class Watcher {
 public:
  Watcher(ServerLink& link, const NodeChoice& choice, JobId job) : link_(link), choice_(choice), job_(job) {}

  Status look() {
    if (nodes_.empty()) {
      auto nodes = choose_nodes(link_, choice_);
      if (!nodes) return nodes.error();
      nodes_ = std::move(*nodes);
    }
    nodes_now.clear();
    pods_now.clear();
    refusals.clear();
    const auto question = [&](const std::string& node) { return NodeRequest(TopRequest{node, job_}); };
    const Status done = ask_nodes(link_, nodes_, question, [&](const NodeRow& node, Result<ServerReply> reply) {
      auto* page = reply ? std::get_if<TopPage>(&*reply) : nullptr;
      if (page != nullptr) return take(node.info.name, *page);
      refusals.push_back(node.info.name + ": " +
                         (reply ? "the server sent an unexpected reply" : printable(reply.error().message)));
    });
    std::sort(nodes_now.begin(), nodes_now.end(), [](const NodeUse& a, const NodeUse& b) { return a.name < b.name; });
    std::sort(pods_now.begin(), pods_now.end(), [](const PodNow& a, const PodNow& b) {
      return a.cpus != b.cpus ? a.cpus > b.cpus : a.pod.ref < b.pod.ref;
    });
    // Nodes come and go; a reconnection asks which there are.
    if (!done || !refusals.empty()) nodes_.clear();
    return done;
  }

  std::vector<NodeUse> nodes_now;
  std::vector<PodNow> pods_now;
  std::vector<std::string> refusals;

 private:
  void take(const std::string& name, TopPage& page) {
    NodeUse node{name, page.cpus, 0, page.mem_bytes, page.mem_used_bytes, page.pods.size()};
    const Look machine{page.at, page.busy_us};
    if (const auto before = machines_.find(name); before != machines_.end())
      node.busy_cpus = rate(before->second, machine);
    machines_[name] = machine;
    nodes_now.push_back(std::move(node));
    for (PodTop& pod : page.pods) {
      const Look now{page.at, pod.use.cpu_user_us + pod.use.cpu_system_us};
      Look& before = pods_[pod.ref];
      if (before.at == 0) before = {pod.started_at, 0};
      PodNow row{name, std::move(pod), rate(before, now), page.at};
      before = now;
      pods_now.push_back(std::move(row));
    }
  }

  ServerLink& link_;
  const NodeChoice& choice_;
  const JobId job_;
  std::vector<NodeRow> nodes_;
  std::map<std::string, Look> machines_;
  std::map<PodRef, Look> pods_;
};

struct TopOptions {
  NodeChoice nodes;
  std::string job, every = "2s", format;
  bool once = false;
};

template <class Row>
void list(const TopOptions& options, const std::vector<Row>& rows, Output& out) {
  Listing<Row> listing(out, format_of(options.format), clock_us(), listing_width());
  for (const Row& row : rows) listing.add(row);
  listing.finish();
}

int top(const Context& context, const TopOptions& options, bool of_pods) {
  JobId job;
  if (!options.job.empty()) {
    const auto id = parse_job_id(options.job);
    if (!id) return report(id.error(), true);
    job = *id;
  }
  const auto every = parse_duration_ms(options.every, "--every");
  if (!every) return report(every.error(), true);
  const bool live = stdout_is_terminal() && !options.once && format_of(options.format) != Format::kJson;
  ServerLink link(context);
  if (Status connected = link.connect(); !connected) return fail(connected.error());
  Watcher watcher(link, options.nodes, job);
  // The machine's rate needs two looks; a pod's first is since it started.
  if (!of_pods) {
    if (Status done = watcher.look(); !done) return fail(done.error());
    sleep_ms(kFirstLookMs);
  }
  Output out;
  while (true) {
    Status done = watcher.look();
    if (!done && live && ServerLink::is_lost(done.error())) done = link.reconnect(ServerLink::kPatienceMs);
    if (!done) return fail(done.error());
    if (live) out.write("\x1b[H\x1b[2J");
    if (of_pods) {
      list(options, watcher.pods_now, out);
    } else {
      list(options, watcher.nodes_now, out);
    }
    out.flush();
    for (const std::string& refusal : watcher.refusals) note(refusal);
    if (!live || out.failed()) break;
    sleep_ms(*every);
  }
  const int written = out.finish();
  return watcher.refusals.empty() ? written : kExitRefused;
}

}  // namespace

void add_top_command(CLI::App& app, Context& context) {
  CLI::App* command = add_command(
      app, "top", "Show what nodes and pods use now",
      "Asks the nodes themselves, which look only when they are asked. On a terminal it goes on until it is "
      "ended; elsewhere, and as JSON, it shows one look.",
      "berth top nodes\nberth top pods\nberth top pods 12 --once");
  command->require_subcommand(1);
  auto options = std::make_shared<TopOptions>();
  const auto common = [&](CLI::App* below) {
    add_node_choice(below, options->nodes);
    below->add_option("--every", options->every, "how often, on a terminal")->type_name("TIME")->capture_default_str();
    below->add_flag("--once", options->once, "one look, on a terminal as well");
    add_format_option(below, options->format, false);
  };
  CLI::App* nodes =
      add_command(*command, "nodes", "Cpus and memory of nodes",
                  "Of the whole machine, whoever uses it, and the number of pods of yours that run there; "
                  "an administrator's number is of all.",
                  "berth top nodes --queue gpu");
  common(nodes);
  on_run(nodes, context, [options, &context] { return top(context, *options, false); });
  CLI::App* pods =
      add_command(*command, "pods", "Cpus, memory and disk of pods that run",
                  "Yours, or for an administrator all; who uses the most cpu comes first. CPUS is since the "
                  "look before, and at the first since the pod started.",
                  "berth top pods\nberth top pods 12 -o json");
  pods->add_option("job", options->job, "only of this job and its steps")->type_name("JOB");
  common(pods);
  on_run(pods, context, [options, &context] { return top(context, *options, true); });
}

}  // namespace berth::tools
