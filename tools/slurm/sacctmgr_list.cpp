// sacctmgr list: tables of accounts, users, associations, qualities and what else there is.
#include <algorithm>
#include <fmt/format.h>

#include "state/units.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/print_table.h"
#include "tools/slurm/sacctmgr.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

// A line about an account, a user, or a user in an account; what is not of it is empty.
struct Entry {
  std::string account, user, parent, description, default_account, qos;
  std::size_t depth = 0;  // below root
  std::optional<std::uint32_t> shares;
  Limits limits;
  bool is_default = false;
};

template <class R>
TableField<R> empty_field(const char* name, std::size_t least, int width, const char* title) {
  return {name, least, width, title, [](const R&) { return std::string(); }};
}
template <class R>
TableField<R> fixed_field(const char* name, std::size_t least, int width, const char* title, const char* text) {
  return {name, least, width, title, [text](const R&) { return std::string(text); }};
}

std::vector<TableField<Entry>> entry_fields(bool tree) {
  using E = Entry;
  const auto limit = [](Limit of, bool user, bool accounts) {
    return [of, user, accounts](const E& e) {
      return (e.user.empty() ? accounts : user) ? limit_value(e.limits, of) : std::string();
    };
  };
  const auto account = [tree](const E& e) { return tree ? std::string(e.depth, ' ') + e.account : e.account; };
  return {
      {"Account", 3, tree ? -20 : 10, "Account", account},
      {"Acct", 4, tree ? -20 : 10, "Account", account},
      {"AdminLevel", 2, 9, "Admin", [](const E& e) { return e.user == "root" ? "Administrator" : ""; }},
      fixed_field<E>("Cluster", 2, 10, "Cluster", kClusterName),
      empty_field<E>("Coordinators", 2, 20, "Coord Accounts"),
      {"DefaultAccount", 8, 10, "Def Acct", [](const E& e) { return e.default_account; }},
      empty_field<E>("DefaultQOS", 8, 9, "Def QOS"),
      {"Description", 3, 20, "Descr", [](const E& e) { return e.description; }},
      {"Fairshare", 1, 9, "Share", [](const E& e) { return e.shares ? std::to_string(*e.shares) : ""; }},
      {"Shares", 1, 9, "Share", [](const E& e) { return e.shares ? std::to_string(*e.shares) : ""; }},
      {"GrpCPUs", 6, 8, "GrpCPUs", limit(Limit::kCpus, true, true)},
      {"GrpTRES", 7, 13, "GrpTRES", [](const E& e) { return group_tres(e.limits); }},
      empty_field<E>("GrpTRESMins", 8, 13, "GrpTRESMins"),
      empty_field<E>("GrpTRESRunMins", 8, 14, "GrpTRESRunMins"),
      {"GrpJobs", 4, 7, "GrpJobs", limit(Limit::kRunning, false, true)},
      {"GrpMemory", 4, 7, "GrpMem", limit(Limit::kMemory, true, true)},
      empty_field<E>("GrpNodes", 4, 8, "GrpNodes"),
      {"GrpSubmitJobs", 4, 9, "GrpSubmit", limit(Limit::kJobs, false, true)},
      empty_field<E>("GrpWall", 4, 11, "GrpWall"),
      {"MaxCPUs", 7, 8, "MaxCPUs", limit(Limit::kJobCpus, true, true)},
      {"MaxTRES", 7, 13, "MaxTRES", [](const E& e) { return job_tres(e.limits); }},
      {"MaxTRESPerJob", 11, 13, "MaxTRES", [](const E& e) { return job_tres(e.limits); }},
      empty_field<E>("MaxTRESPerNode", 11, 14, "MaxTRESPerNode"),
      empty_field<E>("MaxTRESMins", 8, 13, "MaxTRESMins"),
      {"MaxJobs", 4, 7, "MaxJobs", limit(Limit::kRunning, true, false)},
      {"MaxNodes", 4, 8, "MaxNodes", limit(Limit::kJobNodes, true, true)},
      {"MaxSubmitJobs", 4, 9, "MaxSubmit", limit(Limit::kJobs, true, false)},
      {"MaxWall", 4, 11, "MaxWall", limit(Limit::kJobTime, true, true)},
      {"MaxWallDurationPerJob", 8, 11, "MaxWall", limit(Limit::kJobTime, true, true)},
      empty_field<E>("Organization", 1, 20, "Org"),
      {"ParentName", 7, 10, "Par Name", [](const E& e) { return e.parent; }},
      empty_field<E>("Partition", 4, 10, "Partition"),
      empty_field<E>("Priority", 2, 10, "Priority"),
      {"QOS", 1, 20, "QOS", [](const E& e) { return e.qos; }},
      {"User", 1, 10, "User", [](const E& e) { return e.user; }},
      {"Name", 1, 10, "Name", [](const E& e) { return e.user.empty() ? e.account : e.user; }},
  };
}

