// What has ended and what was used: asked of the accounting, and answered by it.
#include "api/wire/codec_internal.h"

namespace berth::wire::codec {

namespace {

fb::Offset<fbs::HistoryPlace> place(Builder& b, const state::HistoryPlace& at) {
  return fbs::CreateHistoryPlace(b, at.ended_at, at.job.value);
}

state::HistoryPlace place(const fbs::HistoryPlace* t) {
  return t == nullptr ? state::HistoryPlace{} : state::HistoryPlace{t->ended_at(), state::JobId{t->job()}};
}

fb::Offset<fbs::HistoryRow> history_row(Builder& b, const state::HistoryRow& r) {
  return fbs::CreateHistoryRow(b, job_row(b, r.job), r.cpu_ms, r.gpu_ms, r.mem_peak_mib, r.attempts);
}

state::HistoryRow history_row(Reader& in, const fbs::HistoryRow& t) {
  state::HistoryRow out;
  if (t.job() == nullptr) {
    in.refuse();
    return out;
  }
  out.job = job_row(in, *t.job());
  out.cpu_ms = t.cpu_ms();
  out.gpu_ms = t.gpu_ms();
  out.mem_peak_mib = t.mem_peak_mib();
  out.attempts = t.attempts();
  return out;
}

state::HistoryRequest history_request(Reader& in, const fbs::HistoryRequest& t) {
  state::HistoryRequest out;
  out.filter.jobs = job_ids(in, t.jobs());
  out.filter.user = in.text(t.user());
  out.filter.account = in.text(t.account());
  out.filter.queue = in.text(t.queue());
  out.filter.name = in.text(t.name());
  out.filter.states = pod_states(in, t.states());
  out.filter.since = t.since();
  out.filter.until = t.until();
  out.filter.steps_of = state::JobId{t.steps_of()};
  out.after = place(t.after());
  out.limit = t.limit();
  return out;
}

}  // namespace

Encoded put(Builder& b, const state::HistoryRequest& r) {
  const auto jobs = job_ids(b, r.filter.jobs);
  const auto user = text(b, r.filter.user);
  const auto account = text(b, r.filter.account);
  const auto queue = text(b, r.filter.queue);
  const auto name = text(b, r.filter.name);
  const auto states = pod_states(b, r.filter.states);
  const auto after = place(b, r.after);
  return {fbs::Body::HistoryRequest,
          fbs::CreateHistoryRequest(b, jobs, user, account, queue, name, states, r.filter.since, r.filter.until,
                                    r.filter.steps_of.value, after, r.limit)
              .Union()};
}

Encoded put(Builder& b, const state::HistoryPodsRequest& r) {
  return {fbs::Body::HistoryPodsRequest,
          fbs::CreateHistoryPodsRequest(b, r.job.value, r.from_element, r.limit).Union()};
}

Encoded put(Builder& b, const state::UsageRequest& r) {
  return {fbs::Body::UsageRequest,
          fbs::CreateUsageRequest(b, static_cast<std::uint8_t>(r.by), r.since, r.until).Union()};
}

Encoded put(Builder& b, const state::HistoryPage& r) {
  std::vector<fb::Offset<fbs::HistoryRow>> rows;
  rows.reserve(r.rows.size());
  for (const state::HistoryRow& row : r.rows) rows.push_back(history_row(b, row));
  const auto list = b.CreateVector(rows);
  const auto next = place(b, r.next);
  return {fbs::Body::HistoryPage, fbs::CreateHistoryPage(b, list, next).Union()};
}

Encoded put(Builder& b, const state::UsagePage& r) {
  std::vector<fb::Offset<fbs::UsageRow>> rows;
  rows.reserve(r.rows.size());
  for (const state::UsageRow& row : r.rows) {
    const auto account = text(b, row.account);
    const auto user = text(b, row.user);
    rows.push_back(fbs::CreateUsageRow(b, account, user, row.cpu_ms, row.gpu_ms, row.jobs));
  }
  return {fbs::Body::UsagePage, fbs::CreateUsagePage(b, b.CreateVector(rows)).Union()};
}

Encoded encode(Builder& b, const state::ArchiveRequest& request) {
  return std::visit([&b](const auto& r) { return put(b, r); }, request);
}

bool decode_archive_request(Reader& in, fbs::Body type, const void* table, Body& out) {
  switch (type) {
    case fbs::Body::HistoryRequest:
      out = state::ArchiveRequest(history_request(in, as<fbs::HistoryRequest>(table)));
      return true;
    case fbs::Body::HistoryPodsRequest: {
      const auto& t = as<fbs::HistoryPodsRequest>(table);
      out = state::ArchiveRequest(state::HistoryPodsRequest{state::JobId{t.job()}, t.from_element(), t.limit()});
      return true;
    }
    case fbs::Body::UsageRequest: {
      const auto& t = as<fbs::UsageRequest>(table);
      const auto by = in.one_of(t.by(), state::UsageRequest::By::kBoth);
      out = state::ArchiveRequest(state::UsageRequest{by, t.since(), t.until()});
      return true;
    }
    default:
      return false;
  }
}

bool get_history_reply(Reader& in, fbs::Body type, const void* table, state::ServerReply& out) {
  if (type == fbs::Body::HistoryPage) {
    const auto& t = as<fbs::HistoryPage>(table);
    state::HistoryPage page;
    page.rows =
        in.list<state::HistoryRow>(t.rows(), [&in](const fbs::HistoryRow* row) { return history_row(in, *row); });
    page.next = place(t.next());
    out = std::move(page);
    return true;
  }
  if (type != fbs::Body::UsagePage) return false;
  const auto& t = as<fbs::UsagePage>(table);
  out = state::UsagePage{in.list<state::UsageRow>(t.rows(), [&in](const fbs::UsageRow* row) {
    return state::UsageRow{in.text(row->account()), in.text(row->user()), row->cpu_ms(), row->gpu_ms(), row->jobs()};
  })};
  return true;
}

}  // namespace berth::wire::codec
