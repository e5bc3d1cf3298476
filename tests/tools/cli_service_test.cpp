// Services as users describe them: options, Berth's own files, Compose files.
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <span>
#include <sstream>

#include "state/launch.h"
#include "tools/cli/compose_text.h"
#include "tools/cli/deploy_file.h"
#include "tools/cli/service_draft.h"

namespace berth::tools {
namespace {

using namespace state;

Launch launch_of(const ServicePutRequest& request) {
  auto launch = decode_launch(std::as_bytes(std::span(request.spec.launch)));
  EXPECT_TRUE(launch.ok()) << launch.error().message;
  return launch.ok() ? *launch : Launch{};
}

const Surroundings kHere{{"HOME=/home/ann", "TAG=1.2"}, "/home/ann", 022};

TEST(Probe, IsReadAsPeopleWriteIt) {
  auto probe = parse_probe("http:8080/healthz,every=2s,timeout=500ms,failures=5", "health");
  ASSERT_TRUE(probe.ok()) << probe.error().message;
  EXPECT_EQ(probe->kind, Probe::Kind::kHttp);
  EXPECT_EQ(probe->port, 8080);
  EXPECT_EQ(probe->path, "/healthz");
  EXPECT_EQ(probe->period_ms, 2000);
  EXPECT_EQ(probe->timeout_ms, 500);
  EXPECT_EQ(probe->failures, 5U);
  probe = parse_probe("http:80", "health");
  ASSERT_TRUE(probe.ok());
  EXPECT_EQ(probe->path, "/");
  probe = parse_probe("cmd:test a,b = c,every=9s", "health");
  ASSERT_TRUE(probe.ok());
  EXPECT_EQ(probe->argv, (std::vector<std::string>{"/bin/sh", "-c", "test a,b = c"}));
  EXPECT_EQ(probe->period_ms, 9000);
  for (const char* bad : {"", "http", "http:", "http:x/", "http:70000/", "tcp:0", "tcp:80/x", "cmd:", "ftp:21",
                          "tcp:80,often=1s", "tcp:80,failures=0", "http:80/,every="}) {
    EXPECT_FALSE(parse_probe(bad, "health").ok()) << bad;
  }
}

TEST(Publish, IsReadAsPeopleWriteIt) {
  const auto check = [](const char* text, ServicePort wanted) {
    const auto port = parse_publish(text, "publish");
    ASSERT_TRUE(port.ok()) << text;
    EXPECT_EQ(*port, wanted) << text;
  };
  check("8080:80", {"", 80, 80, 8080, Protocol::kTcp});
  check("80", {"", 80, 80, 80, Protocol::kTcp});
  check("dns=5353:53/udp", {"dns", 53, 53, 5353, Protocol::kUdp});
  for (const char* bad : {"", ":", "0:80", "80:", "80:0", "80:65536", "a:b", "80/sctp", "1:2:3"}) {
    EXPECT_EQ(parse_publish(bad, "publish").ok(), std::string_view(bad) == "80:") << bad;
  }
}

TEST(ServiceDraft, EveryFieldIsOfUse) {
  // Each field set to something else than it is makes another request.
  const std::map<std::string, std::string> other = {{"replicas", "7"},
                                                    {"every-node", "true"},
                                                    {"namespace", "shop"},
                                                    {"publish", "8080:80"},
                                                    {"ports", "9000:90"},
                                                    {"headless", "true"},
                                                    {"sticky", "true"},
                                                    {"network", "pods"},
                                                    {"health", "tcp:80"},
                                                    {"ready", "tcp:81"},
                                                    {"live", "tcp:82"},
                                                    {"started", "tcp:83"},
                                                    {"update-parallelism", "2"},
                                                    {"update-order", "start-first"},
                                                    {"update-delay", "3s"},
                                                    {"update-monitor", "4s"},
                                                    {"update-ready-within", "9s"},
                                                    {"update-failure-action", "rollback"},
                                                    {"update-max-failures", "3"},
                                                    {"rollback-parallelism", "2"},
                                                    {"rollback-order", "start-first"},
                                                    {"rollback-delay", "3s"},
                                                    {"rollback-monitor", "4s"},
                                                    {"rollback-failure-action", "continue"},
                                                    {"restart", "on-failure"},
                                                    {"restart-delay", "9s"},
                                                    {"restart-max-delay", "3m"},
                                                    {"restart-max-attempts", "3"},
                                                    {"restart-window", "9s"}};
  ServiceDraft plain;
  plain.job.argv = {"/bin/true"};
  plain.service.name = "web";
  const auto before = build_service(plain, kHere);
  ASSERT_TRUE(before.ok()) << before.error().message;
  for (const ServiceField& field : service_fields()) {
    ASSERT_TRUE(other.contains(field.name)) << field.name;
    ServiceDraft draft = plain;
    const Status set = field.set(draft, other.at(field.name), field.name);
    ASSERT_TRUE(set.ok()) << field.name << ": " << set.error().message;
    const auto after = build_service(draft, kHere);
    ASSERT_TRUE(after.ok()) << field.name << ": " << after.error().message;
    EXPECT_FALSE(after->service == before->service && after->spec == before->spec) << field.name;
    if (field.shape == FieldShape::kFlag || std::string_view(field.name) == "namespace") continue;
    const Status bad = field.set(draft, "no such thing", field.name);
    EXPECT_FALSE(bad.ok()) << field.name;
    if (!bad) {
      EXPECT_EQ(bad.error().field, field.name);
    }
  }
}

TEST(ServiceDraft, ComesBackFromWhatTheServerHas) {
  ServiceDraft draft;
  draft.service.name = draft.job.name = "web";
  draft.job.clear_environment = true;
  draft.job.argv = {"server", "-p", "80"};
  draft.job.variables = {"A=1", "B=2"};
  draft.job.request.resources = {500, 64, 0};
  draft.job.request.labels = {"service=web"};
  draft.ready = *parse_probe("http:80/", "ready");
  draft.service.ports.push_back(*parse_publish("8080:80", "publish"));
  draft.service.status.replicas = 4;
  draft.container.hostname = "";
  auto first = build_service(draft, kHere);
  ASSERT_TRUE(first.ok());
  ServiceDetail detail;
  detail.row.service = first->service;
  detail.spec = first->spec;
  auto again = draft_of(detail);
  ASSERT_TRUE(again.ok()) << again.error().message;
  auto second = build_service(*again, Surroundings{{"X=1"}, "/elsewhere", 077});
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(second->spec == first->spec);
  EXPECT_TRUE(second->service == first->service);
}

std::string refused(const char* text) {
  const auto file = parse_deploy_file(text, "f", kHere.environment);
  EXPECT_FALSE(file.ok()) << text;
  return file.ok() ? "" : file.error().message;
}

TEST(DeployFile, BerthsOwn) {
  const auto file = parse_deploy_file(R"(
name: shop
services:
  - name: web
    command: [./server, --port, "80"]
    replicas: 3
    publish: ["8080:80"]
    health: http:80/
    env: {MODE: fast}
    cpus: 0.5
    every-node: false
  - name: job
    command: ./work --fast
    restart: on-failure
)",
                                      "f", kHere.environment);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->space, "shop");
  ASSERT_EQ(file->services.size(), 2U);
  EXPECT_EQ(file->services[1].at, "f:12");
  auto web = build_service(file->services[0].draft, kHere);
  ASSERT_TRUE(web.ok()) << web.error().message;
  EXPECT_EQ(web->service.status.replicas, 3U);
  EXPECT_EQ(web->spec.request.resources.cpu_milli, 500U);
  const Launch launch = launch_of(*web);
  EXPECT_EQ(launch.argv, (std::vector<std::string>{"./server", "--port", "80"}));
  EXPECT_EQ(launch.env, (std::vector<std::string>{"MODE=fast", "PATH=/usr/local/bin:/usr/bin:/bin"}));
  ASSERT_TRUE(launch.probe_live.has_value());
  EXPECT_EQ(file->services[1].draft.service.restart.when, RestartPolicy::When::kOnFailure);

