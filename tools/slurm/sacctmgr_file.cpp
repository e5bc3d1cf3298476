// sacctmgr dump and load: accounts and users as a file that Slurm's own sacctmgr reads and writes.
//   Cluster - 'berth':Fairshare=1
//   Parent - 'root'
//   Account - 'physics':Description='all of it':Fairshare=3:GrpTRES='cpu=8'
//   Parent - 'physics'
//   User - 'ana':DefaultAccount='physics':Fairshare=1:MaxJobs=4
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <sstream>

#include "tools/cli/text.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/sacctmgr.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

constexpr std::size_t kFileMax = 64 * 1024 * 1024;

Error at_line(std::size_t line, const std::string& message) {
  return Error{ErrorCode::kInvalid, "", fmt::format("line {}: {}", line, message), 0};
}

// In quotes, with what a reader would take for something else behind a backslash.
std::string quoted(const std::string& text) {
  const char quote = text.find('\'') == std::string::npos ? '\'' : '"';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == '\\' || c == '#') out += '\\';
    out += quote == '"' && c == '"' ? '`' : c;  // both kinds cannot be written
  }
  return out + quote;
}

// ---- dump -----------------------------------------------------------------------------------------------------------

std::string settings_text(Whose whose, std::uint32_t shares, const Limits& limits) {
  std::string text = fmt::format(":Fairshare={}", shares);
  for (const NamedLimit& limit : named_limits(whose, limits)) {
    const bool plain = limit.value.find_first_not_of("0123456789") == std::string::npos;
    text += fmt::format(":{}={}", limit.name, plain ? limit.value : "'" + limit.value + "'");
  }
  return text;
}

// What is right below the account, then what is below that.
void write_below(const Books& books, const std::string& parent, std::string& text) {
  std::string lines;
  std::vector<const Account*> accounts;
  for (const Member& member : books.members()) {
    if (member.account != parent) continue;
    lines += "User - " + quoted(member.user) + ":DefaultAccount=" + quoted(books.default_account(member.user)) +
             settings_text(Whose::kUser, member.shares, member.limits) + "\n";
  }
  for (const ShareRow& row : books.page().rows) {
    if (!row.user.empty() || row.account.name.empty() || row.account.parent != parent) continue;
    const Account& account = row.account;
    const std::string description = account.description.empty() ? "" : ":Description=" + quoted(account.description);
    lines += "Account - " + quoted(account.name) + description +
             settings_text(Whose::kAccount, account.shares, account.limits) + "\n";
    accounts.push_back(&account);
  }
  if (lines.empty()) return;
  text += "Parent - " + quoted(parent.empty() ? "root" : parent) + "\n" + lines;
  for (const Account* account : accounts) write_below(books, account->name, text);
}

struct FileWords {
  std::string file, cluster;
};

Result<FileWords> parse_file_words(const std::vector<std::string>& words, const char* verb) {
  auto sentence = parse_sentence(words, true);
  if (!sentence) return sentence.error();
  FileWords said;
  for (const Setting& setting : sentence->settings) {
    const bool load = std::string_view(verb) == "load";
    if (setting.name.empty() && is_word(setting.value, "clean", 3) && load) {
      return invalid("", "load clean is not supported by Berth: delete what is there first");
    }
    std::string& to = is_word(setting.name, "File", 1) || (setting.name.empty() && load) ? said.file : said.cluster;
    if (!setting.name.empty() && &to == &said.cluster && !is_word(setting.name, "Clusters", 1)) {
      return invalid("", "Unknown option: " + setting.name);
    }
    if (!to.empty() || setting.value.empty()) return invalid("", "Unknown option: " + setting.value);
    to = setting.value;
  }
  if (!said.cluster.empty() && said.cluster != kClusterName) {
    return invalid("", fmt::format("This cluster '{}' doesn't exist; there is '{}'", said.cluster, kClusterName));
  }
  return said;
}

// ---- load -----------------------------------------------------------------------------------------------------------

struct FileLine {
  std::size_t number = 0;
  std::string kind, name;
  std::vector<Setting> settings;
};

