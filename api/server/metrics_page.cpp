#include "api/server/metrics_page.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "api/server/metrics_text.h"
#include "api/server/process_figures.h"

namespace berth::server {

using scheduler::Figures;
using scheduler::Spread;

namespace {

constexpr std::array kTable = {
    // ---- the server ----
    MetricRow{"berth_build_info", "gauge", "version, cluster", "1; what runs here."},
    MetricRow{"berth_leader", "gauge", "", "1 if this server leads, 0 if it stands by."},
    MetricRow{"berth_suspended", "gauge", "", "1 while the store takes nothing and only reads are answered."},
    MetricRow{"berth_start_time_seconds", "gauge", "", "When the server started, since the Unix epoch."},
    MetricRow{"berth_metrics_pages_total", "counter", "", "Pages of metrics that were made, this one too."},
    MetricRow{"process_resident_memory_bytes", "gauge", "", "Memory that the process has."},
    MetricRow{"process_cpu_seconds_total", "counter", "", "Processor time that the process took."},
    MetricRow{"process_open_fds", "gauge", "", "Open file descriptors."},
    MetricRow{"process_max_fds", "gauge", "", "File descriptors that the process may open."},
    // ---- sessions ----
    MetricRow{"berth_sessions", "gauge", "peer", "Connections; those that are unproven have not said who they are."},
    MetricRow{"berth_frames_received_total", "counter", "peer", "Messages that came in."},
    MetricRow{"berth_received_bytes_total", "counter", "peer", "Bytes of messages that came in."},
    MetricRow{"berth_frames_sent_total", "counter", "peer", "Messages that went out."},
    MetricRow{"berth_sent_bytes_total", "counter", "peer", "Bytes of messages that went out."},
    MetricRow{"berth_requests_total", "counter", "kind, outcome", "Requests that were decided, by how they came out."},
    MetricRow{"berth_refused_queue_full_total", "counter", "",
              "Requests refused because too many waited for the core."},
    MetricRow{"berth_refused_rate_total", "counter", "", "Requests refused because their client sent too many."},
    MetricRow{"berth_slow_readers_closed_total", "counter", "", "Connections closed because they did not read."},
    MetricRow{"berth_silent_peers_closed_total", "counter", "", "Connections closed because nothing came from them."},
    MetricRow{"berth_agents_paused_total", "counter", "", "Times that an agent was not read for a while."},
    MetricRow{"berth_backlog_commands", "gauge", "", "Agents' reports that found the core's queue full and wait."},
    // ---- the core ----
    MetricRow{"berth_core_queue_commands", "gauge", "", "Commands that wait for the core."},
    MetricRow{"berth_core_commands_total", "counter", "", "Commands that the core has taken."},
    MetricRow{"berth_core_reports_total", "counter", "", "Agents' reports among them."},
    MetricRow{"berth_core_turn_seconds", "histogram", "", "How long the core's turns took."},
    MetricRow{"berth_core_figures_age_seconds", "gauge", "", "How old the core's figures on this page are."},
    MetricRow{"berth_jobs", "gauge", "state", "Jobs that the core remembers."},
    MetricRow{"berth_pods", "gauge", "state", "Pods that have not ended."},
    MetricRow{"berth_queue_pods", "gauge", "queue", "Pods that wait, by the queue they were submitted to."},
    MetricRow{"berth_nodes", "gauge", "state, connected", "Nodes."},
    MetricRow{"berth_services", "gauge", "", "Services."},
    MetricRow{"berth_service_replicas", "gauge", "state", "Replicas of all services."},
    MetricRow{"berth_submit_to_bind_seconds", "histogram", "", "From a job's submission until a pod of it had a node."},
    MetricRow{"berth_bind_to_start_seconds", "histogram", "", "From then until the pod ran, as its node says."},
    MetricRow{"berth_submit_to_start_seconds", "histogram", "", "From a job's submission until a pod of it ran."},
    // ---- the journal ----
    MetricRow{"berth_journal_batches_total", "counter", "", "Batches that were made durable: turns with events."},
    MetricRow{"berth_journal_events_total", "counter", "", "Events in them."},
    MetricRow{"berth_journal_bytes_total", "counter", "", "Bytes of them."},
    MetricRow{"berth_journal_append_seconds", "histogram", "",
              "How long it took to make batches durable: one write, one fdatasync."},
    MetricRow{"berth_journal_sync_seconds", "histogram", "", "The fdatasync alone. Empty where servers share a store."},
    MetricRow{"berth_journal_append_failures_total", "counter", "", "Times that the store took nothing."},
    MetricRow{"berth_journal_turns_waiting", "gauge", "", "Turns that wait for the journal."},
    MetricRow{"berth_journal_index", "gauge", "", "The last batch that is durable."},
    MetricRow{"berth_snapshot_index", "gauge", "", "The last batch in the newest snapshot."},
    MetricRow{"berth_snapshot_age_seconds", "gauge", "", "How old that is. Left out while there is none."},
    MetricRow{"berth_snapshot_failing", "gauge", "", "1 if the last try to make one failed."},
    // ---- what became durable ----
    MetricRow{"berth_jobs_submitted_total", "counter", "", "Jobs that were submitted."},
    MetricRow{"berth_pods_submitted_total", "counter", "", "Pods of them."},
    MetricRow{"berth_pods_bound_total", "counter", "", "Times that a pod got a node."},
    MetricRow{"berth_pods_started_total", "counter", "", "Pods that were reported to run before they ended."},
    MetricRow{"berth_pods_adopted_total", "counter", "",
              "Pods that were taken over as they ran from a node that came back."},
    MetricRow{"berth_pods_requeued_total", "counter", "", "Pods that went back to their queue."},
    MetricRow{"berth_pods_ended_total", "counter", "outcome", "Pods that ended for good."},
    MetricRow{"berth_start_to_end_seconds", "histogram", "", "How long pods ran."},
    // ---- the accounting ----
    MetricRow{"berth_accounting_waiting_jobs", "gauge", "",
              "Ended jobs that are not in the accounting's database yet."},
    MetricRow{"berth_accounting_index", "gauge", "", "The batch up to which the accounting is complete."},
    MetricRow{"berth_accounting_failing", "gauge", "", "1 if something keeps them from it."},
};

constexpr std::array<std::string_view, kAllKinds> kKinds = {
    "submit",        "cancel",         "list-jobs",      "list-pods",     "list-nodes",    "show-job",
    "explain",       "watch-jobs",     "node-action",    "queue-action",  "list-queues",   "token-create",
    "token-list",    "token-revoke",   "server-info",    "read-log",      "job-update",    "licence-action",
    "list-licences", "account-action", "member-action",  "qos-action",    "list-accounts", "priority",
    "job-requeue",   "service-put",    "service-action", "list-services", "show-service",  "exec",
    "list-events",   "history",        "history-pods",   "usage",         "image",         "top"};
static_assert(std::is_same_v<std::variant_alternative_t<0, state::ClientRequest>, state::SubmitRequest>);
static_assert(std::is_same_v<std::variant_alternative_t<14, state::ClientRequest>, state::ServerInfoRequest>);
static_assert(std::is_same_v<std::variant_alternative_t<24, state::ClientRequest>, state::JobRequeueRequest>);
static_assert(std::is_same_v<std::variant_alternative_t<28, state::ClientRequest>, state::ShowServiceRequest>);
static_assert(std::is_same_v<std::variant_alternative_t<30, state::ClientRequest>, state::ListEventsRequest>);
static_assert(scheduler::kRequestKinds == 31, "a new kind of request needs its word in kKinds");
static_assert(std::is_same_v<std::variant_alternative_t<2, state::ArchiveRequest>, state::UsageRequest>);

constexpr std::array<std::string_view, scheduler::kOutcomes> kOutcomeNames = {
    "ok", "invalid", "not-found", "denied", "conflict", "unavailable", "too-large", "protocol", "internal"};
constexpr std::array<std::string_view, Metrics::kPeers> kPeerNames = {"client", "agent", "unproven"};

constexpr std::size_t kShort = 4, kLong = 26;  // 16 us … 67 s: what the server does itself
constexpr std::size_t kQuick = 7, kSlow = 38;  // 128 us … 3 days: what pods do

// A page in the order of the table: what begins a metric that is not the next in it has a defect.
class Page {
 public:
  Page& begin(std::string_view name) {
    const auto found =
        std::find_if(kTable.begin() + next_, kTable.end(), [&](const auto& row) { return row.name == name; });
    assert(found != kTable.end());
    next_ = found - kTable.begin() + 1;
    text_.begin(found->name, found->type, found->help);
    return *this;
  }
  void one(std::string_view name, std::uint64_t value) { begin(name).text_.sample(value); }
  void one(std::string_view name, double value) { begin(name).text_.sample(value); }
  void seconds(std::string_view name, std::int64_t us) { one(name, static_cast<double>(us) / 1e6); }
  void timing(std::string_view name, const Spread& spread, std::size_t first, std::size_t last) {
    begin(name).text_.histogram(spread, first, last);
  }
  MetricsText& text() { return text_; }