std::vector<TableField<Qos>> qos_fields() {
  using Q = Qos;
  const auto of_all = [](Limit limit) { return [limit](const Q& qos) { return limit_value(qos.limits, limit); }; };
  const auto of_user = [](Limit limit) {
    return [limit](const Q& qos) { return limit_value(qos.user_limits, limit); };
  };
  return {
      {"Name", 1, 10, "Name", [](const Q& qos) { return qos.name; }},
      {"Description", 3, 20, "Descr", [](const Q& qos) { return qos.name; }},
      {"Priority", 3, 10, "Priority", [](const Q& qos) { return std::to_string(qos.priority); }},
      fixed_field<Q>("GraceTime", 3, 10, "GraceTime", "00:00:00"),  // a job in the way is stopped at once
      empty_field<Q>("Preempt", 7, 10, "Preempt"),
      {"PreemptMode", 8, 11, "PreemptMode", [](const Q& qos) { return preempt_text(qos.preempt); }},
      empty_field<Q>("PreemptExemptTime", 8, 19, "PreemptExemptTime"),
      {"Flags", 2, 20, "Flags", [](const Q& qos) { return qos.limits.wait ? "" : "DenyOnLimit"; }},
      empty_field<Q>("UsageThreshold", 6, 10, "UsageThres"),
      {"UsageFactor", 6, 11, "UsageFactor", [](const Q& qos) { return usage_text(qos.usage_milli); }},
      {"GrpTRES", 7, 13, "GrpTRES", [](const Q& qos) { return group_tres(qos.limits); }},
      empty_field<Q>("GrpTRESMins", 8, 13, "GrpTRESMins"),
      empty_field<Q>("GrpTRESRunMins", 8, 14, "GrpTRESRunMins"),
      {"GrpJobs", 4, 7, "GrpJobs", of_all(Limit::kRunning)},
      {"GrpSubmitJobs", 4, 9, "GrpSubmit", of_all(Limit::kJobs)},
      empty_field<Q>("GrpWall", 4, 11, "GrpWall"),
      {"MaxTRES", 7, 13, "MaxTRES", [](const Q& qos) { return job_tres(qos.limits); }},
      {"MaxTRESPerJob", 11, 13, "MaxTRES", [](const Q& qos) { return job_tres(qos.limits); }},
      empty_field<Q>("MaxTRESPerNode", 11, 14, "MaxTRESPerNode"),
      empty_field<Q>("MaxTRESMins", 8, 13, "MaxTRESMins"),
      {"MaxWall", 4, 11, "MaxWall", of_all(Limit::kJobTime)},
      {"MaxWallDurationPerJob", 8, 11, "MaxWall", of_all(Limit::kJobTime)},
      {"MaxTRESPU", 9, 13, "MaxTRESPU", [](const Q& qos) { return group_tres(qos.user_limits); }},
      {"MaxTRESPerUser", 11, 13, "MaxTRESPU", [](const Q& qos) { return group_tres(qos.user_limits); }},
      {"MaxJobsPU", 4, 9, "MaxJobsPU", of_user(Limit::kRunning)},
      {"MaxJobsPerUser", 8, 9, "MaxJobsPU", of_user(Limit::kRunning)},
      {"MaxSubmitPU", 4, 11, "MaxSubmitPU", of_user(Limit::kJobs)},
      {"MaxSubmitJobsPU", 10, 11, "MaxSubmitPU", of_user(Limit::kJobs)},
      {"MaxSubmitJobsPerUser", 10, 11, "MaxSubmitPU", of_user(Limit::kJobs)},
      empty_field<Q>("MaxTRESPA", 9, 13, "MaxTRESPA"),
      empty_field<Q>("MaxJobsPA", 9, 9, "MaxJobsPA"),
      empty_field<Q>("MaxSubmitPA", 11, 11, "MaxSubmitPA"),
      empty_field<Q>("MinTRES", 7, 13, "MinTRES"),
  };
}