// Without its comment; true if it goes on with the next line.
bool strip(std::string& line) {
  std::string out;
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '#') break;
    out += line[i];
    if (line[i] == '\\' && i + 1 < line.size()) out += line[++i];
  }
  while (!out.empty() && (out.back() == ' ' || out.back() == '\t' || out.back() == '\r')) out.pop_back();
  std::size_t slashes = 0;
  while (slashes < out.size() && out[out.size() - 1 - slashes] == '\\') ++slashes;
  const bool goes_on = slashes % 2 == 1;
  if (goes_on) out.pop_back();
  line = std::move(out);
  return goes_on;
}

// By ':' outside of quotes; quotes and backslashes are gone then.
Result<std::vector<std::string>> parts_of(std::size_t number, const std::string& text) {
  std::vector<std::string> parts(1);
  char quote = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\' && i + 1 < text.size()) {
      parts.back() += text[++i];
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    } else if (c == ':' && quote == 0) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  if (quote != 0) return at_line(number, "a quote is not closed");
  return parts;
}

Result<FileLine> parse_line(std::size_t number, const std::string& text) {
  const std::size_t dash = text.find(" - ");
  FileLine line;
  line.number = number;
  line.kind = lower(text.substr(0, dash));
  while (!line.kind.empty() && line.kind.back() == ' ') line.kind.pop_back();
  const bool known = line.kind == "cluster" || line.kind == "parent" || line.kind == "account" || line.kind == "user";
  if (dash == std::string::npos || !known) {
    return at_line(number, "not one of Cluster - , Parent - , Account - and User - 'NAME'");
  }
  auto parts = parts_of(number, text.substr(text.find_first_not_of(' ', dash + 2)));
  if (!parts) return parts.error();
  line.name = parts->front();
  if (line.name.empty()) return at_line(number, "No name given");
  for (std::size_t i = 1; i < parts->size(); ++i) {
    const std::string& part = (*parts)[i];
    if (part.empty()) continue;
    const std::size_t equals = part.find('=');
    if (equals == std::string::npos || equals == 0) {
      return at_line(number, "Bad format on " + part + ": End your option with an '=' sign");
    }
    line.settings.push_back({part.substr(0, equals), part.substr(equals + 1), 0});
  }
  return line;
}

Result<std::vector<FileLine>> parse_file(const std::string& text) {
  std::vector<FileLine> lines;
  std::istringstream in(text);
  std::string line, whole;
  std::size_t number = 0, first = 0;
  while (std::getline(in, line)) {
    ++number;
    if (whole.empty()) first = number;
    const bool goes_on = strip(line);
    whole += line;
    if (goes_on) continue;
    const std::size_t begin = whole.find_first_not_of(" \t");
    if (begin != std::string::npos) {
      auto parsed = parse_line(first, whole.substr(begin));
      if (!parsed) return parsed.error();
      lines.push_back(std::move(*parsed));
    }
    whole.clear();
  }
  if (!whole.empty()) return at_line(first, "the file ends within it");
  return lines;
}

// What a file asks for, beside what there is: nothing is sent before all of it is known to be good.
class Load {
 public:
  explicit Load(const Books& books) : books_(books) {}

  Status take(const FileLine& line) {
    if (line.kind == "cluster") return take_cluster(line);
    if (!cluster_) return at_line(line.number, "a Cluster - line comes first");
    if (line.kind == "parent") {
      if (!line.settings.empty()) return at_line(line.number, unknown_setting(line.settings.front()));
      if (line.name != "root" && !accounts_.contains(line.name) && !books_.has_account(line.name)) {
        return at_line(line.number,
                       fmt::format("parent account '{}' is neither there nor in a line before", line.name));
      }
      parent_ = line.name == "root" ? "" : line.name;
      return Unit{};
    }
    return line.kind == "account" ? take_account(line) : take_user(line);
  }

  // The default account of each user is one of his.
  Status check() const {
    if (!cluster_) return Error{ErrorCode::kInvalid, "", "the file has no Cluster - line", 0};
    for (const auto& [user, usual] : usual_) {
      const auto& [account, line] = usual;
      if (members_.contains({account, user}) || books_.member(account, user) != nullptr) continue;
      return at_line(line, fmt::format("user '{}' is not in account '{}', which is to be his default", user, account));
    }
    return Unit{};
  }

