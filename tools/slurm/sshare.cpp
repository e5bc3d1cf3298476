// sshare: accounts and their users as a tree, with what each should have and has used.
#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <pwd.h>
#include <set>
#include <unistd.h>

#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/options.h"
#include "tools/slurm/print_table.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

struct SharePrinted {
  std::string account;  // with a blank for each account above it
  std::string user;
  std::optional<std::uint32_t> shares;
  double share = 0, cpu_seconds = 0, of_all = 0, used = 0;
  std::optional<double> level, factor;
};

std::string number(double value) { return fmt::format("{:.6f}", value); }

using ShareField = TableField<SharePrinted>;
const std::vector<ShareField>& share_fields() {
  static const std::vector<ShareField> all = [] {
    const auto nothing = [](const SharePrinted&) { return std::string(); };
    return std::vector<ShareField>{
        {"Account", 1, -20, "Account", [](const SharePrinted& r) { return r.account; }},
        {"Cluster", 1, 10, "Cluster", [](const SharePrinted&) { return std::string("berth"); }},
        {"EffectvUsage", 1, 13, "EffectvUsage", [](const SharePrinted& r) { return number(r.used); }},
        {"FairShare", 1, 10, "FairShare", [](const SharePrinted& r) { return r.factor ? number(*r.factor) : ""; }},
        {"LevelFS", 1, 10, "LevelFS",
         [](const SharePrinted& r) { return !r.level       ? ""
                                            : *r.level < 0 ? "inf"
                                                           : number(*r.level); }},
        {"NormShares", 5, 11, "NormShares", [](const SharePrinted& r) { return number(r.share); }},
        {"NormUsage", 5, 11, "NormUsage", [](const SharePrinted& r) { return number(r.of_all); }},
        {"Partition", 1, 12, "Partition", nothing},  // shares are not of a queue
        {"RawShares", 4, 10, "RawShares",
         [](const SharePrinted& r) { return r.shares ? std::to_string(*r.shares) : ""; }},
        {"RawUsage", 4, 11, "RawUsage", [](const SharePrinted& r) { return fmt::format("{:.0f}", r.cpu_seconds); }},
        {"User", 1, 10, "User", [](const SharePrinted& r) { return r.user; }},
        {"GrpTRESMins", 1, 30, "GrpTRESMins", nothing},  // there is no such limit
    };
  }();
  return all;
}

std::set<std::string> names(const std::vector<std::string>& texts) {
  std::set<std::string> out;
  for (const std::string& text : texts) {
    for (std::string& word : split(text, ',')) {
      if (!word.empty()) out.insert(std::move(word));
    }
  }
  return out;
}

// Who and what was asked for.
class Shares {
 public:
  Shares(const Given& given, const AccountPage& page) : all_users_(given.has("all")) {
    accounts_ = names(given.all("accounts"));
    users_ = names(given.all("users"));
    if (users_.empty() && !all_users_) {
      const passwd* me = getpwuid(geteuid());
      if (me != nullptr) users_.insert(me->pw_name);
    }
    for (const ShareRow& row : page.rows) {
      if (row.user.empty()) parents_[row.account.name] = row.account.parent;
    }
    for (const ShareRow& row : page.rows) {
      if (row.user.empty() ? accounts_.contains(row.account.name) : kept(row)) show(row.account.name);
    }
  }
  bool kept(const ShareRow& row) const {
    const std::string& account = row.account.name;
    if (row.user.empty()) {
      if (!accounts_.empty()) return accounts_.contains(account);
      return (all_users_ && users_.empty()) || shown_.contains(account);
    }
    if (!accounts_.empty() && !accounts_.contains(account)) return false;
    return users_.empty() || users_.contains(row.user);
  }
  std::size_t depth(std::string account) const {
    std::size_t blanks = 0;
    for (; !account.empty(); ++blanks) {
      const auto above = parents_.find(account);
      account = above == parents_.end() ? "" : above->second;
    }
    return blanks;
  }
  bool root() const { return accounts_.empty() || accounts_.contains("root"); }

 private:
  void show(std::string account) {
    while (!account.empty() && shown_.insert(account).second) account = parents_[account];
  }

  bool all_users_;
  std::set<std::string> accounts_, users_, shown_;
  std::map<std::string, std::string> parents_;
};

std::vector<SharePrinted> rows_of(const AccountPage& page, const Shares& choice, bool users_only) {
  double all = 0;  // of what is at the top
  for (const ShareRow& row : page.rows) {
    const bool top = row.user.empty() ? row.account.parent.empty() : row.account.name.empty();
    if (top) all += row.cpu_seconds;
  }
  std::vector<SharePrinted> rows;
  if (!users_only && choice.root()) {
    const double used = all > 0 ? 1 : 0;
    rows.push_back({"root", "", std::nullopt, 1, all, used, used, std::nullopt, std::nullopt});
  }
  for (const ShareRow& from : page.rows) {
    const bool user = !from.user.empty();
    if (!choice.kept(from) || (users_only && !user)) continue;
    SharePrinted row;
    const std::string name = from.account.name.empty() ? "root" : from.account.name;
    row.account = std::string(choice.depth(from.account.name) + (user ? 1 : 0), ' ') + name;
    row.user = from.user;
    row.shares = from.shares;
    row.share = from.share;
    row.cpu_seconds = from.cpu_seconds;
    row.of_all = all > 0 ? from.cpu_seconds / all : 0;
    row.used = from.used;
    row.level = from.level;
    if (user) row.factor = from.factor;
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace

int sshare(const Context& context, const Words& words) {
  const CommandTable& table = table_of("sshare");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  const Given& given = *parsed;
  if (const auto code = answer_about_itself(table, given)) return *code;
  if (given.has("verbose")) tell_ignored(table, given);
  if (!given.words.empty()) return fail("sshare", "Unrecognized option: " + given.words.front());
  if (given.has("helpformat")) {
    Output out;
    std::string names;
    for (const ShareField& field : share_fields()) names += fmt::format("{:<19} ", field.name);
    out.write(names + "\n");
    return out.finish();
  }
  std::string format = given.has("partition") ? "Account,User,Partition," : "Account,User,";
  format += given.has("long") ? "RawShares,NormShares,RawUsage,NormUsage,EffectvUsage,FairShare,LevelFS,GrpTRESMins"
                              : "RawShares,NormShares,RawUsage,EffectvUsage,FairShare";
  if (given.has("format")) format = join(given.all("format"), ",");
  auto columns = table_columns<SharePrinted>(format, share_fields(), "Invalid field requested: ");
  if (!columns) return fail("sshare", columns.error().message);
  ServerLink link(context);
  auto page = link.call_for<AccountPage>(ListAccountsRequest{});
  if (!page) return fail("sshare", slurm_error(page.error()));
  Output out;
  write_table(out, *columns, TableStyle::of(given), rows_of(*page, Shares(given, *page), given.has("Users")));
  return out.finish();
}

}  // namespace berth::tools::slurm
