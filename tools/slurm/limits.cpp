#include "tools/slurm/limits.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <optional>

#include "state/units.h"
#include "tools/cli/text.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

enum class Form : std::uint8_t { kNumber, kGroupTres, kJobTres };
constexpr std::uint8_t kAll = 7, kOfAccounts = 1, kOfUsers = 2, kOfQos = 4;

struct Name {
  const char* name;
  std::size_t least;  // so many letters are enough
  std::uint8_t whose;
  Form form;
  Limit limit;  // of kNumber
  bool of_each_user = false;
};
constexpr std::array<Name, 23> kNames{{
    {"GrpJobs", 4, kAll, Form::kNumber, Limit::kRunning},
    {"GrpSubmitJobs", 4, kAll, Form::kNumber, Limit::kJobs},
    {"GrpTRES", 7, kAll, Form::kGroupTres, Limit::kCpus},
    {"GrpCPUs", 6, kAll, Form::kNumber, Limit::kCpus},
    {"GrpMemory", 4, kAll, Form::kNumber, Limit::kMemory},
    {"MaxJobs", 4, kOfUsers, Form::kNumber, Limit::kRunning},
    {"MaxSubmitJobs", 4, kOfUsers, Form::kNumber, Limit::kJobs},
    {"MaxTRESPerJob", 7, kAll, Form::kJobTres, Limit::kJobCpus},
    {"MaxTRESPJ", 7, kAll, Form::kJobTres, Limit::kJobCpus},
    {"MaxCPUsPerJob", 7, kAll, Form::kNumber, Limit::kJobCpus},
    {"MaxNodesPerJob", 4, kAll, Form::kNumber, Limit::kJobNodes},
    {"MaxWallDurationPerJob", 4, kAll, Form::kNumber, Limit::kJobTime},
    {"MaxWallPJ", 4, kAll, Form::kNumber, Limit::kJobTime},
    {"MaxTRESPerUser", 11, kOfQos, Form::kGroupTres, Limit::kCpus, true},
    {"MaxTRESPU", 9, kOfQos, Form::kGroupTres, Limit::kCpus, true},
    {"MaxCPUsPerUser", 11, kOfQos, Form::kNumber, Limit::kCpus, true},
    {"MaxCPUsPU", 9, kOfQos, Form::kNumber, Limit::kCpus, true},
    {"MaxJobsPerUser", 4, kOfQos, Form::kNumber, Limit::kRunning, true},
    {"MaxJobsPU", 4, kOfQos, Form::kNumber, Limit::kRunning, true},
    {"MaxSubmitJobsPerUser", 4, kOfQos, Form::kNumber, Limit::kJobs, true},
    {"MaxSubmitJobsPU", 4, kOfQos, Form::kNumber, Limit::kJobs, true},
    {"MaxSubmitPerUser", 4, kOfQos, Form::kNumber, Limit::kJobs, true},
    {"MaxSubmitPU", 4, kOfQos, Form::kNumber, Limit::kJobs, true},
}};

