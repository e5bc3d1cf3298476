// sinfo: queues and nodes.
#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <set>

#include "state/units.h"
#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/columns.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/nodes.h"
#include "tools/slurm/options.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

// Nodes that look the same in what is shown of them, and the queue in which the first of them was found.
struct NodeLine {
  const Queue* queue = nullptr;
  std::vector<const NodeRow*> nodes;
};

std::string range(const NodeLine& line, std::uint64_t (*of)(const NodeRow&)) {
  if (line.nodes.empty()) return "0";
  std::uint64_t least = of(*line.nodes[0]), most = least;
  for (const NodeRow* node : line.nodes) {
    least = std::min(least, of(*node));
    most = std::max(most, of(*node));
  }
  return std::to_string(least) + (most != least ? "+" : "");
}

struct Totals {
  std::uint64_t allocated = 0, idle = 0, other = 0, total = 0;
};
Totals cpus(const NodeLine& line) {
  Totals sum;
  for (const NodeRow* node : line.nodes) {
    const std::uint64_t all = node->info.capacity.cpu_milli / 1000, used = node_cpus_used(*node);
    sum.total += all;
    sum.allocated += used;
    (node_is_open(*node) ? sum.idle : sum.other) += all - std::min(all, used);
  }
  return sum;
}
Totals nodes(const NodeLine& line) {
  Totals sum;
  for (const NodeRow* node : line.nodes) {
    ++sum.total;
    if (!node_is_open(*node)) {
      ++sum.other;
    } else {
      ++(node->pods != 0 ? sum.allocated : sum.idle);
    }
  }
  return sum;
}

std::string names(const NodeLine& line) {
  std::vector<std::string> list;
  for (const NodeRow* node : line.nodes) list.push_back(node->info.name);
  return hostlist(std::move(list));
}

std::string state_of(const NodeLine& line, bool compact) {
  return line.nodes.empty() ? "n/a" : node_state_text(*line.nodes[0], compact);
}

