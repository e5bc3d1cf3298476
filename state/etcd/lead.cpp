#include "state/etcd/lead.h"

#include <ctime>

namespace berth::etcd {

using state::Error;
using state::ErrorCode;
using state::Status;
using state::Unit;

std::int64_t boot_us() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
}

Error Lead::lost() const {
  return Error{ErrorCode::kConflict, "", "another server leads the cluster in " + where + " now", 0};
}

Status Lead::in_charge() const {
  if (deposed) return lost();
  if (boot_us() <= sure_until_us) return Unit{};
  return Error{ErrorCode::kUnavailable, "",
               "the store does not answer (" + where + "): nothing can be read, changed or followed until it does", 0};
}

}  // namespace berth::etcd