constexpr const char* kNoSuch = "Berth has no such limit";
constexpr const char* kOneCluster = "there is one cluster";
constexpr const char* kTiers = "who may take whose room, tiers say: berth qos set NAME --tier";
constexpr const char* kAtOnce = "a job in the way is stopped at once";
struct Missing {
  const char* name;
  const char* reason;
};
constexpr std::array<Missing, 53> kMissing{{
    {"GrpTRESMins", kNoSuch},
    {"GrpTRESRunMins", kNoSuch},
    {"GrpCPUMins", kNoSuch},
    {"GrpCPURunMins", kNoSuch},
    {"GrpJobsAccrue", kNoSuch},
    {"GrpNodes", "nodes are limited for one job alone (MaxTRESPerJob=node=)"},
    {"GrpWall", kNoSuch},
    {"MaxJobsAccrue", kNoSuch},
    {"MaxJobsAccruePerUser", kNoSuch},
    {"MaxJobsAccruePU", kNoSuch},
    {"MaxJobsAccruePerAccount", kNoSuch},
    {"MaxJobsAccruePA", kNoSuch},
    {"MaxJobsPerAccount", "a quality limits all and each user"},
    {"MaxJobsPA", "a quality limits all and each user"},
    {"MaxSubmitJobsPerAccount", "a quality limits all and each user"},
    {"MaxSubmitJobsPA", "a quality limits all and each user"},
    {"MaxTRESPerAccount", "a quality limits all and each user"},
    {"MaxTRESPA", "a quality limits all and each user"},
    {"MaxTRESPerNode", kNoSuch},
    {"MaxTRESPN", kNoSuch},
    {"MaxTRESMinsPerJob", kNoSuch},
    {"MaxTRESMinsPJ", kNoSuch},
    {"MaxTRESRunMinsPerUser", kNoSuch},
    {"MaxTRESRunMinsPU", kNoSuch},
    {"MaxTRESRunMinsPerAccount", kNoSuch},
    {"MaxTRESRunMinsPA", kNoSuch},
    {"MaxCPUMinsPerJob", kNoSuch},
    {"MaxCPURunMins", kNoSuch},
    {"MaxNodesPerUser", "nodes are limited for one job alone (MaxTRESPerJob=node=)"},
    {"MinTRESPerJob", kNoSuch},
    {"MinCPUsPerJob", kNoSuch},
    {"MinPrioThreshold", kNoSuch},
    {"MinPrioThresh", kNoSuch},
    {"LimitFactor", kNoSuch},
    {"UsageThreshold", kNoSuch},
    {"GraceTime", kAtOnce},
    {"Preempt", kTiers},
    {"PreemptExemptTime", kAtOnce},
    {"AdminLevel", "administrators are the server's (see docs/server.md)"},
    {"DefaultQOS", "a job without a quality has none"},
    {"QosLevel", "who may use a quality is said there: berth qos set NAME --users"},
    {"QOS", "who may use a quality is said there: berth qos set NAME --users"},
    {"DefaultWCKey", "there are no workload keys"},
    {"WCKeys", "there are no workload keys"},
    {"Coordinator", "there are no coordinators"},
    {"Partition", "accounts are not of a queue"},
    {"Priority", "accounts and users have none; qualities do"},
    {"Comment", "there is none; an account has a Description"},
    {"RawUsage", "what was used is not set"},
    {"NewName", "names stay"},
    {"Classification", kOneCluster},
    {"Federation", kOneCluster},
    {"Features", kOneCluster},
}};

bool named(std::string_view name, const char* known, std::size_t least) {
  return name.size() >= least && lower(known).starts_with(name);
}

// The whole name first, then the first that begins so.
const Name* find(Whose whose, const std::string& name) {
  const auto of = static_cast<std::uint8_t>(whose);
  for (const Name& one : kNames) {
    if ((one.whose & of) != 0 && lower(one.name) == name) return &one;
  }
  for (const Name& one : kNames) {
    if ((one.whose & of) != 0 && named(name, one.name, one.least)) return &one;
  }
  return nullptr;
}

std::optional<std::int64_t> amount(Limit limit, std::string_view text) {
  if (text == "-1") return Limits::kNone;
  switch (limit) {
    case Limit::kCpus:
    case Limit::kJobCpus: {
      if (text == "0") return 0;
      const auto milli = parse_cpu_milli(text, "");
      if (!milli || text.ends_with('m')) return std::nullopt;
      return *milli;
    }
    case Limit::kMemory:
    case Limit::kJobMemory: {
      const auto mib = slurm::parse_mem_mib(text);
      return mib ? std::optional(static_cast<std::int64_t>(*mib)) : std::nullopt;
    }
    case Limit::kJobTime: {
      const auto ms = parse_limit_ms(text);
      if (!ms) return std::nullopt;
      return *ms == 0 ? Limits::kNone : *ms;  // UNLIMITED
    }
    default: {
      const auto count = parse_integer(text, "", 0, 1'000'000'000);
      return count ? std::optional(*count) : std::nullopt;
    }
  }
}

struct Tres {
  const char* name;
  Limit group, job;
};
constexpr std::array<Tres, 4> kTres{{{"cpu", Limit::kCpus, Limit::kJobCpus},
                                     {"mem", Limit::kMemory, Limit::kJobMemory},
                                     {"node", Limit::kJobNodes, Limit::kJobNodes},
                                     {"gres/gpu", Limit::kGpus, Limit::kJobGpus}}};

std::string tres_text(const Limits& limits, bool job) {
  std::string text;
  for (const Tres& tres : kTres) {
    if (!job && tres.group == Limit::kJobNodes) continue;
    const std::string value = limit_value(limits, job ? tres.job : tres.group);
    if (!value.empty()) text += fmt::format("{}{}={}", text.empty() ? "" : ",", tres.name, value);
  }
  return text;
}

}  // namespace

