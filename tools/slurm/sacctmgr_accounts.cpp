// sacctmgr add, modify and delete, of accounts and of users in them.
#include <algorithm>
#include <fmt/format.h>
#include <pwd.h>

#include "state/units.h"
#include "tools/cli/text.h"
#include "tools/slurm/sacctmgr.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

std::string account_line(const std::string& account) {
  return fmt::format("  A = {:<10.10} C = {:<10.10}\n", account, kClusterName);
}
std::string user_line(const std::string& account, const std::string& user) {
  return fmt::format("  U = {:<9.9} A = {:<10.10} C = {:<10.10}\n", user, account, kClusterName);
}

// What else than names and the change itself may be said of whom it is about.
struct Whom {
  std::vector<std::string> names, accounts, parents;
  bool other_cluster = false;
};

// Of names and clusters; false: something else.
Result<bool> take_name(Whom& whom, const char* entity, const Setting& setting) {
  const bool bare = setting.name.empty();
  if (setting.change != 0) return false;
  if (bare || is_word(setting.name, "Names", 1) || is_word(setting.name, entity, 1)) {
    for (std::string& name : name_list(setting.value)) whom.names.push_back(std::move(name));
    return true;
  }
  if (is_word(setting.name, "Clusters", 2)) {
    const std::vector<std::string> clusters = name_list(setting.value);
    if (!clusters.empty() && std::find(clusters.begin(), clusters.end(), kClusterName) == clusters.end()) {
      return bad(fmt::format("This cluster '{}' doesn't exist; there is '{}'", setting.value, kClusterName));
    }
    return true;
  }
  return false;
}

// Conditions of modify and delete.
Result<Whom> parse_whom(const char* entity, bool users, const std::vector<Setting>& conditions) {
  Whom whom;
  for (const Setting& setting : conditions) {
    if (users && setting.change == 0 && is_word(setting.name, "Accounts", 2)) {
      for (std::string& name : name_list(setting.value)) whom.accounts.push_back(std::move(name));
      continue;
    }
    if (!users && setting.change == 0 && is_word(setting.name, "Parents", 1)) {
      for (std::string& name : name_list(setting.value)) whom.parents.push_back(std::move(name));
      continue;
    }
    auto taken = take_name(whom, entity, setting);
    if (!taken) return taken.error();
    if (*taken) continue;
    if (setting.name.empty()) return bad("Unknown condition: " + setting.value);
    return bad("Unknown condition: " + setting.name);
  }
  return whom;
}

Result<AssociationChange> parse_change(Whose whose, const std::vector<Setting>& settings) {
  AssociationChange change;
  for (const Setting& setting : settings) {
    auto taken = change.take(whose, setting);
    if (!taken) return taken.error();
    if (!*taken) return bad(unknown_setting(setting));
  }
  return change;
}

void tell_organization(const Manager& manager, const AssociationChange& change) {
  if (!change.organization || manager.quiet()) return;
  manager.out.flush();
  fmt::print(stderr, " Organization is not kept by Berth\n");
}

std::string settings_text(const AssociationChange& change, Whose whose) {
  std::string text;
  const auto line = [&](const char* name, const std::string& value) {
    text += fmt::format("  {:<21} = {}\n", name, value);
  };
  if (change.shares) line("Fairshare", std::to_string(*change.shares));
  Limits limits;
  change.limits.apply(limits);
  for (const NamedLimit& limit : named_limits(whose, limits)) line(limit.name, limit.value);
  return text;
}

std::string parent_of(const Account& account) { return account.parent.empty() ? "root" : account.parent; }

std::optional<std::string> no_account(const Books& books, const std::string& name) {
  if (books.has_account(name)) return std::nullopt;
  return fmt::format("This account '{}' doesn't exist.", name);
}

// "You didn't give any conditions": only if that is meant.
bool meant(const Manager& manager, const std::vector<Setting>& conditions, const char* verb) {
  if (!conditions.empty()) return true;
  if (manager.agreed(fmt::format("You didn't set any conditions with '{}'.\nAre you sure you want to continue?", verb)))
    return true;
  manager.say("Aborted\n");
  return false;
}

}  // namespace

// ---- what may be said -----------------------------------------------------------------------------------------------

bool AssociationChange::any() const { return shares || description || parent || default_account || limits.any(); }

