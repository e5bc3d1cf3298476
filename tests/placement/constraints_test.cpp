// Constraints against a model that works everything out anew for each pod: the same nodes, the same refusals, whatever
// nodes and pods came and went before.
#include "placement/constraints.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>

#include "placement/engine.h"

namespace berth::placement {
namespace {

using state::Condition;
using state::NodeId;
using state::PodRule;
using state::Request;
using state::Resources;
using Words = std::vector<std::string>;
using state::GangShape;

constexpr state::GangShape kApart{0, 0, 1};  // each pod on a node of its own

class Model {
 public:
  struct Node {
    bool present = false;
    Resources capacity;
    Traits traits;
  };
  struct Pod {
    std::uint32_t node;
    Request request;
    Placed placed;
  };
  std::map<std::uint32_t, Node> nodes;
  std::vector<Pod> pods;

  static std::string domain(const Node& node, std::uint32_t id, const std::string& key) {
    if (key == "node") return std::to_string(id);
    for (const auto& word : node.traits.words) {
      if (word.starts_with(key + "=")) return word;
    }
    return "";
  }
  static bool chosen(const std::string& selector, const Request& request) {
    return !request.labels.empty() && Condition::parse(selector, "")->holds("", request.labels);
  }
  std::uint64_t pods_in(const std::string& where, const std::string& key, const std::string& selector) const {
    std::uint64_t count = 0;
    for (const Pod& pod : pods) {
      count += domain(nodes.at(pod.node), pod.node, key) == where && chosen(selector, pod.request) ? 1U : 0U;
    }
    return count;
  }
  bool rule_allows(const PodRule& rule, const Request& request, std::uint32_t id) const {
    const std::string where = domain(nodes.at(id), id, rule.domain);
    const std::uint64_t here = where.empty() ? 0 : pods_in(where, rule.domain, rule.selector);
    if (rule.kind == PodRule::Kind::kApart) return here == 0;
    if (where.empty()) return false;
    const bool own = chosen(rule.selector, request);
    if (rule.kind == PodRule::Kind::kTogether) {
      const bool any = std::any_of(pods.begin(), pods.end(), [&](const Pod& pod) {
        return chosen(rule.selector, pod.request) && !domain(nodes.at(pod.node), pod.node, rule.domain).empty();
      });
      return here != 0 || (!any && own);
    }
    std::uint64_t fewest = ~0ULL;
    for (const auto& [other, node] : nodes) {
      const std::string value = domain(node, other, rule.domain);
      if (!value.empty()) fewest = std::min(fewest, pods_in(value, rule.domain, rule.selector));
    }
    return here + (own ? 1 : 0) <= fewest + rule.skew;
  }
  static bool tolerated(const Request& request, std::string taint, bool soft) {
    const bool is_soft = taint.ends_with(":prefer");
    if (is_soft != soft) return true;
    if (is_soft) taint.resize(taint.size() - 7);
    return std::any_of(request.tolerates.begin(), request.tolerates.end(), [&](const std::string& t) {
      return t == "*" || t == taint || t == taint.substr(0, taint.find('='));
    });
  }
  Amounts free(std::uint32_t id) const {
    Amounts free = amounts_of(nodes.at(id).capacity);
    for (const Pod& pod : pods) {
      if (pod.node != id) continue;
      free.cpu_milli -= static_cast<std::int32_t>(pod.request.resources.cpu_milli);
      free.mem_mib -= static_cast<std::int32_t>(pod.request.resources.mem_mib);
    }
    return free;
  }
  bool fits(std::uint32_t id, const Request& request) const {
    const Node& node = nodes.at(id);
    if (!free(id).hold(request.resources) || !includes(node.traits.words, request.features)) return false;
    if (!request.where.empty() && !Condition::parse(request.where, "")->holds(node.traits.name, node.traits.words)) {
      return false;
    }
    for (const auto& taint : node.traits.taints) {
      if (!tolerated(request, taint, false)) return false;
    }
    for (const Pod& pod : pods) {
      if (pod.node == id && (pod.request.exclusive || request.exclusive)) return false;
      for (const PodRule& rule : pod.request.rules) {
        if (rule.kind != PodRule::Kind::kApart || rule.soft || !chosen(rule.selector, request)) continue;
        const std::string there = domain(nodes.at(pod.node), pod.node, rule.domain);
        if (!there.empty() && there == domain(node, id, rule.domain)) return false;
      }
    }
    return std::all_of(request.rules.begin(), request.rules.end(),
                       [&](const PodRule& rule) { return rule.soft || rule_allows(rule, request, id); });
  }
  std::vector<bool> wishes(std::uint32_t id, const Request& request) const {
    const Node& node = nodes.at(id);
    std::vector<bool> met;
    for (const auto& text : request.prefers) {
      met.push_back(Condition::parse(text, "")->holds(node.traits.name, node.traits.words));
    }
    for (const PodRule& rule : request.rules) {
      if (rule.soft) met.push_back(rule_allows(rule, request, id));
    }
    met.push_back(std::all_of(node.traits.taints.begin(), node.traits.taints.end(),
                              [&](const std::string& taint) { return tolerated(request, taint, true); }));
    return met;
  }
  // 0: nowhere.
  std::uint32_t best(const Request& request, const std::set<std::uint32_t>& used = {}) const {
    std::uint32_t best = 0;
    std::pair<std::vector<bool>, std::int64_t> score;
    for (const auto& [id, node] : nodes) {
      if (used.contains(id) || !fits(id, request)) continue;
      const std::pair is{wishes(id, request), -std::int64_t{free(id).left()}};
      if (best != 0 && is <= score) continue;
      best = id;
      score = is;
    }
    return best;
  }
};

class ConstraintsAgainstModel : public testing::TestWithParam<unsigned> {
 protected:
  std::mt19937 random{GetParam()};
  Engine engine;
  Model model;