using LineField = Field<NodeLine>;
const std::vector<LineField>& line_fields() {
  static const std::vector<LineField> all = [] {
    const auto constant = [](const char* text) { return [text](const NodeLine&) { return std::string(text); }; };
    const auto first = [](const NodeLine& l) -> const NodeRow* { return l.nodes.empty() ? nullptr : l.nodes[0]; };
    const auto features = [first](const NodeLine& l) {
      const NodeRow* node = first(l);
      return node == nullptr || node->info.features.empty() ? std::string("(null)") : join(node->info.features, ",");
    };
    const auto gres = [first](const NodeLine& l) {
      const NodeRow* node = first(l);
      const std::string text = node == nullptr ? "" : gres_text(node->info.capacity.gpus, node->info.counts);
      return text.empty() ? std::string("(null)") : text;
    };
    const auto used_gres = [first](const NodeLine& l) {
      const NodeRow* node = first(l);
      const std::string text = node == nullptr ? "" : gres_text(node->used.gpus, node->counts_used);
      return text.empty() ? std::string("(null)") : text;
    };
    const auto host = [first](const NodeLine& l) {
      const NodeRow* node = first(l);
      return node == nullptr ? std::string() : node->info.name;
    };
    const auto reason = [first](const NodeLine& l) {
      const NodeRow* node = first(l);
      return node == nullptr || node->reason.empty() ? std::string("none") : node->reason;
    };
    const auto cpu_range = [](const NodeLine& l) {
      return range(l, [](const NodeRow& n) { return std::uint64_t{n.info.capacity.cpu_milli / 1000}; });
    };
    const auto mem_range = [](const NodeLine& l) {
      return range(l, [](const NodeRow& n) { return n.info.capacity.mem_mib; });
    };
    return std::vector<LineField>{
        {"available", 'a', "AVAIL", [](const NodeLine& l) { return queue_state_text(*l.queue); }},
        {"nodeai", 'A', "NODES(A/I)",
         [](const NodeLine& l) {
           const Totals n = nodes(l);
           return fmt::format("{}/{}", n.allocated, n.idle);
         },
         Of::kAll},
        {"features_act", 'b', "ACTIVE_FEATURES", features},
        {"maxcpuspernode", 'B', "MAX_CPUS_PER_NODE", constant("UNLIMITED")},
        {"cpus", 'c', "CPUS", cpu_range, Of::kRange},
        {"cpusstate", 'C', "CPUS(A/I/O/T)",
         [](const NodeLine& l) {
           const Totals c = cpus(l);
           return fmt::format("{}/{}/{}/{}", c.allocated, c.idle, c.other, c.total);
         },
         Of::kAll},
        {"disk", 'd', "TMP_DISK", constant("0")},
        {"nodes", 'D', "NODES", [](const NodeLine& l) { return std::to_string(l.nodes.size()); }, Of::kAll},
        {"freemem", 'e', "FREE_MEM",
         [](const NodeLine& l) {
           return range(l, [](const NodeRow& n) {
             return n.info.capacity.mem_mib - std::min(n.info.capacity.mem_mib, n.used.mem_mib);
           });
         },
         Of::kRange},
        {"reason", 'E', "REASON", reason},
        {"features", 'f', "AVAIL_FEATURES", features},
        {"nodeaiot", 'F', "NODES(A/I/O/T)",
         [](const NodeLine& l) {
           const Totals n = nodes(l);
           return fmt::format("{}/{}/{}/{}", n.allocated, n.idle, n.other, n.total);
         },
         Of::kAll},
        {"groups", 'g', "GROUPS", constant("all")},
        {"gres", 'G', "GRES", gres},
        {"gresused", 0, "GRES_USED", used_gres},
        {"oversubscribe", 'h', "OVERSUBSCRIBE", constant("NO")},
        {"timestamp", 'H', "TIMESTAMP", constant("Unknown")},
        {"priorityjobfactor", 'I', "PRIO_JOB_FACTOR",
         [](const NodeLine& l) { return std::to_string(l.queue->priority); }},
        {"time", 'l', "TIMELIMIT",
         [](const NodeLine& l) {
           return l.queue->time_limit_ms == 0 ? "infinite" : limit_text(l.queue->time_limit_ms);
         }},
        {"defaulttime", 'L', "DEFAULTTIME",
         [](const NodeLine& l) {
           const std::int64_t ms = l.queue->time_default_ms != 0 ? l.queue->time_default_ms : l.queue->time_limit_ms;
           return ms == 0 ? "n/a" : limit_text(ms);
         }},
        {"memory", 'm', "MEMORY", mem_range, Of::kRange},
        {"preemptmode", 'M', "PREEMPT_MODE", [](const NodeLine& l) { return upper(name_of(l.queue->preempt)); }},
        {"nodehost", 'n', "HOSTNAMES", host},
        {"nodelist", 'N', "NODELIST", names, Of::kAll},
        {"nodeaddr", 'o', "NODE_ADDR", host},
        {"cpusload", 'O', "CPU_LOAD", constant("N/A")},
        {"prioritytier", 'p', "PRIO_TIER", [](const NodeLine& l) { return std::to_string(l.queue->tier); }},
        {"partition", 'P', "PARTITION",
         [](const NodeLine& l) { return l.queue->name + (l.queue->name == "default" ? "*" : ""); }},
        {"partitionname", 'R', "PARTITION", [](const NodeLine& l) { return l.queue->name; }},
        {"root", 'r', "ROOT", constant("no")},
        {"size", 's', "JOB_SIZE", constant("1-infinite")},
        {"allocnodes", 'S', "ALLOCNODES", constant("all")},
        {"statecompact", 't', "STATE", [](const NodeLine& l) { return state_of(l, true); }},
        {"statelong", 'T', "STATE", [](const NodeLine& l) { return state_of(l, false); }},
        {"statecomplete", 0, "STATECOMPLETE", [](const NodeLine& l) { return state_of(l, false); }},
        {"user", 'u', "USER", constant("Unknown")},  // who drained it is not kept
        {"userlong", 'U', "USER", constant("Unknown")},
        {"version", 'v', "VERSION",
         [first](const NodeLine& l) {
           return first(l) == nullptr ? std::string() : "berth-" + first(l)->info.version;
         }},
        {"cluster", 'V', "CLUSTER", constant("N/A")},
        {"comment", 0, "COMMENT", constant("(null)")},
        {"extra", 0, "EXTRA", constant("(null)")},
        {"share", 0, "OVERSUBSCRIBE", constant("NO")},
        {"weight", 'w', "WEIGHT", constant("1")},
        {"sockets", 'X', "SOCKETS", constant("1")},
        {"cores", 'Y', "CORES", cpu_range, Of::kRange},
        {"threads", 'Z', "THREADS", constant("1")},
        {"socketcorethread", 'z', "S:C:T", [cpu_range](const NodeLine& l) { return "1:" + cpu_range(l) + ":1"; },
         Of::kRange},
        {"allocmem", 0, "ALLOCMEM",
         [](const NodeLine& l) { return range(l, [](const NodeRow& n) { return n.used.mem_mib; }); }, Of::kRange},
    };
  }();
  return all;
}

