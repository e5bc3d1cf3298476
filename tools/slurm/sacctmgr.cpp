// sacctmgr: accounts, their users, and qualities of service.
#include "tools/slurm/sacctmgr.h"

#include <algorithm>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include "tools/cli/text.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

// ---- words ----------------------------------------------------------------------------------------------------------

bool is_word(std::string_view word, std::string_view name, std::size_t least) {
  return word.size() >= least && lower(name).starts_with(lower(word));
}

std::vector<std::string> name_list(std::string_view text) {
  std::vector<std::string> names = split(text, ',');
  std::erase(names, "");
  return names;
}

namespace {

std::string without_quotes(std::string text) {
  const bool quoted = text.size() >= 2 && text.front() == text.back() && (text[0] == '\'' || text[0] == '"');
  return quoted ? text.substr(1, text.size() - 2) : text;
}

}  // namespace

Result<Sentence> parse_sentence(const std::vector<std::string>& words, bool adds) {
  Sentence sentence;
  std::vector<Setting>* to = adds ? &sentence.settings : &sentence.conditions;
  for (const std::string& word : words) {
    if (lower(word) == "where") {
      if (adds) return Error{ErrorCode::kInvalid, "", "Unknown option: " + word, 0};
      to = &sentence.conditions;
      continue;
    }
    if (lower(word) == "set") {
      sentence.set = true;
      to = &sentence.settings;
      continue;
    }
    const std::size_t equals = word.find('=');
    if (equals == std::string::npos) {
      to->push_back({"", without_quotes(word), 0});
      continue;
    }
    Setting setting{word.substr(0, equals), without_quotes(word.substr(equals + 1)), 0};
    if (!setting.name.empty() && (setting.name.back() == '+' || setting.name.back() == '-')) {
      setting.change = setting.name.back();
      setting.name.pop_back();
    }
    if (setting.name.empty()) return Error{ErrorCode::kInvalid, "", "Unknown option: " + word, 0};
    to->push_back(std::move(setting));
  }
  return sentence;
}

std::string unknown_setting(const Setting& setting) {
  if (setting.name.empty()) return "Unknown option: " + setting.value;
  const std::string why = missing_setting(setting.name);
  return why.empty() ? "Unknown option: " + setting.name : setting.name + " is not supported by Berth: " + why;
}

// ---- what there is --------------------------------------------------------------------------------------------------

Books::Books(AccountPage page) : page_(std::move(page)) {
  for (const ShareRow& row : page_.rows) {
    if (row.account.name.empty()) continue;  // users without an account
    if (row.user.empty()) {
      accounts_[row.account.name] = row.account;
    } else {
      members_.push_back({row.account.name, row.user, row.shares, row.is_default, row.limits});
    }
  }
}

const Account* Books::account(const std::string& name) const {
  const auto found = accounts_.find(name);
  return found == accounts_.end() ? nullptr : &found->second;
}

const Member* Books::member(const std::string& account, const std::string& user) const {
  for (const Member& member : members_) {
    if (member.account == account && member.user == user) return &member;
  }
  return nullptr;
}

const Qos* Books::qos(const std::string& name) const {
  for (const QosRow& row : page_.qos) {
    if (row.qos.name == name) return &row.qos;
  }
  return nullptr;
}

std::string Books::default_account(const std::string& user) const {
  for (const Member& member : members_) {
    if (member.user == user && member.is_default) return member.account;
  }
  return "";
}

std::string Books::qualities(const std::string& account, const std::string& user) const {
  const auto may = [](const std::vector<std::string>& names, const std::string& name) {
    return names.empty() || (!name.empty() && std::find(names.begin(), names.end(), name) != names.end());
  };
  std::vector<std::string> names;
  if (qos("normal") == nullptr) names.emplace_back("normal");
  for (const QosRow& row : page_.qos) {
    if (may(row.qos.users, user) && may(row.qos.accounts, account == "root" ? "" : account)) {
      names.push_back(row.qos.name);
    }
  }
  std::sort(names.begin(), names.end());
  return join(names, ",");
}

// ---- talking --------------------------------------------------------------------------------------------------------

void Manager::say(const std::string& text) const {
  if (!quiet()) out.write(text);
}

int Manager::refuse(const std::string& message) const {
  out.flush();
  fmt::print(stderr, " {}\n", message);
  return 1;
}

Result<Books> Manager::books() const {
  auto page = link.call_for<AccountPage>(ListAccountsRequest{});
  if (!page) return page.error();
  return Books(std::move(*page));
}

bool Manager::agreed(const std::string& question) const {
  if (given.has("immediate")) return true;
  constexpr int kPatienceMs = 30'000;
  out.write(question + " (You have 30 seconds to decide)\n(N/y): ");
  out.flush();
  std::string answer;
  while (true) {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    char c = 0;
    if (::poll(&input, 1, kPatienceMs) <= 0) {
      out.write("timeout\n");
      return false;
    }
    if (::read(STDIN_FILENO, &c, 1) <= 0) return false;
    if (c != '\n') {
      answer += c;
      continue;
    }
    answer = lower(answer);
    if (answer.empty() || answer.starts_with('n')) return false;
    if (answer.starts_with('y')) return true;
    answer.clear();
    out.write("Y or N please\n(N/y): ");
    out.flush();
  }
}