  std::uint32_t below(std::size_t n) { return static_cast<std::uint32_t>(random() % n); }
  template <class T>
  const T& one_of(const std::vector<T>& list) {
    return list[below(list.size())];
  }
  void set_node(std::uint32_t id) {
    static const std::vector<Words> words{{},         {"zone=a"},           {"zone=b"},           {"ssd", "zone=a"},
                                          {"zone=c"}, {"rack=1", "zone=a"}, {"rack=2", "zone=b"}, {"gen=3", "ssd"}};
    static const std::vector<Words> taints{{}, {}, {}, {}, {"gpu"}, {"team=x"}, {"old:prefer"}, {"gpu", "old:prefer"}};
    Model::Node& node = model.nodes[id];
    node.capacity = {1000 * (2 + below(14)), 1024ULL * (2 + below(30)), 0};
    node.traits = {"n" + std::to_string(id), one_of(words), one_of(taints)};
    engine.set_node(NodeId{id}, Offered{node.capacity, node.traits});
    engine.set_connected(NodeId{id}, true);
  }
  Request any_request() {
    static const std::vector<std::string> conditions{
        "", "", "", "zone=a", "zone in (a,b)", "!ssd", "zone", "gen>2|ssd", "rack!=1", "node in (n[1-9])", "node=n3"};
    static const std::vector<Words> labels{{}, {}, {"app=web"}, {"app=db"}, {"app=web", "tier=1"}, {"tier=2"}};
    static const std::vector<std::string> selectors{"app=web", "app=db", "app", "tier=1", "app=web&!tier"};
    static const std::vector<std::string> domains{"node", "zone", "rack"};
    static const std::vector<Words> tolerations{{}, {}, {"*"}, {"gpu"}, {"team=x"}, {"old", "team"}};
    Request request{{500 * (1 + below(6)), 512ULL * (1 + below(8)), 0}};
    if (below(8) == 0) request.features = {"ssd"};
    request.where = one_of(conditions);
    while (below(4) == 0 && request.prefers.size() < 2) request.prefers.push_back(conditions[3 + below(8)]);
    request.tolerates = one_of(tolerations);
    request.labels = one_of(labels);
    while (below(3) == 0 && request.rules.size() < 3) {
      const auto kind = static_cast<PodRule::Kind>(below(3));
      request.rules.push_back({kind, below(3) == 0, one_of(selectors), one_of(domains), 1 + below(2)});
    }
    request.exclusive = below(12) == 0;
    return request;
  }
  void place() {
    const Request request = any_request();
    const std::uint32_t count = 1 + below(12);
    std::vector<Placed> out;
    const std::uint32_t got = engine.place(request, count, out);
    ASSERT_EQ(got, out.size());
    for (const Placed& placed : out) {
      ASSERT_EQ(placed.node.value, model.best(request)) << "not the best node";
      model.pods.push_back({placed.node.value, request, placed});
    }
    if (got == count) return;
    ASSERT_EQ(model.best(request), 0U) << "refused though it fits";
    ASSERT_EQ(engine.explain(request).nodes_fit, 0U);
    for (const auto& [id, node] : model.nodes) ASSERT_FALSE(engine.fits_now(NodeId{id}, request));
  }
  void place_gang() {
    const Request request = any_request();
    const std::uint32_t count = 2 + below(4);
    const bool distinct = below(2) == 0;
    std::vector<Placed> out;
    const bool got = engine.place_gang(request, count, distinct ? kApart : GangShape{}, out);
    Model then = model;
    std::set<std::uint32_t> used;
    std::uint32_t placed = 0;
    for (; placed < count; ++placed) {
      const std::uint32_t best = then.best(request, distinct ? used : std::set<std::uint32_t>{});
      if (best == 0) break;
      used.insert(best);
      then.pods.push_back({best, request, {NodeId{best}, 0}});
      if (got) {
        ASSERT_EQ(out[placed].node.value, best);
      }
    }
    ASSERT_EQ(got, placed == count);
    ASSERT_EQ(out.size(), got ? count : 0);
    if (got) model = std::move(then);
  }
  void end_one() {
    if (model.pods.empty()) return;
    std::swap(model.pods[below(model.pods.size())], model.pods.back());
    const Model::Pod pod = model.pods.back();
    model.pods.pop_back();
    engine.release(NodeId{pod.node}, pod.request, pod.placed.gpu_mask);
  }
  void change_node() {
    const std::uint32_t id = 1 + below(24);
    if (below(4) != 0) return set_node(id);
    if (!model.nodes.contains(id)) return;
    std::erase_if(model.pods, [&](const Model::Pod& pod) {
      if (pod.node == id) engine.release(NodeId{id}, pod.request, 0);
      return pod.node == id;
    });
    engine.remove_node(NodeId{id});
    model.nodes.erase(id);
  }
};

TEST_P(ConstraintsAgainstModel, ChoosesTheSameNodes) {
  for (std::uint32_t id = 1; id <= 12; ++id) set_node(id);
  for (int step = 0; step < 1'500 && !HasFatalFailure(); ++step) {
    const std::uint32_t what = below(100);
    if (what < 3) {
      change_node();
    } else if (what < 35) {
      place();
    } else if (what < 45) {
      place_gang();
    } else {
      end_one();
    }
    if (step % 20 == 0) {
      ASSERT_EQ(engine.check_invariants(), "");
    }
  }
  while (!model.pods.empty()) end_one();
  EXPECT_EQ(engine.check_invariants(), "");
  for (const auto& [id, node] : model.nodes) EXPECT_EQ(engine.used(NodeId{id}), Resources{});
}
INSTANTIATE_TEST_SUITE_P(Seeds, ConstraintsAgainstModel, testing::Range(0U, 24U));

class Constrained : public testing::Test {
 protected:
  Constrained() {
    for (std::uint32_t id = 1; id <= 8; ++id) {
      engine.set_node(
          NodeId{id},
          Offered{{4000, 4096, 0}, Traits{"n" + std::to_string(id), {"rack=" + std::to_string((id + 1) / 2)}, {}}});
      engine.set_connected(NodeId{id}, true);
    }
  }
  std::set<std::uint32_t> nodes() const {
    std::set<std::uint32_t> found;
    for (const Placed& placed : out) found.insert(placed.node.value);
    return found;
  }
  Engine engine;
  std::vector<Placed> out;
};

TEST_F(Constrained, AGangWithCountsGetsThemWhereTheyAreWanted) {
  Request request{{1000, 0, 0}};
  request.where = "[rack=2*2&rack=4*1]";
  ASSERT_TRUE(engine.place_gang(request, 3, kApart, out));
  EXPECT_EQ(nodes(), (std::set<std::uint32_t>{3, 4, 7}));
  out.clear();
  request.where = "[rack=2*3]";
  EXPECT_FALSE(engine.place_gang(request, 3, kApart, out));
  EXPECT_TRUE(out.empty());
  EXPECT_EQ(engine.used(NodeId{3}).cpu_milli, 1000U);
}

TEST_F(Constrained, AGangWithAChoiceLandsOnNodesOfOneOfThem) {
  engine.claim(NodeId{1}, Resources{4000, 0, 0}, 0);
  Request request{{1000, 0, 0}};
  request.where = "[rack=1|rack=3]";
  ASSERT_TRUE(engine.place_gang(request, 2, kApart, out));
  EXPECT_EQ(nodes(), (std::set<std::uint32_t>{5, 6}));
}

TEST_F(Constrained, SpreadFillsAllRacksEvenly) {
  Request request{{500, 0, 0}};
  request.labels = {"app=web"};
  request.rules = {{PodRule::Kind::kSpread, false, "app=web", "rack", 1}};
  for (int round = 1; round <= 8; ++round) {
    ASSERT_EQ(engine.place(request, 4, out), 4U);
    std::map<std::uint32_t, int> per_rack;
    for (const Placed& placed : out) ++per_rack[(placed.node.value + 1) / 2];
    for (std::uint32_t rack = 1; rack <= 4; ++rack) EXPECT_EQ(per_rack[rack], round);
  }
}

TEST_F(Constrained, PodsThatKeepApartKeepOthersAwayToo) {
  Request alone{{500, 0, 0}};
  alone.rules = {{PodRule::Kind::kApart, false, "app=web", "rack", 1}};
  ASSERT_EQ(engine.place(alone, 1, out), 1U);
  Request web{{500, 0, 0}};
  web.labels = {"app=web"};
  out.clear();
  ASSERT_EQ(engine.place(web, 48, out), 48U);
  EXPECT_EQ(nodes(), (std::set<std::uint32_t>{3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(engine.place(web, 1, out), 0U);
  const Refusal refusal = engine.explain(web);
  ASSERT_EQ(refusal.counts.size(), 2U);
  EXPECT_EQ(refusal.counts[0].constraint, "pods that keep apart from app=web by rack");
  EXPECT_EQ(refusal.counts[0].nodes, 2U);
}

TEST_F(Constrained, AnyNumberOfRulesIsKept) {
  Request alone{{100, 0, 0}};
  for (int i = 0; i < 40; ++i) {
    alone.rules = {{PodRule::Kind::kApart, false, "app=web|tier=" + std::to_string(i), "node", 1}};
    engine.claim(NodeId{i < 39 ? 1U : 2U}, alone, 0);
  }
  Request web{{100, 0, 0}};
  web.labels = {"app=web"};
  ASSERT_EQ(engine.place(web, 6 * 40, out), 240U);
  EXPECT_EQ(nodes(), (std::set<std::uint32_t>{3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(engine.place(web, 1, out), 0U);
  EXPECT_EQ(engine.check_invariants(), "");
}

TEST_F(Constrained, TheWordsOfARefusalNameEachConstraint) {
  engine.set_node(NodeId{1}, Offered{{4000, 4096, 0}, Traits{"n1", {"rack=1"}, {"dedicated=ml"}}});
  Request request{{8000, 0, 0}};
  request.where = "rack<3";
  const Refusal refusal = engine.explain(request);
  std::map<std::string, std::uint32_t> counts;
  for (const auto& count : refusal.counts) counts[count.constraint] = count.nodes;
  EXPECT_EQ(counts, (std::map<std::string, std::uint32_t>{
                        {"taint dedicated=ml", 1}, {"condition rack<3", 4}, {"total cpu", 3}}));
}

TEST(Constraints, AreWishesOnlyWhereATaintIsOne) {
  Constraints constraints;
  const auto wishes = [&] { return constraints.prepare(Request{{1000, 0, 0}}).soft.size(); };
  constraints.set_node(0, {"n1", {}, {"gpu"}});
  EXPECT_EQ(wishes(), 0U);
  constraints.set_node(1, {"n2", {}, {"gpu", "old:prefer"}});
  EXPECT_EQ(wishes(), 1U);
  constraints.set_node(1, {"n2", {}, {"gpu"}});
  EXPECT_EQ(wishes(), 0U);
  constraints.set_node(1, {"n2", {}, {"old:prefer"}});
  constraints.remove_node(1);
  EXPECT_EQ(wishes(), 0U);
}

TEST(Words, OfLabelsTaintsAndTolerations) {
  for (const char* good : {"a=b", "app=web", "a/b=c.d"}) EXPECT_TRUE(is_label(good)) << good;
  for (const char* bad : {"", "a", "=b", "a=", "a=b=c", "a b=c", "a=b,c"}) EXPECT_FALSE(is_label(bad)) << bad;
  for (const char* good : {"a", "a=b", "a:prefer", "a=b:prefer"}) EXPECT_TRUE(is_taint(good)) << good;
  for (const char* bad : {"", ":prefer", "a:x", "a b", "*"}) EXPECT_FALSE(is_taint(bad)) << bad;
  EXPECT_TRUE(is_toleration("*"));
  EXPECT_FALSE(is_toleration("a:prefer"));
}

}  // namespace
}  // namespace berth::placement
