#include "agent/core/service_rules.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/core/node_routes.h"
#include "agent/core/service_names.h"

namespace berth::agent {
namespace {

using namespace state;
using ::testing::HasSubstr;
using ::testing::Not;

RuleSettings settings() { return {"berth_test", "10.88.1.0/24", "10.88.0.0/16", "10.96.0.0/16"}; }

Endpoint endpoint(std::uint64_t job, const std::string& address, const std::string& name = "web.1") {
  return {{{JobId{job}, 0}, 1}, NodeId{1}, address, name};
}

ServiceRoute web(std::vector<std::string> addresses, std::uint16_t published = 0) {
  ServiceRoute route;
  route.service = ServiceId{1};
  route.name = "web";
  route.space = "default";
  route.address = "10.96.0.1";
  route.ports = {{"http", 80, 8080, published, Protocol::kTcp}};
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    route.endpoints.push_back(endpoint(10 + i, addresses[i], "web." + std::to_string(i + 1)));
  }
  return route;
}

// The chains that choose among endpoints, always the same, shown as one word; a few of them are looked at.
std::string without_chains(std::string text) {
  for (const char* chain :
       {"  chain spread_1 {\n    dnat ip to numgen random mod 1 . ip daddr . meta l4proto . th dport map @endpoints\n  "
        "}\n",
        "  chain spread_128 {\n    dnat ip to numgen random mod 128 . ip daddr . meta l4proto . th dport map "
        "@endpoints\n  }\n",
        "  chain sticky_256 {\n    dnat ip to jhash ip saddr mod 256 . ip daddr . meta l4proto . th dport map "
        "@endpoints\n  }\n",
        "  chain published_spread_2 {\n    meta mark set meta mark or 0x00800000 dnat ip to numgen random mod 2 . meta "
        "l4proto . th dport map @doors\n  }\n"}) {
    EXPECT_THAT(text, HasSubstr(chain));
  }
  const std::size_t from = text.find("  chain spread_1 "), to = text.find("  chain prerouting ");
  return text.replace(from, to - from, "  (chains)\n");
}

TEST(ServiceRules, AllOfThemAsText) {
  ServiceRules rules(settings());
  ServiceRoute dns;
  dns.service = ServiceId{2};
  dns.address = "10.96.0.2";
  dns.ports = {{"", 53, 5353, 0, Protocol::kUdp}};
  dns.endpoints = {endpoint(20, "10.88.2.9")};
  rules.update({web({"10.88.1.2", "10.88.2.3"}, 30080), dns}, {}, true);
  EXPECT_EQ(without_chains(rules.whole()), R"(table ip berth_test { }
delete table ip berth_test
table ip berth_test {
  map services {
    typeof ip daddr . meta l4proto . th dport : verdict
    elements = {
      10.96.0.1 . tcp . 80 : goto spread_2,
      10.96.0.2 . udp . 53 : goto spread_1 }
  }
  map endpoints {
    typeof numgen random mod 65536 . ip daddr . meta l4proto . th dport : ip daddr . th dport
    elements = {
      0 . 10.96.0.1 . tcp . 80 : 10.88.1.2 . 8080,
      0 . 10.96.0.2 . udp . 53 : 10.88.2.9 . 5353,
      1 . 10.96.0.1 . tcp . 80 : 10.88.2.3 . 8080 }
  }
  map published {
    typeof meta l4proto . th dport : verdict
    elements = {
      tcp . 30080 : goto published_spread_2 }
  }
  map doors {
    typeof numgen random mod 65536 . meta l4proto . th dport : ip daddr . th dport
    elements = {
      0 . tcp . 30080 : 10.88.1.2 . 8080,
      1 . tcp . 30080 : 10.88.2.3 . 8080 }
  }
  set loops {
    typeof ip saddr . ip daddr
    elements = {
      10.88.1.2 . 10.88.1.2 }
  }
  (chains)
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr . meta l4proto . th dport vmap @services
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @published
  }
  chain output {
    type nat hook output priority -100; policy accept;
    ip daddr . meta l4proto . th dport vmap @services
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @published
  }
  chain postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr . ip daddr @loops masquerade
    meta mark & 0x00800000 == 0x00800000 oifname != "lo" ip daddr != 10.88.1.0/24 masquerade
    ip saddr 10.88.1.0/24 ip daddr != 10.88.0.0/16 masquerade
  }
  chain refuse_forward {
    type filter hook forward priority filter; policy accept;
    ip daddr 10.96.0.0/16 meta l4proto tcp reject with tcp reset
    ip daddr 10.96.0.0/16 reject
  }
  chain refuse_output {
    type filter hook output priority filter; policy accept;
    ip daddr 10.96.0.0/16 meta l4proto tcp reject with tcp reset
    ip daddr 10.96.0.0/16 reject
  }
}
)");
  EXPECT_EQ(rules.changes(), "");
}

