// What happened lately.
#include "api/wire/codec_internal.h"

namespace berth::wire::codec {

namespace {

constexpr auto kLastEventKind = state::EventRow::Kind::kAccount;

state::EventRow event_row(Reader& in, const fbs::EventRow* t) {
  state::EventRow row;
  if (t == nullptr) {
    in.refuse();
    return row;
  }
  row.number = t->number();
  row.at = t->at();
  row.kind = in.one_of(t->kind(), kLastEventKind);
  row.object = in.text(t->object());
  row.text = in.text(t->text());
  row.warning = t->warning();
  return row;
}

}  // namespace

Encoded put(Builder& b, const state::ListEventsRequest& r) {
  const auto object = text(b, r.object);
  const auto kind = static_cast<std::uint8_t>(r.kind ? 1 + static_cast<std::uint8_t>(*r.kind) : 0);
  return {fbs::Body::ListEventsRequest,
          fbs::CreateListEventsRequest(b, r.after, r.limit, kind, object, r.warnings).Union()};
}

Encoded put(Builder& b, const state::EventPage& r) {
  std::vector<fb::Offset<fbs::EventRow>> rows;
  rows.reserve(r.rows.size());
  for (const state::EventRow& row : r.rows) {
    const auto object = text(b, row.object);
    rows.push_back(fbs::CreateEventRow(b, row.number, row.at, static_cast<std::uint8_t>(row.kind), object,
                                       text(b, row.text), row.warning));
  }
  return {fbs::Body::EventPage, fbs::CreateEventPage(b, b.CreateVector(rows), r.last, r.lost).Union()};
}

bool get_event_request(Reader& in, fbs::Body type, const void* table, state::ClientRequest& out) {
  if (type != fbs::Body::ListEventsRequest) return false;
  const auto& t = as<fbs::ListEventsRequest>(table);
  state::ListEventsRequest request;
  request.after = t.after();
  request.limit = t.limit();
  if (t.kind() != 0) request.kind = in.one_of(static_cast<std::uint8_t>(t.kind() - 1), kLastEventKind);
  request.object = in.text(t.object());
  request.warnings = t.warnings();
  out = std::move(request);
  return true;
}

bool get_event_reply(Reader& in, fbs::Body type, const void* table, state::ServerReply& out) {
  if (type != fbs::Body::EventPage) return false;
  const auto& t = as<fbs::EventPage>(table);
  state::EventPage page;
  page.rows = in.list<state::EventRow>(t.rows(), [&in](const fbs::EventRow* row) { return event_row(in, row); });
  page.last = t.last();
  page.lost = t.lost();
  out = std::move(page);
  return true;
}

}  // namespace berth::wire::codec