std::vector<Column<NodeLine>> all_letters() {
  std::vector<Column<NodeLine>> columns;
  for (const char first : {'a', 'A'}) {
    for (char letter = first; letter <= first + ('z' - 'a'); ++letter) {
      for (const LineField& field : line_fields()) {
        if (field.letter == letter) columns.push_back({&field, 0, false, first == 'a' ? "|" : " |"});
      }
    }
  }
  columns.back().text = " ";
  return columns;
}

constexpr const char* kDefault = "partition:9 ,available:.5 ,time:.10 ,nodes:.6 ,statecompact:.6 ,nodelist:0";
constexpr const char* kLong =
    "partition:9 ,available:.5 ,time:.10 ,size:.10 ,root:.4 ,oversubscribe:.8 ,groups:.10 ,nodes:.6 ,statelong:.11 "
    ",nodelist:0";
constexpr const char* kNode = "nodelist:8 ,nodes:.6 ,partition:.9 ,statecompact:6";
constexpr const char* kNodeLong =
    "nodelist:8 ,nodes:.6 ,partition:.9 ,statelong:.11 ,cpus:4 ,socketcorethread:.8 ,memory:.6 ,disk:.8 ,weight:.6 "
    ",features:.8 ,reason:20";
constexpr const char* kSummary = "partition:9 ,available:.5 ,time:.10 ,nodeaiot:.16 ,nodelist:0";
constexpr const char* kReasons = "reason:20 ,user:9 ,timestamp:19 ,nodelist:0";

std::string default_format(const Given& given) {
  if (given.has("list-reasons")) return kReasons;
  if (given.has("summarize")) return kSummary;
  if (given.has("Node")) return given.has("long") ? kNodeLong : kNode;
  return given.has("long") ? kLong : kDefault;
}

// Slurm's, whether nodes here are ever in them or not.
bool is_node_state(const std::string& word) {
  static const std::set<std::string> kStates{
      "",          "all",        "unknown",    "unk",         "down",          "idle",         "alloc",
      "allocated", "mixed",      "mix",        "error",       "future",        "drain",        "drained",
      "draining",  "drng",       "no_respond", "reserved",    "resv",          "fail",         "perfctrs",
      "npc",       "cloud",      "comp",       "completing",  "powering_down", "powered_down", "maint",
      "reboot",    "power_down", "power_up",   "powering_up", "planned",       "failing",      "blocked"};
  return kStates.contains(word);
}