constexpr const char* kAssociation =
    "Cluster,Account,User,Partition,Share,Priority,GrpJobs,GrpTRES,GrpSubmit,GrpWall,GrpTRESMins,MaxJobs,MaxTRES,"
    "MaxTRESPerNode,MaxSubmit,MaxWall,MaxTRESMins,QOS,DefaultQOS,GrpTRESRunMins";
constexpr const char* kUser = "User,DefaultAccount,AdminLevel";
constexpr const char* kUserAssociations =
    ",Cluster,Account,Partition,Share,Priority,MaxJobs,MaxNodes,MaxCPUs,MaxSubmit,MaxWall,MaxTRESMins,QOS,DefaultQOS";
constexpr const char* kAccount = "Account,Description,Organization";
constexpr const char* kAccountAssociations =
    ",Cluster,ParentName,User,Share,Priority,GrpJobs,GrpNodes,GrpCPUs,GrpMemory,GrpSubmit,GrpWall,GrpTRESMins,MaxJobs,"
    "MaxNodes,MaxCPUs,MaxSubmit,MaxWall,MaxTRESMins,QOS,DefaultQOS";
constexpr const char* kQosDefault =
    "Name,Priority,GraceTime,Preempt,PreemptExemptTime,PreemptMode,Flags,UsageThreshold,UsageFactor,GrpTRES,"
    "GrpTRESMins,GrpTRESRunMins,GrpJobs,GrpSubmit,GrpWall,MaxTRES,MaxTRESPerNode,MaxTRESMins,MaxWall,MaxTRESPU,"
    "MaxJobsPU,MaxSubmitPU,MaxTRESPA,MaxJobsPA,MaxSubmitPA,MinTRES";

// What to list, and how.
struct Choice {
  std::vector<std::string> names, accounts, users, parents;
  std::string format;
  bool associations = false, tree = false, defaults = false, coordinators = false, other_cluster = false;
};

enum class Listed : std::uint8_t { kAccounts, kUsers, kAssociations, kQos, kClusters };

// A word that is neither a name nor name=value; false: it is none of these.
bool take_flag(const std::string& word, Choice& choice) {
  if (is_word(word, "withassoc", 5)) return choice.associations = true, true;
  if (is_word(word, "withcoordinators", 5)) return choice.coordinators = true, true;
  if (is_word(word, "tree", 4)) return choice.tree = true, true;
  if (is_word(word, "onlydefaults", 4)) return choice.defaults = true, true;
  // Limits are always those of the line alone, and what was deleted is gone.
  return is_word(word, "wopinfo", 4) || is_word(word, "wopl", 4) || is_word(word, "woplimits", 4) ||
         is_word(word, "withdeleted", 5);
}

Result<Choice> parse_choice(Listed of, const std::vector<std::string>& words, const Given& given) {
  auto sentence = parse_sentence(words, false);
  if (!sentence) return sentence.error();
  Choice choice;
  choice.associations = given.has("associations");
  if (sentence->set) return invalid("", "Unknown condition: set");
  for (const Setting& setting : sentence->conditions) {
    const auto add = [&](std::vector<std::string>& to) {
      for (std::string& name : name_list(setting.value)) to.push_back(std::move(name));
    };
    const auto is = [&](const char* name, std::size_t least) { return is_word(setting.name, name, least); };
    if (setting.name.empty() && take_flag(setting.value, choice)) continue;
    if (setting.name.empty() && of != Listed::kAssociations) {
      add(choice.names);
    } else if (is("Format", 1)) {
      choice.format += "," + setting.value;
    } else if (is("Clusters", 2)) {
      const std::vector<std::string> clusters = name_list(setting.value);
      choice.other_cluster =
          !clusters.empty() && std::find(clusters.begin(), clusters.end(), kClusterName) == clusters.end();
    } else if (is("Names", 1) && of != Listed::kAssociations) {
      add(choice.names);
    } else if (is("Accounts", 2) && of != Listed::kQos && of != Listed::kClusters) {
      add(choice.accounts);
    } else if (is("Users", 1) && of != Listed::kQos && of != Listed::kClusters) {
      add(choice.users);
    } else if (is("Parents", 4) && (of == Listed::kAccounts || of == Listed::kAssociations)) {
      add(choice.parents);
    } else if ((is("DefaultAccount", 8) && of == Listed::kUsers) || (is("QOS", 1) && of == Listed::kQos)) {
      add(of == Listed::kQos ? choice.names : choice.accounts);
      choice.defaults = choice.defaults || of == Listed::kUsers;
    } else {
      return invalid("", "Unknown condition: " + (setting.name.empty() ? setting.value : setting.name));
    }
  }
  return choice;
}

