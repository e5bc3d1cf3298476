#include "scheduler/tenants.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace berth::scheduler {

using namespace state;

namespace {

constexpr TimeUs kWeek = 7 * TimeUs{86'400} * 1'000'000;
constexpr double kMicro = 1e6;

std::int64_t& at(Taken& taken, Limit limit) { return taken[static_cast<std::size_t>(limit)]; }

}  // namespace

Charge Charge::of(const Request& request, std::uint32_t pods, std::uint32_t runs) {
  Charge charge;
  const Resources& each = request.resources;
  at(charge.amounts, Limit::kRunning) = runs;
  at(charge.amounts, Limit::kCpus) = std::int64_t{each.cpu_milli} * pods;
  at(charge.amounts, Limit::kMemory) = static_cast<std::int64_t>(each.mem_mib) * pods;
  at(charge.amounts, Limit::kGpus) = std::int64_t{each.gpus} * pods;
  return charge;
}

// ---- who there is ---------------------------------------------------------------------------------------------------

std::uint32_t Tenants::add_book(const Limits& limits, std::string whose, bool of_qos) {
  books_.push_back({limits, {}, std::move(whose), of_qos});
  return static_cast<std::uint32_t>(books_.size() - 1);
}

void Tenants::configure(const Cluster& cluster, TimeUs now) {
  has_accounts_ = !cluster.accounts().empty();
  active_ = has_accounts_ || !cluster.qos().empty() || options_.head_start.value_or(0) != 0;
  ++version_;
  rate_ = 0;
  for (auto& [key, used] : usage_) {
    settle(used, now);
    used.rate = 0;
  }
  for (const auto& [key, used] : cluster.usage()) {
    if (!usage_.contains(key)) usage_[key] = {used.cpu_seconds, 0, used.at, used.at, false};
  }
  tenants_.assign(1, {});
  ids_.clear();
  books_.clear();
  accounts_.assign(1, {});
  members_.clear();
  account_ids_.clear();
  member_ids_.clear();
  qos_user_books_.clear();
  qos_books_.clear();
  member_limits_.clear();
  member_shares_.clear();
  accounts_[0].book = add_book({}, "all accounts", false);
  // Names first: an account may be listed before the one above it.
  for (const auto& [name, account] : cluster.accounts()) {
    AccountNode node;
    node.name = name;
    node.shares = account.shares;
    node.book = add_book(account.limits, "account " + name, false);
    account_ids_[name] = static_cast<std::uint32_t>(accounts_.size());
    accounts_.push_back(std::move(node));
  }
  for (const auto& [name, account] : cluster.accounts()) {
    const std::uint32_t id = account_ids_[name];
    const auto parent = account_ids_.find(account.parent);
    accounts_[id].parent = parent == account_ids_.end() ? 0 : parent->second;
    accounts_[accounts_[id].parent].accounts.push_back(id);
  }
  for (const auto& [key, member] : cluster.members()) {
    member_limits_[key] = member.limits;
    member_shares_[key] = member.shares;
    member_of(key.first, key.second);
  }
  qos_.clear();
  for (const auto& [name, qos] : cluster.qos()) {
    qos_[name] = qos;
    qos_books_[name] = add_book(qos.limits, "quality " + name, true);
  }
}

std::uint32_t Tenants::member_of(const std::string& account, const std::string& user) {
  const auto [known, made] = member_ids_.try_emplace({account, user}, static_cast<std::uint32_t>(members_.size()));
  if (!made) return known->second;
  Member member;
  member.account = account;
  member.user = user;
  const auto parent = account_ids_.find(account);
  member.parent = parent == account_ids_.end() ? 0 : parent->second;
  const auto limits = member_limits_.find(known->first);
  member.book = add_book(limits == member_limits_.end() ? Limits{} : limits->second,
                         "user " + user + (account.empty() ? "" : " in account " + account), false);
  const auto shares = member_shares_.find(known->first);
  member.shares = shares == member_shares_.end() ? 1 : shares->second;
  accounts_[member.parent].members.push_back(known->second);
  members_.push_back(std::move(member));
  return known->second;
}

void Tenants::chain(Tenant& tenant, const std::string& account) {
  tenant.member = member_of(account, tenant.user);
  tenant.books.push_back(members_[tenant.member].book);
  for (std::uint32_t at = members_[tenant.member].parent; at != 0; at = accounts_[at].parent) {
    tenant.books.push_back(accounts_[at].book);
  }
  const auto qos = qos_.find(tenant.qos);
  tenant.usage_milli = qos == qos_.end() ? 1000 : qos->second.usage_milli;
  if (qos == qos_.end()) return;
  tenant.books.push_back(qos_books_[tenant.qos]);
  const auto [of_user, made] = qos_user_books_.try_emplace({tenant.qos, tenant.user}, 0U);
  if (made) {
    of_user->second = add_book(qos->second.user_limits, "user " + tenant.user + " in quality " + tenant.qos, true);
  }
  tenant.books.push_back(of_user->second);
}

TenantId Tenants::of(const std::string& account, const std::string& user, const std::string& qos) {
  if (!active_) return 0;
  // A name that is no account (there were none when the job came) counts as having none.
  const std::string none;
  return make(account_ids_.contains(account) ? account : none, user, qos);
}

TenantId Tenants::make(const std::string& account, const std::string& user, const std::string& qos) {
  std::string key;
  key.reserve(account.size() + user.size() + qos.size() + 2);
  key.append(account).append(1, '\n').append(user).append(1, '\n').append(qos);
  const auto [known, made] = ids_.try_emplace(std::move(key), static_cast<TenantId>(tenants_.size()));
  if (!made) return known->second;
  Tenant tenant;
  tenant.user = user;
  tenant.qos = qos;
  chain(tenant, account);
  tenants_.push_back(std::move(tenant));
  return known->second;
}

// ---- limits ---------------------------------------------------------------------------------------------------------

void Tenants::add_jobs(TenantId tenant, std::int64_t jobs) {
  for (const std::uint32_t book : tenants_[tenant].books) at(books_[book].taken, Limit::kJobs) += jobs;
}

void Tenants::add(TenantId id, const Charge& charge, TimeUs now) {
  const Tenant& tenant = tenants_[id];
  if (tenant.books.empty()) return;
  for (const std::uint32_t book : tenant.books) {
    for (std::size_t i = 0; i < kSharedLimits; ++i) books_[book].taken[i] += charge.amounts[i];
  }
  const Member& member = members_[tenant.member];
  Used& used = usage_[{member.account, member.user}];
  settle(used, now);
  used.rate += rate_of(tenant, charge);
  used.changed = true;
  rate_ += rate_of(tenant, charge);
}

void Tenants::remove(TenantId id, const Charge& charge, TimeUs now) {
  const Tenant& tenant = tenants_[id];
  if (tenant.books.empty()) return;
  ++version_;
  for (const std::uint32_t book : tenant.books) {
    for (std::size_t i = 0; i < kSharedLimits; ++i) books_[book].taken[i] -= charge.amounts[i];
  }
  const Member& member = members_[tenant.member];
  Used& used = usage_[{member.account, member.user}];
  settle(used, now);
  used.changed = true;
  // Rates are whole thousandths of thousandths: what was added is exactly taken away.
  used.rate -= rate_of(tenant, charge);
  rate_ -= rate_of(tenant, charge);
}

std::uint32_t Tenants::room(TenantId id, const Charge& each, std::uint32_t wanted) const {
  std::int64_t room = wanted;
  for (const std::uint32_t number : tenants_[id].books) {
    const Book& book = books_[number];
    for (std::size_t i = 1; i < kSharedLimits; ++i) {
      if (book.limits.most[i] == Limits::kNone || each.amounts[i] == 0) continue;
      room = std::min(room, std::max<std::int64_t>(0, book.limits.most[i] - book.taken[i]) / each.amounts[i]);
    }
  }
  return static_cast<std::uint32_t>(room);
}

std::optional<Tenants::Over> Tenants::over(TenantId id, const Charge& charge) const {
  for (const std::uint32_t number : tenants_[id].books) {
    const Book& book = books_[number];
    for (std::size_t i = 0; i < kSharedLimits; ++i) {
      const std::int64_t most = book.limits.most[i], wanted = charge.amounts[i];
      if (most == Limits::kNone || wanted == 0 || book.taken[i] + wanted <= most) continue;
      return Over{static_cast<Limit>(i), book.whose, book.of_qos, most, book.taken[i], wanted, book.limits.wait};
    }
  }
  return std::nullopt;
}

std::optional<Tenants::Over> Tenants::over_jobs(TenantId id, std::int64_t jobs) const {
  Charge charge;
  at(charge.amounts, Limit::kJobs) = jobs;
  return over(id, charge);
}

// Of accounts and members the nearest limit that is set holds; that of the quality, and of its user, besides.
std::optional<Tenants::Over> Tenants::over_job(TenantId id, const JobSize& size) const {
  std::array<bool, kLimits> seen{};
  for (const std::uint32_t number : tenants_[id].books) {
    const Book& book = books_[number];
    for (std::size_t i = kSharedLimits; i < kLimits; ++i) {
      const std::int64_t most = book.limits.most[i];
      if (most == Limits::kNone || (!book.of_qos && std::exchange(seen[i], true))) continue;
      if (size.amounts[i] <= most) continue;
      return Over{static_cast<Limit>(i), book.whose, book.of_qos, most, 0, size.amounts[i], book.limits.wait};
    }
  }
  // What all together may not take, one may not either.
  for (const std::uint32_t number : tenants_[id].books) {
    const Book& book = books_[number];
    for (const auto& [shared, own] : {std::pair{Limit::kCpus, Limit::kJobCpus},
                                      {Limit::kMemory, Limit::kJobMemory},
                                      {Limit::kGpus, Limit::kJobGpus}}) {
      const std::int64_t most = book.limits.of(shared), wanted = size.amounts[static_cast<std::size_t>(own)];
      if (most == Limits::kNone || wanted <= most) continue;
      return Over{shared, book.whose, book.of_qos, most, 0, wanted, book.limits.wait};
    }
  }
  return std::nullopt;
}

std::int64_t Tenants::most_of(TenantId id, Limit limit) const {
  std::int64_t tightest = Limits::kNone;
  bool seen = false;
  for (const std::uint32_t number : tenants_[id].books) {
    const Book& book = books_[number];
    const std::int64_t most = book.limits.of(limit);
    if (most == Limits::kNone || (!book.of_qos && std::exchange(seen, true))) continue;
    tightest = tightest == Limits::kNone ? most : std::min(tightest, most);
  }
  return tightest;
}

// ---- shares ---------------------------------------------------------------------------------------------------------

TimeUs Tenants::head_start() const { return options_.head_start.value_or(has_accounts_ ? kWeek : 0); }

double Tenants::rate_of(const Tenant& tenant, const Charge& charge) const {
  const std::int64_t milli =
      charge.of(Limit::kCpus) + charge.of(Limit::kGpus) * std::int64_t{options_.cpus_per_gpu} * 1000;
  return static_cast<double>(milli * tenant.usage_milli);  // of 1e-6 cpus; a whole number
}

// What is left of something after so long.
double Tenants::decay(TimeUs dt) const {
  return options_.half_life == 0 ? 1 : std::exp2(-static_cast<double>(dt) / static_cast<double>(options_.half_life));
}

void Tenants::settle(Used& used, TimeUs now) const {
  const TimeUs dt = std::max<TimeUs>(0, now - used.at);
  used.at = std::max(used.at, now);
  if (dt == 0 || (used.cpu_seconds == 0 && used.rate == 0)) return;
  const double left = decay(dt);
  // What was used at an even rate, each moment of it less the longer ago.
  const double seconds = options_.half_life == 0
                             ? static_cast<double>(dt) / kMicro
                             : (1 - left) * static_cast<double>(options_.half_life) / kMicro / std::log(2.0);
  used.cpu_seconds = used.cpu_seconds * left + used.rate / 1e6 * seconds;
}

void Tenants::used(TenantId id, const Charge& charge, TimeUs from, TimeUs until, TimeUs now) {
  const Tenant& tenant = tenants_[id];
  if (tenant.books.empty()) return;
  const Member& member = members_[tenant.member];
  Used& of = usage_[{member.account, member.user}];
  from = std::max(from, of.noted);  // until then it is known
  until = std::min(until, now);
  if (until <= from) return;
  Used run{0, rate_of(tenant, charge), from, 0, false};
  settle(run, until);
  run.rate = 0;
  settle(run, now);
  settle(of, now);
  of.cpu_seconds += run.cpu_seconds;
  of.changed = true;
}

TimeUs Tenants::head_start_of(TenantId id) const {
  return static_cast<TimeUs>(factor_of(id) * static_cast<double>(head_start()));
}

double Tenants::factor_of(TenantId id) const {
  return tenants_[id].books.empty() ? 1 : members_[tenants_[id].member].factor;
}

void Tenants::judge(TimeUs now) {
  for (auto& [key, used] : usage_) settle(used, now);
  const auto used_by = [&](const Member& member) {
    const auto found = usage_.find({member.account, member.user});
    return found == usage_.end() ? 0.0 : found->second.cpu_seconds;
  };
  const std::function<double(AccountNode&)> sum = [&](AccountNode& node) {
    node.cpu_seconds = 0;
    for (const std::uint32_t id : node.members) node.cpu_seconds += used_by(members_[id]);
    for (const std::uint32_t id : node.accounts) node.cpu_seconds += sum(accounts_[id]);
    return node.cpu_seconds;
  };
  sum(accounts_[0]);
  // Of each beside its siblings.
  for (AccountNode& node : accounts_) {
    double shares = 0;
    for (const std::uint32_t id : node.members) shares += members_[id].shares;
    for (const std::uint32_t id : node.accounts) shares += accounts_[id].shares;
    const auto weigh = [&](auto& of, double used) {
      of.share = shares == 0 ? 0 : of.shares / shares;
      of.used = node.cpu_seconds == 0 ? 0 : used / node.cpu_seconds;
      of.level = of.used == 0 ? (of.share == 0 ? 0 : std::numeric_limits<double>::infinity()) : of.share / of.used;
    };
    for (const std::uint32_t id : node.members) weigh(members_[id], used_by(members_[id]));
    for (const std::uint32_t id : node.accounts) weigh(accounts_[id], accounts_[id].cpu_seconds);
  }
  // From the top: the greater level first, and all below it before the next. Equals stand together: members share a
  // rank, accounts are judged as if they were one.
  struct Child {
    double level = 0;
    std::uint32_t id = 0;
    bool is_member = false;
  };
  const std::size_t all = members_.size();
  std::size_t ranked = 0;
  const std::function<void(const std::vector<std::uint32_t>&)> walk = [&](const std::vector<std::uint32_t>& parents) {
    std::vector<Child> children;
    for (const std::uint32_t parent : parents) {
      for (const std::uint32_t id : accounts_[parent].members) children.push_back({members_[id].level, id, true});
      for (const std::uint32_t id : accounts_[parent].accounts) children.push_back({accounts_[id].level, id, false});
    }
    std::sort(children.begin(), children.end(), [](const Child& a, const Child& b) {
      return a.level != b.level ? a.level > b.level : a.is_member > b.is_member;
    });
    for (std::size_t i = 0; i < children.size();) {
      std::size_t end = i;
      while (end < children.size() && children[end].level == children[i].level) ++end;
      const std::size_t rank = ranked;
      std::vector<std::uint32_t> below;
      for (; i < end; ++i) {
        if (!children[i].is_member) {
          below.push_back(children[i].id);
          continue;
        }
        members_[children[i].id].factor = static_cast<double>(all - rank) / static_cast<double>(all);
        ++ranked;
      }
      if (!below.empty()) walk(below);
    }
  };
  walk({0});
}

std::vector<UsageNoted::Of> Tenants::changed_usage(TimeUs now) {
  std::vector<UsageNoted::Of> list;
  for (auto& [key, used] : usage_) {
    if (!used.changed && used.rate == 0) continue;
    settle(used, now);
    used.changed = false;
    list.push_back({key.first, key.second, used.cpu_seconds});
  }
  return list;
}

void Tenants::fill(AccountPage& page, const Cluster& cluster) const {
  page.head_start_ms = head_start() / 1000;
  page.half_life_ms = options_.half_life / 1000;
  const auto finite = [](double level) { return std::isfinite(level) ? level : -1; };
  const std::function<void(std::uint32_t)> add = [&](std::uint32_t id) {
    const AccountNode& node = accounts_[id];
    if (id != 0) {
      const Account& account = cluster.accounts().find(node.name)->second;
      ShareRow row;
      row.account = account;
      row.shares = account.shares;
      row.limits = account.limits;
      row.cpu_seconds = node.cpu_seconds;
      row.share = node.share;
      row.used = node.used;
      row.level = finite(node.level);
      row.taken = books_[node.book].taken;
      page.rows.push_back(std::move(row));
    }
    for (const std::uint32_t of : node.members) {
      const Member& member = members_[of];
      ShareRow row;
      row.account.name = member.account;
      row.user = member.user;
      const auto record = cluster.members().find({member.account, member.user});
      if (record != cluster.members().end()) {
        row.is_default = record->second.is_default;
        row.limits = record->second.limits;
      }
      row.shares = member.shares;
      const auto used = usage_.find({member.account, member.user});
      row.cpu_seconds = used == usage_.end() ? 0 : used->second.cpu_seconds;
      row.share = member.share;
      row.used = member.used;
      row.level = finite(member.level);
      row.factor = member.factor;
      row.taken = books_[member.book].taken;
      page.rows.push_back(std::move(row));
    }
    for (const std::uint32_t below : node.accounts) add(below);
  };
  add(0);
  for (const auto& [name, qos] : qos_) page.qos.push_back({qos, books_[qos_books_.find(name)->second].taken});
}

std::string Tenants::counts_text() const {
  std::map<std::string, std::string> lines;
  for (const Book& book : books_) {
    if (book.taken == Taken{}) continue;
    for (const std::int64_t taken : book.taken) lines[book.whose] += " " + std::to_string(taken);
  }
  std::string text;
  for (const auto& [whose, taken] : lines) text += whose + ":" + taken + "\n";
  return text;
}

}  // namespace berth::scheduler
