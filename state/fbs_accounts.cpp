// Accounts, members and qualities of service in FlatBuffers.
#include <algorithm>

#include "state/fbs_convert.h"

namespace berth::state::convert {

namespace fb = flatbuffers;

namespace {

fb::Offset<spec::Limits> limits(fb::FlatBufferBuilder& b, const Limits& limits) {
  if (limits == Limits{}) return {};
  return spec::CreateLimits(b, b.CreateVector(limits.most.data(), limits.most.size()), limits.wait);
}

bool to_limits(const spec::Limits* table, Limits& out) {
  if (table == nullptr) return true;
  out.wait = table->wait();
  const auto* most = table->most();
  if (most == nullptr) return true;
  if (!is_aligned(most, alignof(std::int64_t)) || most->size() > kLimits) return false;
  for (std::uint32_t i = 0; i < most->size(); ++i) {
    out.most[i] = most->Get(i);
    if (out.most[i] < Limits::kNone) return false;
  }
  return true;
}

}  // namespace

fb::Offset<spec::Account> account(fb::FlatBufferBuilder& b, const Account& account) {
  const auto name = text(b, account.name);
  const auto parent = text(b, account.parent);
  const auto description = text(b, account.description);
  return spec::CreateAccount(b, name, parent, account.shares, description, limits(b, account.limits));
}

bool to_account(const spec::Account* table, Account& out) {
  if (table == nullptr) return false;
  out.name = text(table->name());
  out.parent = text(table->parent());
  out.shares = table->shares();
  out.description = text(table->description());
  return to_limits(table->limits(), out.limits);
}

fb::Offset<spec::Member> member(fb::FlatBufferBuilder& b, const Member& member) {
  const auto account = text(b, member.account);
  const auto user = text(b, member.user);
  return spec::CreateMember(b, account, user, member.shares, member.is_default, limits(b, member.limits));
}

bool to_member(const spec::Member* table, Member& out) {
  if (table == nullptr) return false;
  out.account = text(table->account());
  out.user = text(table->user());
  out.shares = table->shares();
  out.is_default = table->is_default();
  return to_limits(table->limits(), out.limits);
}

fb::Offset<spec::Qos> qos(fb::FlatBufferBuilder& b, const Qos& qos) {
  const auto name = text(b, qos.name);
  const auto all = limits(b, qos.limits);
  const auto each_user = limits(b, qos.user_limits);
  const auto users = strings(b, qos.users);
  const auto accounts = strings(b, qos.accounts);
  return spec::CreateQos(b, name, qos.priority, qos.usage_milli, all, each_user, users, accounts, qos.tier,
                         static_cast<std::uint8_t>(qos.preempt));
}

bool to_qos(const spec::Qos* table, Qos& out) {
  if (table == nullptr) return false;
  out.name = text(table->name());
  out.priority = table->priority();
  out.usage_milli = table->usage_milli();
  out.tier = table->tier();
  if (table->preempt() > static_cast<std::uint8_t>(Preempt::kAsQueue)) return false;
  out.preempt = static_cast<Preempt>(table->preempt());
  out.users = strings(table->users());
  out.accounts = strings(table->accounts());
  return to_limits(table->limits(), out.limits) && to_limits(table->user_limits(), out.user_limits);
}

}  // namespace berth::state::convert