  EXPECT_EQ(refused("services:\n  - name: a\n    replica: 3\n").substr(0, 41),
            "f:3: 'replica': is unknown, did you mean ");
  EXPECT_NE(refused("services:\n  - name: a\n    replicas: many\n").find("f:3: 'replicas': "), std::string::npos);
  EXPECT_EQ(refused("services:\n  - replicas: 3\n"), "f:2: 'name': is missing: a service has a name");
  EXPECT_NE(refused("services:\n  - name: a\n    array: 1-3\n").find("'array': is unknown"), std::string::npos);
  EXPECT_NE(refused("services: 3\n").find("has no services"), std::string::npos);
  EXPECT_EQ(refused(""), "f: the file has no service");
}

TEST(DeployFile, Compose) {
  const auto file = parse_deploy_file(R"(
version: "3.8"
x-common: &common
  restart: always
services:
  web:
    <<: *common
    image: nginx:${TAG:-latest}
    command: nginx -g "daemon off;"
    ports: ["8080:80", {target: 443, published: 8443}]
    environment:
      A: "1"
      PRICE: $$5
    depends_on: [db]
    healthcheck:
      test: ["CMD", "curl", "-f", "http://localhost"]
      interval: 1m30s
      retries: 5
    deploy:
      replicas: 3
      update_config: {parallelism: 2, order: start-first, failure_action: rollback, monitor: 10s}
      resources: {limits: {cpus: "0.50", memory: 50M}, reservations: {memory: 20M}}
      placement: {constraints: ["node.labels.zone == a"]}
  db:
    image: registry.example.com:5000/team/db
    entrypoint: /start
    command: [--data, /data]
    volumes: ["/srv/db:/data:ro"]
    tmpfs: /run
    network_mode: host
    x-berth: {queue: services, update-max-failures: 2}
)",
                                      "f", kHere.environment);
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->services.size(), 2U);
  ASSERT_EQ(file->notes.size(), 1U);
  EXPECT_EQ(file->notes[0].substr(0, 33), "f:14: 'depends_on' has no effect:");
  const ServiceDraft& web = file->services[0].draft;
  EXPECT_EQ(web.job.image, "docker://docker.io/library/nginx:1.2");
  EXPECT_EQ(web.job.argv, (std::vector<std::string>{"nginx", "-g", "daemon off;"}));
  EXPECT_EQ(web.job.variables, (std::vector<std::string>{"A=1", "PRICE=$5"}));
  ASSERT_EQ(web.service.ports.size(), 2U);
  EXPECT_EQ(web.service.ports[1], (ServicePort{"", 443, 443, 8443, Protocol::kTcp}));
  EXPECT_EQ(web.service.status.replicas, 3U);
  EXPECT_TRUE(web.service.update.start_first);
  EXPECT_EQ(web.service.update.on_failure, UpdatePolicy::OnFailure::kRollback);
  EXPECT_EQ(web.job.request.resources, (Resources{500, 50, 0}));
  EXPECT_EQ(web.job.request.where, "zone=a");
  ASSERT_TRUE(web.ready.has_value());
  EXPECT_EQ(web.ready->argv, (std::vector<std::string>{"curl", "-f", "http://localhost"}));
  EXPECT_EQ(web.ready->period_ms, 90'000);
  EXPECT_EQ(web.ready->failures, 5U);
  const ServiceDraft& db = file->services[1].draft;
  EXPECT_EQ(db.job.image, "docker://registry.example.com:5000/team/db:latest");
  EXPECT_EQ(db.job.argv, (std::vector<std::string>{"/start", "--data", "/data"}));
  EXPECT_EQ(db.job.queue, "services");
  EXPECT_EQ(db.service.update.failures_max, 2U);
  EXPECT_EQ(db.network, NetworkMode::kHost);
  ASSERT_EQ(db.container.mounts.size(), 2U);
  EXPECT_TRUE(db.container.mounts[0].read_only);
}

