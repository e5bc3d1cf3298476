// Licences: what the whole cluster has so many of. A pod takes them when it starts, a gang once for all its pods. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "state/resources.h"

namespace berth::scheduler {

class Licences {
 public:
  using List = std::vector<state::Countable>;
  struct Known {
    std::uint64_t total = 0, used = 0;  // used may exceed a total that was lowered
  };

  void set(const std::string& name, std::uint64_t total) {
    known_[name].total = total;
    ++version_;
  }
  void remove(const std::string& name) {
    known_[name].total = 0;
    ++version_;
  }
  void take(const List& wanted, std::uint64_t times) {
    for (const state::Countable& item : wanted) known_[item.name].used += item.count * times;
  }
  void give(const List& wanted, std::uint64_t times) {
    for (const state::Countable& item : wanted) known_[item.name].used -= item.count * times;
    if (!wanted.empty()) ++version_;
  }
  // So many times they are there.
  std::uint32_t room(const List& wanted) const {
    std::uint64_t room = std::numeric_limits<std::uint32_t>::max();
    for (const state::Countable& item : wanted) {
      const Known known = find(item.name);
      const std::uint64_t free = known.total - std::min(known.total, known.used);
      room = std::min(room, item.count == 0 ? room : free / item.count);
    }
    return static_cast<std::uint32_t>(room);
  }
  Known find(const std::string& name) const {
    const auto found = known_.find(name);
    return found == known_.end() ? Known{} : found->second;
  }
  // Changes when some may have come free.
  std::uint64_t version() const { return version_; }

 private:
  std::map<std::string, Known> known_;
  std::uint64_t version_ = 1;
};

}  // namespace berth::scheduler