  std::vector<ClientRequest> requests() const {
    std::vector<ClientRequest> all;
    for (const std::string& name : account_order_) {
      const Account& account = accounts_.find(name)->second;
      const Account* old = books_.account(name);
      if (old == nullptr || *old != account) all.emplace_back(AccountActionRequest{false, account});
    }
    for (const auto& key : member_order_) {
      Member member = members_.find(key)->second;
      const auto usual = usual_.find(key.second);
      if (usual != usual_.end()) member.is_default = usual->second.first == key.first;
      const Member* old = books_.member(key.first, key.second);
      if (old == nullptr || *old != member) all.emplace_back(MemberActionRequest{false, std::move(member)});
    }
    return all;
  }
  bool organization() const { return organization_; }

 private:
  Status take_cluster(const FileLine& line) {
    if (cluster_) return at_line(line.number, "there is one cluster, and it was there before");
    cluster_ = true;
    for (const Setting& setting : line.settings) {
      if (is_word(setting.name, "Fairshare", 1) && setting.value == "1") continue;
      if (auto good = take_qualities(line, setting, "root", ""); !good || *good) {
        if (!good) return good.error();
        continue;
      }
      return at_line(line.number, setting.name + " of the whole cluster is not supported by Berth");
    }
    return Unit{};
  }

  // QOS= says nothing if it is as it is here anyway.
  Result<bool> take_qualities(const FileLine& line, const Setting& setting, const std::string& account,
                              const std::string& user) const {
    if (lower(setting.name) != "qos") return false;
    std::vector<std::string> names = name_list(setting.value);
    std::sort(names.begin(), names.end());
    if (join(names, ",") == books_.qualities(account, user)) return true;
    return at_line(line.number, unknown_setting(setting));
  }

  Result<AssociationChange> take_settings(Whose whose, const FileLine& line, const std::string& account,
                                          const std::string& user) {
    AssociationChange change;
    for (const Setting& setting : line.settings) {
      if (setting.value.empty()) continue;  // as Slurm: a blank field
      auto allowed = take_qualities(line, setting, account, user);
      if (!allowed) return allowed.error();
      if (*allowed) continue;
      if (is_word(setting.name, "Parent", 3)) return at_line(line.number, "Unknown option: " + setting.name);
      auto taken = change.take(whose, setting);
      if (!taken) return at_line(line.number, taken.error().message);
      if (!*taken) return at_line(line.number, unknown_setting(setting));
    }
    organization_ = organization_ || change.organization;
    return change;
  }

  Status take_account(const FileLine& line) {
    if (line.name == "root") return at_line(line.number, "account 'root' is the top of all accounts, and there");
    if (!is_account_name(line.name)) return at_line(line.number, "Bad account name: " + line.name);
    if (accounts_.contains(line.name)) return at_line(line.number, "account '" + line.name + "' is there twice");
    auto change = take_settings(Whose::kAccount, line, line.name, "");
    if (!change) return change.error();
    Account account;
    account.name = line.name;
    account.limits.wait = true;
    account.description = line.name;
    if (const Account* old = books_.account(line.name)) account = *old;
    account.parent = parent_;
    if (change->description) account.description = *change->description;
    if (change->shares) account.shares = *change->shares;
    change->limits.apply(account.limits);
    account_order_.push_back(account.name);
    accounts_[account.name] = std::move(account);
    return Unit{};
  }

  Status take_user(const FileLine& line) {
    if (line.name == "root" && parent_.empty()) return take_root(line);
    if (parent_.empty()) return at_line(line.number, "users cannot be in 'root', the top of all accounts, here");
    if (line.name.find(' ') != std::string::npos || line.name.size() > 255) {
      return at_line(line.number, "Bad user name: " + line.name);
    }
    const std::pair key{parent_, line.name};
    if (members_.contains(key)) {
      return at_line(line.number, fmt::format("user '{}' is there twice in account '{}'", line.name, parent_));
    }
    auto change = take_settings(Whose::kUser, line, parent_, line.name);
    if (!change) return change.error();
    Member member;
    member.account = parent_;
    member.user = line.name;
    member.limits.wait = true;
    if (const Member* old = books_.member(parent_, line.name)) member = *old;
    if (change->shares) member.shares = *change->shares;
    change->limits.apply(member.limits);
    if (change->default_account) usual_[line.name] = {*change->default_account, line.number};
    member_order_.push_back(key);
    members_[key] = std::move(member);
    return Unit{};
  }