TEST(ServiceRules, AChangeOfOneServiceTouchesItsElementsOnly) {
  ServiceRules rules(settings());
  std::vector<ServiceRoute> all;
  for (std::uint64_t id = 2; id < 100; ++id) {
    ServiceRoute other = web({"10.88.2.2"});
    other.service = ServiceId{id};
    other.address = "10.96.1." + std::to_string(id);
    all.push_back(other);
  }
  all.push_back(web({"10.88.1.2", "10.88.2.3"}));
  rules.update(all, {}, true);
  rules.whole();
  rules.update({web({"10.88.1.2", "10.88.2.3"})}, {}, false);
  EXPECT_EQ(rules.changes(), "") << "nothing is different";
  rules.update({web({"10.88.1.2", "10.88.2.3", "10.88.2.4"})}, {}, false);
  EXPECT_EQ(rules.changes(),
            "delete element ip berth_test services { 10.96.0.1 . tcp . 80 : goto spread_2 }\n"
            "add element ip berth_test endpoints { 2 . 10.96.0.1 . tcp . 80 : 10.88.2.4 . 8080 }\n"
            "add element ip berth_test services { 10.96.0.1 . tcp . 80 : goto spread_3 }\n");
  rules.update({web({"10.88.2.4"})}, {}, false);
  EXPECT_EQ(
      rules.changes(),
      "delete element ip berth_test services { 10.96.0.1 . tcp . 80 : goto spread_3 }\n"
      "delete element ip berth_test endpoints { 0 . 10.96.0.1 . tcp . 80 : 10.88.1.2 . 8080, 1 . 10.96.0.1 . tcp . 80 "
      ": 10.88.2.3 . 8080, 2 . 10.96.0.1 . tcp . 80 : 10.88.2.4 . 8080 }\n"
      "delete element ip berth_test loops { 10.88.1.2 . 10.88.1.2 }\n"
      "add element ip berth_test endpoints { 0 . 10.96.0.1 . tcp . 80 : 10.88.2.4 . 8080 }\n"
      "add element ip berth_test services { 10.96.0.1 . tcp . 80 : goto spread_1 }\n");
  rules.update({}, {ServiceId{1}}, false);
  EXPECT_EQ(rules.changes(),
            "delete element ip berth_test services { 10.96.0.1 . tcp . 80 : goto spread_1 }\n"
            "delete element ip berth_test endpoints { 0 . 10.96.0.1 . tcp . 80 : 10.88.2.4 . 8080 }\n");
}

TEST(ServiceRules, WithoutEndpointsNothingLeadsAnywhere) {
  ServiceRules rules(settings());
  rules.update({web({}, 30080)}, {}, true);
  EXPECT_THAT(rules.whole(), Not(HasSubstr("goto")));
}

TEST(ServiceRules, OfVeryManyEndpointsEachHasItsShare) {
  EXPECT_EQ(slot_count(128), 128U);
  ServiceRules rules(settings());
  std::vector<std::string> addresses;
  for (std::uint32_t i = 0; i < 200; ++i) addresses.push_back(format_ipv4((10U << 24 | 88U << 16 | 2U << 8) + i + 1));
  rules.update({web(addresses)}, {}, true);
  const std::string text = rules.whole();
  EXPECT_THAT(text, HasSubstr("goto spread_2048"));
  EXPECT_THAT(text, HasSubstr("199 . 10.96.0.1 . tcp . 80 : 10.88.2.200 . 8080"));
  EXPECT_THAT(text, HasSubstr("200 . 10.96.0.1 . tcp . 80 : 10.88.2.1 . 8080"));
  EXPECT_THAT(text, HasSubstr("2047 . 10.96.0.1 . tcp . 80 : 10.88.2.48 . 8080"));
}

TEST(ServiceRules, WhatIsNoAddressIsLeftOut) {
  ServiceRules rules(settings());
  rules.update({web({"10.88.1.2 }; flush ruleset; {", "", "fd00::1", "10.88.1.300", "10.88.1.4"})}, {}, true);
  const std::string text = rules.whole();
  EXPECT_THAT(text, Not(HasSubstr("flush")));
  EXPECT_THAT(text, HasSubstr("goto spread_1"));
  EXPECT_THAT(text, HasSubstr("10.88.1.4 . 8080"));
}

