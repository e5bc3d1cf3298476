// Who work is charged to: accounts in a tree, their members, qualities of service, and what each of these may take.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/ids.h"

namespace berth::state {

// What may be limited. The first kSharedLimits bound what all of somebody's jobs take together, the others one job.
enum class Limit : std::uint8_t {
  kJobs = 0,       // that wait or run; an array's elements count each
  kRunning = 1,    // that run, likewise
  kCpus = 2,       // thousandths
  kMemory = 3,     // MiB
  kGpus = 4,       // whole ones; a share of one counts as one
  kJobCpus = 5,    // thousandths
  kJobMemory = 6,  // MiB
  kJobGpus = 7,
  kJobNodes = 8,
  kJobTime = 9,  // ms
};
inline constexpr std::size_t kSharedLimits = 5;
inline constexpr std::size_t kLimits = 10;
std::string_view name_of(Limit limit);  // "jobs", "running", "cpus", …, "job-time"

struct Limits {
  static constexpr std::int64_t kNone = -1;
  std::array<std::int64_t, kLimits> most = none();
  // What is over a limit of one job waits for the limit to change; otherwise it is refused.
  bool wait = false;

  std::int64_t of(Limit limit) const { return most[static_cast<std::size_t>(limit)]; }
  bool any() const { return most != none(); }
  bool operator==(const Limits&) const = default;

 private:
  static constexpr std::array<std::int64_t, kLimits> none() {
    std::array<std::int64_t, kLimits> all{};
    all.fill(kNone);
    return all;
  }
};

inline constexpr std::uint32_t kSharesMax = 1'000'000;
inline constexpr std::uint32_t kUsageFactorMax = 1'000'000;
inline constexpr std::size_t kAccountDepthMax = 32;
// Of accounts and qualities: 1 to 64 of A-Z a-z 0-9 . _ -, a letter or digit first.
bool is_account_name(std::string_view name);

struct Account {
  std::string name;
  std::string parent;        // "" is the top
  std::uint32_t shares = 1;  // beside its siblings, accounts and members
  std::string description;
  Limits limits;  // of all of its members' jobs and those of the accounts below it
  bool operator==(const Account&) const = default;
};

// A user in an account.
struct Member {
  std::string account, user;
  std::uint32_t shares = 1;
  bool is_default = false;  // what jobs are charged to that name no account; of one member of a user at most
  Limits limits;
  bool operator==(const Member&) const = default;
};

// What becomes of a running job when one of a higher tier needs its room.
enum class Preempt : std::uint8_t {
  kOff = 0,      // nothing: it runs to its end
  kRequeue = 1,  // it is stopped and goes back to its queue
  kCancel = 2,   // it is stopped for good
  kAsQueue = 3,  // of a quality of service: what the queue says
};
inline constexpr std::int32_t kTierMax = 1000;
std::string_view name_of(Preempt preempt);  // "off", "requeue", "cancel", "queue"

struct Qos {
  std::string name;
  std::int32_t priority = 0;                 // added to its jobs'
  std::uint32_t usage_milli = 1000;          // what its jobs' use counts, thousandths
  Limits limits, user_limits;                // of all of its jobs, and of each user's
  std::vector<std::string> users, accounts;  // who may use it; empty: everybody. Sorted, unique
  std::int32_t tier = 0;                     // added to its jobs' queue's
  Preempt preempt = Preempt::kAsQueue;
  bool operator==(const Qos&) const = default;
};

// What somebody has used: seconds of a cpu, the less the longer ago, as of a time.
struct Usage {
  double cpu_seconds = 0;
  TimeUs at = 0;
  bool operator==(const Usage&) const = default;
};

}  // namespace berth::state