  // Every file of Slurm's has this line, and it is so here as well: root is an administrator, and needs no account.
  static Status take_root(const FileLine& line) {
    for (const Setting& setting : line.settings) {
      const std::string value = lower(setting.value);
      const bool so = (is_word(setting.name, "DefaultAccount", 8) && value == "root") ||
                      (is_word(setting.name, "AdminLevel", 2) && value == "administrator") ||
                      (is_word(setting.name, "Fairshare", 1) && value == "1");
      if (!so) return at_line(line.number, setting.name + " of root is not supported by Berth");
    }
    return Unit{};
  }

  const Books& books_;
  bool cluster_ = false, organization_ = false;
  std::string parent_;
  std::map<std::string, Account> accounts_;
  std::map<std::pair<std::string, std::string>, Member> members_;
  std::vector<std::string> account_order_;
  std::vector<std::pair<std::string, std::string>> member_order_;
  std::map<std::string, std::pair<std::string, std::size_t>> usual_;  // users' default accounts, and where it says so
};

void tell_changes(const Manager& manager, const Books& books, const std::vector<ClientRequest>& requests) {
  std::string added, changed, users, users_changed;
  for (const ClientRequest& request : requests) {
    if (const auto* of = std::get_if<AccountActionRequest>(&request)) {
      const Account& account = of->account;
      (books.account(account.name) == nullptr ? added : changed) +=
          fmt::format("  A = {:<10.10} of {}\n", account.name, account.parent.empty() ? "root" : account.parent);
    } else if (const auto* in = std::get_if<MemberActionRequest>(&request)) {
      const Member& member = in->member;
      (books.member(member.account, member.user) == nullptr ? users : users_changed) +=
          fmt::format("  U = {:<9.9} A = {:<10.10}\n", member.user, member.account);
    }
  }
  manager.say(fmt::format("For cluster {}\n", kClusterName));
  if (!added.empty()) manager.say(" Adding Account(s)\n" + added);
  if (!changed.empty()) manager.say(" Modified account associations...\n" + changed);
  if (!users.empty()) manager.say(" Adding User(s)\n" + users);
  if (!users_changed.empty()) manager.say(" Modified user associations...\n" + users_changed);
}

}  // namespace

int dump_file(const Manager& manager, const std::vector<std::string>& words) {
  auto said = parse_file_words(words, "dump");
  if (!said) return manager.refuse(said.error().message);
  auto books = manager.books();
  if (!books) return manager.refuse(slurm_error(books.error()));
  std::string text = "# Accounts and users; `sacctmgr load` reads this. Qualities of service are not in it.\n";
  text += fmt::format("Cluster - '{}':Fairshare=1\n", kClusterName);
  write_below(*books, "", text);
  const std::string path = said->file.empty() ? std::string(kClusterName) + ".cfg" : said->file;
  FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return manager.refuse(fmt::format("Can't open file {}: {}", path, std::strerror(errno)));
  const bool good = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (std::fclose(file) != 0 || !good) return manager.refuse("Can't write file " + path);
  return 0;
}

int load_file(const Manager& manager, const std::vector<std::string>& words) {
  auto said = parse_file_words(words, "load");
  if (!said) return manager.refuse(said.error().message);
  if (said->file.empty()) return manager.refuse("No filename given; specify one with file=<filename>");
  std::ifstream in(said->file, std::ios::binary);
  if (!in) return manager.refuse(fmt::format("Unable to read {}: {}", said->file, std::strerror(errno)));
  std::string text((std::istreambuf_iterator<char>(in)), {});
  if (text.size() > kFileMax) return manager.refuse(said->file + ": the file is too large");
  auto lines = parse_file(text);
  if (!lines) return manager.refuse(said->file + ": " + lines.error().message);
  auto books = manager.books();
  if (!books) return manager.refuse(slurm_error(books.error()));
  Load load(*books);
  for (const FileLine& line : *lines) {
    if (Status good = load.take(line); !good) return manager.refuse(said->file + ": " + good.error().message);
  }
  if (Status good = load.check(); !good) return manager.refuse(said->file + ": " + good.error().message);
  const std::vector<ClientRequest> requests = load.requests();
  if (requests.empty()) {
    manager.say(" Nothing new added.\n");
    return 0;
  }
  if (load.organization() && !manager.quiet()) fmt::print(stderr, " Organization is not kept by Berth\n");
  tell_changes(manager, *books, requests);
  return manager.commit(requests);
}

}  // namespace berth::tools::slurm
