// What `berth agent --check` says.
#include <cerrno>
#include <stdlib.h>
#include <unistd.h>

#include "agent/io/agent.h"
#include "agent/io/discovery.h"
#include "agent/io/identity.h"
#include "agent/io/topology_reader.h"
#include "agent/net/node_network.h"
#include "state/units.h"

namespace berth::agent {

using namespace state;

namespace {

std::string limits_line(const Cgroups& cgroups) {
  if (!cgroups.usable()) return "limits     none: " + cgroups.why_none();
  std::string line = "limits     " + cgroups.limits() + ":";
  for (const std::string& controller : cgroups.controllers()) line += " " + controller;
  if (!cgroups.unified_mount().empty()) line += " (hybrid: " + cgroups.unified_mount() + " is hidden from crun)";
  return line;
}

std::string users_line() {
  if (geteuid() == 0) return "users      pods run as the user who submitted them";
  return "users      pods of uid " + std::to_string(geteuid()) + " only, because the agent does not run as root";
}

}  // namespace

Result<std::vector<std::string>> check_node(const AgentOptions& options) {
  char directory[] = "/tmp/berth-check-XXXXXX";
  if (mkdtemp(directory) == nullptr) return system_error("make the directory", directory, errno);
  const Layout layout(directory);
  struct Remove {
    const char* path;
    ~Remove() { remove_tree(path); }
  } remove{directory};
  if (auto made = layout.make(); !made) return made.error();

  std::vector<std::string> lines;
  const NodeFacts facts = discover_node();
  lines.push_back("node       " + (options.node_name.empty() ? host_name() : options.node_name));
  lines.push_back("cpus       " + std::to_string(facts.cpus) + " (" + std::to_string(facts.cores) + " cores, " +
                  std::to_string(facts.sockets) + " sockets, " + std::to_string(facts.numa_nodes) + " NUMA nodes)");
  lines.push_back("memory     " + format_mem_mib(facts.mem_mib));
  const auto topology = read_topology("");
  lines.push_back("cores      " + (topology ? "pods that ask for whole cpus get cores of their own (" +
                                                  std::to_string(topology->domains.size()) + " parts known)"
                                            : topology.error().message));
  lines.push_back("gpus       " + std::to_string(facts.gpus) + (facts.gpus != 0 ? " " + facts.gpu_names : ""));

  PodContext context;
  context.node_name = "check";
  context.instance = "check" + std::to_string(getpid());
  context.layout = &layout;
  const Cgroups cgroups = Cgroups::detect({.instance = context.instance});
  context.cgroups = &cgroups;
  lines.push_back(limits_line(cgroups));
  lines.push_back(users_line());
  const std::string missing = missing_for_pod_network({});
  lines.push_back("network    " + (missing.empty() ? "pods can have addresses of their own, services are led to pods"
                                                   : "no pod network: " + missing));

  wire::Loop loop;
  ShimLauncher launcher(loop);
  if (auto ready = launcher.prepare(layout.root()); !ready) return ready.error();
  Runtimes runtimes(loop, launcher, context, RuntimeChoice::kAuto);
  int left = 2;
  for (const Runtime::Kind kind : {Runtime::Kind::kCrun, Runtime::Kind::kRunc}) {
    loop.post([&, kind] {
      runtimes.probe(kind, [&, kind](Result<Runtime> result) {
        lines.push_back(std::string("runtime    ") + (result
                                                          ? std::string(name_of(kind)) + " works (" + result->path + ")"
                                                          : result.error().message));
        if (--left == 0) loop.stop();
      });
    });
  }
  loop.run();
  for (const std::string& name : cgroups.names()) cgroups.remove(name, "");
  cgroups.remove_parents();
  return lines;
}

}  // namespace berth::agent
