// Accounts, their members, qualities of service, and why jobs stand where they do.
#include "api/wire/codec_internal.h"
#include "state/fbs_convert.h"

namespace berth::wire::codec {

namespace {

using codec::size_of;

// What reading it copies, at least.
std::size_t size_of(const spec::Limits* limits) {
  return limits == nullptr || limits->most() == nullptr ? 0 : limits->most()->size() * sizeof(std::int64_t);
}

state::Account account(Reader& in, const spec::Account* t) {
  state::Account out;
  const bool fits = t != nullptr && in.take(size_of(t->name()) + size_of(t->parent()) + size_of(t->description()) +
                                            size_of(t->limits()));
  if (!fits || !state::convert::to_account(t, out)) in.refuse();
  return out;
}

state::Member member(Reader& in, const spec::Member* t) {
  state::Member out;
  const bool fits = t != nullptr && in.take(size_of(t->account()) + size_of(t->user()) + size_of(t->limits()));
  if (!fits || !state::convert::to_member(t, out)) in.refuse();
  return out;
}

state::Qos qos(Reader& in, const spec::Qos* t) {
  state::Qos out;
  const bool fits = t != nullptr && in.take(size_of(t->name()) + size_of(t->limits()) + size_of(t->user_limits()) +
                                            size_of(t->users()) + size_of(t->accounts()));
  if (!fits || !state::convert::to_qos(t, out)) in.refuse();
  return out;
}

fb::Offset<fb::Vector<std::int64_t>> taken(Builder& b, const state::Taken& taken) {
  return b.CreateVector(taken.data(), taken.size());
}

state::Taken taken(Reader& in, const fb::Vector<std::int64_t>* list) {
  state::Taken out{};
  const auto numbers = in.list<std::int64_t>(list, [](std::int64_t n) { return n; });
  if (numbers.size() > out.size()) in.refuse();
  for (std::size_t i = 0; i < std::min(numbers.size(), out.size()); ++i) out[i] = numbers[i];
  return out;
}

fb::Offset<fbs::ShareRow> share_row(Builder& b, const state::ShareRow& r) {
  const auto account = state::convert::account(b, r.account);
  fb::Offset<spec::Member> member;
  if (!r.user.empty()) member = state::convert::member(b, {"", r.user, r.shares, r.is_default, r.limits});
  return fbs::CreateShareRow(b, account, member, r.cpu_seconds, r.share, r.used, r.level, r.factor, taken(b, r.taken));
}

state::ShareRow share_row(Reader& in, const fbs::ShareRow& t) {
  state::ShareRow out;
  out.account = account(in, t.account());
  out.shares = out.account.shares;
  out.limits = out.account.limits;
  if (t.member() != nullptr) {
    state::Member of = member(in, t.member());
    out.user = std::move(of.user);
    out.is_default = of.is_default;
    out.shares = of.shares;
    out.limits = of.limits;
  }
  out.cpu_seconds = t.cpu_seconds();
  out.share = t.share();
  out.used = t.used();
  out.level = t.level();
  out.factor = t.factor();
  out.taken = taken(in, t.taken());
  return out;
}

fb::Offset<fbs::PriorityRow> priority_row(Builder& b, const state::PriorityRow& r) {
  const auto user = text(b, r.user);
  const auto account = text(b, r.account);
  const auto queue = text(b, r.queue);
  const auto qos = text(b, r.qos);
  return fbs::CreatePriorityRow(b, r.job.value, user, account, queue, qos, r.own, r.of_queue, r.of_qos, r.submitted_at,
                                r.waited_ms, r.head_start_ms, r.delay_ms, r.factor, r.waits, r.tier);
}

state::PriorityRow priority_row(Reader& in, const fbs::PriorityRow& t) {
  state::PriorityRow out;
  out.job = state::JobId{t.job()};
  out.user = in.text(t.user());
  out.account = in.text(t.account());
  out.queue = in.text(t.queue());
  out.qos = in.text(t.qos());
  out.own = t.own();
  out.of_queue = t.of_queue();
  out.of_qos = t.of_qos();
  out.submitted_at = t.submitted_at();
  out.waited_ms = t.waited_ms();
  out.head_start_ms = t.head_start_ms();
  out.delay_ms = t.delay_ms();
  out.factor = t.factor();
  out.waits = t.waits();
  out.tier = t.tier();
  return out;
}

}  // namespace

Encoded put(Builder& b, const state::AccountActionRequest& r) {
  const auto account = state::convert::account(b, r.account);
  return {fbs::Body::AccountActionRequest, fbs::CreateAccountActionRequest(b, r.remove, account).Union()};
}

Encoded put(Builder& b, const state::MemberActionRequest& r) {
  const auto member = state::convert::member(b, r.member);
  return {fbs::Body::MemberActionRequest, fbs::CreateMemberActionRequest(b, r.remove, member).Union()};
}

Encoded put(Builder& b, const state::QosActionRequest& r) {
  const auto qos = state::convert::qos(b, r.qos);
  return {fbs::Body::QosActionRequest, fbs::CreateQosActionRequest(b, r.remove, qos).Union()};
}

Encoded put(Builder& b, const state::ListAccountsRequest&) {
  return {fbs::Body::ListAccountsRequest, fbs::CreateListAccountsRequest(b).Union()};
}

Encoded put(Builder& b, const state::PriorityRequest& r) {
  const auto jobs = job_ids(b, r.jobs);
  return {fbs::Body::PriorityRequest, fbs::CreatePriorityRequest(b, jobs, r.after.value, r.limit).Union()};
}

Encoded put(Builder& b, const state::JobRequeueRequest& r) {
  return {fbs::Body::JobRequeueRequest, fbs::CreateJobRequeueRequest(b, r.job.value, r.hold).Union()};
}

Encoded put(Builder& b, const state::AccountPage& r) {
  std::vector<fb::Offset<fbs::ShareRow>> rows;
  for (const state::ShareRow& row : r.rows) rows.push_back(share_row(b, row));
  std::vector<fb::Offset<fbs::QosRow>> qos;
  for (const state::QosRow& row : r.qos) {
    const auto of = state::convert::qos(b, row.qos);
    qos.push_back(fbs::CreateQosRow(b, of, taken(b, row.taken)));
  }
  const auto row_list = b.CreateVector(rows);
  const auto qos_list = b.CreateVector(qos);
  return {fbs::Body::AccountPage,
          fbs::CreateAccountPage(b, row_list, qos_list, r.head_start_ms, r.half_life_ms).Union()};
}

Encoded put(Builder& b, const state::PriorityPage& r) {
  std::vector<fb::Offset<fbs::PriorityRow>> rows;
  for (const state::PriorityRow& row : r.rows) rows.push_back(priority_row(b, row));
  const auto list = b.CreateVector(rows);
  return {fbs::Body::PriorityPage, fbs::CreatePriorityPage(b, list, r.next.value).Union()};
}

bool get_account_request(Reader& in, fbs::Body type, const void* table, state::ClientRequest& out) {
  switch (type) {
    case fbs::Body::AccountActionRequest: {
      const auto& t = as<fbs::AccountActionRequest>(table);
      out = state::AccountActionRequest{t.remove(), account(in, t.account())};
      return true;
    }
    case fbs::Body::MemberActionRequest: {
      const auto& t = as<fbs::MemberActionRequest>(table);
      out = state::MemberActionRequest{t.remove(), member(in, t.member())};
      return true;
    }
    case fbs::Body::QosActionRequest: {
      const auto& t = as<fbs::QosActionRequest>(table);
      out = state::QosActionRequest{t.remove(), qos(in, t.qos())};
      return true;
    }
    case fbs::Body::ListAccountsRequest:
      out = state::ListAccountsRequest{};
      return true;
    case fbs::Body::PriorityRequest: {
      const auto& t = as<fbs::PriorityRequest>(table);
      out = state::PriorityRequest{job_ids(in, t.jobs()), state::JobId{t.after()}, t.limit()};
      return true;
    }
    case fbs::Body::JobRequeueRequest: {
      const auto& t = as<fbs::JobRequeueRequest>(table);
      out = state::JobRequeueRequest{state::JobId{t.job()}, t.hold()};
      return true;
    }
    default:
      return false;
  }
}

bool get_account_reply(Reader& in, fbs::Body type, const void* table, state::ServerReply& out) {
  if (type == fbs::Body::AccountPage) {
    const auto& t = as<fbs::AccountPage>(table);
    state::AccountPage page;
    page.rows = in.list<state::ShareRow>(t.rows(), [&in](const fbs::ShareRow* row) { return share_row(in, *row); });
    page.qos = in.list<state::QosRow>(t.qos(), [&in](const fbs::QosRow* row) {
      return state::QosRow{qos(in, row->qos()), taken(in, row->taken())};
    });
    page.head_start_ms = t.head_start_ms();
    page.half_life_ms = t.half_life_ms();
    out = std::move(page);
    return true;
  }
  if (type != fbs::Body::PriorityPage) return false;
  const auto& t = as<fbs::PriorityPage>(table);
  state::PriorityPage page;
  page.rows =
      in.list<state::PriorityRow>(t.rows(), [&in](const fbs::PriorityRow* row) { return priority_row(in, *row); });
  page.next = state::JobId{t.next()};
  out = std::move(page);
  return true;
}

}  // namespace berth::wire::codec
