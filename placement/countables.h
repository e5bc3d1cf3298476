// What nodes have so many of, by name: how much of it is free where, and the set of nodes for each amount that is asked
// for. One caller at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "placement/mask.h"
#include "state/resources.h"

namespace berth::placement {

class Countables {
 public:
  using List = std::vector<state::Countable>;

  // What is taken stays taken, and may then exceed the offer.
  void set_node(std::size_t slot, const List& offered);
  void remove_node(std::size_t slot) { set_node(slot, {}); }
  void take(std::size_t slot, const List& wanted) { change(slot, wanted, -1); }
  void give(std::size_t slot, const List& wanted) { change(slot, wanted, 1); }

  // The nodes that have all of it free. Good until something changes or another list is asked for.
  const Mask& with(const List& wanted);
  bool hold(std::size_t slot, const List& wanted) const;
  bool could_hold(std::size_t slot, const List& wanted) const;                 // if nothing were taken
  std::uint32_t room(std::size_t slot, const List& wanted, bool empty) const;  // how many times; `empty`: likewise
  List used(std::size_t slot) const;                                           // sorted by name
  // The first of them that the node has too little of; nullptr: none.
  const state::Countable* missing(std::size_t slot, const List& wanted, bool empty) const;

 private:
  struct Kind {
    std::vector<std::int64_t> free, offered;  // by slot
    std::map<std::int64_t, Mask> with;        // nodes with so much free
    std::int64_t free_on(std::size_t slot) const { return slot < free.size() ? free[slot] : 0; }
    std::int64_t offered_on(std::size_t slot) const { return slot < offered.size() ? offered[slot] : 0; }
  };
  static constexpr std::size_t kMasksKept = 64;  // of one kind

  void change(std::size_t slot, const List& wanted, std::int64_t sign);
  static void add(Kind& kind, std::size_t slot, std::int64_t amount);
  const Mask& with(const state::Countable& wanted);
  const Kind* kind(const std::string& name) const;

  std::map<std::string, Kind> kinds_;
  Mask all_of_them_;
};

}  // namespace berth::placement