 private:
  MetricsText text_;
  std::ptrdiff_t next_ = 0;
};

void add_server(Page& page, const PageSources& from) {
  page.begin("berth_build_info");
  page.text().sample(std::uint64_t{1}, {{"version", from.info.version}, {"cluster", from.info.cluster}});
  page.one("berth_leader", std::uint64_t{from.metrics != nullptr});
  page.one("berth_suspended", std::uint64_t{from.suspended});
  page.seconds("berth_start_time_seconds", from.info.started_at);
  page.one("berth_metrics_pages_total", from.page_number);
  const ProcessFigures process = process_figures();
  page.one("process_resident_memory_bytes", process.resident_bytes);
  page.seconds("process_cpu_seconds_total", process.cpu_us);
  page.one("process_open_fds", process.open_fds);
  page.one("process_max_fds", process.max_fds);
}

void add_requests(Page& page, const Metrics& metrics, const Figures* figures) {
  page.begin("berth_requests_total");
  for (std::size_t kind = 0; kind < kAllKinds; ++kind) {
    for (std::size_t outcome = 0; outcome < scheduler::kOutcomes; ++outcome) {
      std::uint64_t count = metrics.loop.requests[kind][outcome].get();
      if (figures != nullptr && kind < scheduler::kRequestKinds) count += figures->requests[kind][outcome];
      // Most never happen; those that are wanted are there from the first page on.
      if (count == 0 && outcome != 0) continue;
      page.text().sample(count, {{"kind", kKinds[kind]}, {"outcome", kOutcomeNames[outcome]}});
    }
  }
}

void add_sessions(Page& page, const Metrics& metrics, const Figures* figures) {
  const auto& loop = metrics.loop;
  const auto each_peer = [&](std::string_view name, auto&& count_of) {
    page.begin(name);
    for (std::size_t i = 0; i < kPeerNames.size(); ++i) page.text().sample(count_of(i), {{"peer", kPeerNames[i]}});
  };
  each_peer("berth_sessions", [&](std::size_t i) { return loop.sessions[i].get(); });
  each_peer("berth_frames_received_total", [&](std::size_t i) { return loop.traffic[i].frames_in.get(); });
  each_peer("berth_received_bytes_total", [&](std::size_t i) { return loop.traffic[i].bytes_in.get(); });
  each_peer("berth_frames_sent_total", [&](std::size_t i) { return loop.traffic[i].frames_out.get(); });
  each_peer("berth_sent_bytes_total", [&](std::size_t i) { return loop.traffic[i].bytes_out.get(); });
  add_requests(page, metrics, figures);
  page.one("berth_refused_queue_full_total", loop.queue_full.get());
  page.one("berth_refused_rate_total", loop.rate_limited.get());
  page.one("berth_slow_readers_closed_total", loop.slow_readers.get());
  page.one("berth_silent_peers_closed_total", loop.silent_peers.get());
  page.one("berth_agents_paused_total", loop.agents_paused.get());
  page.one("berth_backlog_commands", loop.backlog.get());
}

void add_figures(Page& page, const Figures& figures) {
  page.begin("berth_jobs");
  page.text().sample(figures.jobs - figures.jobs_ended, {{"state", "active"}});
  page.text().sample(figures.jobs_ended, {{"state", "ended"}});
  page.begin("berth_pods");
  page.text().sample(figures.pods_pending, {{"state", "pending"}});
  page.text().sample(figures.pods_bound, {{"state", "bound"}});
  page.text().sample(figures.pods_running, {{"state", "running"}});
  page.begin("berth_queue_pods");
  for (const auto& [name, pods] : figures.queues) page.text().sample(pods, {{"queue", name}});
  page.begin("berth_nodes");
  for (const auto& [counts, connected] :
       {std::pair{&figures.nodes_connected, "yes"}, std::pair{&figures.nodes_away, "no"}}) {
    for (const auto state : {state::NodeState::kUp, state::NodeState::kDrained, state::NodeState::kLost}) {
      page.text().sample((*counts)[static_cast<std::size_t>(state)],
                         {{"state", state::name_of(state)}, {"connected", connected}});
    }
  }
  page.one("berth_services", figures.services);
  page.begin("berth_service_replicas");
  page.text().sample(figures.replicas_wanted, {{"state", "wanted"}});
  page.text().sample(figures.replicas_running, {{"state", "running"}});
  page.text().sample(figures.replicas_ready, {{"state", "ready"}});
  page.timing("berth_submit_to_bind_seconds", figures.submit_to_bind, kQuick, kSlow);
  page.timing("berth_bind_to_start_seconds", figures.bind_to_start, kQuick, kSlow);
  page.timing("berth_submit_to_start_seconds", figures.submit_to_start, kQuick, kSlow);
}

void add_core(Page& page, const PageSources& from) {
  const Metrics& metrics = *from.metrics;
  page.one("berth_core_queue_commands", metrics.commands_waiting.load(std::memory_order_relaxed));
  page.one("berth_core_commands_total", metrics.core.commands.get());
  page.one("berth_core_reports_total", metrics.core.reports.get());
  page.timing("berth_core_turn_seconds", metrics.core.turn.spread(), kShort, kLong);
  if (from.figures == nullptr) return;
  page.seconds("berth_core_figures_age_seconds", from.figures_age_us);
  add_figures(page, *from.figures);
}

void add_store(Page& page, const PageSources& from) {
  const state::StoreInfo& store = from.info.store;
  page.one("berth_journal_index", store.durable_index);
  page.one("berth_snapshot_index", store.snapshot_index);
  if (from.snapshot_age_us >= 0) page.seconds("berth_snapshot_age_seconds", from.snapshot_age_us);
  page.one("berth_snapshot_failing", std::uint64_t{!store.snapshot_error.empty()});
}

void add_journal(Page& page, const PageSources& from) {
  const auto& journal = from.metrics->journal;
  page.one("berth_journal_batches_total", journal.batches.get());
  page.one("berth_journal_events_total", journal.events.get());
  page.one("berth_journal_bytes_total", journal.bytes.get());
  page.timing("berth_journal_append_seconds", journal.append.spread(), kShort, kLong);
  page.timing("berth_journal_sync_seconds", journal.sync.spread(), kShort, kLong);
  page.one("berth_journal_append_failures_total", journal.failures.get());
  page.one("berth_journal_turns_waiting", from.turns_waiting);
  add_store(page, from);
  page.one("berth_jobs_submitted_total", journal.jobs_submitted.get());
  page.one("berth_pods_submitted_total", journal.pods_submitted.get());
  page.one("berth_pods_bound_total", journal.pods_bound.get());
  page.one("berth_pods_started_total", journal.pods_started.get());
  page.one("berth_pods_adopted_total", journal.pods_adopted.get());
  page.one("berth_pods_requeued_total", journal.pods_requeued.get());
  page.begin("berth_pods_ended_total");
  for (std::size_t i = static_cast<std::size_t>(state::PodState::kSucceeded); i < state::kPodStates; ++i) {
    page.text().sample(journal.pods_ended[i].get(), {{"outcome", state::name_of(static_cast<state::PodState>(i))}});
  }
  page.timing("berth_start_to_end_seconds", journal.run.spread(), kQuick, kSlow);
}

}  // namespace

std::span<const MetricRow> metric_table() { return kTable; }
std::string_view request_kind(std::size_t kind) { return kKinds.at(kind); }
std::string_view outcome_name(std::size_t outcome) { return kOutcomeNames.at(outcome); }

std::string metrics_page(const PageSources& from) {
  Page page;
  add_server(page, from);
  if (from.metrics == nullptr) {
    add_store(page, from);
    return page.text().take();
  }
  add_sessions(page, *from.metrics, from.figures.get());
  add_core(page, from);
  add_journal(page, from);
  if (from.accounting) {
    page.one("berth_accounting_waiting_jobs", from.info.accounting_waiting);
    page.one("berth_accounting_index", from.info.accounting_index);
    page.one("berth_accounting_failing", std::uint64_t{!from.info.accounting_error.empty()});
  }
  return page.text().take();
}

}  // namespace berth::server
