// Limits by Slurm's names. An account's are of all its jobs (Grp...), a user's of his in one account (Max..., Grp...),
// a quality's of all its jobs (Grp...) and of each user's (...PerUser); those of one job are the same everywhere.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "state/accounts.h"
#include "state/result.h"

namespace berth::tools::slurm {

enum class Whose : std::uint8_t { kAccount = 1, kUser = 2, kQos = 4 };

// A new value of some limits; applied to others' they change what was named alone.
class LimitChange {
 public:
  // False: it is no limit's name. An error says what is wrong with the value, or why Berth has no such limit.
  state::Result<bool> take(Whose whose, std::string_view name, std::string_view value);
  bool any() const { return !shared_.empty() || !of_user_.empty(); }
  void apply(state::Limits& limits) const;
  void apply(state::Limits& limits, state::Limits& of_each_user) const;

 private:
  using Values = std::vector<std::pair<state::Limit, std::int64_t>>;
  Values shared_, of_user_;
};

// What Slurm has and Berth does not: the reason, or "".
std::string missing_setting(std::string_view name);
// As it is set and shown; "" for none.
std::string limit_value(const state::Limits& limits, state::Limit limit);
std::string group_tres(const state::Limits& limits);  // "cpu=8,mem=16G,gres/gpu=2"
std::string job_tres(const state::Limits& limits);    // with node=
struct NamedLimit {
  const char* name;
  std::string value;
};
// All that is set, each by the name that take() knows.
std::vector<NamedLimit> named_limits(Whose whose, const state::Limits& limits, const state::Limits& of_each_user = {});

}  // namespace berth::tools::slurm
