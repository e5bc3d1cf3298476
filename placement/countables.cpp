#include "placement/countables.h"

#include <algorithm>
#include <limits>

namespace berth::placement {

const Countables::Kind* Countables::kind(const std::string& name) const {
  const auto found = kinds_.find(name);
  return found == kinds_.end() ? nullptr : &found->second;
}

void Countables::add(Kind& kind, std::size_t slot, std::int64_t amount) {
  if (kind.free.size() <= slot) {
    kind.free.resize(slot + 1);
    kind.offered.resize(slot + 1);
  }
  kind.free[slot] += amount;
  for (auto& [least, mask] : kind.with) mask.set(slot, kind.free[slot] >= least);
}

void Countables::set_node(std::size_t slot, const List& offered) {
  for (const state::Countable& item : offered) kinds_[item.name];
  for (auto& [name, kind] : kinds_) {
    const auto now = static_cast<std::int64_t>(state::count_of(offered, name));
    if (now == kind.offered_on(slot)) continue;
    add(kind, slot, now - kind.offered_on(slot));
    kind.offered[slot] = now;
  }
}

void Countables::change(std::size_t slot, const List& wanted, std::int64_t sign) {
  for (const state::Countable& item : wanted) {
    add(kinds_[item.name], slot, sign * static_cast<std::int64_t>(item.count));
  }
}

const Mask& Countables::with(const state::Countable& wanted) {
  Kind& kind = kinds_[wanted.name];
  const auto least = static_cast<std::int64_t>(wanted.count);
  if (const auto known = kind.with.find(least); known != kind.with.end()) return known->second;
  if (kind.with.size() >= kMasksKept) kind.with.clear();
  Mask& mask = kind.with[least];
  for (std::size_t slot = 0; slot < kind.free.size(); ++slot) mask.set(slot, kind.free[slot] >= least);
  return mask;
}

const Mask& Countables::with(const List& wanted) {
  if (wanted.size() == 1) return with(wanted[0]);
  all_of_them_ = with(wanted[0]);
  for (std::size_t i = 1; i < wanted.size(); ++i) all_of_them_.keep(with(wanted[i]));
  return all_of_them_;
}

const state::Countable* Countables::missing(std::size_t slot, const List& wanted, bool empty) const {
  for (const state::Countable& item : wanted) {
    const Kind* known = kind(item.name);
    const std::int64_t has = known == nullptr ? 0 : empty ? known->offered_on(slot) : known->free_on(slot);
    if (has < static_cast<std::int64_t>(item.count)) return &item;
  }
  return nullptr;
}

bool Countables::hold(std::size_t slot, const List& wanted) const { return missing(slot, wanted, false) == nullptr; }
bool Countables::could_hold(std::size_t slot, const List& wanted) const {
  return missing(slot, wanted, true) == nullptr;
}

std::uint32_t Countables::room(std::size_t slot, const List& wanted, bool empty) const {
  std::int64_t room = std::numeric_limits<std::uint32_t>::max();
  for (const state::Countable& item : wanted) {
    const Kind* known = kind(item.name);
    const std::int64_t has = known == nullptr ? 0 : empty ? known->offered_on(slot) : known->free_on(slot);
    if (item.count != 0) room = std::min(room, std::max<std::int64_t>(has, 0) / static_cast<std::int64_t>(item.count));
  }
  return static_cast<std::uint32_t>(room);
}

Countables::List Countables::used(std::size_t slot) const {
  List used;
  for (const auto& [name, kind] : kinds_) {
    const std::int64_t taken = kind.offered_on(slot) - kind.free_on(slot);
    if (taken > 0) used.push_back({name, static_cast<std::uint64_t>(taken)});
  }
  return used;
}

}  // namespace berth::placement