bool wanted(const Given& given, const NodeRow& node, const std::vector<std::string>& names) {
  if (!names.empty() && std::find(names.begin(), names.end(), node.info.name) == names.end()) return false;
  if (given.has("dead") && node.connected) return false;
  if (given.has("responding") && !node.connected) return false;
  if (given.has("list-reasons") && node_is_open(node)) return false;
  if (!given.has("states") || lower(given.text("states")) == "all") return true;
  const std::vector<std::string> states = split(lower(given.text("states")), ',');
  return std::any_of(states.begin(), states.end(), [&](std::string state) {
    if (state == "down") return node.state == NodeState::kLost || !node.connected;
    if (state == "drain" || state == "drained") return node.state == NodeState::kDrained;
    if (state == "alloc") state = "allocated";
    if (state == "mix") state = "mixed";
    const std::string full = lower(node_state_text(node, false));
    return full == state || full == state + "*";
  });
}

// As Slurm sorts them: what does not work first, then by how much is used.
int rank_of(const NodeRow& node) {
  if (!node.connected) return 0;
  if (node.state == NodeState::kDrained) return 1;
  if (node.state == NodeState::kLost) return 5;
  const std::string state = node_state_text(node, false);
  return state == "mixed" ? 2 : state == "allocated" ? 3 : 4;
}

// Puts nodes on lines: two share one if all columns that show each of them, and not what they are together, are equal.
class NodeLines {
 public:
  NodeLines(const std::vector<Column<NodeLine>>& columns, bool exact, bool every_node) : every_node_(every_node) {
    for (const Column<NodeLine>& column : columns) {
      if (column.field == nullptr) continue;
      if (column.field->of == Of::kEach || (exact && column.field->of == Of::kRange)) keys_.push_back(column.field);
      names_queue_ |= std::string_view(column.field->name).starts_with("partition");
    }
  }

  void add(const Queue& queue, const NodeRow& node) {
    const NodeLine one{&queue, {&node}};
    const auto [at, added] = numbers_.try_emplace(key_of(one), lines_.size());
    if (added || every_node_) {
      seen_.insert({lines_.size(), &node});
      lines_.push_back(one);
    } else if (seen_.insert({at->second, &node}).second) {  // not there already, from another queue
      lines_[at->second].nodes.push_back(&node);
    }
  }

  // A queue without nodes is told where queues are, and where there is nothing else to tell.
  void add(const Queue& queue) {
    if (every_node_ || (!names_queue_ && !keys_.empty())) return;
    const NodeLine none{&queue, {}};
    if (numbers_.try_emplace(key_of(none), lines_.size()).second) lines_.push_back(none);
  }

  std::vector<NodeLine>& all() { return lines_; }

 private:
  std::string key_of(const NodeLine& line) const {
    std::string key;
    for (const Field<NodeLine>* field : keys_) key += field->value(line) + '\0';
    return key;
  }

  std::vector<const Field<NodeLine>*> keys_;
  bool every_node_, names_queue_ = false;
  std::vector<NodeLine> lines_;
  std::map<std::string, std::size_t> numbers_;
  std::set<std::pair<std::size_t, const NodeRow*>> seen_;
};

constexpr std::size_t kFitted = 10'001;  // a width: as wide as the widest name

void fit_names(std::vector<Column<NodeLine>>& columns, const std::vector<NodeLine>& lines) {
  for (Column<NodeLine>& column : columns) {
    if (column.width != kFitted) continue;
    column.width = std::string_view(column.field->title).size() + 1;
    for (const NodeLine& line : lines) column.width = std::max(column.width, column.field->value(line).size());
  }
}

