#include "placement/constraints.h"

#include <algorithm>
#include <tuple>

namespace berth::placement {

using state::Condition;
using state::Request;

namespace {

constexpr std::size_t kKeptMax = 256;  // of anything that is worked out once and kept
constexpr std::size_t kSetsMost = 12;  // in a list; of its places some are left for a search's own
constexpr std::string_view kPrefer = ":prefer";

bool tolerates(const std::vector<std::string>& tolerations, std::string_view taint) {
  const std::string_view key = taint.substr(0, taint.find('='));
  return std::any_of(tolerations.begin(), tolerations.end(),
                     [&](const std::string& t) { return t == "*" || t == taint || t == key; });
}

// The first taint of that strength which is not tolerated; "" if there is none.
std::string_view refusing_taint(const Traits& node, const std::vector<std::string>& tolerations, bool soft) {
  for (const std::string_view taint : node.taints) {
    const bool is_soft = taint.ends_with(kPrefer);
    const std::string_view bare = is_soft ? taint.substr(0, taint.size() - kPrefer.size()) : taint;
    if (is_soft == soft && !tolerates(tolerations, bare)) return bare;
  }
  return {};
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 255 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '-' || c == '/';
  });
}

}  // namespace

bool is_label(std::string_view text) {
  const std::size_t equals = text.find('=');
  return equals != std::string_view::npos && is_name(text.substr(0, equals)) && is_name(text.substr(equals + 1));
}
bool is_taint(std::string_view text) {
  if (text.ends_with(kPrefer)) text.remove_suffix(kPrefer.size());
  return is_name(text) || is_label(text);
}
bool is_toleration(std::string_view text) { return text == "*" || is_name(text) || is_label(text); }

bool Constraints::Less::operator()(const Request& a, const Request& b) const {
  const auto key = [](const Request& r) {
    return std::tie(r.where, r.queue_nodes, r.prefers, r.tolerates, r.labels, r.rules);
  };
  return key(a) < key(b);
}

// ---- nodes ----------------------------------------------------------------------------------------------------------

void Constraints::set_node(std::size_t slot, Traits traits) {
  if (nodes_.size() <= slot) nodes_.resize(slot + 1);
  Node& node = nodes_[slot];
  if (node.present) count_taints(node.traits, -1);
  node.traits = std::move(traits);
  node.present = true;
  count_taints(node.traits, 1);
  neighbours_.set_node(slot, node.traits.words);
  judge(slot);
}

void Constraints::remove_node(std::size_t slot) {
  if (slot >= nodes_.size() || !nodes_[slot].present) return;
  count_taints(nodes_[slot].traits, -1);
  nodes_[slot] = Node{};
  neighbours_.remove_node(slot);
  judge(slot);
}

void Constraints::count_taints(const Traits& node, int nodes) {
  const auto by = static_cast<std::uint32_t>(nodes);
  if (!node.taints.empty()) tainted_ += by;
  const auto soft = [](const std::string& taint) { return taint.ends_with(kPrefer); };
  if (std::any_of(node.taints.begin(), node.taints.end(), soft)) avoided_ += by;
}

void Constraints::judge(std::size_t slot) {
  const Node& node = nodes_[slot];
  for (auto& [text, known] : conditions_) {
    known->mask.set(slot, node.present && known->condition.holds(node.traits.name, node.traits.words));
  }
  for (auto& [tolerations, sets] : tolerated_) {
    sets->hard.set(slot, node.present && refusing_taint(node.traits, tolerations, false).empty());
    sets->soft.set(slot, node.present && refusing_taint(node.traits, tolerations, true).empty());
  }
}

const Constraints::Known& Constraints::condition(const std::string& text) {
  auto& known = conditions_[text];
  if (known) return *known;
  known = std::make_unique<Known>();
  if (auto parsed = Condition::parse(text, "where")) known->condition = std::move(*parsed);
  for (std::size_t slot = 0; slot < nodes_.size(); ++slot) {
    const Node& node = nodes_[slot];
    known->mask.set(slot, node.present && known->condition.holds(node.traits.name, node.traits.words));
  }
  return *known;
}