Result<bool> AssociationChange::take(Whose whose, const Setting& setting) {
  if (setting.name.empty() || setting.change != 0) return false;
  const auto is = [&](const char* name, std::size_t least) { return is_word(setting.name, name, least); };
  if (is("Fairshare", 1) || is("Shares", 1)) {
    const auto number = parse_integer(setting.value, "", 0, kSharesMax);
    if (!number) return bad("Bad Fairshare value: " + setting.value + " (from 0 to 1000000 here)");
    shares = static_cast<std::uint32_t>(*number);
    return true;
  }
  if (whose == Whose::kAccount) {
    if (is("Description", 3)) return description = setting.value, true;
    if (is("Organization", 1)) return organization = true, true;
    if (is("Parent", 1)) return parent = setting.value == "root" ? "" : setting.value, true;
  } else if (is("DefaultAccount", 8)) {
    default_account = setting.value;
    return true;
  }
  return limits.take(whose, setting.name, setting.value);
}

// ---- accounts -------------------------------------------------------------------------------------------------------

int add_accounts(const Manager& manager, const Sentence& sentence) {
  Whom whom;
  std::vector<Setting> settings;
  for (const Setting& setting : sentence.settings) {
    auto taken = take_name(whom, "Accounts", setting);
    if (!taken) return manager.refuse(taken.error().message);
    if (!*taken) settings.push_back(setting);
  }
  auto change = parse_change(Whose::kAccount, settings);
  if (!change) return manager.refuse(change.error().message);
  if (whom.names.empty()) return manager.refuse("Need name of account to add.");
  auto books = manager.books();
  if (!books) return manager.refuse(books.error().message);
  const std::string parent = change->parent.value_or("");
  if (!parent.empty() && !books->has_account(parent)) {
    return manager.refuse(fmt::format("Parent account '{}' doesn't exist.", parent));
  }
  std::vector<ClientRequest> requests;
  std::string names, lines;
  for (const std::string& name : whom.names) {
    if (books->has_account(name)) continue;
    if (!is_account_name(name)) return manager.refuse("Bad account name: " + name);
    Account account;
    account.name = name;
    account.parent = parent;
    account.description = change->description.value_or(name);
    account.shares = change->shares.value_or(1);
    account.limits.wait = true;  // as in Slurm: DenyOnLimit is a quality's
    change->limits.apply(account.limits);
    names += "  " + name + "\n";
    lines += account_line(name);
    requests.emplace_back(AccountActionRequest{false, std::move(account)});
  }
  if (requests.empty()) {
    manager.say(" Nothing new added.\n");
    return 1;
  }
  tell_organization(manager, *change);
  const std::string description = change->description.value_or("Account Name");
  manager.say(fmt::format(" Adding Account(s)\n{} Settings\n  Description     = {}\n", names, description));
  manager.say(" Associations\n" + lines);
  if (const std::string text = settings_text(*change, Whose::kAccount); !text.empty())
    manager.say(" Settings\n" + text);
  return manager.commit(requests);
}

int modify_accounts(const Manager& manager, const Sentence& sentence) {
  auto whom = parse_whom("Accounts", false, sentence.conditions);
  if (!whom) return manager.refuse(whom.error().message);
  auto change = parse_change(Whose::kAccount, sentence.settings);
  if (!change) return manager.refuse(change.error().message);
  if (!change->any() && !change->organization) return manager.refuse("You didn't give me anything to set");
  auto books = manager.books();
  if (!books) return manager.refuse(books.error().message);
  if (change->parent && !change->parent->empty()) {
    if (const auto none = no_account(*books, *change->parent)) return manager.refuse(*none);
  }
  if (!meant(manager, sentence.conditions, "modify")) return 0;
  std::vector<ClientRequest> requests;
  std::string names, lines;
  for (const ShareRow& row : books->page().rows) {
    if (!row.user.empty() || row.account.name.empty()) continue;
    Account account = row.account;
    if (!chosen(whom->names, account.name) || !chosen(whom->parents, parent_of(account))) continue;
    lines += fmt::format("  C = {:<10.10} A = {:<10.10} of {}\n", kClusterName, account.name, parent_of(account));
    names += "  " + account.name + "\n";
    if (change->shares) account.shares = *change->shares;
    if (change->description) account.description = *change->description;
    if (change->parent) account.parent = *change->parent;
    change->limits.apply(account.limits);
    requests.emplace_back(AccountActionRequest{false, std::move(account)});
  }
  if (requests.empty()) {
    manager.say("  Nothing modified\n");
    return 1;
  }
  tell_organization(manager, *change);
  if (!change->any()) return 0;
  if (change->description) manager.say(" Modified accounts...\n" + names);
  if (change->shares || change->parent || change->limits.any()) {
    manager.say(" Modified account associations...\n" + lines);
  }
  return manager.commit(requests);
}

