// sacctmgr add, modify and delete, of qualities of service.
#include <algorithm>
#include <cmath>
#include <fmt/format.h>

#include "state/units.h"
#include "tools/cli/text.h"
#include "tools/slurm/sacctmgr.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

constexpr std::int64_t kPriorityMax = 1'000'000;

// "1.5" as thousandths.
std::optional<std::uint32_t> parse_factor(const std::string& text) {
  const std::size_t point = text.find('.');
  const auto whole = parse_integer(text.substr(0, point), "", 0, 1000);
  if (!whole) return std::nullopt;
  std::string part = point == std::string::npos ? "" : text.substr(point + 1);
  if (point != std::string::npos && part.empty()) return std::nullopt;
  while (part.size() > 3 && part.back() == '0') part.pop_back();
  if (part.size() > 3) return std::nullopt;
  part.resize(3, '0');
  const auto thousandths = parse_integer(part, "", 0, 999);
  if (!thousandths || *whole * 1000 + *thousandths > kUsageFactorMax) return std::nullopt;
  return static_cast<std::uint32_t>(*whole * 1000 + *thousandths);
}

struct Asked {
  std::vector<std::string> names;
  QosChange change;
};

Result<bool> take_name(std::vector<std::string>& names, const Setting& setting) {
  if (setting.change != 0) return false;
  const bool named = setting.name.empty() || is_word(setting.name, "Names", 1) || is_word(setting.name, "QOS", 1);
  if (!named) return false;
  for (std::string& name : name_list(setting.value)) names.push_back(std::move(name));
  return true;
}

Result<QosChange> parse_change(const std::vector<Setting>& settings) {
  QosChange change;
  for (const Setting& setting : settings) {
    auto taken = change.take(setting);
    if (!taken) return taken.error();
    if (!*taken) return bad(unknown_setting(setting));
  }
  return change;
}

Result<std::vector<std::string>> parse_conditions(const std::vector<Setting>& conditions) {
  std::vector<std::string> names;
  for (const Setting& setting : conditions) {
    auto taken = take_name(names, setting);
    if (!taken) return taken.error();
    if (!*taken) return bad("Unknown condition: " + setting.name);
  }
  return names;
}

void tell_description(const Manager& manager, const QosChange& change) {
  if (!change.description || manager.quiet()) return;
  manager.out.flush();
  fmt::print(stderr, " A Description of a quality is not kept by Berth\n");
}

std::string settings_text(const QosChange& change) {
  Qos qos;
  change.apply(qos);
  std::string text;
  const auto line = [&](const char* name, const std::string& value) {
    text += fmt::format("  {:<24} = {}\n", name, value);
  };
  if (change.priority) line("Priority", std::to_string(*change.priority));
  if (change.usage_milli) line("UsageFactor", usage_text(*change.usage_milli));
  if (change.preempt) line("PreemptMode", preempt_text(*change.preempt));
  if (change.wait) line("Flags", *change.wait ? "" : "DenyOnLimit");
  for (const NamedLimit& limit : named_limits(Whose::kQos, qos.limits, qos.user_limits)) line(limit.name, limit.value);
  return text;
}

}  // namespace

std::string usage_text(std::uint32_t usage_milli) {
  return fmt::format("{}.{:03}000", usage_milli / 1000, usage_milli % 1000);
}

std::string preempt_text(Preempt preempt) {
  return preempt == Preempt::kAsQueue ? "cluster" : std::string(name_of(preempt));
}

Result<bool> QosChange::take(const Setting& setting) {
  const auto is = [&](const char* name, std::size_t least) { return is_word(setting.name, name, least); };
  if (is("Flags", 2)) {
    // Flags=-1 is none; others than the one can only be taken away.
    if (setting.value == "-1" && setting.change == 0) return wait = true, true;
    bool deny = false;
    for (const std::string& flag : name_list(setting.value)) {
      if (lower(flag) != "denyonlimit") {
        return bad("Flags=" + flag + " is not supported by Berth: only DenyOnLimit is");
      }
      deny = true;
    }
    if (deny) {
      wait = setting.change == '-';
    } else if (setting.change == 0) {
      return bad("Bad Flags value: nothing is named");
    }
    return true;
  }
  if (setting.name.empty() || setting.change != 0) return false;
  if (is("Priority", 3)) {
    const auto number = parse_integer(setting.value, "", -kPriorityMax, kPriorityMax);
    if (!number) return bad("Bad Priority value: " + setting.value + " (from -1000000 to 1000000 here)");
    // As in Slurm, -1 is none.
    priority = *number == -1 ? 0 : static_cast<std::int32_t>(*number);
    return true;
  }
  if (is("UsageFactor", 6)) {
    const auto factor = setting.value == "-1" ? std::optional<std::uint32_t>(1000) : parse_factor(setting.value);
    if (!factor) return bad("Bad UsageFactor value: " + setting.value + " (from 0 to 1000, in thousandths, here)");
    usage_milli = *factor;
    return true;
  }
  if (is("PreemptMode", 8)) {
    for (const Preempt one : {Preempt::kOff, Preempt::kRequeue, Preempt::kCancel, Preempt::kAsQueue}) {
      if (lower(setting.value) == preempt_text(one)) return preempt = one, true;
    }
    return bad("PreemptMode=" + setting.value + " is not supported by Berth: off, requeue, cancel and cluster are");
  }
  if (is("Description", 1)) return description = true, true;
  return limits.take(Whose::kQos, setting.name, setting.value);
}

