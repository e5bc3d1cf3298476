// Users: who a uid or a name is on this machine, with groups; looked up by the system's name service and kept for a
// minute. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "scheduler/core.h"

namespace berth::server {

class Users {
 public:
  explicit Users(std::vector<std::uint32_t> admin_uids);
  // An unknown uid is a caller with that number for a name and no further groups.
  scheduler::Caller by_uid(std::uint32_t uid, std::uint32_t gid);
  std::optional<scheduler::Caller> by_name(const std::string& name);
  bool is_admin(std::uint32_t uid) const;

 private:
  struct Known {
    scheduler::Caller caller;
    bool exists = false;
    std::int64_t until_us = 0;
  };
  std::vector<std::uint32_t> admin_uids_;
  std::map<std::uint32_t, Known> known_;
};

}  // namespace berth::server
