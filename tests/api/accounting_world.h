// A cluster in which jobs end, batch by batch, for the tests of the accounting; and directories of their own.
#pragma once

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <gtest/gtest.h>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "state/accounting/database.h"
#include "state/cluster.h"

namespace berth::accounting {

class Directory {
 public:
  Directory() {
    std::string name = (std::filesystem::temp_directory_path() / "berth-accounting-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  const std::string& path() const { return path_; }
  std::string file(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

inline constexpr state::TimeUs kStart = 1'790'000'000'000'000;  // in 2026

class World {
 public:
  explicit World(std::uint64_t seed = 1) : rng_(seed) {
    state::Batch batch{1, kStart, {}};
    for (std::uint32_t n = 1; n <= kNodes; ++n) {
      state::NodeInfo info;
      info.name = "n" + std::to_string(n);
      info.capacity = {64'000, 1U << 20, 8};
      batch.events.push_back(state::NodeJoined{state::NodeId{n}, info});
    }
    apply(batch);
  }

  const state::Cluster& cluster() const { return cluster_; }
  std::uint64_t random(std::uint64_t below) { return rng_() % below; }

  state::JobSpec some_spec() {
    state::JobSpec spec;
    spec.name = "name" + std::to_string(random(4));
    spec.queue = random(2) == 0 ? "default" : "gpu";
    spec.account = random(4) == 0 ? "" : "account" + std::to_string(random(3));
    spec.request.resources = {static_cast<std::uint32_t>(1 + random(8'000)), random(4096),
                              static_cast<std::uint32_t>(random(3))};
    if (random(3) == 0) {
      spec.kind = random(2) == 0 ? state::JobKind::kArray : state::JobKind::kGang;
      spec.elements = state::IndexSet::dense(static_cast<std::uint32_t>(2 + random(5)));
    }
    return spec;
  }

  // One batch in which so many jobs are submitted, run and end.
  state::Batch end_jobs(std::size_t count) {
    std::vector<state::JobSpec> specs;
    for (std::size_t i = 0; i < count; ++i) specs.push_back(some_spec());
    return end_jobs(specs);
  }

  state::Batch end_jobs(const std::vector<state::JobSpec>& specs) {
    using namespace state;
    // Sometimes two batches have one time, as two turns within a microsecond do.
    Batch batch{cluster_.applied_index() + 1, cluster_.applied_at() + static_cast<TimeUs>(random(3) * 400'000'000), {}};
    JobId id = cluster_.last_job_id();
    for (const JobSpec& spec : specs) {
      ++id.value;
      const auto user = static_cast<std::uint32_t>(random(3));
      JobSubmitted submitted{id, Owner{1000 + user, 1000 + user, "user" + std::to_string(user), {}}, spec};
      batch.events.emplace_back(submitted);
      PodsBound bound;
      PodsEnded ended;
      for (std::uint32_t e = 0; e < spec.elements.size(); ++e) {
        if (random(8) == 0) {  // never ran
          batch.events.emplace_back(ElementsCancelled{id, {{e, e + 1}}});
          continue;
        }
        const PodRef ref{{id, e}, 1};
        const NodeId node{static_cast<std::uint32_t>(1 + random(kNodes))};
        bound.binds.push_back({ref, node, 0});
        PodOutcome outcome;
        outcome.state = static_cast<PodState>(3 + random(6));
        outcome.exit_code = static_cast<std::int16_t>(outcome.state == PodState::kSucceeded ? 0 : 1 + random(255));
        outcome.signal = static_cast<std::uint8_t>(random(3) == 0 ? 9 : 0);
        outcome.attempt = 1;
        outcome.node = node;
        outcome.mem_peak_mib = static_cast<std::uint32_t>(random(1000));
        outcome.ended_at = batch.at - static_cast<TimeUs>(random(1'000'000));
        outcome.started_at = outcome.ended_at - static_cast<TimeUs>(random(20'000'000'000));  // up to 5.5 hours
        ended.ends.push_back({ref, outcome, random(3) == 0 ? "what went wrong" : ""});
      }
      batch.events.emplace_back(std::move(bound));
      batch.events.emplace_back(std::move(ended));
    }
    apply(batch);
    return batch;
  }

  // The oldest that ended leave the state.
  void forget(std::size_t count) {
    state::JobsForgotten forgotten;
    for (const auto& [at, job] : cluster_.ended_jobs()) {
      if (forgotten.jobs.size() == count) break;
      forgotten.jobs.push_back(job);
    }
    apply({cluster_.applied_index() + 1, cluster_.applied_at(), {forgotten}});
  }

 private:
  static constexpr std::uint32_t kNodes = 5;
  void apply(const state::Batch& batch) {
    const state::Status applied = cluster_.apply(batch);
    if (!applied) throw std::logic_error(applied.error().message);
  }
  std::mt19937_64 rng_;
  state::Cluster cluster_;
};

inline constexpr const char* kCluster = "0123456789abcdef";

inline std::unique_ptr<Database> open(const std::string& path, Access access = Access::kWrite) {
  auto opened = Database::open(path, access, kCluster);
  EXPECT_TRUE(opened) << opened.error().message;
  return opened ? std::move(*opened) : nullptr;
}

inline std::vector<state::HistoryRow> all_rows(Database& database, state::HistoryRequest request = {},
                                               const std::optional<Whose>& whose = {}) {
  std::vector<state::HistoryRow> rows;
  do {
    auto page = database.history(request, whose);
    EXPECT_TRUE(page) << page.error().message;
    if (!page) return rows;
    EXPECT_LE(page->rows.size(), request.limit);
    rows.insert(rows.end(), page->rows.begin(), page->rows.end());
    request.after = page->next;
  } while (request.after.job);
  return rows;
}

inline std::vector<std::uint64_t> ids_of(const std::vector<state::HistoryRow>& rows) {
  std::vector<std::uint64_t> ids;
  for (const state::HistoryRow& row : rows) ids.push_back(row.job.id.value);
  return ids;
}

inline std::string text_of(const state::HistoryRow& row) { return encode_ended({0, 0, {{row, {}, {}}}}); }

inline Ended unit_of(const state::Cluster& cluster, const state::Batch& batch) {
  Ended unit{batch.index, batch.at, {}};
  for (const auto& [id, job] : cluster.jobs()) {
    if (!job->active() && job->ended_at == batch.at) unit.jobs.push_back(record_of(cluster, *job));
  }
  return unit;
}

inline bool eventually(const std::function<bool()>& condition) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace berth::accounting
