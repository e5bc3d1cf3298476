// The parts of sacctmgr: a command's words, what there is, and what each command does with them. One thread.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "state/requests.h"
#include "state/result.h"
#include "tools/cli/output.h"
#include "tools/cli/server_link.h"
#include "tools/slurm/limits.h"
#include "tools/slurm/options.h"

namespace berth::tools::slurm {

inline constexpr const char* kClusterName = "berth";

// name=value, name+=value or name-=value; or a name alone, among conditions.
struct Setting {
  std::string name, value;
  char change = 0;  // '+' or '-'
};
struct Sentence {
  std::vector<Setting> conditions, settings;
  bool set = false;  // the word was there
};
// Behind what it is about: settings alone for add, else conditions, with settings behind "set".
state::Result<Sentence> parse_sentence(const std::vector<std::string>& words, bool adds);
// "a,b" in its parts; none of them empty.
std::vector<std::string> name_list(std::string_view text);
// Whether it is the name, or begins it with at least so many letters. Whatever the case.
bool is_word(std::string_view word, std::string_view name, std::size_t least);

// What there is, to look up.
class Books {
 public:
  explicit Books(state::AccountPage page);
  const state::AccountPage& page() const { return page_; }
  bool has_account(const std::string& name) const { return name == "root" || accounts_.contains(name); }
  const state::Account* account(const std::string& name) const;
  const std::vector<state::Member>& members() const { return members_; }
  const state::Member* member(const std::string& account, const std::string& user) const;
  const state::Qos* qos(const std::string& name) const;
  std::string default_account(const std::string& user) const;
  // Which qualities may be used there; of an account alone (user "") by all of its users.
  std::string qualities(const std::string& account, const std::string& user) const;

 private:
  state::AccountPage page_;
  std::map<std::string, state::Account> accounts_;
  std::vector<state::Member> members_;
};

struct Manager {
  const Given& given;
  ServerLink& link;
  Output& out;

  bool quiet() const { return given.has("quiet"); }
  void say(const std::string& text) const;  // unless it is to be quiet
  // " MESSAGE" on standard error; returns 1.
  int refuse(const std::string& message) const;
  state::Result<Books> books() const;
  // Asks whether to commit, unless that was said before. What was said so far is written first.
  bool agreed(const std::string& question) const;
  // Sends them one after the other. If one is refused, what was done before stays, and how much that is, is told.
  int send(const std::vector<state::ClientRequest>& requests) const;
  int commit(const std::vector<state::ClientRequest>& requests) const;  // asks first
};

int add_accounts(const Manager& manager, const Sentence& sentence);
int add_users(const Manager& manager, const Sentence& sentence);
int add_qos(const Manager& manager, const Sentence& sentence);
int modify_accounts(const Manager& manager, const Sentence& sentence);
int modify_users(const Manager& manager, const Sentence& sentence);
int modify_qos(const Manager& manager, const Sentence& sentence);
int delete_accounts(const Manager& manager, const Sentence& sentence);
int delete_users(const Manager& manager, const Sentence& sentence);
int delete_qos(const Manager& manager, const Sentence& sentence);
// what: the word behind list; tables.
int list_things(const Manager& manager, const std::string& what, const std::vector<std::string>& words);
int dump_file(const Manager& manager, const std::vector<std::string>& words);
int load_file(const Manager& manager, const std::vector<std::string>& words);

// What is said of accounts and users, by name; false: not known here. An error: not possible, or wrong.
struct AssociationChange {
  std::optional<std::uint32_t> shares;
  std::optional<std::string> description, parent, default_account;
  LimitChange limits;
  bool organization = false;

  state::Result<bool> take(Whose whose, const Setting& setting);
  bool any() const;
};
struct QosChange {
  std::optional<std::int32_t> priority;
  std::optional<std::uint32_t> usage_milli;
  std::optional<bool> wait;
  std::optional<state::Preempt> preempt;
  LimitChange limits;
  bool description = false;

  state::Result<bool> take(const Setting& setting);
  bool any() const { return priority || usage_milli || wait || preempt || limits.any(); }
  void apply(state::Qos& qos) const;
};
inline bool chosen(const std::vector<std::string>& names, const std::string& name) {  // none named: all
  return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
}
std::string usage_text(std::uint32_t usage_milli);
std::string preempt_text(state::Preempt preempt);  // "cluster", "off", "requeue", "cancel"
// Why there is no such setting: " Unknown option: X", or what Berth has instead.
std::string unknown_setting(const Setting& setting);

}  // namespace berth::tools::slurm