const Constraints::Tolerated& Constraints::tolerated(const std::vector<std::string>& tolerations) {
  auto& sets = tolerated_[tolerations];
  if (sets) return *sets;
  sets = std::make_unique<Tolerated>();
  for (std::size_t slot = 0; slot < nodes_.size(); ++slot) {
    const Node& node = nodes_[slot];
    sets->hard.set(slot, node.present && refusing_taint(node.traits, tolerations, false).empty());
    sets->soft.set(slot, node.present && refusing_taint(node.traits, tolerations, true).empty());
  }
  return *sets;
}

// ---- requests -------------------------------------------------------------------------------------------------------

void Constraints::make_room() {
  if (prepared_.size() < kKeptMax && conditions_.size() < kKeptMax && tolerated_.size() < kKeptMax) return;
  prepared_.clear();
  conditions_.clear();
  tolerated_.clear();
}

const Constraints::Prepared& Constraints::prepare(const Request& request) {
  auto found = prepared_.find(request);
  if (found == prepared_.end()) {
    make_room();
    Request key = request;
    key.resources = {};
    key.features.clear();
    key.counts.clear();
    key.licences.clear();
    found = prepared_.emplace(std::move(key), Entry{}).first;
  }
  Entry& entry = found->second;
  Prepared& out = entry.prepared;
  if (entry.rules_version != neighbours_.version() || entry.with_taints != (tainted_ != 0)) {
    entry.hard.clear();
    entry.soft.clear();
    if (!request.where.empty()) {
      const Known& where = condition(request.where);
      entry.hard.push_back(&where.mask);
      out.parts = where.condition.parts();
      out.counted = where.condition.counted();
    }
    if (!request.queue_nodes.empty()) entry.hard.push_back(&condition(request.queue_nodes).mask);
    for (const std::string& text : request.prefers) entry.soft.push_back(&condition(text).mask);
    if (tainted_ != 0) entry.hard.push_back(&tolerated(request.tolerates).hard);
    neighbours_.uses(request, entry.uses);
    entry.rules_version = neighbours_.version();
    entry.with_taints = tainted_ != 0;
    out.moving = !request.rules.empty();
  }
  out.hard = MaskList();
  out.soft.clear();
  for (const Mask* mask : entry.hard) out.hard.add(mask);
  out.soft.assign(entry.soft.begin(), entry.soft.end());
  std::size_t others = 0;
  for (const Neighbours::Use& use : entry.uses) {
    const Mask* mask = neighbours_.allowed(use);
    if (use.soft) {
      out.soft.push_back(mask);
    } else if (out.hard.size() < kSetsMost) {
      out.hard.add(mask);
    } else {
      others == 0 ? void(entry.others = *mask) : entry.others.keep(*mask);
      ++others;
    }
  }
  if (others != 0) out.hard.add(&entry.others);
  // The least of the wishes is the nodes', that others stay away.
  if (avoided_ != 0) out.soft.push_back(&tolerated(request.tolerates).soft);
  return out;
}

std::string Constraints::refused_by(std::size_t slot, const Request& request) {
  const Traits& node = nodes_[slot].traits;
  if (!request.queue_nodes.empty() && !condition(request.queue_nodes).mask.test(slot)) {
    return "the queue's nodes (" + request.queue_nodes + ")";
  }
  if (!request.where.empty() && !condition(request.where).mask.test(slot)) return "condition " + request.where;
  if (const auto taint = refusing_taint(node, request.tolerates, false); !taint.empty()) {
    return "taint " + std::string(taint);
  }
  return "";
}

Constraints::Rules Constraints::rules_for(const Request& request) {
  Rules rules;
  if (!request.labels.empty() || !request.rules.empty()) neighbours_.uses(request, rules);
  return rules;
}

std::string Constraints::refused_by_pods(std::size_t slot, const Rules& rules) {
  for (const Neighbours::Use& rule : rules) {
    if (!rule.soft && !neighbours_.allowed(rule)->test(slot)) return neighbours_.words_for(rule);
  }
  return "";
}

}  // namespace berth::placement