// Root, each account, its users, and the accounts below it.
std::vector<Entry> associations(const Books& books) {
  std::vector<Entry> entries;
  std::map<std::string, std::size_t> depths;
  Entry root;
  root.account = "root";
  root.description = "the top of all accounts";
  root.shares = 1;
  root.qos = books.qualities("root", "");
  entries.push_back(std::move(root));
  for (const ShareRow& row : books.page().rows) {
    const std::string& name = row.account.name;
    if (name.empty()) continue;
    Entry entry;
    entry.account = name;
    entry.user = row.user;
    entry.shares = row.shares;
    entry.limits = row.limits;
    entry.is_default = row.is_default;
    entry.qos = books.qualities(name, row.user);
    if (row.user.empty()) {
      entry.parent = row.account.parent.empty() ? "root" : row.account.parent;
      entry.description = row.account.description;
      entry.depth = depths[name] = depths[row.account.parent] + 1;
    } else {
      entry.depth = depths[name] + 1;
      entry.default_account = books.default_account(row.user);
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

int print_entries(const Manager& manager, const Choice& choice, std::string format, const std::vector<Entry>& entries) {
  if (!choice.format.empty()) format = choice.format;
  if (choice.coordinators) format += ",Coordinators";
  const std::vector<TableField<Entry>> fields = entry_fields(choice.tree);
  auto columns = table_columns<Entry>(format, fields, "Unknown field ");
  if (!columns) return manager.refuse(columns.error().message);
  write_table(manager.out, *columns, TableStyle::of(manager.given), entries);
  return 0;
}

int list_associations(const Manager& manager, const Choice& choice, const Books& books) {
  std::vector<Entry> entries = associations(books);
  std::erase_if(entries, [&](const Entry& e) {
    return choice.other_cluster || !chosen(choice.accounts, e.account) || !chosen(choice.users, e.user) ||
           !chosen(choice.parents, e.parent) || (choice.defaults && !e.is_default);
  });
  return print_entries(manager, choice, kAssociation, entries);
}

int list_accounts(const Manager& manager, const Choice& choice, const Books& books) {
  std::vector<Entry> entries = associations(books);
  std::erase_if(entries, [&](const Entry& e) {
    const bool named = chosen(choice.names, e.account) && chosen(choice.accounts, e.account);
    const bool below = chosen(choice.parents, e.parent);
    return choice.other_cluster || !named || !below || !chosen(choice.users, e.user) ||
           (!choice.associations && choice.users.empty() && !e.user.empty());
  });
  return print_entries(manager, choice, std::string(kAccount) + (choice.associations ? kAccountAssociations : ""),
                       entries);
}

int list_users(const Manager& manager, const Choice& choice, const Books& books) {
  std::vector<Entry> entries = associations(books);
  std::erase_if(entries, [&](const Entry& e) {
    return choice.other_cluster || e.user.empty() || !chosen(choice.names, e.user) || !chosen(choice.users, e.user) ||
           !chosen(choice.accounts, e.account) || (choice.defaults && !e.is_default);
  });
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.user < b.user; });
  if (!choice.associations) {  // each user once
    entries.erase(
        std::unique(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.user == b.user; }),
        entries.end());
    for (Entry& entry : entries) {
      const std::string user = entry.user, usual = entry.default_account;
      // What is of one account alone is shown where accounts are asked for.
      entry = Entry{};
      entry.user = user;
      entry.default_account = usual;
    }
  }
  return print_entries(manager, choice, std::string(kUser) + (choice.associations ? kUserAssociations : ""), entries);
}

int list_qos(const Manager& manager, const Choice& choice, const Books& books) {
  const std::vector<TableField<Qos>> fields = qos_fields();
  auto columns = table_columns<Qos>(choice.format.empty() ? kQosDefault : choice.format, fields, "Unknown field ");
  if (!columns) return manager.refuse(columns.error().message);
  std::vector<Qos> rows;
  if (books.qos("normal") == nullptr) {  // what jobs have that name none
    Qos normal;
    normal.name = "normal";
    normal.limits.wait = true;
    rows.push_back(std::move(normal));
  }
  for (const QosRow& row : books.page().qos) rows.push_back(row.qos);
  std::erase_if(rows, [&](const Qos& qos) { return !chosen(choice.names, qos.name); });
  write_table(manager.out, *columns, TableStyle::of(manager.given), rows);
  return 0;
}

struct Named {
  std::string type, name;
  int id = 0;
};

