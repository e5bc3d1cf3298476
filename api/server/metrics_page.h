// The page of /metrics: one table of what is on it, and the writer that fills it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "api/server/metrics.h"
#include "state/requests.h"

namespace berth::server {

struct MetricRow {
  std::string_view name, type;
  std::string_view labels;  // their names, "" for none
  std::string_view help;
};
// Everything that a page may have, in its order. docs/server.md has the same.
std::span<const MetricRow> metric_table();

// What a request is called: a place in ClientRequest, or behind those of ArchiveRequest and NodeRequest.
std::string_view request_kind(std::size_t kind);
std::string_view outcome_name(std::size_t outcome);  // 0: "ok", else an ErrorCode

struct PageSources {
  const Metrics* metrics = nullptr;                   // none while this server stands by
  std::shared_ptr<const scheduler::Figures> figures;  // none: the core has not told yet
  std::int64_t figures_age_us = 0;
  bool suspended = false;
  std::size_t turns_waiting = 0;  // for the journal
  bool accounting = false;
  state::ServerInfo info;             // version, cluster, started_at, accounting and store
  std::int64_t snapshot_age_us = -1;  // -1: there is none, or it is not in files
  std::uint64_t page_number = 0;
};
// Metrics whose source is not there are left out.
std::string metrics_page(const PageSources& from);

}  // namespace berth::server