int delete_accounts(const Manager& manager, const Sentence& sentence) {
  auto whom = parse_whom("Accounts", false, sentence.conditions);
  if (!whom) return manager.refuse(whom.error().message);
  if (sentence.set) return manager.refuse("Unknown option: set");
  if (whom->names.empty() && whom->parents.empty())
    return manager.refuse("No conditions given to remove, not executing.");
  auto books = manager.books();
  if (!books) return manager.refuse(books.error().message);
  std::vector<ClientRequest> accounts, members;
  std::string names;
  std::set<std::string> going;
  for (const ShareRow& row : books->page().rows) {
    if (!row.user.empty() || row.account.name.empty()) continue;
    const Account& account = row.account;
    if (!chosen(whom->names, account.name) || !chosen(whom->parents, parent_of(account))) continue;
    names += "  " + account.name + "\n";
    going.insert(account.name);
    accounts.emplace_back(AccountActionRequest{true, account});
  }
  if (accounts.empty()) {
    manager.say("  Nothing deleted\n");
    return 1;
  }
  for (const Member& member : books->members()) {
    if (!going.contains(member.account)) continue;
    if (member.is_default) {
      return manager.refuse(
          fmt::format("Error with request: account '{}' is the default of user {}; delete the user "
                      "there, or give another default first",
                      member.account, member.user));
    }
    members.emplace_back(MemberActionRequest{true, member});
  }
  std::reverse(accounts.begin(), accounts.end());  // what is below comes first
  members.insert(members.end(), accounts.begin(), accounts.end());
  manager.say(" Deleting accounts...\n" + names);
  return manager.commit(members);
}

// ---- users ----------------------------------------------------------------------------------------------------------

int add_users(const Manager& manager, const Sentence& sentence) {
  Whom whom;
  std::vector<Setting> settings;
  for (const Setting& setting : sentence.settings) {
    if (setting.change == 0 && is_word(setting.name, "Accounts", 2)) {
      for (std::string& name : name_list(setting.value)) whom.accounts.push_back(std::move(name));
      continue;
    }
    auto taken = take_name(whom, "Users", setting);
    if (!taken) return manager.refuse(taken.error().message);
    if (!*taken) settings.push_back(setting);
  }
  auto change = parse_change(Whose::kUser, settings);
  if (!change) return manager.refuse(change.error().message);
  if (whom.names.empty()) return manager.refuse("Need name of user to add.");
  const std::string usual = change->default_account.value_or("");
  if (whom.accounts.empty() && !usual.empty()) whom.accounts.push_back(usual);
  if (whom.accounts.empty()) return manager.refuse("Need name of acct to add user to.");
  auto books = manager.books();
  if (!books) return manager.refuse(books.error().message);
  for (const std::string& account : whom.accounts) {
    if (account == "root") return manager.refuse("Users cannot be in 'root', the top of all accounts, here");
    if (const auto none = no_account(*books, account)) return manager.refuse(*none);
  }
  if (!usual.empty() && !chosen(whom.accounts, usual)) {
    return manager.refuse("The default account is none of those the user is added to: " + usual);
  }
  std::vector<ClientRequest> requests;
  std::string names, lines;
  for (const std::string& user : whom.names) {
    if (getpwnam(user.c_str()) == nullptr &&
        !manager.agreed(fmt::format("There is no uid for user '{}'\nAre you sure you want to continue?", user))) {
      continue;
    }
    const bool known = std::any_of(books->members().begin(), books->members().end(),
                                   [&](const Member& member) { return member.user == user; });
    bool added = false;
    for (const std::string& account : whom.accounts) {
      if (books->member(account, user) != nullptr) continue;
      Member member{account, user, change->shares.value_or(1), account == usual, {}};
      member.limits.wait = true;
      change->limits.apply(member.limits);
      lines += user_line(account, user);
      added = true;
      requests.emplace_back(MemberActionRequest{false, std::move(member)});
    }
    if (added && !known) names += "  " + user + "\n";
  }
  if (requests.empty()) {
    manager.say(" Nothing new added.\n");
    return 1;
  }
  if (!names.empty()) manager.say(" Adding User(s)\n" + names);
  if (!usual.empty()) manager.say(" Settings =\n  Default Account = " + usual + "\n");
  manager.say(" Associations =\n" + lines);
  const std::string text = settings_text(*change, Whose::kUser);
  if (!text.empty()) manager.say(" Non Default Settings\n" + text);
  return manager.commit(requests);
}