TEST(DeployFile, ComposeRefusesByNameAndLine) {
  EXPECT_EQ(refused("services:\n  a:\n    build: .\n"),
            "f:3: 'build': is not supported: build the image, push it to a registry, and name it with 'image'");
  EXPECT_EQ(refused("services:\n  a:\n    imagee: x\n"), "f:3: 'imagee': is unknown, did you mean 'image'?");
  EXPECT_EQ(refused("services:\n  a:\n    command: x\n"), "f:2: 'a': has no image");
  EXPECT_NE(refused("services:\n  a:\n    image: x\n    volumes: [data:/data]\n").find("f:4: 'volumes': "),
            std::string::npos);
  EXPECT_NE(refused("services:\n  a:\n    image: x\n    ports: [80]\n").find("PUBLISHED:TARGET"), std::string::npos);
  EXPECT_NE(refused("services:\n  a:\n    image: ${NO\n").find("has no '}'"), std::string::npos);
  EXPECT_NE(refused("services:\n  a:\n    image: ${NO:?give one}\n").find("give one"), std::string::npos);
  EXPECT_NE(
      refused("secrets: {a: {file: x}}\nservices:\n  a:\n    image: x\n").find("f:1: 'secrets': is not supported"),
      std::string::npos);
  EXPECT_NE(refused("services:\n  a:\n    image: x\n    deploy: {replicas: -1}\n").find("f:4: 'replicas': "),
            std::string::npos);
}

TEST(DeployFile, TheDocumentationHasEveryKey) {
  const auto root = std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
  std::ifstream in(root / "docs" / "services.md");
  std::stringstream text;
  text << in.rdbuf();
  for (const ComposeKey& key : compose_keys()) {
    const std::string row =
        std::string("| `") + key.path + "` | " + (key.supported ? "yes" : "refused") + " | " + key.remark;
    EXPECT_NE(text.str().find(row), std::string::npos) << "docs/services.md lacks: " << row;
  }
}

TEST(ComposeText, TimesSizesAndWords) {
  EXPECT_EQ(*compose_time("1h2m3s4ms"), 3'723'004);
  EXPECT_FALSE(compose_time("5").ok());
  EXPECT_FALSE(compose_time("s").ok());
  EXPECT_EQ(*compose_mib("2g"), 2048U);
  EXPECT_EQ(*compose_mib("1kb"), 1U);
  EXPECT_FALSE(compose_mib("x").ok());
  EXPECT_EQ(*shell_words("a 'b c' \"d \\\" e\" f\\ g ''"), (std::vector<std::string>{"a", "b c", "d \" e", "f g", ""}));
  EXPECT_FALSE(shell_words("'a").ok());
  const std::map<std::string, std::string> variables = {{"A", "1"}, {"E", ""}};
  EXPECT_EQ(*interpolate("$A-${A}-${B-x}-${E:-y}-${E-z}-${A:+w}-$$", variables), "1-1-x-y--w-$");
}

}  // namespace
}  // namespace berth::tools