void QosChange::apply(Qos& qos) const {
  if (priority) qos.priority = *priority;
  if (usage_milli) qos.usage_milli = *usage_milli;
  if (preempt) qos.preempt = *preempt;
  if (wait) qos.limits.wait = qos.user_limits.wait = *wait;
  limits.apply(qos.limits, qos.user_limits);
}

int add_qos(const Manager& manager, const Sentence& sentence) {
  std::vector<std::string> names;
  std::vector<Setting> settings;
  for (const Setting& setting : sentence.settings) {
    auto taken = take_name(names, setting);
    if (!taken) return manager.refuse(taken.error().message);
    if (!*taken) settings.push_back(setting);
  }
  auto change = parse_change(settings);
  if (!change) return manager.refuse(change.error().message);
  if (names.empty()) return manager.refuse("Need name of qos to add.");
  auto books = manager.books();
  if (!books) return manager.refuse(books.error().message);
  std::vector<ClientRequest> requests;
  std::string list;
  for (const std::string& name : names) {
    if (books->qos(name) != nullptr) continue;
    if (!is_account_name(name)) return manager.refuse("Bad qos name: " + name);
    Qos qos;
    qos.name = name;
    qos.limits.wait = qos.user_limits.wait = true;  // what is over a limit waits, without DenyOnLimit
    change->apply(qos);
    list += "  " + name + "\n";
    requests.emplace_back(QosActionRequest{false, std::move(qos)});
  }
  if (requests.empty()) {
    manager.say(" Nothing new added.\n");
    return 1;
  }
  tell_description(manager, *change);
  manager.say(" Adding QOS(s)\n" + list);
  if (const std::string text = settings_text(*change); !text.empty()) manager.say(" Settings\n" + text);
  return manager.commit(requests);
}

int modify_qos(const Manager& manager, const Sentence& sentence) {
  auto names = parse_conditions(sentence.conditions);
  if (!names) return manager.refuse(names.error().message);
  auto change = parse_change(sentence.settings);
  if (!change) return manager.refuse(change.error().message);
  if (!change->any() && !change->description) return manager.refuse("You didn't give me anything to set");
  auto books = manager.books();
  if (!books) return manager.refuse(books.error().message);
  if (sentence.conditions.empty() &&
      !manager.agreed("You didn't set any conditions with 'modify'.\nAre you sure you want to continue?")) {
    manager.say("Aborted\n");
    return 0;
  }
  std::vector<ClientRequest> requests;
  std::string list;
  for (const QosRow& row : books->page().qos) {
    if (!chosen(*names, row.qos.name)) continue;
    Qos qos = row.qos;
    change->apply(qos);
    list += "  " + qos.name + "\n";
    requests.emplace_back(QosActionRequest{false, std::move(qos)});
  }
  if (requests.empty()) {
    manager.say("  Nothing modified\n");
    return 1;
  }
  tell_description(manager, *change);
  if (!change->any()) return 0;
  manager.say(" Modified qos...\n" + list);
  return manager.commit(requests);
}

int delete_qos(const Manager& manager, const Sentence& sentence) {
  auto names = parse_conditions(sentence.conditions);
  if (!names) return manager.refuse(names.error().message);
  if (sentence.set) return manager.refuse("Unknown option: set");
  if (names->empty()) return manager.refuse("No conditions given to remove, not executing.");
  auto books = manager.books();
  if (!books) return manager.refuse(books.error().message);
  std::vector<ClientRequest> requests;
  std::string list;
  for (const QosRow& row : books->page().qos) {
    if (!chosen(*names, row.qos.name)) continue;
    list += "  " + row.qos.name + "\n";
    requests.emplace_back(QosActionRequest{true, row.qos});
  }
  if (requests.empty()) {
    manager.say("  Nothing deleted\n");
    return 1;
  }
  manager.say(" Deleting QOS(s)...\n" + list);
  return manager.commit(requests);
}

}  // namespace berth::tools::slurm