int modify_users(const Manager& manager, const Sentence& sentence) {
  auto whom = parse_whom("Users", true, sentence.conditions);
  if (!whom) return manager.refuse(whom.error().message);
  auto change = parse_change(Whose::kUser, sentence.settings);
  if (!change) return manager.refuse(change.error().message);
  if (!change->any()) return manager.refuse("You didn't give me anything to set");
  auto books = manager.books();
  if (!books) return manager.refuse(books.error().message);
  if (!meant(manager, sentence.conditions, "modify")) return 0;
  const bool associations = change->shares || change->limits.any();
  std::map<std::pair<std::string, std::string>, Member> changed;
  std::set<std::string> users;
  std::string lines;
  for (const Member& old : books->members()) {
    if (!chosen(whom->names, old.user) || !chosen(whom->accounts, old.account)) continue;
    users.insert(old.user);
    if (!associations) continue;
    Member member = old;
    if (change->shares) member.shares = *change->shares;
    change->limits.apply(member.limits);
    if (change->default_account) member.is_default = false;  // until it is found to be the one
    lines += fmt::format("  C = {:<10.10} A = {:<20.20} U = {:<9.9}\n", kClusterName, old.account, old.user);
    changed[{member.account, member.user}] = std::move(member);
  }
  if (users.empty()) {
    manager.say("  Nothing modified\n");
    return 1;
  }
  std::string names;
  for (const std::string& user : users) {
    if (!change->default_account) break;
    const Member* member = books->member(*change->default_account, user);
    if (member == nullptr) {
      return manager.refuse(fmt::format("User '{}' is not in account '{}'", user, *change->default_account));
    }
    Member& to = changed.try_emplace({member->account, user}, *member).first->second;
    to.is_default = true;
    names += "  " + user + "\n";
  }
  std::vector<ClientRequest> requests;
  for (auto& [key, member] : changed) requests.emplace_back(MemberActionRequest{false, std::move(member)});
  if (!names.empty()) manager.say(" Modified users...\n" + names);
  if (!lines.empty()) manager.say(" Modified user associations...\n" + lines);
  return manager.commit(requests);
}

int delete_users(const Manager& manager, const Sentence& sentence) {
  auto whom = parse_whom("Users", true, sentence.conditions);
  if (!whom) return manager.refuse(whom.error().message);
  if (sentence.set) return manager.refuse("Unknown option: set");
  if (whom->names.empty() && whom->accounts.empty()) {
    return manager.refuse("No conditions given to remove, not executing.");
  }
  auto books = manager.books();
  if (!books) return manager.refuse(books.error().message);
  std::vector<ClientRequest> requests;
  std::set<std::string> users;
  std::string lines;
  for (const Member& member : books->members()) {
    if (!chosen(whom->names, member.user) || !chosen(whom->accounts, member.account)) continue;
    users.insert(member.user);
    lines += fmt::format("  C = {:<10.10} A = {:<20.20} U = {:<9.9}\n", kClusterName, member.account, member.user);
    requests.emplace_back(MemberActionRequest{true, member});
  }
  if (requests.empty()) {
    manager.say("  Nothing deleted\n");
    return 1;
  }
  if (whom->accounts.empty()) {
    std::string names;
    for (const std::string& user : users) names += "  " + user + "\n";
    manager.say(" Deleting users...\n" + names);
  } else {
    manager.say(" Deleting user associations...\n" + lines);
  }
  return manager.commit(requests);
}

}  // namespace berth::tools::slurm
