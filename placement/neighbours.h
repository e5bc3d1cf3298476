// Rules about other pods: apart from some, together with some, spread over domains (state/resources.h, PodRule). For
// each rule in use it counts the pods that matter in every domain, and keeps the set of nodes that the rule allows; a
// pod that comes or goes costs a count for each rule it matters to, and a change of the set when a domain opens or
// closes. Pods without labels and rules cost nothing.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "placement/mask.h"
#include "state/condition.h"
#include "state/resources.h"

namespace berth::placement {

class Neighbours {
 public:
  Neighbours();
  ~Neighbours();
  // `words`: features and labels of the node, sorted. Pods that are on it stay counted.
  void set_node(std::size_t slot, const std::vector<std::string>& words);
  void remove_node(std::size_t slot);

  // `pods` of them came (went, if negative) to the node.
  void add(std::size_t slot, const state::Request& request, int pods);

  // A rule that matters to a request: its own, or one of pods that keep apart from such as it. Good for one version().
  struct Counter;
  struct Use {
    Counter* counter = nullptr;
    state::PodRule::Kind kind = state::PodRule::Kind::kApart;
    std::uint32_t skew = 0;
    bool soft = false;
    bool own_kind = false;  // the selector chooses the pod itself
  };
  void uses(const state::Request& request, std::vector<Use>& out);
  std::uint64_t version() const { return version_; }
  // The nodes that it allows at this moment.
  const Mask* allowed(const Use& use);
  std::string words_for(const Use& use) const;  // "apart from app=web by zone"
  // Recounts everything; "" or what is wrong. For tests.
  std::string check() const;

 private:
  static constexpr std::uint32_t kNowhere = ~0U;
  // The values of one label, each a domain; or, for "node", the nodes.
  struct Domains {
    std::string key;
    bool by_node = false;
    std::unordered_map<std::string, std::uint32_t> ids;
    std::vector<std::uint32_t> of_slot;
    std::vector<Mask> nodes;                        // by domain
    std::vector<std::vector<std::uint32_t>> slots;  // the same
    Mask without;                                   // nodes that do not have the label
    Mask with;
  };
  // Pods with the same labels and rules.
  struct Group {
    std::vector<std::string> labels;
    std::vector<state::PodRule> rules;
    std::uint64_t version = 0;
    std::vector<Counter*> counters;  // that they matter to
    std::uint64_t pods = 0;
  };
  struct Resident {
    Group* group = nullptr;
    std::uint32_t pods = 0;
  };
  static constexpr std::size_t kCountersKept = 256, kGroupsKept = 1'024, kLevelsKept = 16;

  Domains& domains_of(const std::string& key);
  void place_in(Domains& domains, std::size_t slot);  // by its words
  void enter(Domains& domains, std::size_t slot);
  void leave(Domains& domains, std::size_t slot);
  Counter& counter_for(const std::string& selector, const std::string& domain, bool carriers);
  Group& group_of(const state::Request& request);
  void refresh(Group& group);
  static bool matters(const Counter& counter, const Group& group);
  void count(Counter& counter, std::size_t slot, std::int64_t pods);
  void count_residents(std::size_t slot, std::int64_t sign);
  static void flip(Mask& mask, const Domains& domains, std::uint32_t domain, bool in);
  static bool has_nodes(const Domains& domains, std::uint32_t domain);

  std::vector<std::vector<std::string>> words_;  // by slot
  std::vector<bool> present_;
  std::map<std::string, std::unique_ptr<Domains>> domains_;
  std::map<std::tuple<std::string, std::string, bool>, std::unique_ptr<Counter>> counters_;
  std::map<std::pair<std::vector<std::string>, std::vector<state::PodRule>>, std::unique_ptr<Group>> groups_;
  boost::unordered_flat_map<std::size_t, std::vector<Resident>> residents_;
  Group* last_group_ = nullptr;
  std::uint64_t version_ = 1;
};

}  // namespace berth::placement
