#include "tools/cli/node_asking.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>

#include "state/condition.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr std::size_t kAtOnce = 64;

// The condition of a queue on its nodes.
Result<Condition> condition_of(ServerLink& link, const std::string& queue) {
  const auto page = link.call_for<QueuePage>(ListQueuesRequest{});
  if (!page) return page.error();
  for (const Queue& known : page->queues) {
    if (known.name == queue) return Condition::parse(known.where, "queue");
  }
  return Error{ErrorCode::kNotFound, "", "there is no queue '" + printable(queue) + "'", 0};
}

}  // namespace

void add_node_choice(CLI::App* command, NodeChoice& choice) {
  command->add_option("--node", choice.nodes, "on these nodes, as in n1,n[5-20] (default: all that are connected)")
      ->type_name("NODES");
  command->add_option("--queue", choice.queue, "on the nodes of this queue")->type_name("QUEUE");
}

Result<std::vector<NodeRow>> choose_nodes(ServerLink& link, const NodeChoice& choice) {
  std::vector<std::string> wanted;
  if (!choice.nodes.empty()) {
    auto names = parse_name_list(choice.nodes, "--node");
    if (!names) return names.error();
    wanted = std::move(*names);
    std::sort(wanted.begin(), wanted.end());
  }
  Condition where;
  if (!choice.queue.empty()) {
    auto condition = condition_of(link, choice.queue);
    if (!condition) return condition.error();
    where = std::move(*condition);
  }
  std::vector<NodeRow> chosen;
  ListNodesRequest request;
  do {
    auto page = link.call_for<NodePage>(request);
    if (!page) return page.error();
    for (NodeRow& row : page->rows) {
      const bool named = wanted.empty() || std::binary_search(wanted.begin(), wanted.end(), row.info.name);
      if (named && where.holds(row.info.name, row.info.features)) chosen.push_back(std::move(row));
    }
    request.after = page->next;
  } while (request.after);
  std::sort(chosen.begin(), chosen.end(), [](const NodeRow& a, const NodeRow& b) { return a.info.name < b.info.name; });
  for (const std::string& name : wanted) {
    const auto at =
        std::find_if(chosen.begin(), chosen.end(), [&](const NodeRow& row) { return row.info.name == name; });
    if (at == chosen.end()) {
      return Error{ErrorCode::kNotFound, "",
                   "there is no node '" + printable(name) + "'" +
                       (choice.queue.empty() ? "" : " in queue '" + printable(choice.queue) + "'"),
                   0};
    }
    if (!at->connected) return Error{ErrorCode::kUnavailable, "", "node '" + name + "' is not connected", 0};
  }
  std::erase_if(chosen, [](const NodeRow& row) { return !row.connected; });
  return chosen;
}

Status ask_nodes(ServerLink& link, const std::vector<NodeRow>& nodes,
                 const std::function<NodeRequest(const std::string& node)>& question,
                 const std::function<void(const NodeRow&, Result<ServerReply>)>& answered) {
  std::map<std::uint64_t, const NodeRow*> open;
  auto next = nodes.begin();
  while (next != nodes.end() || !open.empty()) {
    if (next != nodes.end() && open.size() < kAtOnce) {
      const auto number = link.client().send(question(next->info.name));
      if (!number) return number.error();
      open.emplace(*number, &*next++);
      continue;
    }
    auto message = link.client().receive(-1);
    if (!message) return message.error();
    const auto asked = open.find(message->request);
    auto* reply = std::get_if<ServerReply>(&message->body);
    if (asked == open.end() || reply == nullptr) {
      return Error{ErrorCode::kProtocol, "", "the server sent an unexpected reply", 0};
    }
    const NodeRow& node = *asked->second;
    open.erase(asked);
    auto* error = std::get_if<Error>(reply);
    answered(node, error != nullptr ? Result<ServerReply>(std::move(*error)) : Result<ServerReply>(std::move(*reply)));
  }
  return Unit{};
}

std::string format_bytes(std::uint64_t bytes) {
  static constexpr std::array<const char*, 5> kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  double size = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (size >= 1024 && unit + 1 < kUnits.size()) size /= 1024, ++unit;
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), size < 10 && bytes % 1024 != 0 ? "%.1f %s" : "%.0f %s", size, kUnits[unit]);
  return text.data();
}

}  // namespace berth::tools
