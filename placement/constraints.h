// What a pod wants of its node beyond amounts: conditions on features, labels and names, taints, and rules about the
// pods around it. Each constraint of a request is a set of nodes, kept up to date as nodes and pods come and go: a
// search looks only at who is in all of them. One caller at a time.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "placement/mask.h"
#include "placement/neighbours.h"
#include "state/condition.h"
#include "state/resources.h"

namespace berth::placement {

// What a node is, amounts aside. All lists sorted.
struct Traits {
  std::string name;
  std::vector<std::string> words;   // features and labels
  std::vector<std::string> taints;  // "key", "key=value", with ":prefer" if it is only a wish
};

class Constraints {
 public:
  void set_node(std::size_t slot, Traits traits);
  void remove_node(std::size_t slot);
  const Traits& traits(std::size_t slot) const { return nodes_[slot].traits; }

  // A request's constraints as sets of nodes, good until a node changes or another request is prepared.
  struct Prepared {
    MaskList hard;
    std::vector<const Mask*> soft;  // the one that matters most first
    bool moving = false;            // a pod that is placed changes them
    std::vector<state::Condition::Part> parts;
    bool counted = false;
  };
  // False: no constraint but features applies, every node is as good as another.
  bool concern(const state::Request& request) const { return !request.plain() || tainted_ != 0; }
  const Prepared& prepare(const state::Request& request);

  // A pod came to the node, or went.
  void add(std::size_t slot, const state::Request& request) { neighbours_.add(slot, request, 1); }
  void remove(std::size_t slot, const state::Request& request) { neighbours_.add(slot, request, -1); }

  // The first constraint that rules the node out, in words; "" if none does. Of those that pods do not change, and of
  // the others.
  std::string refused_by(std::size_t slot, const state::Request& request);
  using Rules = std::vector<Neighbours::Use>;
  Rules rules_for(const state::Request& request);
  std::string refused_by_pods(std::size_t slot, const Rules& rules);
  bool met(std::size_t slot, const state::Request& request) { return refused_by(slot, request).empty(); }

  std::string check() const { return neighbours_.check(); }

 private:
  struct Node {
    Traits traits;
    bool present = false;
  };
  struct Known {
    state::Condition condition;
    Mask mask;
  };
  struct Tolerated {
    Mask hard, soft;
  };
  struct Less {
    bool operator()(const state::Request& a, const state::Request& b) const;
  };
  const Known& condition(const std::string& text);
  const Tolerated& tolerated(const std::vector<std::string>& tolerates);
  void count_taints(const Traits& node, int nodes);
  void judge(std::size_t slot);
  void make_room();

  std::vector<Node> nodes_;
  std::uint32_t tainted_ = 0;  // nodes with any taint
  std::uint32_t avoided_ = 0;  // … with one that is only a wish
  std::unordered_map<std::string, std::unique_ptr<Known>> conditions_;
  std::map<std::vector<std::string>, std::unique_ptr<Tolerated>> tolerated_;
  Neighbours neighbours_;
  struct Entry {
    Prepared prepared;
    std::vector<const Mask*> hard, soft;
    std::vector<Neighbours::Use> uses;
    Mask others;  // all that finds no place in the list of sets, in one
    std::uint64_t rules_version = 0;
    bool with_taints = false;
  };
  std::map<state::Request, Entry, Less> prepared_;  // by constraints alone
};

bool is_taint(std::string_view text);       // "key", "key=value", ":prefer" behind it
bool is_toleration(std::string_view text);  // "key", "key=value", "*"
bool is_label(std::string_view text);       // "key=value"

}  // namespace berth::placement