int print(ServerLink& link, const Given& given, const std::vector<Column<NodeLine>>& given_columns,
          const std::vector<std::string>& names, Output& out) {
  auto nodes = fetch_nodes(link);
  if (!nodes) return fail("slurm_load_node", slurm_error(nodes.error()));
  auto queues = fetch_queues(link);
  if (!queues) return fail("slurm_load_partitions", slurm_error(queues.error()));
  const std::vector<std::string> only = split(given.text("partition"), ',');
  const bool every_node = given.has("Node");
  std::erase_if(*nodes, [&](const NodeRow& node) { return !wanted(given, node, names); });
  std::sort(nodes->begin(), nodes->end(), [](const NodeRow& a, const NodeRow& b) {
    return std::pair(rank_of(a), a.info.name) < std::pair(rank_of(b), b.info.name);
  });
  NodeLines lines(given_columns, given.has("exact"), every_node);
  for (const Queue& queue : *queues) {
    if (given.has("partition") && std::find(only.begin(), only.end(), queue.name) == only.end()) continue;
    bool empty = true;
    for (const NodeRow& node : *nodes) {
      if (!queue_has(queue, node)) continue;
      empty = false;
      lines.add(queue, node);
    }
    if (empty && !given.has("list-reasons")) lines.add(queue);
  }
  std::vector<Column<NodeLine>> columns = given_columns;
  if (every_node) fit_names(columns, lines.all());
  if (every_node) {
    std::stable_sort(lines.all().begin(), lines.all().end(), [](const NodeLine& a, const NodeLine& b) {
      return a.nodes[0]->info.name < b.nodes[0]->info.name;
    });
  }
  if (given.has("long") && !given.has("noheader")) {
    const std::time_t now = wall_clock_us() / 1'000'000;
    out.write(std::ctime(&now));
  }
  if (!given.has("noheader")) out.write(line_of<NodeLine>(columns, nullptr));
  for (const NodeLine& line : lines.all()) out.write(line_of(columns, &line));
  out.flush();
  return 0;
}

}  // namespace

int sinfo(const Context& context, const Words& words) {
  const CommandTable& table = table_of("sinfo");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  Given& given = *parsed;
  if (const auto code = answer_about_itself(table, given)) return *code;
  if (!given.words.empty()) return fail("sinfo", "Unrecognized option: " + given.words.front());
  for (const auto& [variable, option] :
       {std::pair{"SINFO_FORMAT", "format"}, std::pair{"SINFO_PARTITION", "partition"}}) {
    const char* value = std::getenv(variable);
    if (value != nullptr && !given.has(option) && !given.has("Format")) given.set(option, value);
  }
  if (given.has("verbose")) tell_ignored(table, given);
  for (const std::string& word : split(given.text("states"), ',')) {
    if (is_node_state(lower(word))) continue;
    fail("sinfo", "Bad state string: \"" + word + "\"");
    return fail("sinfo",
                "valid states: unknown,down,idle,allocated,?,mixed,future,drain,drained,draining,no_respond,reserved,"
                "perfctrs,cloud,completing,powering_down,powered_down,power_down,powering_up,fail,maint,reboot,"
                "reboot^,unknown");
  }
  std::vector<std::string> names;
  if (given.has("nodes")) {
    auto list = expand_hostlist(given.text("nodes"));
    if (!list) return fail("sinfo", "Invalid node name " + given.text("nodes"));
    names = std::move(*list);
  }
  std::vector<Column<NodeLine>> columns;
  std::vector<std::string> unknown;
  if (given.text("format") == "%all" || lower(given.text("Format")) == "all") {
    columns = all_letters();
  } else if (given.has("format")) {
    columns = parse_letters<NodeLine>(given.text("format"), line_fields(), unknown);
    for (const std::string& letter : unknown) {
      fmt::print(stderr, "Invalid node format specification: {}\n", letter);
    }
  } else {
    columns = parse_names<NodeLine>(given.text("Format", default_format(given)), line_fields(), 20, unknown);
    if (given.has("Node") && !given.has("Format")) columns.front().width = kFitted;
    for (const std::string& name : unknown) {
      fmt::print(stderr, "sinfo: error: Invalid job format specification: {}\n", name);
    }
  }
  std::int64_t every_s = 0;
  if (given.has("iterate")) {
    auto seconds = parse_integer(given.text("iterate"), "iterate", 1, 1'000'000);
    if (!seconds) return fail("sinfo", "--iterate needs a number of seconds");
    every_s = *seconds;
  }
  ServerLink link(context);
  Output out;
  while (true) {
    const int code = print(link, given, columns, names, out);
    if (code != 0 || every_s == 0 || out.failed()) return code != 0 ? code : out.finish();
    sleep_ms(every_s * 1000);
  }
}

}  // namespace berth::tools::slurm
