#include "tools/slurm/import.h"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <pwd.h>

#include "state/units.h"
#include "tools/cli/text.h"
#include "tools/slurm/import_parameters.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

constexpr const char* kTopology = "topology.conf";
using Fields = std::vector<std::pair<std::string, std::string>>;

// "7d", "90s": as docs/server.md has times.
std::string duration(std::int64_t seconds) {
  for (const auto& [unit, letter] : {std::pair{86'400, 'd'}, std::pair{3'600, 'h'}, std::pair{60, 'm'}}) {
    if (seconds != 0 && seconds % unit == 0) return fmt::format("{}{}", seconds / unit, letter);
  }
  return fmt::format("{}s", seconds);
}

std::string yaml_text(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::int64_t number(const std::string& text, std::int64_t otherwise) {
  const auto value = parse_integer(text, "number", 0, std::int64_t{1} << 40);
  return value ? *value : otherwise;
}

class Import {
 public:
  explicit Import(const SiteFiles& site) : site_(site) {}

  Result<std::string> run() {
    for (const ConfLine& line : site_.slurm) {
      const std::string kind = lower(line.fields[0].first);
      if (kind == "nodename") {
        if (auto wrong = node(line)) return *wrong;
      } else if (kind == "partitionname") {
        partition(line);
      } else if (kind == "nodeset") {
        node_sets_[line.fields[0].second] = line;
      } else if (kind == "downnodes") {
        drained(line.fields[0].second, line.get("State"), line.get("Reason"));
      } else if (kind == "frontendname") {
        lost(line, line.fields[0], "there are no front ends");
      } else {
        for (const auto& field : line.fields) parameter(line, field);
      }
    }
    for (const ConfLine& line : site_.cgroup) {
      for (const auto& field : line.fields) judge(line, field, cgroup_parameter(field.first));
    }
    for (const ConfLine& line : site_.gres) gres(line);
    return text();
  }

 private:
  // ---- lines ------------------------------------------------------------------------------------------------------
  using Field = std::pair<std::string, std::string>;

  void note(std::vector<std::string>& to, const ConfLine& line, const Field& field, const std::string& why) {
    to.push_back(fmt::format("{} {}={}: {}", line.place(), field.first, field.second, why));
  }
  void lost(const ConfLine& line, const Field& field, const std::string& why) { note(lost_, line, field, why); }

  void judge(const ConfLine& line, const Field& field, const Parameter* known) {
    if (known == nullptr) {
      lost(line, field, "not known to be a parameter of Slurm's");
    } else if (known->fate == Fate::kLost) {
      lost(line, field, known->why);
    } else if (known->fate == Fate::kNeedless) {
      note(needless_, line, field, known->why);
    }
  }

  void set(const char* name, const std::string& value) { settings_[name] = value; }

  void parameter(const ConfLine& line, const Field& field) {
    const std::string name = lower(field.first), &value = field.second;
    const Parameter* known = site_parameter(field.first);
    if (known == nullptr || known->fate != Fate::kTaken) return judge(line, field, known);
    if (name == "clustername") {
      set("cluster", yaml_text(value));
    } else if (name == "slurmctldhost" || name == "controlmachine") {
      const std::string host = value.substr(0, value.find('('));
      if (server_.empty()) {
        server_ = host;
      } else {
        lost(line, field, "one server at a time");
      }
    } else if (name == "slurmuser") {
      const passwd* user = getpwnam(value.c_str());
      if (value == "root") {
        note(needless_, line, field, "root administers");
      } else if (user == nullptr) {
        lost(line, field, "there is no such user on this machine, who would be one of admins");
      } else {
        set("admins", "[" + yaml_text(value) + "]");
      }
    } else if (name == "slurmdtimeout") {
      if (number(value, 0) > 0) {
        set("node_lost_after", duration(number(value, 0)));
      } else {
        lost(line, field, "a node that is away is lost some time (node_lost_after)");
      }
    } else if (name == "accountingstoragetype") {
      set("accounting", value.ends_with("none") ? "none" : "sqlite");
      if (!value.ends_with("none"))
        note(needless_, line, field,
             "its history stays there; accounts and users: sacctmgr dump there, sacctmgr load here");
    } else if (name == "licenses") {
      licences(line, field);
    } else if (name == "prioritydecayhalflife") {
      const auto limit = parse_limit_ms(value);
      if (limit) set("fair_share_half_life", *limit == 0 ? "none" : duration(*limit / 1000));
      if (!limit) lost(line, field, "no time");
    } else if (name == "prioritytype") {
      if (value.ends_with("basic")) set("fair_share", "none");
    } else if (name == "priorityweightfairshare") {
      if (number(value, 1) == 0) set("fair_share", "none");
      if (number(value, 1) != 0) note(needless_, line, field, "shares count once there are accounts (fair_share, 7d)");
    } else if (name == "schedulertype") {
      if (value.ends_with("builtin")) set("scheduling", "fcfs");
    } else if (name == "selecttypeparameters") {
      if (upper(value).find("CR_LLN") != std::string::npos) set("placement", "spread");
    } else if (name == "topologyplugin") {
      tree_ = value.ends_with("tree");
      if (value.find("3d") != std::string::npos) lost(line, field, "only trees of switches");
    } else if (name == "preempttype") {
      preempts_ = value.ends_with("partition_prio");
      if (value.ends_with("qos")) lost(line, field, "tiers say who may take whose room (berth qos set --tier)");
    } else if (name == "preemptmode") {
      preempt_mode_ = lower(value);
      if (preempt_mode_.find("suspend") != std::string::npos || preempt_mode_.find("gang") != std::string::npos) {
        lost(line, field, "jobs are not suspended for others");
      }
    }
  }

  void licences(const ConfLine& line, const Field& field) {
    std::string map;
    for (const std::string& word : split(field.second, ',')) {
      const std::vector<std::string> parts = split(word, word.find('*') != std::string::npos ? '*' : ':');
      const auto count =
          parts.size() < 2 ? Result<std::int64_t>(1) : parse_integer(parts[1], "licences", 0, 1'000'000'000);
      if (!count || parts[0].empty()) {
        lost(line, field, "\"" + word + "\" is no licence");
        continue;
      }
      map += fmt::format("{}{}: {}", map.empty() ? "" : ", ", yaml_text(parts[0]), *count);
    }
    set("licences", "{" + map + "}");
  }

  void gres(const ConfLine& line) {
    const bool gpu = lower(line.get("Name")) == "gpu";
    for (const auto& field : line.fields) {
      const std::string name = lower(field.first);
      if (name == "nodename" || name == "name" || name == "type" || name == "count")
        continue;  // the node's Gres says it
      if (name == "file" || name == "autodetect" || name == "cores" || name == "cpus" || name == "links") {
        note(needless_, line, field,
             gpu || name == "autodetect" ? "agents find GPUs by themselves" : "what is counted has no files");
      } else {
        lost(line, field,
             name == "flags" ? "there are no flags of resources" : "not known to be a parameter of Slurm's");
      }
    }
  }

  // ---- nodes ------------------------------------------------------------------------------------------------------
  // The line's fields over those of the DEFAULT lines before it.
  static Fields over(const Fields& defaults, const Fields& own) {
    Fields out = own;
    for (const auto& [name, value] : defaults) {
      const bool there =
          std::any_of(own.begin(), own.end(), [name = &name](const auto& o) { return lower(o.first) == lower(*name); });
      if (!there) out.emplace_back(name, value);
    }
    return out;
  }

  std::optional<Error> node(ConfLine line) {
    for (const auto& field : line.fields) judge(line, field, node_parameter(field.first));
    const std::string names = line.fields[0].second;
    if (upper(names) == "DEFAULT") {
      node_defaults_ = over(node_defaults_, line.fields);
      return std::nullopt;
    }
    line.fields = over(node_defaults_, line.fields);
    const auto list = expand_hostlist(names);
    if (!list) {
      return Error{ErrorCode::kInvalid, "", line.place() + ": \"" + names + "\" are no names of nodes", 0};
    }
    const auto count = [&](const char* name, std::int64_t otherwise) { return number(line.get(name), otherwise); };
    const std::int64_t boards = count("Boards", 1);
    const std::int64_t sockets =
        line.get("SocketsPerBoard").empty() ? count("Sockets", boards) : boards * count("SocketsPerBoard", 1);
    const std::int64_t threads = count("ThreadsPerCore", 1), cores = count("CoresPerSocket", 1);
    const std::int64_t cpus =
        count("CPUs", count("Procs", sockets * cores * threads)) - count("CoreSpecCount", 0) * threads;
    std::string command = fmt::format("--cpus {}", std::max<std::int64_t>(cpus, 1));
    const std::int64_t mem = count("RealMemory", 0) - count("MemSpecLimit", 0);
    if (mem > 0) command += fmt::format(" --mem {}M", mem);
    if (const std::int64_t disk = count("TmpDisk", 0); disk > 0) command += fmt::format(" --disk {}M", disk);
    for (const char* name : {"Feature", "Features"}) {
      for (const std::string& feature : split(line.get(name), ',')) {
        if (!feature.empty()) command += " --feature " + feature;
      }
    }
    add_gres(line, command);
    agents_.push_back({names, command});
    drained(names, line.get("State"), line.get("Reason"));
    return std::nullopt;
  }

  void add_gres(const ConfLine& line, std::string& command) {
    std::int64_t gpus = 0;
    for (std::string part : split(line.get("Gres"), ',')) {
      if (part.empty() || part == "(null)") continue;
      part = part.substr(0, part.find('('));
      std::vector<std::string> words = split(part, ':');
      std::erase(words, "no_consume");
      std::int64_t count = 1;
      if (words.size() > 1 && parse_integer(words.back(), "gres", 0, std::int64_t{1} << 40)) {
        count = number(words.back(), 1);
        words.pop_back();
      }
      if (words[0] == "gpu") {
        gpus += count;
        if (words.size() > 1) command += " --feature " + words[1];  // --gres=gpu:MODEL asks for it
      } else if (words[0] == "mps" || words[0] == "shard") {
        lost(line, {"Gres", part}, "a share of a GPU is asked for in thousandths (docs/placement.md)");
      } else {
        command += fmt::format(" --resource {}={}", words.size() > 1 ? words[0] + ":" + words[1] : words[0], count);
      }
    }
    if (gpus != 0) command += fmt::format(" --gpus {}", gpus);
  }

  void drained(const std::string& names, const std::string& state, const std::string& reason) {
    const std::string word = upper(state);
    if (word.find("DOWN") == std::string::npos && word.find("DRAIN") == std::string::npos &&
        word.find("FAIL") == std::string::npos)
      return;
    drains_.push_back(fmt::format("berth drain {} --reason {}", names, yaml_text(reason.empty() ? word : reason)));
  }

  // ---- partitions -------------------------------------------------------------------------------------------------
  void partition(ConfLine line) {
    for (const auto& field : line.fields) judge(line, field, partition_parameter(field.first));
    if (upper(line.fields[0].second) == "DEFAULT") {
      partition_defaults_ = over(partition_defaults_, line.fields);
      return;
    }
    line.fields = over(partition_defaults_, line.fields);
    queues_.push_back(line);
  }

  static bool none(const std::string& text) {
    const std::string word = upper(text);
    return word.empty() || word == "ALL" || word == "UNLIMITED" || word == "INFINITE" || word == "NONE" ||
           word == "NO" || word == "-1";
  }

  std::string nodes_of(const ConfLine& line) {
    const std::string text = line.get("Nodes");
    if (none(text)) return "";
    std::vector<std::string> conditions, names;
    std::string word;
    int depth = 0;
    for (std::size_t i = 0; i <= text.size(); ++i) {
      const char c = i < text.size() ? text[i] : ',';
      depth += c == '[' ? 1 : c == ']' ? -1 : 0;
      if (c != ',' || depth > 0) {
        word += c;
        continue;
      }
      if (const auto set = node_sets_.find(word); set != node_sets_.end()) {
        if (const std::string feature = set->second.get("Feature"); !feature.empty()) conditions.push_back(feature);
        if (const std::string list = set->second.get("Nodes"); !list.empty()) names.push_back(list);
      } else if (!word.empty()) {
        names.push_back(word);
      }
      word.clear();
    }
    if (!names.empty()) conditions.insert(conditions.begin(), "node in (" + join(names, ",") + ")");
    if (conditions.size() == 1) return conditions[0];
    std::string out;
    for (const std::string& one : conditions) out += (out.empty() ? "(" : "|(") + one + ")";
    return out;
  }

  std::string queue_text(const ConfLine& line) {
    const std::string name = line.fields[0].second;
    std::string out = "{name: " + yaml_text(name);
    const auto time = [&](const char* from, const char* to) {
      if (none(line.get(from))) return;
      const auto limit = parse_limit_ms(line.get(from));
      if (limit && *limit != 0) out += fmt::format(", {}: {}", to, duration(*limit / 1000));
      if (!limit) lost(line, {from, line.get(from)}, "no time");
    };
    time("MaxTime", "time_limit");
    time("DefaultTime", "default_time");
    if (const std::string nodes = nodes_of(line); !nodes.empty()) out += ", nodes: " + yaml_text(nodes);
    if (!none(line.get("MaxNodes"))) out += fmt::format(", max_nodes: {}", number(line.get("MaxNodes"), 0));
    if (!none(line.get("AllowAccounts"))) {
      std::vector<std::string> accounts;
      for (const std::string& account : split(line.get("AllowAccounts"), ',')) accounts.push_back(yaml_text(account));
      out += ", accounts: [" + join(accounts, ", ") + "]";
    }
    const std::int64_t tier = number(line.get("PriorityTier"), number(line.get("Priority"), 1));
    if (preempts_ && tier != 1) out += fmt::format(", tier: {}", tier);
    // Without preemption a tier says who is first, and that is a priority.
    const std::int64_t factor = number(line.get("PriorityJobFactor"), number(line.get("Priority"), 1));
    const std::int64_t points = preempts_ || tier == 1 ? factor : tier;
    if (points > 1) out += fmt::format(", priority: {}", std::min<std::int64_t>(points, 1'000'000));
    const std::string mode = line.get("PreemptMode").empty() ? preempt_mode_ : lower(line.get("PreemptMode"));
    if (preempts_ && (mode == "requeue" || mode == "cancel")) out += ", preempt: " + mode;
    const std::string state = lower(line.get("State"));
    if (state == "down" || state == "inactive") out += ", state: " + state;
    if (state == "drain") out += ", state: draining";
    return out + "}";
  }

  // ---- the text ---------------------------------------------------------------------------------------------------
  std::string text() {
    std::string out = "# Berth's configuration after " +
                      (site_.slurm.empty() ? std::string("nothing") : site_.slurm[0].file) +
                      ": berth server --config THIS-FILE\n";
    for (const auto& [name, value] : settings_) out += name + ": " + value + "\n";
    if (tree_) {
      if (!site_.topology.empty()) out += "switches: " + yaml_text(site_.topology) + "\n";
      if (site_.topology.empty())
        lost_.push_back("TopologyPlugin=topology/tree: there is no " + std::string(kTopology) + " beside it");
    }
    if (!queues_.empty()) out += "queues:\n";
    for (const ConfLine& line : queues_) {
      out += "  - " + queue_text(line) + "\n";
      const std::string name = line.fields[0].second;
      if (upper(line.get("Default")) == "YES" && name != "default") {
        lost_.push_back(fmt::format(
            "{} Default=YES: the queue of who names none is \"default\"; set SBATCH_PARTITION, SLURM_PARTITION and "
            "SALLOC_PARTITION to {}",
            line.place(), name));
      }
    }
    const std::string server = server_.empty() ? "SERVER" : server_;
    if (!agents_.empty()) out += "\n# On each node, as root (berth token create makes the token):\n";
    for (const auto& [names, command] : agents_) {
      out += fmt::format("#   {}: berth agent --join {}:7117 --token TOKEN {}\n", names, server, command);
    }
    if (!drains_.empty()) out += "\n# Once they have joined:\n";
    for (const std::string& drain : drains_) out += "#   " + drain + "\n";
    const auto list = [&](const char* title, const std::vector<std::string>& lines) {
      if (lines.empty()) return;
      out += fmt::format("\n# {}\n", title);
      for (const std::string& line : lines) out += "#   " + line + "\n";
    };
    list("Without an equivalent:", lost_);
    list("Nothing to be set:", needless_);
    return out;
  }

  const SiteFiles& site_;
  std::map<std::string, std::string> settings_;
  std::map<std::string, ConfLine> node_sets_;
  Fields node_defaults_, partition_defaults_;
  std::vector<std::string> drains_, lost_, needless_;
  std::vector<std::pair<std::string, std::string>> agents_;
  std::vector<ConfLine> queues_;
  std::string server_, preempt_mode_;
  bool tree_ = false, preempts_ = false;
};

}  // namespace

Result<SiteFiles> read_site(const std::string& slurm_conf) {
  SiteFiles site;
  auto main = read_conf(slurm_conf);
  if (!main) return main.error();
  site.slurm = std::move(*main);
  const std::filesystem::path directory = std::filesystem::path(slurm_conf).parent_path();
  std::error_code ignored;
  for (const auto& [name, to] : {std::pair{"gres.conf", &site.gres}, std::pair{"cgroup.conf", &site.cgroup}}) {
    const std::filesystem::path path = directory / name;
    if (!std::filesystem::exists(path, ignored)) continue;
    auto lines = read_conf(path.string());
    if (!lines) return lines.error();
    *to = std::move(*lines);
  }
  const std::filesystem::path topology = directory / kTopology;
  if (std::filesystem::exists(topology, ignored)) site.topology = std::filesystem::absolute(topology).string();
  return site;
}

Result<std::string> import_site(const SiteFiles& site) { return Import(site).run(); }

}  // namespace berth::tools::slurm