TEST(ServiceRules, APortThatIsAnothersIsNotTaken) {
  ServiceRules rules(settings());
  ServiceRoute second = web({"10.88.2.9"}, 30080);
  second.service = ServiceId{2};
  second.address = "10.96.0.2";
  rules.update({web({"10.88.1.2"}, 30080), second}, {}, true);
  const std::string text = rules.whole();
  EXPECT_THAT(text, HasSubstr("0 . tcp . 30080 : 10.88.1.2 . 8080"));
  EXPECT_THAT(text, Not(HasSubstr("30080 : 10.88.2.9")));
  // Once it is free, in the same message, it is.
  rules.update({web({"10.88.1.2"}), second}, {}, false);
  EXPECT_THAT(rules.changes(), HasSubstr("0 . tcp . 30080 : 10.88.2.9 . 8080"));
}

TEST(ServiceRules, DatagramEndpointsThatAreGoneAreNamed) {
  ServiceRules rules(settings());
  ServiceRoute dns = web({"10.88.1.2", "10.88.1.3"});
  dns.ports = {{"", 53, 5353, 0, Protocol::kUdp}};
  rules.update({dns}, {}, true);
  rules.whole();
  EXPECT_TRUE(rules.gone().empty());
  dns.endpoints.erase(dns.endpoints.begin());
  rules.update({dns}, {}, false);
  const auto gone = rules.gone();
  ASSERT_EQ(gone.size(), 1U);
  EXPECT_EQ(gone.begin()->address, "10.88.1.2");
  EXPECT_EQ(gone.begin()->port, 5353);
  EXPECT_TRUE(rules.gone().empty());
}

TEST(StickySlots, OnlyClientsOfWhoCameOrWentMove) {
  std::vector<std::string> names;
  for (int i = 0; i < 10; ++i) names.push_back("pod-" + std::to_string(i));
  const auto before = sticky_slots(names, 256);
  std::vector<int> share(10);
  for (const std::uint32_t at : before) ++share[at];
  for (const int one : share) EXPECT_GT(one, 5) << "everybody has a share";
  std::vector<std::string> fewer = names;
  fewer.erase(fewer.begin() + 4);
  const auto after = sticky_slots(fewer, 256);
  for (std::size_t slot = 0; slot < 256; ++slot) {
    if (before[slot] != 4) {
      EXPECT_EQ(fewer[after[slot]], names[before[slot]]);
    }
  }
}

TEST(Addresses, AreReadStrictly) {
  std::uint32_t number = 0;
  EXPECT_TRUE(parse_ipv4("10.88.1.2", number));
  EXPECT_EQ(format_ipv4(number), "10.88.1.2");
  for (const char* bad :
       {"", "10.88.1", "10.88.1.2.3", "10.88.1.256", "10.88.1.x", " 10.88.1.2", "10.88.1.2 ", "::1", "a"}) {
    EXPECT_FALSE(parse_ipv4(bad, number)) << bad;
  }
  Subnet subnet;
  EXPECT_TRUE(parse_subnet("10.88.3.0/24", subnet));
  EXPECT_EQ(format_ipv4(subnet.first()), "10.88.3.1");
  for (const char* bad : {"", "10.88.3.0", "10.88.3.0/", "10.88.3.0/33", "10.88.3.0/x"})
    EXPECT_FALSE(parse_subnet(bad, subnet)) << bad;
}

// ---- names ----------------------------------------------------------------------------------------------------------
TEST(ServiceNames, LeadToTheServiceOrToItsPods) {
  ServiceNames names;
  ServiceRoute headless = web({"10.88.1.2", "10.88.2.3"});
  headless.service = ServiceId{2};
  headless.name = "db";
  headless.space = "shop";
  headless.address.clear();
  headless.endpoints[0].name = "db.1";
  headless.endpoints[1].name = "db.2";
  EXPECT_TRUE(names.update({web({"10.88.1.9"}), headless}, {}, true));
  EXPECT_EQ(names.hosts(),
            "10.96.0.1 web.default.berth.internal web.default web.berth.internal web\n"
            "10.88.1.2 db.shop.berth.internal db.shop\n"
            "10.88.1.2 1.db.shop.berth.internal\n"
            "10.88.2.3 db.shop.berth.internal db.shop\n"
            "10.88.2.3 2.db.shop.berth.internal\n");
  EXPECT_EQ(names.records(),
            "srv-host=_http._tcp.web.default.berth.internal,web.default.berth.internal,80\n"
            "srv-host=_http._tcp.db.shop.berth.internal,1.db.shop.berth.internal,8080\n"
            "srv-host=_http._tcp.db.shop.berth.internal,2.db.shop.berth.internal,8080\n");
  EXPECT_FALSE(names.update({web({"10.88.1.9", "10.88.1.10"})}, {}, false)) << "its address is the same";
  EXPECT_TRUE(names.update({}, {ServiceId{2}}, false));
  EXPECT_EQ(names.hosts(), "10.96.0.1 web.default.berth.internal web.default web.berth.internal web\n");
}

