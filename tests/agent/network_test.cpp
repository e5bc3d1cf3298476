// The node's network as it is: agents in network namespaces on one link, pods with addresses of their own, services in
// the kernel. Needs root, and the programs that pod networks need; skipped elsewhere.
#include <arpa/inet.h>
#include <cstring>
#include <fstream>
#include <netinet/in.h>
#include <sched.h>
#include <set>
#include <sys/socket.h>

#include "agent/net/links.h"
#include "agent/net/node_network.h"
#include "running_agent.h"

namespace berth::agent::testing_support {
namespace {

using namespace state;

// While it lives, this thread is in another network namespace.
class InNamespace {
 public:
  explicit InNamespace(const std::string& name) : back_(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    const Fd there(open(("/run/netns/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(setns(there.get(), CLONE_NEWNET), 0) << name;
  }
  ~InNamespace() { setns(back_.get(), CLONE_NEWNET); }
  InNamespace(const InNamespace&) = delete;
  InNamespace& operator=(const InNamespace&) = delete;

 private:
  const Fd back_;
};

int run(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()); }
int run_in(const std::string& space, const std::string& command) {
  const InNamespace inside(space);
  return run(command);
}
std::string output_in(const std::string& space, const std::string& command) {
  const InNamespace inside(space);
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  std::string text;
  char bytes[4096];
  for (std::size_t got = 0; (got = fread(bytes, 1, sizeof bytes, pipe)) > 0;) text.append(bytes, got);
  pclose(pipe);
  return text;
}

// A conversation with a pod: whatever is sent as a line is answered with the pod's name and whom it sees.
class Talk {
 public:
  Talk(const std::string& space, const std::string& address, std::uint16_t port, int type = SOCK_STREAM,
       const std::string& from = "") {
    const InNamespace inside(space);
    socket_ = Fd(socket(AF_INET, type | SOCK_CLOEXEC, 0));
    timeval limit{3, 0};
    setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    if (!from.empty()) {
      inet_pton(AF_INET, from.c_str(), &to.sin_addr);
      EXPECT_EQ(bind(socket_.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    }
    to.sin_port = htons(port);
    inet_pton(AF_INET, address.c_str(), &to.sin_addr);
    error_ = connect(socket_.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 ? 0 : errno;
  }
  int error() const { return error_; }
  std::string ask() {
    if (error_ != 0) return std::string("error: ") + std::strerror(error_);
    if (send(socket_.get(), "hello\n", 6, MSG_NOSIGNAL) != 6) return std::string("error: ") + std::strerror(errno);
    std::string line;
    while (!line.ends_with('\n')) {
      char bytes[256];
      const ssize_t got = recv(socket_.get(), bytes, sizeof bytes, 0);
      if (got <= 0) return got == 0 ? "error: closed" : std::string("error: ") + std::strerror(errno);
      line.append(bytes, static_cast<std::size_t>(got));
    }
    line.pop_back();
    return line;
  }

 private:
  Fd socket_;
  int error_ = 0;
};

constexpr const char* kPodProgram = R"(
import socket, sys, threading
name = sys.argv[1].encode()
def talk(c, p):
    f = c.makefile('rwb')
    for line in f:
        if line.startswith(b'GET'):
            while f.readline().strip(): pass
            f.write(b'HTTP/1.0 200 OK\r\n\r\nok\n'); f.flush(); break
        f.write(name + b' ' + p[0].encode() + b'\n'); f.flush()
    c.close()
def datagrams():
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('', 8080))
    while True:
        data, p = u.recvfrom(100)
        u.sendto(name + b' ' + p[0].encode() + b'\n', p)
threading.Thread(target=datagrams, daemon=True).start()
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('', 8080)); s.listen(64)
while True:
    threading.Thread(target=talk, args=s.accept(), daemon=True).start()
)";

// A node: an agent in a network namespace of its own, with its own server.
class Node {
 public:
  Node(const std::string& space, const std::string& address, const std::string& subnet, bool tunnel)
      : space_(space), address_(address), subnet_(subnet), tunnel_(tunnel) {
    server_.welcome.pod_subnet = subnet;
    server_.welcome.pods_cidr = "10.188.0.0/16";
    server_.welcome.services_cidr = "10.196.0.0/16";
    start();
  }
  ~Node() {
    for (const PodRef& ref : pods_) server_.stop(ref);
    for (const PodRef& ref : pods_) server_.wait_end(ref);
    eventually([&] { return leases().empty() && namespaces().empty(); });
    stop();
    const std::string instance = contents(directory_ / "data/instance").substr(0, 8);
    const Cgroups cgroups = Cgroups::detect({.instance = instance});
    eventually([&] { return cgroups.names().empty(); }, 5000);
    cgroups.remove_parents();
    remove_tree("/run/berth/" + instance);
  }
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  void start() {
    agent_ = std::make_unique<Agent>([&] {
      AgentOptions options = options_for(server_.socket(), directory_ / "data");
      options.node_name = space_;
      options.always_tunnel = tunnel_;
      return options;
    }());
    thread_ = std::thread([this] {
      const InNamespace inside(space_);
      const auto ended = agent_->run();
      EXPECT_TRUE(ended) << ended.error().message;
    });
    EXPECT_TRUE(server_.wait_hellos(++hellos_));
  }
  void stop() {
    if (!thread_.joinable()) return;
    agent_->request_stop();
    thread_.join();
    agent_.reset();
  }

  // Starts a pod of a service; its address, once it is ready.
  std::string pod(std::uint64_t job, const std::string& name, bool on_pod_network = true) {
    StartOrder order = script_order(job, "");
    order.service = "web";
    order.space = "default";
    order.replica = {ServiceId{1}, 1, static_cast<std::uint32_t>(job)};
    change_launch(order, [&](Launch& launch) {
      launch.argv = {"python3", "-c", kPodProgram, name};
      launch.network = on_pod_network ? NetworkMode::kPods : NetworkMode::kHost;
      launch.grace_ms = 100;
      launch.probe_ready = Probe{Probe::Kind::kHttp, {}, 8080, "/", 0, 100, 2000, 3, 1};
    });
    server_.start(order);
    const PodRef ref = pod_ref(job);
    pods_.insert(ref);
    EXPECT_TRUE(server_.wait([&] { return server_.readiness.contains(ref) && server_.readiness.at(ref).ready; }))
        << name << ": " << server_.readiness[ref].message << output(job);
    return server_.readiness[ref].address;
  }
  void end_pod(std::uint64_t job) {
    server_.stop(pod_ref(job));
    server_.wait_end(pod_ref(job));
  }
  std::string output(std::uint64_t job) const {
    return contents(directory_ / ("data/jobs/" + std::to_string(job) + "/0.out"));
  }
  std::string instance() const { return contents(directory_ / "data/instance").substr(0, 8); }
  std::string table() const { return "berth_" + instance(); }
  std::vector<std::string> leases() const {
    std::vector<std::string> found;
    std::error_code error;
    const std::string place = "/run/berth/" + instance() + "/leases/berth-" + instance();
    for (const auto& entry : std::filesystem::directory_iterator(place, error)) {
      std::uint32_t number = 0;
      if (parse_ipv4(entry.path().filename().string(), number)) found.push_back(entry.path().filename().string());
    }
    return found;
  }
  std::vector<std::string> namespaces() const {
    std::vector<std::string> found;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/run/netns", error)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("berth-" + instance())) found.push_back(name);
    }
    return found;
  }
  NetworkPeer peer(std::uint32_t number) const { return {NodeId{number}, space_, address_, subnet_}; }
  FakeServer& server() { return server_; }
  const std::string& space() const { return space_; }
  const std::string& address() const { return address_; }

 private:
  const std::string space_, address_, subnet_;
  const bool tunnel_;
  TemporaryDirectory directory_;
  FakeServer server_{directory_ / "server.sock"};
  std::unique_ptr<Agent> agent_;
  std::thread thread_;
  std::size_t hellos_ = 0;
  std::set<PodRef> pods_;
};

class NetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string missing = missing_for_pod_network({});
    if (!missing.empty()) GTEST_SKIP() << missing;
    tag_ = std::to_string(getpid());
    if (run("ip netns add bt" + tag_ + "x") != 0) GTEST_SKIP() << "no network namespaces can be made here";
    // x is the link, with a client; a and b are nodes.
    ASSERT_EQ(run_in("bt" + tag_ + "x",
                     "ip link add br0 type bridge && ip addr add 172.31.7.100/24 dev br0 && "
                     "ip link set br0 up && ip link set lo up"),
              0);
    for (const std::string node : {"a", "b"}) {
      const std::string space = "bt" + tag_ + node;
      ASSERT_EQ(run("ip netns add " + space), 0);
      ASSERT_EQ(run_in("bt" + tag_ + "x", "ip link add to" + node + " type veth peer name eth0 netns " + space +
                                              " && ip link set to" + node + " master br0 up"),
                0);
      ASSERT_EQ(run_in(space, "ip link set lo up && ip addr add 172.31.7." + std::string(node == "a" ? "1" : "2") +
                                  "/24 dev eth0 && ip link set eth0 up"),
                0);
    }
  }
  void TearDown() override {
    b.reset();
    a.reset();
    for (const char* space : {"a", "b", "x"}) run("ip netns del bt" + tag_ + space);
  }
  void begin(bool tunnel = false) {
    a = std::make_unique<Node>("bt" + tag_ + "a", "172.31.7.1", "10.188.1.0/24", tunnel);
    b = std::make_unique<Node>("bt" + tag_ + "b", "172.31.7.2", "10.188.2.0/24", tunnel);
    tell(update(true, {}, {}, {a->peer(1), b->peer(2)}, {}));  // as a server does for who has just come
  }
  std::string client() const { return "bt" + tag_ + "x"; }
  Endpoint endpoint(std::uint64_t job, std::uint32_t node, const std::string& address) {
    return {pod_ref(job), NodeId{node}, address, "web." + std::to_string(job)};
  }
  ServiceRoute web(std::vector<Endpoint> endpoints) {
    ServiceRoute route;
    route.service = ServiceId{1};
    route.name = "web";
    route.space = "default";
    route.address = "10.196.0.1";
    route.ports = {{"http", 80, 8080, 30080, Protocol::kTcp}, {"dns", 53, 8080, 0, Protocol::kUdp}};
    route.endpoints = std::move(endpoints);
    return route;
  }
  static NetworkUpdate update(bool all, std::vector<ServiceRoute> services, std::vector<ServiceId> removed,
                              std::vector<NetworkPeer> peers, std::vector<NodeId> peers_removed) {
    NetworkUpdate out;
    out.all = all;
    out.services = std::move(services);
    out.services_removed = std::move(removed);
    out.peers = std::move(peers);
    out.peers_removed = std::move(peers_removed);
    return out;
  }
  void tell(NetworkUpdate changed) {
    a->server().send(changed);
    b->server().send(changed);
  }
  void tell_all(ServiceRoute route) { tell(update(true, {std::move(route)}, {}, {a->peer(1), b->peer(2)}, {})); }
  // Until some answers of many questions are from each of these, and none from anybody else.
  testing::AssertionResult answered_by(const std::string& space, const std::string& address, std::uint16_t port,
                                       const std::set<std::string>& names, int type = SOCK_STREAM) {
    std::set<std::string> seen;
    std::string last;
    const bool good = eventually(
        [&] {
          seen.clear();
          for (int i = 0; i < 40; ++i) {
            last = Talk(space, address, port, type).ask();
            seen.insert(last.substr(0, last.find(' ')));
          }
          return seen == names;
        },
        15'000);
    if (good) return testing::AssertionSuccess();
    std::string all;
    for (const std::string& name : seen) all += " " + name;
    return testing::AssertionFailure() << "answered by" << all << "; last: " << last << "\n"
                                       << output_in(
                                              a->space(),
                                              "nft list ruleset | grep -v -A2 'chain .*spread'; ip route; ip addr");
  }

  std::string tag_;
  std::unique_ptr<Node> a, b;
};

// Runs the helper of the next test by hand: from a pod's own network, what a shell command says.
std::string in_pod(const Node& node, std::uint64_t job, const std::string& command) {
  return output_in("berth-" + node.instance() + "-" + Layout::pod_name(pod_ref(job)), command);
}

TEST_F(NetworkTest, PodsOfTwoNodesReachEachOtherAndTheirService) {
  begin();
  tell_all(web({}));
  const std::string one = a->pod(11, "one"), two = b->pod(12, "two");
  EXPECT_EQ(one, "10.188.1.2");
  EXPECT_EQ(two, "10.188.2.2");
  // Pods see each other as they are.
  const std::string pod_one = "berth-" + a->instance() + "-" + Layout::pod_name(pod_ref(11));
  EXPECT_EQ(Talk(pod_one, two, 8080).ask(), "two " + one);
  // Without endpoints the service refuses, at once.
  EXPECT_TRUE(eventually([&] { return Talk(a->space(), "10.196.0.1", 80).error() == ECONNREFUSED; }));
  EXPECT_EQ(Talk(pod_one, "10.196.0.1", 80).error(), ECONNREFUSED);

  tell(update(false, {web({endpoint(11, 1, one), endpoint(12, 2, two)})}, {}, {}, {}));
  const std::set<std::string> both{"one", "two"};
  EXPECT_TRUE(answered_by(a->space(), "10.196.0.1", 80, both)) << "from a node itself";
  EXPECT_TRUE(answered_by(b->space(), "10.196.0.1", 80, both));
  EXPECT_TRUE(answered_by(pod_one, "10.196.0.1", 80, both)) << "from a pod, also to itself";
  EXPECT_TRUE(answered_by(pod_one, "10.196.0.1", 53, both, SOCK_DGRAM));
  EXPECT_EQ(Talk(pod_one, "10.196.0.1", 81).error(), ECONNREFUSED) << "a port that it does not have";
  // Published on every node, for whoever reaches the node; the pod of that node sees who it is.
  EXPECT_TRUE(answered_by(client(), a->address(), 30080, both));
  EXPECT_TRUE(answered_by(client(), b->address(), 30080, both));
  std::set<std::string> seen;
  for (int i = 0; i < 40; ++i) seen.insert(Talk(client(), a->address(), 30080).ask());
  EXPECT_EQ(seen, (std::set<std::string>{"one 172.31.7.100", "two 172.31.7.1"}));
  EXPECT_TRUE(answered_by(a->space(), b->address(), 30080, both));
  EXPECT_TRUE(answered_by(a->space(), a->address(), 30080, both));
  EXPECT_TRUE(answered_by(pod_one, a->address(), 30080, both));

  // To the world outside the cluster a pod is its node.
  EXPECT_EQ(output_in(client(), "true"), "");
  std::thread outside([&] {
    const InNamespace inside(client());
    run("timeout 20 python3 -c \"import socket; s=socket.socket(); s.setsockopt(1,2,1); s.bind(('172.31.7.100',9000)); "
        "s.listen(); "
        "c,p=s.accept(); c.recv(100); c.sendall((p[0]+chr(10)).encode())\"");
  });
  EXPECT_TRUE(eventually([&] { return Talk(pod_one, "172.31.7.100", 9000).ask() == "172.31.7.1"; }));
  outside.join();
}

TEST_F(NetworkTest, AnEndpointThatGoesKeepsItsConnections) {
  begin();
  const std::string one = a->pod(11, "one"), two = b->pod(12, "two");
  tell_all(web({endpoint(11, 1, one)}));
  ASSERT_TRUE(answered_by(b->space(), "10.196.0.1", 80, {"one"}));
  Talk old(b->space(), "10.196.0.1", 80), old_client(client(), b->address(), 30080);
  EXPECT_EQ(old.ask().substr(0, 3), "one");
  EXPECT_EQ(old_client.ask().substr(0, 3), "one");
  Talk datagrams(b->space(), "10.196.0.1", 53, SOCK_DGRAM);
  EXPECT_EQ(datagrams.ask().substr(0, 3), "one");

  tell(update(false, {web({endpoint(12, 2, two)})}, {}, {}, {}));
  ASSERT_TRUE(answered_by(b->space(), "10.196.0.1", 80, {"two"}));
  EXPECT_EQ(old.ask().substr(0, 3), "one") << "what was connected stays so";
  EXPECT_EQ(old_client.ask().substr(0, 3), "one");
  if (run("command -v conntrack") == 0) {
    EXPECT_TRUE(eventually([&] { return datagrams.ask().starts_with("two"); })) << "datagrams have no end to wait for";
  }
}

TEST_F(NetworkTest, AStickyClientStaysWithItsPod) {
  begin();
  std::vector<Endpoint> endpoints;
  for (std::uint64_t job = 11; job < 14; ++job)
    endpoints.push_back(endpoint(job, 1, a->pod(job, "p" + std::to_string(job))));
  ServiceRoute route = web(endpoints);
  route.sticky = true;
  tell_all(route);
  run_in(b->space(), "for i in $(seq 50 79); do ip addr add 172.31.7.$i/24 dev eth0; done");
  ASSERT_TRUE(eventually([&] { return Talk(b->space(), "10.196.0.1", 80).error() == 0; }));
  std::map<std::string, std::string> with;
  std::set<std::string> used;
  for (int i = 50; i < 80; ++i) {
    const std::string from = "172.31.7." + std::to_string(i);
    with[from] = Talk(b->space(), "10.196.0.1", 80, SOCK_STREAM, from).ask();
    used.insert(with[from].substr(0, 3));
    for (int again = 0; again < 3; ++again) {
      EXPECT_EQ(Talk(b->space(), "10.196.0.1", 80, SOCK_STREAM, from).ask(), with[from]);
    }
  }
  EXPECT_EQ(used.size(), 3U) << "and not all with the same";
  route.endpoints.pop_back();
  tell(update(false, {route}, {}, {}, {}));
  ASSERT_TRUE(eventually([&] {
    return output_in(b->space(), "nft list table ip " + b->table()).find(endpoints[2].address) == std::string::npos;
  }));
  for (const auto& [from, name] : with) {
    const std::string now = Talk(b->space(), "10.196.0.1", 80, SOCK_STREAM, from).ask();
    if (!name.starts_with("p13")) {
      EXPECT_EQ(now, name);
    }
  }
}

TEST_F(NetworkTest, ThroughATunnelWhereNodesShareNoLink) {
  begin(true);
  const std::string one = a->pod(11, "one"), two = b->pod(12, "two");
  tell_all(web({endpoint(11, 1, one), endpoint(12, 2, two)}));
  const std::string pod_one = "berth-" + a->instance() + "-" + Layout::pod_name(pod_ref(11));
  EXPECT_TRUE(answered_by(pod_one, "10.196.0.1", 80, {"one", "two"}));
  EXPECT_TRUE(answered_by(client(), a->address(), 30080, {"one", "two"}));
  EXPECT_NE(output_in(a->space(), "ip route").find("dev bvx" + a->instance()), std::string::npos);
  const std::string three = a->pod(13, "three");
  const std::string link = in_pod(*a, 13, "ip link show eth0");
  EXPECT_NE(link.find("mtu 1450 "), std::string::npos) << link;  // room for what the tunnel adds, once
}

TEST_F(NetworkTest, NamesLeadToServices) {
  begin();
  const std::string one = a->pod(11, "one"), two = b->pod(12, "two");
  ServiceRoute headless = web({endpoint(11, 1, one), endpoint(12, 2, two)});
  headless.service = ServiceId{2};
  headless.name = "db";
  headless.space = "shop";
  headless.address.clear();
  headless.ports[0].published = 0;
  tell(update(true, {web({endpoint(11, 1, one)}), headless}, {}, {a->peer(1), b->peer(2)}, {}));
  // The test's own /etc/resolv.conf is not the pod's: here the whole name is asked for at the node's server.
  const auto dig = [&](const std::string& name, int type) {
    return output_in(
        "berth-" + a->instance() + "-" + Layout::pod_name(pod_ref(11)),
        "python3 -c \"\nimport socket,struct\nq=struct.pack('!6H',7,256,1,0,0,0)+b''.join(bytes([len(l)])+l.encode() "
        "for l in '" +
            name + "'.split('.'))+b'\\\\0'+struct.pack('!2H'," + std::to_string(type) +
            ",1)\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(2)\n"
            "for last in [0]*14+[1]:\n"  // as resolvers do: a name server may be just starting again
            " try: s.sendto(q,('10.188.1.1',53)); r=s.recv(2000); break\n"
            " except OSError:\n"
            "  if last: raise\n"
            "n=struct.unpack('!6H',r[:12]); print(n[1]&15, n[3], ' '.join(socket.inet_ntoa(r[i-4:i]) for i in "
            "range(len(q)+16,len(r)+1,16)) if " +
            std::to_string(type) + "==1 else '')\"");
  };
  EXPECT_TRUE(eventually([&] { return dig("web.default.berth.internal", 1) == "0 1 10.196.0.1\n"; }))
      << dig("web.default.berth.internal", 1);
  EXPECT_EQ(dig("web", 1), "0 1 10.196.0.1\n");
  const std::string both = dig("db.shop.berth.internal", 1);
  EXPECT_TRUE(both == "0 2 " + one + " " + two + "\n" || both == "0 2 " + two + " " + one + "\n") << both;
  EXPECT_EQ(dig("11.db.shop.berth.internal", 1), "0 1 " + one + "\n");
  EXPECT_EQ(dig("nobody.default.berth.internal", 1).substr(0, 3), "3 0");  // NXDOMAIN, and asked of nobody else
  EXPECT_TRUE(eventually([&] { return dig("_http._tcp.db.shop.berth.internal", 33).starts_with("0 2"); }));
  EXPECT_TRUE(dig("_http._tcp.web.default.berth.internal", 33).starts_with("0 1"));
  // What changes is known at once; what is gone is gone.
  headless.endpoints.pop_back();
  tell(update(false, {headless}, {ServiceId{1}}, {}, {}));
  EXPECT_TRUE(eventually([&] { return dig("db.shop.berth.internal", 1) == "0 1 " + one + "\n"; }));
  EXPECT_TRUE(eventually([&] { return dig("web.default.berth.internal", 1).starts_with("3 0"); }));
}

TEST_F(NetworkTest, APodFindsItsOwnNamesAndNothingIsLeftBehind) {
  begin();
  StartOrder order =
      script_order(21, "cat /etc/resolv.conf /etc/hosts; id -u; ip -o -4 addr show eth0 || cat /proc/net/fib_trie");
  order.space = "shop";
  change_launch(order, [](Launch& launch) { launch.network = NetworkMode::kPods; });
  a->server().start(order);
  EXPECT_EQ(a->server().wait_end(pod_ref(21)).outcome.state, PodState::kSucceeded) << a->output(21);
  const std::string said = a->output(21);
  EXPECT_NE(said.find("nameserver 10.188.1.1\nsearch shop.berth.internal berth.internal\n"), std::string::npos) << said;
  EXPECT_NE(said.find("10.188.1.2\tjob-21-0\n"), std::string::npos) << said;
  EXPECT_NE(said.find("10.188.1.2/24"), std::string::npos) << said;
  EXPECT_TRUE(eventually([&] { return a->leases().empty() && a->namespaces().empty(); }));
  EXPECT_EQ(output_in(a->space(), "ip -o link show type veth").find("veth"), std::string::npos);
  // With its last pod gone, the agent's end takes everything along.
  const std::string instance = a->instance();
  a->stop();
  EXPECT_EQ(output_in(a->space(), "nft list tables"), "");
  EXPECT_EQ(output_in(a->space(), "ip -o link show type bridge").find("berth"), std::string::npos);
  EXPECT_NE(access(("/run/berth/" + instance).c_str(), F_OK), 0);
  a->start();
}

TEST_F(NetworkTest, WhatADeadAgentLeftIsTakenOverOrCleared) {
  begin();
  const std::string one = a->pod(11, "one");
  tell_all(web({endpoint(11, 1, one)}));
  ASSERT_TRUE(answered_by(b->space(), "10.196.0.1", 80, {"one"}));
  a->stop();  // the pod goes on, and so does its network
  EXPECT_TRUE(answered_by(b->space(), "10.196.0.1", 80, {"one"}));
  EXPECT_TRUE(answered_by(a->space(), "10.196.0.1", 80, {"one"}));
  // What an agent leaves that dies in the middle of it: a namespace and an address of a pod that never came to be.
  const std::string left = "99.0.1";
  std::ofstream("/run/berth/" + a->instance() + "/leases/berth-" + a->instance() + "/10.188.1.77")
      << left << "\r\neth0";
  ASSERT_EQ(run("ip netns add berth-" + a->instance() + "-" + left), 0);
  EXPECT_EQ(a->leases().size(), 2U);
  EXPECT_EQ(a->namespaces().size(), 2U);
  a->start();
  EXPECT_TRUE(eventually([&] { return a->leases() == std::vector<std::string>{one} && a->namespaces().size() == 1; }));
  // It tells again that its pod is ready, and where.
  EXPECT_TRUE(a->server().wait([&] { return a->server().readiness_told >= 2; }));
  EXPECT_EQ(a->server().readiness[pod_ref(11)].address, one);
  tell_all(web({endpoint(11, 1, one)}));
  EXPECT_TRUE(answered_by(b->space(), "10.196.0.1", 80, {"one"}));
  // Somebody flushed the rules: the next change puts all of them back.
  run_in(a->space(), "nft flush ruleset");
  tell(update(false, {web({endpoint(11, 1, one), endpoint(12, 1, one)})}, {}, {}, {}));
  EXPECT_TRUE(answered_by(a->space(), "10.196.0.1", 80, {"one"}));
}

TEST_F(NetworkTest, ANetworkThatOverlapsTheMachinesIsRefused) {
  run_in("bt" + tag_ + "a", "ip addr add 10.188.77.1/24 dev eth0");
  begin();
  StartOrder order = script_order(31, "true");
  change_launch(order, [](Launch& launch) { launch.network = NetworkMode::kPods; });
  a->server().start(order);
  const PodEnd end = a->server().wait_end(pod_ref(31));
  EXPECT_EQ(end.outcome.state, PodState::kFailed);
  EXPECT_EQ(end.message,
            "no pod network on this node: the cluster's network 10.188.0.0/16 overlaps this machine's 10.188.77.1/24 "
            "on eth0");
  EXPECT_EQ(output_in(a->space(), "nft list tables"), "");
}

TEST_F(NetworkTest, ASubnetThatIsFullSaysSo) {
  begin();
  a->server().welcome.pod_subnet = "10.188.1.0/30";  // a gateway and one pod
  a->server().drop_connection();
  ASSERT_TRUE(a->server().wait_hellos(2));
  tell(update(true, {}, {}, {a->peer(1), b->peer(2)}, {}));  // what was told before may have been lost with the line
  a->pod(11, "one");
  StartOrder order = script_order(32, "true");
  change_launch(order, [](Launch& launch) { launch.network = NetworkMode::kPods; });
  a->server().start(order);
  const PodEnd end = a->server().wait_end(pod_ref(32));
  EXPECT_NE(end.message.find("no IP addresses available"), std::string::npos) << end.message;
  EXPECT_EQ(end.message.find('\n'), std::string::npos);
  EXPECT_TRUE(eventually([&] { return a->namespaces().size() == 1; }));
}

}  // namespace
}  // namespace berth::agent::testing_support