int Manager::send(const std::vector<ClientRequest>& requests) const {
  for (std::size_t i = 0; i < requests.size(); ++i) {
    auto done = link.call_for<Ok>(requests[i]);
    if (done) continue;
    const std::string text = ServerLink::is_lost(done.error()) ? slurm_error(done.error()) : done.error().message;
    const std::string before = i == 0 ? "" : fmt::format("; {} of {} changes were made before", i, requests.size());
    return refuse("Error with request: " + text + before);
  }
  return 0;
}

int Manager::commit(const std::vector<ClientRequest>& requests) const {
  if (!agreed("Would you like to commit changes?")) {
    say(" Changes Discarded\n");
    return 0;
  }
  out.flush();
  return send(requests);
}

// ---- the commands ---------------------------------------------------------------------------------------------------

namespace {

using Act = int (*)(const Manager&, const Sentence&);
struct Entity {
  const char* name;
  std::size_t least;
  Act add, modify, remove;
};
constexpr Entity kEntities[] = {
    {"accounts", 3, add_accounts, modify_accounts, delete_accounts},
    {"users", 1, add_users, modify_users, delete_users},
    {"qos", 1, add_qos, modify_qos, delete_qos},
};
struct Without {
  const char* name;
  std::size_t least;
  const char* reason;
};
constexpr Without kWithout[] = {
    {"clusters", 2, "there is one, which is there"}, {"coordinators", 4, "there are none"},
    {"federations", 3, "there is one cluster"},      {"jobs", 1, "use scontrol update"},
    {"resources", 4, "use berth licence"},           {"wckeys", 1, "there are none"},
};

int change(const Manager& manager, const std::string& verb, Act Entity::*act, Words words) {
  if (words.empty()) return manager.refuse("No valid entity in " + verb + " command");
  const std::string what = words.front();
  words.erase(words.begin());
  for (const Entity& entity : kEntities) {
    if (!is_word(what, entity.name, entity.least)) continue;
    if (manager.given.has("readonly")) return manager.refuse("Can't run this command in readonly mode.");
    auto sentence = parse_sentence(words, act == &Entity::add);
    if (!sentence) return manager.refuse(sentence.error().message);
    return (entity.*act)(manager, *sentence);
  }
  for (const Without& one : kWithout) {
    if (is_word(what, one.name, one.least)) {
      return manager.refuse(fmt::format("{} {} is not supported by Berth: {}", verb, what, one.reason));
    }
  }
  return manager.refuse("No valid entity in " + verb + " command: " + what);
}

int run(const Manager& manager, Words words) {
  const std::string verb = words.front();
  words.erase(words.begin());
  const auto is = [&](std::string_view name, std::size_t least) { return is_word(verb, name, least); };
  if (is("add", 3) || is("create", 3)) return change(manager, "add", &Entity::add, words);
  if (is("modify", 1) || is("update", 1)) return change(manager, "modify", &Entity::modify, words);
  if (is("delete", 3) || is("remove", 3)) return change(manager, "delete", &Entity::remove, words);
  if (is("list", 3) || is("show", 3)) {
    if (words.empty()) return manager.refuse("No valid entity in list command");
    const std::string what = words.front();
    words.erase(words.begin());
    return list_things(manager, what, words);
  }
  if (is("dump", 3)) return dump_file(manager, words);
  if (is("load", 3)) {
    if (manager.given.has("readonly")) return manager.refuse("Can't run this command in readonly mode.");
    return load_file(manager, words);
  }
  if (is("version", 4)) {
    manager.out.flush();
    return print_version(manager.given.has("verbose")), 0;
  }
  if (is("help", 4)) {
    manager.out.write(help_of(table_of("sacctmgr")));
    return 0;
  }
  return manager.refuse(
      fmt::format("\"{}\" is not supported by Berth; supported are add, modify, delete, list, dump, load, help and "
                  "version",
                  verb));
}

}  // namespace

int sacctmgr(const Context& context, const Words& words) {
  const CommandTable& table = table_of("sacctmgr");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  const Given& given = *parsed;
  if (const auto code = answer_about_itself(table, given)) return *code;
  if (given.has("verbose")) tell_ignored(table, given);
  if (given.words.empty()) {
    return fail("sacctmgr", "Berth's sacctmgr has no interactive mode; name a command (sacctmgr --help)");
  }
  ServerLink link(context);
  Output out;
  const int code = run(Manager{given, link, out}, given.words);
  const int written = out.finish();
  return code != 0 ? code : written;
}

}  // namespace berth::tools::slurm