Result<bool> LimitChange::take(Whose whose, std::string_view given, std::string_view value) {
  const std::string name = lower(given);
  if (whose == Whose::kAccount && (named(name, "MaxJobs", 4) || named(name, "MaxSubmitJobs", 4))) {
    return bad(
        fmt::format("{} of an account is not supported by Berth: limit all of its jobs together with Grp{}, or "
                    "its users one by one",
                    given, std::string(given).substr(3)));
  }
  const Name* known = find(whose, name);
  if (known == nullptr) return false;
  Values& to = known->of_each_user ? of_user_ : shared_;
  if (known->form == Form::kNumber) {
    const auto number = amount(known->limit, value);
    if (!number) return bad(fmt::format("Bad {} value: {}", known->name, value));
    to.emplace_back(known->limit, *number);
    return true;
  }
  const bool job = known->form == Form::kJobTres;
  if (value.empty()) return bad(fmt::format("Bad {} value: nothing is named", known->name));
  for (const std::string& part : split(value, ',')) {
    const std::size_t equals = part.find('=');
    const std::string tres = lower(part.substr(0, equals));
    const auto found = std::find_if(kTres.begin(), kTres.end(), [&](const Tres& one) { return tres == one.name; });
    if (found == kTres.end() || (!job && found->group == Limit::kJobNodes)) {
      return bad(fmt::format("{}={} is not supported by Berth: it limits {}", known->name, tres,
                             job ? "cpu, mem, node and gres/gpu" : "cpu, mem and gres/gpu"));
    }
    const Limit limit = job ? found->job : found->group;
    const auto number = equals == std::string::npos ? std::nullopt : amount(limit, part.substr(equals + 1));
    if (!number) return bad(fmt::format("Bad {} value: {}", known->name, part));
    to.emplace_back(limit, *number);
  }
  return true;
}

void LimitChange::apply(Limits& limits) const {
  for (const auto& [limit, value] : shared_) limits.most[static_cast<std::size_t>(limit)] = value;
}

void LimitChange::apply(Limits& limits, Limits& of_each_user) const {
  apply(limits);
  for (const auto& [limit, value] : of_user_) of_each_user.most[static_cast<std::size_t>(limit)] = value;
}

std::string missing_setting(std::string_view given) {
  const std::string name = lower(given);
  const Missing* found = nullptr;
  for (const Missing& one : kMissing) {
    if (lower(one.name) == name) return one.reason;
    if (found == nullptr && name.size() >= 5 && lower(one.name).starts_with(name)) found = &one;
  }
  return found == nullptr ? "" : found->reason;
}

std::string limit_value(const Limits& limits, Limit limit) {
  const std::int64_t most = limits.of(limit);
  if (most == Limits::kNone) return "";
  switch (limit) {
    case Limit::kCpus:
    case Limit::kJobCpus:
      return most % 1000 == 0 ? std::to_string(most / 1000) : format_cpu_milli(static_cast<std::uint32_t>(most));
    case Limit::kMemory:
    case Limit::kJobMemory:
      return most != 0 && most % 1024 == 0 ? fmt::format("{}G", most / 1024) : fmt::format("{}M", most);
    case Limit::kJobTime:
      return length_text((most + 999) / 1000, true);
    default:
      return std::to_string(most);
  }
}

std::string group_tres(const Limits& limits) { return tres_text(limits, false); }

std::string job_tres(const Limits& limits) { return tres_text(limits, true); }

std::vector<NamedLimit> named_limits(Whose whose, const Limits& limits, const Limits& of_each_user) {
  std::vector<NamedLimit> all;
  const auto add = [&](const char* name, std::string value) {
    if (!value.empty()) all.push_back({name, std::move(value)});
  };
  const bool user = whose == Whose::kUser;
  add(user ? "MaxJobs" : "GrpJobs", limit_value(limits, Limit::kRunning));
  add(user ? "MaxSubmitJobs" : "GrpSubmitJobs", limit_value(limits, Limit::kJobs));
  add("GrpTRES", group_tres(limits));
  add("MaxTRESPerJob", job_tres(limits));
  add("MaxWallDurationPerJob", limit_value(limits, Limit::kJobTime));
  add("MaxJobsPerUser", limit_value(of_each_user, Limit::kRunning));
  add("MaxSubmitJobsPerUser", limit_value(of_each_user, Limit::kJobs));
  add("MaxTRESPerUser", group_tres(of_each_user));
  return all;
}

}  // namespace berth::tools::slurm