TEST(ServiceNames, WhatIsNoNameBreaksNoFile) {
  ServiceNames names;
  ServiceRoute bad = web({});
  bad.name = "web\n6.6.6.6 bank.example";
  names.update({bad}, {}, true);
  EXPECT_EQ(names.hosts(), "");
}

TEST(ServiceNames, APodLooksInItsOwnSpaceFirst) {
  EXPECT_EQ(resolv_conf("10.88.1.1", "shop"),
            "nameserver 10.88.1.1\nsearch shop.berth.internal berth.internal\noptions ndots:2 timeout:1 attempts:5\n");
}

// ---- ways -----------------------------------------------------------------------------------------------------------
LinkAddress link(const std::string& device, const std::string& subnet, std::uint32_t mtu = 1500) {
  LinkAddress out;
  out.device = device;
  EXPECT_TRUE(parse_subnet(subnet, out.subnet));
  out.mtu = mtu;
  return out;
}

TEST(NodeRoutes, GoStraightOnOneLinkAndThroughATunnelElsewhere) {
  NodeRoutes routes;
  routes.set_settings({"berth0", "vx0", "10.88.1.0/24", "10.96.0.0/16", false});
  routes.update({{NodeId{1}, "n1", "192.168.5.1", "10.88.1.0/24"},  // itself
                 {NodeId{2}, "n2", "192.168.5.2", "10.88.2.0/24"},
                 {NodeId{3}, "n3", "172.20.0.9", "10.88.3.0/24"},
                 {NodeId{4}, "n4", "", "10.88.4.0/24"}},  // not known where
                {}, true);
  const auto plan = routes.plan({link("lo", "127.0.0.1/8"), link("eth0", "192.168.5.1/24")});
  EXPECT_TRUE(routes.needs_tunnel(plan));
  const auto commands = routes.commands({}, plan);
  EXPECT_EQ(commands.ip,
            "neigh replace 10.88.3.0 lladdr 02:be:0a:58:03:00 dev vx0 nud permanent\n"
            "route replace 10.88.2.0/24 via 192.168.5.2 dev eth0 proto 117 src 10.88.1.1\n"
            "route replace 10.88.3.0/24 via 10.88.3.0 dev vx0 onlink proto 117 src 10.88.1.1\n"
            "route replace 10.96.0.0/16 dev berth0 proto 117 src 10.88.1.1\n");
  EXPECT_EQ(commands.bridge, "fdb replace 02:be:0a:58:03:00 dev vx0 dst 172.20.0.9 self permanent\n");
  routes.update({}, {NodeId{2}, NodeId{3}}, false);
  const auto less = routes.plan({link("eth0", "192.168.5.1/24")});
  EXPECT_EQ(routes.commands(plan, less).ip,
            "route del 10.88.2.0/24 proto 117\nroute del 10.88.3.0/24 proto 117\nneigh del 10.88.3.0 dev vx0\n");
  EXPECT_EQ(routes.commands(plan, less).bridge, "fdb del 02:be:0a:58:03:00 dev vx0 dst 172.20.0.9\n");
}

TEST(NodeRoutes, AnotherAgentOfTheSameMachineNeedsNoWay) {
  NodeRoutes routes;
  routes.set_settings({"berth0", "vx0", "10.88.1.0/24", "", false});
  routes.update({{NodeId{2}, "n2", "192.168.5.1", "10.88.2.0/24"}, {NodeId{3}, "n3", "127.0.0.1", "10.88.3.0/24"}}, {},
                true);
  EXPECT_TRUE(routes.plan({link("eth0", "192.168.5.1/24")}).routes.empty());
}

TEST(NodeRoutes, AFrameForAPodFitsTheUnderlay) {
  EXPECT_EQ(pod_mtu({link("lo", "127.0.0.1/8", 65536), link("eth0", "10.0.0.1/24", 1500)}, "eth0", false, ""), 1500U);
  EXPECT_EQ(pod_mtu({link("eth0", "10.0.0.1/24", 9000), link("eth1", "10.1.0.1/24", 1500)}, "eth0", true, ""), 8950U);
  EXPECT_EQ(pod_mtu({link("eth0", "10.0.0.1/24", 9000), link("eth1", "10.1.0.1/24", 1400)}, "", false, ""), 1400U);
  EXPECT_EQ(pod_mtu({}, "", false, ""), 1500U);
  // What is ours does not count: a pod that came before does not make the next one's frames smaller.
  EXPECT_EQ(pod_mtu({link("eth0", "10.0.0.1/24", 1500), link("berth0", "10.88.1.1/32", 1450),
                     link("veth12", "10.88.1.1/32", 1450), link("bvx0", "10.88.1.0/32", 1450)},
                    "", true, "10.88.1.0/24"),
            1450U);
}

}  // namespace
}  // namespace berth::agent
