// `berth place`: where requests land on one machine, as a picture.
#include <memory>

#include "agent/io/topology_reader.h"
#include "tools/cli/command.h"
#include "tools/cli/json.h"
#include "tools/cli/output.h"
#include "tools/cli/terminal.h"
#include "tools/cli/text.h"
#include "tools/roots/place_request.h"
#include "tools/roots/topology_picture.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr const char* kPlaceDescription =
    "Shows where requests land on a machine: on which hardware threads, in the memory of which NUMA nodes, on which\n"
    "GPUs. Each request finds what those before it have left. Nothing runs, and no server is asked.\n"
    "\n"
    "A request is a list of KEY=VALUE with commas between:\n"
    "  cpus=N               whole cores, with all their hardware threads\n"
    "  threads-per-core=N   … using only so many of each core's\n"
    "  threads=N            single hardware threads, instead of cpus\n"
    "  mem=SIZE gpus=N\n"
    "  bind=LEVEL[:MODE]    stay within one l3, numa or package: prefer (the default) or require; or none\n"
    "\n"
    "In the picture every core is a cell: '.' is free, a capital letter a pod that has all of the core's hardware\n"
    "threads, a small one a pod that uses some, '*' several pods.";

constexpr const char* kPlaceExamples =
    "  berth place --request cpus=4,bind=l3:require\n"
    "  berth place --topology node7.xml --request cpus=8,gpus=2,mem=16G,bind=numa --request threads=3\n"
    "  ssh node7 lstopo --of xml > node7.xml      to get the topology of another machine";

struct PlaceOptions {
  std::string topology;
  std::vector<std::string> requests;
  bool json = false;
};

int print_json(const Topology& topology, const std::vector<PlacedRequest>& placed) {
  Output out;
  JsonWriter json(out);
  json.begin_array();
  for (const PlacedRequest& one : placed) {
    json.begin_object().field("request", std::string_view(one.text));
    json.field("cpuset", std::string_view(ranges_in_words(one.plan.threads)));
    json.field("claimed", std::string_view(ranges_in_words(one.plan.claimed)));
    json.key("memory").begin_array();
    for (const auto& [numa, mem_mib] : one.plan.mem_mib) {
      json.begin_object().field("numa", numa).field("mem_mib", mem_mib).end_object();
    }
    json.end_array().key("gpus").begin_array();
    for (const std::uint32_t gpu : one.plan.gpus) {
      const Topology::Device& device = topology.devices[gpu];
      json.begin_object()
          .field("name", std::string_view(device.name))
          .field("bus", std::string_view(device.bus))
          .end_object();
    }
    json.end_array().end_object();
  }
  json.end_array();
  json.end_document();
  return out.finish();
}

int run(const PlaceOptions& options) {
  std::vector<std::pair<std::string, placement::TopologyRequest>> requests;
  for (const std::string& text : options.requests) {
    auto request = parse_place_request(text);
    if (!request) return report(request.error(), true);
    requests.emplace_back(text, *request);
  }
  auto topology = agent::read_topology(options.topology);
  if (!topology) return report(topology.error(), true);
  placement::TopologyNode node(std::move(*topology));
  std::vector<PlacedRequest> placed;
  for (const auto& [text, request] : requests) {
    auto plan = node.place(request);
    if (!plan) return report(Error{plan.error().code, "", printable(text) + ": " + plan.error().message, 0});
    placed.push_back({text, std::move(*plan)});
  }
  if (options.json) return print_json(node.topology(), placed);
  Output out;
  out.write(topology_picture(node, placed, std::min<std::size_t>(terminal_width(), 100)));
  for (std::size_t i = 0; i < placed.size(); ++i) {
    out.write(std::string(i == 0 ? "\n" : "") + letter_of(i) + "  " + printable(placed[i].text) + ": " +
              plan_in_words(node.topology(), placed[i].plan) + "\n");
  }
  return out.finish();
}

}  // namespace

void add_place_command(CLI::App& app, Context& context) {
  CLI::App* command =
      add_command(app, "place", "Show where a request lands on a machine", kPlaceDescription, kPlaceExamples);
  command->group("About machines");
  auto options = std::make_shared<PlaceOptions>();
  command->add_option("--topology", options->topology, "XML of hwloc, as lstopo writes it; default: this machine")
      ->type_name("FILE");
  command->add_option("--request", options->requests, "what to place; may be given several times")
      ->type_name("REQUEST")
      ->allow_extra_args(false);
  command->add_flag("--json", options->json, "print the plans as JSON");
  on_run(command, context, [options] { return run(*options); });
}

}  // namespace berth::tools
