// What a pod costs in the wire codec: the frames of its whole way, encoded and decoded, per pod.
#include <benchmark/benchmark.h>
#include <span>
#include <string>

#include "api/wire/message.h"
#include "state/event_codec.h"
#include "state/launch.h"

namespace {

using namespace berth;
using namespace berth::state;

constexpr std::uint32_t kPods = 64;

JobSpec spec() {
  Launch launch;
  launch.argv = {"/bin/true"};
  launch.cwd = "/";
  JobSpec out;
  out.name = "bench";
  out.request.resources = {1'000, 1'024, 0};
  out.launch = encode_launch(launch);
  return out;
}

PodRef ref(std::uint32_t i) { return {{JobId{1'000 + i}, 0}, 1}; }

wire::Message submit_singles() {
  SubmitRequest request;
  request.jobs.assign(kPods, spec());
  request.submit_key = 42;
  return {7, ClientRequest(std::move(request))};
}

StartOrder order(std::uint64_t job, std::uint32_t pods) {
  StartOrder out;
  out.job = JobId{job};
  out.job_name = "bench";
  out.owner = {0, 0, "root", {0}};
  out.resources = {1'000, 1'024, 0};
  out.launch = spec().launch;
  for (std::uint32_t i = 0; i < pods; ++i) out.pods.push_back({i, i, 1, 0});
  return out;
}

wire::Message start_singles() {
  StartPods starts;
  for (std::uint32_t i = 0; i < kPods; ++i) starts.orders.push_back(order(1'000 + i, 1));
  return {0, std::move(starts)};
}

wire::Message start_array() {
  StartPods starts;
  starts.orders.push_back(order(1'000, kPods));
  return {0, std::move(starts)};
}

std::vector<PodEnd> ends() {
  std::vector<PodEnd> out;
  for (std::uint32_t i = 0; i < kPods; ++i) {
    PodEnd end;
    end.ref = ref(i);
    end.outcome.state = PodState::kSucceeded;
    end.outcome.started_at = end.outcome.ended_at = 1'700'000'000'000'000;
    out.push_back(end);
  }
  return out;
}

wire::Message agent_status() {
  AgentStatus status;
  for (std::uint32_t i = 0; i < kPods; ++i) status.starts.push_back({ref(i), 1'700'000'000'000'000});
  status.ends = ends();
  return {0, std::move(status)};
}

wire::Message forget_pods() {
  ForgetPods forget;
  for (std::uint32_t i = 0; i < kPods; ++i) forget.pods.push_back(ref(i));
  return {0, std::move(forget)};
}

template <wire::Message (*make)()>
void encode(benchmark::State& bench) {
  const wire::Message message = make();
  std::size_t bytes = 0;
  for (auto _ : bench) bytes = wire::encode_frame(message).size();
  bench.SetItemsProcessed(static_cast<std::int64_t>(bench.iterations()) * kPods);
  bench.counters["bytes_per_pod"] = static_cast<double>(bytes) / kPods;
}

template <wire::Message (*make)()>
void decode(benchmark::State& bench) {
  const std::string frame = wire::encode_frame(make());
  const auto bytes = std::as_bytes(std::span(frame)).subspan(sizeof(std::uint32_t));
  for (auto _ : bench) {
    auto message = wire::decode_message(bytes);
    if (!message) bench.SkipWithError(message.error().message.c_str());
    benchmark::DoNotOptimize(message);
  }
  bench.SetItemsProcessed(static_cast<std::int64_t>(bench.iterations()) * kPods);
}

// The journal's batch for so many pods: bound, and started and ended in one report.
Batch journal_batch() {
  Batch batch{1, 1'700'000'000'000'000, {}};
  PodsBound bound;
  for (std::uint32_t i = 0; i < kPods; ++i) bound.binds.push_back({ref(i), NodeId{1}, 0});
  batch.events.push_back(std::move(bound));
  batch.events.push_back(PodsEnded{ends()});
  return batch;
}

void encode_journal(benchmark::State& bench) {
  const Batch batch = journal_batch();
  std::size_t bytes = 0;
  for (auto _ : bench) bytes = encode_batch(batch).size();
  bench.SetItemsProcessed(static_cast<std::int64_t>(bench.iterations()) * kPods);
  bench.counters["bytes_per_pod"] = static_cast<double>(bytes) / kPods;
}

BENCHMARK(encode<submit_singles>)->Name("encode_submit_singles");
BENCHMARK(decode<submit_singles>)->Name("decode_submit_singles");
BENCHMARK(encode<start_singles>)->Name("encode_start_singles");
BENCHMARK(decode<start_singles>)->Name("decode_start_singles");
BENCHMARK(encode<start_array>)->Name("encode_start_array");
BENCHMARK(decode<start_array>)->Name("decode_start_array");
BENCHMARK(encode<agent_status>)->Name("encode_agent_status");
BENCHMARK(decode<agent_status>)->Name("decode_agent_status");
BENCHMARK(encode<forget_pods>)->Name("encode_forget_pods");
BENCHMARK(decode<forget_pods>)->Name("decode_forget_pods");
BENCHMARK(encode_journal)->Name("encode_journal_batch");

}  // namespace

BENCHMARK_MAIN();
