#include "api/server/users.h"

#include <algorithm>
#include <array>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "api/server/clock.h"

namespace berth::server {

namespace {

constexpr std::int64_t kKeepUs = 60'000'000;
constexpr std::size_t kKnownMax = 10'000;

void add_groups(scheduler::Caller& caller) {
  std::vector<gid_t> groups(64);
  int count = static_cast<int>(groups.size());
  if (::getgrouplist(caller.user.c_str(), caller.gid, groups.data(), &count) < 0) {
    groups.resize(static_cast<std::size_t>(count));
    if (::getgrouplist(caller.user.c_str(), caller.gid, groups.data(), &count) < 0) count = 0;
  }
  caller.groups.assign(groups.begin(), groups.begin() + count);
}

}  // namespace

Users::Users(std::vector<std::uint32_t> admin_uids) : admin_uids_(std::move(admin_uids)) {}

bool Users::is_admin(std::uint32_t uid) const {
  return uid == 0 || uid == ::geteuid() || std::find(admin_uids_.begin(), admin_uids_.end(), uid) != admin_uids_.end();
}

scheduler::Caller Users::by_uid(std::uint32_t uid, std::uint32_t gid) {
  const std::int64_t now = steady_clock_us();
  if (known_.size() >= kKnownMax && !known_.contains(uid)) known_.clear();
  Known& known = known_[uid];
  if (known.until_us < now) {
    scheduler::Caller& caller = known.caller;
    caller = {};
    caller.uid = uid;
    caller.user = std::to_string(uid);
    caller.admin = is_admin(uid);
    std::array<char, 16'384> buffer{};
    passwd entry{};
    passwd* found = nullptr;
    known.exists = false;
    if (::getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr) {
      known.exists = true;
      caller.user = entry.pw_name;
      caller.gid = entry.pw_gid;
      add_groups(caller);
    }
    known.until_us = now + kKeepUs;
  }
  scheduler::Caller caller = known.caller;
  if (!known.exists) caller.gid = gid;  // nobody else knows which is his
  // A process may run with another of its groups in front (newgrp); its own word counts if it belongs to it.
  if (std::find(caller.groups.begin(), caller.groups.end(), gid) != caller.groups.end()) caller.gid = gid;
  return caller;
}

std::optional<scheduler::Caller> Users::by_name(const std::string& name) {
  std::array<char, 16'384> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 || found == nullptr)
    return std::nullopt;
  return by_uid(entry.pw_uid, entry.pw_gid);
}

}  // namespace berth::server