int list_clusters(const Manager& manager, const Choice& choice) {
  const std::vector<TableField<Named>> fields{
      {"Cluster", 2, 10, "Cluster", [](const Named& n) { return n.name; }},
      {"Name", 1, 10, "Cluster", [](const Named& n) { return n.name; }},
      {"ControlHost", 8, 15, "ControlHost", [](const Named& n) { return n.type; }},
      fixed_field<Named>("Fairshare", 1, 9, "Share", "1"),
      fixed_field<Named>("Share", 1, 9, "Share", "1"),
  };
  const std::string format = choice.format.empty() ? "Cluster,ControlHost,Share" : choice.format;
  auto columns = table_columns<Named>(format, fields, "Unknown field ");
  if (!columns) return manager.refuse(columns.error().message);
  std::vector<Named> rows;
  if (!choice.other_cluster && chosen(choice.names, kClusterName)) rows.push_back({"", kClusterName, 0});
  write_table(manager.out, *columns, TableStyle::of(manager.given), rows);
  return 0;
}

int list_tres(const Manager& manager, const Choice& choice) {
  const std::vector<TableField<Named>> fields{
      {"Type", 1, 8, "Type", [](const Named& n) { return n.type; }},
      {"Name", 1, 15, "Name", [](const Named& n) { return n.name; }},
      {"ID", 2, 6, "ID", [](const Named& n) { return std::to_string(n.id); }},
  };
  auto columns = table_columns<Named>(choice.format.empty() ? "Type,Name,ID" : choice.format, fields, "Unknown field ");
  if (!columns) return manager.refuse(columns.error().message);
  const std::vector<Named> rows{
      {"cpu", "", 1}, {"mem", "", 2}, {"node", "", 4}, {"billing", "", 5}, {"gres", "gpu", 1001}};
  write_table(manager.out, *columns, TableStyle::of(manager.given), rows);
  return 0;
}

int list_configuration(const Manager& manager, const Books& books) {
  auto info = manager.link.call_for<ServerInfo>(ServerInfoRequest{});
  if (!info) return manager.refuse(slurm_error(info.error()));
  manager.out.write("Configuration data as of " + time_text(wall_clock_us()) + "\n");
  const auto line = [&](const char* name, const std::string& value) {
    manager.out.write(fmt::format("{:<24}= {}\n", name, value));
  };
  line("AccountingStorageType", "berth");  // the server itself keeps it
  line("ClusterName", kClusterName);
  line("PriorityDecayHalfLife", length_text(books.page().half_life_ms / 1000, true));
  line("PriorityWeightFairShare", std::to_string(books.page().head_start_ms / 1000));
  line("SLURM_VERSION", "22.05.8");
  line("BerthVersion", info->version);
  return 0;
}

}  // namespace

int list_things(const Manager& manager, const std::string& what, const std::vector<std::string>& words) {
  const auto is = [&](const char* name, std::size_t least) { return is_word(what, name, least); };
  std::optional<Listed> of;
  if (is("associations", 2)) of = Listed::kAssociations;
  if (is("accounts", 3) || is("acct", 4)) of = Listed::kAccounts;
  if (is("users", 1)) of = Listed::kUsers;
  if (is("qos", 1)) of = Listed::kQos;
  if (is("clusters", 2)) of = Listed::kClusters;
  const bool tres = is("tres", 2), configuration = is("configuration", 2);
  if (!of && !tres && !configuration) {
    return manager.refuse("list " + what +
                          " is not supported by Berth; supported are account, user, association, qos, cluster, tres "
                          "and configuration");
  }
  if (configuration && !words.empty()) return manager.refuse("Unknown condition: " + words.front());
  auto choice = parse_choice(of.value_or(Listed::kClusters), words, manager.given);
  if (!choice) return manager.refuse(choice.error().message);
  if (tres) return list_tres(manager, *choice);
  auto books = manager.books();
  if (!books) return manager.refuse(slurm_error(books.error()));
  if (configuration) return list_configuration(manager, *books);
  switch (*of) {
    case Listed::kAccounts:
      return list_accounts(manager, *choice, *books);
    case Listed::kUsers:
      return list_users(manager, *choice, *books);
    case Listed::kAssociations:
      return list_associations(manager, *choice, *books);
    case Listed::kQos:
      return list_qos(manager, *choice, *books);
    case Listed::kClusters:
      break;
  }
  return list_clusters(manager, *choice);
}

}  // namespace berth::tools::slurm
