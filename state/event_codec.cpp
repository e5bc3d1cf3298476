#include "state/event_codec.h"

#include <algorithm>
#include <boost/unordered/unordered_flat_map.hpp>
#include <string_view>

#include "state/journal_convert.h"

namespace berth::state {

namespace {

namespace fb = flatbuffers;
using convert::each;
using convert::pod_ref;
using convert::text;
using convert::to_pod_ref;
using Builder = fb::FlatBufferBuilder;
using Encoded = std::pair<journal::Event, fb::Offset<void>>;

// ---- encode ---------------------------------------------------------------------------------------------------------

Encoded encode(Builder& b, const JobSubmitted& e) {
  const auto owner = convert::owner(b, e.owner);
  const auto spec = convert::job_spec(b, e.spec);
  return {journal::Event::JobSubmitted, journal::CreateJobSubmitted(b, e.id.value, owner, spec, e.submit_key).Union()};
}
Encoded encode(Builder& b, const ElementsCancelled& e) {
  std::vector<journal::ElementRange> list;
  for (const ElementRange& r : e.elements) list.emplace_back(r.first, r.end);
  const auto elements = b.CreateVectorOfStructs(list);
  return {journal::Event::ElementsCancelled,
          journal::CreateElementsCancelled(b, e.job.value, elements, e.late).Union()};
}
Encoded encode(Builder& b, const PodsBound& e) {
  journal::Bind* list = nullptr;
  const auto binds = b.CreateUninitializedVectorOfStructs(e.binds.size(), &list);
  for (const Bind& bind : e.binds) *list++ = {pod_ref(bind.ref), bind.gpu_mask, bind.node.value};
  std::vector<fb::Offset<berth::spec::Pinning>> list_of_pins;
  for (const PodsBound::Pin& pin : e.pins) list_of_pins.push_back(convert::pinning(b, pin.bind, pin.pinning));
  const auto pins = list_of_pins.empty() ? 0 : b.CreateVector(list_of_pins);
  std::vector<journal::BindLimit> list_of_limits;
  for (const PodsBound::Limit& limit : e.limits) list_of_limits.emplace_back(limit.limit_ms, limit.bind);
  const auto limits = list_of_limits.empty() ? 0 : b.CreateVectorOfStructs(list_of_limits);
  return {journal::Event::PodsBound, journal::CreatePodsBound(b, binds, pins, limits).Union()};
}
Encoded encode(Builder& b, const PodsStarted& e) {
  journal::PodStart* list = nullptr;
  const auto starts = b.CreateUninitializedVectorOfStructs(e.starts.size(), &list);
  for (const PodStart& start : e.starts) *list++ = {pod_ref(start.ref), start.started_at};
  return {journal::Event::PodsStarted, journal::CreatePodsStarted(b, starts).Union()};
}
Encoded encode(Builder& b, const PodsStopping& e) {
  journal::PodStop* list = nullptr;
  const auto stops = b.CreateUninitializedVectorOfStructs(e.stops.size(), &list);
  for (const PodStop& stop : e.stops) *list++ = {pod_ref(stop.ref), static_cast<std::uint8_t>(stop.stop_state)};
  return {journal::Event::PodsStopping, journal::CreatePodsStopping(b, stops).Union()};
}
Encoded encode(Builder& b, const PodsEnded& e) {
  // Equal messages (a thousand pods that miss the same binary) are written once.
  std::vector<std::string> messages;
  boost::unordered_flat_map<std::string_view, std::uint32_t> numbers;
  std::vector<std::uint32_t> number(e.ends.size());
  for (std::size_t i = 0; i < e.ends.size(); ++i) {
    const std::string& message = e.ends[i].message;
    if (message.empty()) continue;
    const auto [known, added] = numbers.try_emplace(message, static_cast<std::uint32_t>(messages.size() + 1));
    if (added) messages.push_back(message);
    number[i] = known->second;
  }
  journal::PodEnd* list = nullptr;
  const auto ends = b.CreateUninitializedVectorOfStructs(e.ends.size(), &list);
  for (std::size_t i = 0; i < e.ends.size(); ++i) {
    *list++ = {pod_ref(e.ends[i].ref), convert::outcome(e.ends[i].outcome, 0), number[i], e.ends[i].requeue};
  }
  const auto texts = convert::strings(b, messages);
  fb::Offset<fb::Vector<const journal::PodUse*>> uses;
  if (std::any_of(e.ends.begin(), e.ends.end(), [](const PodEnd& end) { return end.use != PodUse{}; })) {
    uses = b.CreateVectorOfStructs<journal::PodUse>(
        e.ends.size(), [&](std::size_t i, journal::PodUse* out) { *out = convert::pod_use(e.ends[i].use); });
  }
  return {journal::Event::PodsEnded, journal::CreatePodsEnded(b, ends, texts, uses).Union()};
}
Encoded encode(Builder& b, const PodsAdopted& e) {
  journal::Adopted* list = nullptr;
  const auto pods = b.CreateUninitializedVectorOfStructs(e.pods.size(), &list);
  for (const auto& pod : e.pods) *list++ = {pod_ref(pod.ref), pod.gpu_mask, pod.started_at, pod.node.value};
  const auto pins = convert::pins(b, e.pods, [](const PodsAdopted::Adopted& pod) { return &pod.pinning; });
  return {journal::Event::PodsAdopted, journal::CreatePodsAdopted(b, pods, pins).Union()};
}
Encoded encode(Builder& b, const JobsForgotten& e) {
  std::uint64_t* list = nullptr;
  const auto jobs = b.CreateUninitializedVector(e.jobs.size(), &list);
  for (const JobId id : e.jobs) *list++ = id.value;
  return {journal::Event::JobsForgotten, journal::CreateJobsForgotten(b, jobs).Union()};
}
template <class T>
fb::Optional<T> optional(const std::optional<T>& value) {
  return value ? fb::Optional<T>(*value) : fb::nullopt;
}
Encoded encode(Builder& b, const JobChanged& e) {
  // A name or comment that becomes empty is a string, one that stays is none.
  const auto name = e.name ? b.CreateString(*e.name) : 0;
  const auto comment = e.comment ? b.CreateString(*e.comment) : 0;
  const auto account = e.account ? b.CreateString(*e.account) : 0;
  const auto qos = e.qos ? b.CreateString(*e.qos) : 0;
  std::vector<journal::DependencyDecided> list;
  for (const auto& d : e.decided) list.emplace_back(d.number, static_cast<std::uint8_t>(d.state));
  const auto decided = list.empty() ? 0 : b.CreateVectorOfStructs(list);
  std::vector<journal::ElementsDecided> ranges;
  for (const auto& d : e.elements) {
    ranges.emplace_back(d.number, d.elements.first, d.elements.end, static_cast<std::uint8_t>(d.state));
  }
  const auto elements = ranges.empty() ? 0 : b.CreateVectorOfStructs(ranges);
  fb::Optional<std::uint8_t> hold = fb::nullopt;
  if (e.hold) hold = static_cast<std::uint8_t>(*e.hold);
  return {journal::Event::JobChanged,
          journal::CreateJobChanged(b, e.job.value, hold, optional(e.begin_at), optional(e.priority),
                                    optional(e.time_limit_ms), name, comment, decided, account, qos, elements)
              .Union()};
}
Encoded encode(Builder& b, const NodeJoined& e) {
  return {journal::Event::NodeJoined,
          journal::CreateNodeJoined(b, e.id.value, convert::node_info(b, e.info), e.subnet).Union()};
}
Encoded encode(Builder& b, const NodeStateChanged& e) {
  const auto reason = text(b, e.reason);
  return {journal::Event::NodeStateChanged,
          journal::CreateNodeStateChanged(b, e.id.value, static_cast<std::uint8_t>(e.state), reason).Union()};
}
Encoded encode(Builder& b, const NodeRemoved& e) {
  return {journal::Event::NodeRemoved, journal::CreateNodeRemoved(b, e.id.value).Union()};
}
Encoded encode(Builder& b, const QueueSet& e) { return {journal::Event::QueueSet, convert::queue(b, e.queue).Union()}; }
Encoded encode(Builder& b, const QueueRemoved& e) {
  return {journal::Event::QueueRemoved, journal::CreateQueueRemoved(b, text(b, e.name)).Union()};
}
Encoded encode(Builder& b, const LicenceSet& e) {
  return {journal::Event::LicenceSet, journal::CreateLicenceSet(b, text(b, e.licence.name), e.licence.total).Union()};
}
Encoded encode(Builder& b, const LicenceRemoved& e) {
  return {journal::Event::LicenceRemoved, journal::CreateLicenceRemoved(b, text(b, e.name)).Union()};
}
Encoded encode(Builder& b, const AccountSet& e) {
  return {journal::Event::AccountSet, journal::CreateAccountSet(b, convert::account(b, e.account)).Union()};
}
Encoded encode(Builder& b, const AccountRemoved& e) {
  return {journal::Event::AccountRemoved, journal::CreateAccountRemoved(b, text(b, e.name)).Union()};
}
Encoded encode(Builder& b, const MemberSet& e) {
  return {journal::Event::MemberSet, journal::CreateMemberSet(b, convert::member(b, e.member)).Union()};
}
Encoded encode(Builder& b, const MemberRemoved& e) {
  const auto account = text(b, e.account);
  return {journal::Event::MemberRemoved, journal::CreateMemberRemoved(b, account, text(b, e.user)).Union()};
}
Encoded encode(Builder& b, const QosSet& e) {
  return {journal::Event::QosSet, journal::CreateQosSet(b, convert::qos(b, e.qos)).Union()};
}
Encoded encode(Builder& b, const QosRemoved& e) {
  return {journal::Event::QosRemoved, journal::CreateQosRemoved(b, text(b, e.name)).Union()};
}
Encoded encode(Builder& b, const UsageNoted& e) {
  std::vector<fb::Offset<journal::Usage>> list;
  for (const auto& of : e.usage) list.push_back(convert::usage(b, of.account, of.user, {of.cpu_seconds, 0}));
  return {journal::Event::UsageNoted, journal::CreateUsageNoted(b, b.CreateVector(list)).Union()};
}
Encoded encode(Builder& b, const PodsReady& e) {
  std::vector<fb::Offset<journal::ReadyPod>> list;
  for (const PodReadiness& of : e.pods) list.push_back(convert::ready_pod(b, of.ref, of.ready, of.address));
  return {journal::Event::PodsReady, journal::CreatePodsReady(b, b.CreateVector(list)).Union()};
}
Encoded encode(Builder& b, const ServiceSet& e) {
  return {journal::Event::ServiceSet, convert::service_set(b, e.service).Union()};
}
Encoded encode(Builder& b, const ServiceStatusSet& e) {
  const auto status = convert::service_status(b, e.status);
  return {journal::Event::ServiceStatusSet, journal::CreateServiceStatusSet(b, e.id.value, status).Union()};
}
Encoded encode(Builder& b, const ServiceRemoved& e) {
  return {journal::Event::ServiceRemoved, journal::CreateServiceRemoved(b, e.id.value).Union()};
}
Encoded encode(Builder& b, const TokenAdded& e) {
  return {journal::Event::TokenAdded, convert::token(b, e.token).Union()};
}
Encoded encode(Builder& b, const TokenRemoved& e) {
  return {journal::Event::TokenRemoved, journal::CreateTokenRemoved(b, text(b, e.id)).Union()};
}

// ---- decode ---------------------------------------------------------------------------------------------------------
// Each returns false for what the encoder above could not have written.

bool decode(const journal::JobSubmitted& t, JobSubmitted& e) {
  e.id = JobId{t.id()};
  e.owner = convert::to_owner(t.owner());
  e.submit_key = t.submit_key();
  return convert::to_job_spec(t.spec(), e.spec);
}
bool decode(const journal::ElementsCancelled& t, ElementsCancelled& e) {
  e.job = JobId{t.job()};
  e.late = t.late();
  return each(t.elements(), [&](const journal::ElementRange& r) {
    e.elements.push_back({r.first(), r.end()});
    return true;
  });
}
bool decode(const journal::PodsBound& t, PodsBound& e) {
  each(t.binds(), [&](const journal::Bind& x) {
    e.binds.push_back({to_pod_ref(x.ref()), NodeId{x.node()}, x.gpu_mask()});
    return true;
  });
  if (e.binds.size() != (t.binds() == nullptr ? 0 : t.binds()->size())) return false;
  const bool limits = each(t.limits(), [&](const journal::BindLimit& limit) {
    e.limits.push_back({limit.bind(), limit.limit_ms()});
    return true;
  });
  if (!limits) return false;
  return convert::to_pins(t.pins(), e.binds.size(), [&](std::uint32_t of, Pinning pinning) {
    e.pins.push_back({of, std::move(pinning)});
  });
}
bool decode(const journal::PodsStarted& t, PodsStarted& e) {
  return each(t.starts(), [&](const journal::PodStart& x) {
    e.starts.push_back({to_pod_ref(x.ref()), x.started_at()});
    return true;
  });
}
bool decode(const journal::PodsStopping& t, PodsStopping& e) {
  return each(t.stops(), [&](const journal::PodStop& x) {
    if (!convert::is_pod_state(x.stop_state())) return false;
    e.stops.push_back({to_pod_ref(x.ref()), static_cast<PodState>(x.stop_state())});
    return true;
  });
}
bool decode(const journal::PodsEnded& t, PodsEnded& e) {
  const std::vector<std::string> messages = convert::strings(t.messages());
  const auto* uses = t.uses();
  const std::size_t count = t.ends() == nullptr ? 0 : t.ends()->size();
  if (!convert::is_aligned(uses, alignof(journal::PodUse)) || (uses != nullptr && uses->size() != count)) return false;
  return each(t.ends(), [&](const journal::PodEnd& x) {
    PodEnd end;
    end.ref = to_pod_ref(x.ref());
    end.requeue = x.requeue();
    if (!convert::to_outcome(x.outcome(), end.outcome) || x.message() > messages.size()) return false;
    if (x.message() != 0) end.message = messages[x.message() - 1U];
    end.outcome.message = 0;
    if (uses != nullptr) end.use = convert::to_pod_use(*uses->Get(static_cast<fb::uoffset_t>(e.ends.size())));
    e.ends.push_back(std::move(end));
    return true;
  });
}
bool decode(const journal::PodsAdopted& t, PodsAdopted& e) {
  const bool pods = each(t.pods(), [&](const journal::Adopted& x) {
    e.pods.push_back({to_pod_ref(x.ref()), NodeId{x.node()}, x.gpu_mask(), x.started_at()});
    return true;
  });
  return pods && convert::to_pins(t.pins(), e.pods.size(),
                                  [&](std::uint32_t of, Pinning pinning) { e.pods[of].pinning = std::move(pinning); });
}
bool decode(const journal::JobsForgotten& t, JobsForgotten& e) {
  if (t.jobs() == nullptr) return true;
  if (!convert::is_aligned(t.jobs(), alignof(std::uint64_t))) return false;
  for (const std::uint64_t id : *t.jobs()) e.jobs.push_back(JobId{id});
  return true;
}
template <class T>
std::optional<T> to_optional(const fb::Optional<T>& value) {
  return value ? std::optional<T>(*value) : std::nullopt;
}
bool decode(const journal::JobChanged& t, JobChanged& e) {
  e.job = JobId{t.job()};
  if (const auto hold = t.hold(); hold) {
    if (*hold > static_cast<std::uint8_t>(Hold::kAdmin)) return false;
    e.hold = static_cast<Hold>(*hold);
  }
  e.begin_at = to_optional(t.begin_at());
  e.priority = to_optional(t.priority());
  e.time_limit_ms = to_optional(t.time_limit_ms());
  if (t.name() != nullptr) e.name = text(t.name());
  if (t.comment() != nullptr) e.comment = text(t.comment());
  if (t.account() != nullptr) e.account = text(t.account());
  if (t.qos() != nullptr) e.qos = text(t.qos());
  constexpr auto kLast = static_cast<std::uint8_t>(Dependency::State::kFailed);
  const bool decided = each(t.decided(), [&](const journal::DependencyDecided& d) {
    e.decided.push_back({d.number(), static_cast<Dependency::State>(d.state())});
    return d.state() <= kLast;
  });
  return decided && each(t.elements(), [&](const journal::ElementsDecided& d) {
           e.elements.push_back({d.number(), {d.first(), d.end()}, static_cast<Dependency::State>(d.state())});
           return d.state() <= kLast;
         });
}
bool decode(const journal::NodeJoined& t, NodeJoined& e) {
  e.id = NodeId{t.id()};
  e.subnet = t.subnet();
  return t.id() != 0 && convert::to_node_info(t.info(), e.info);
}
bool decode(const journal::NodeStateChanged& t, NodeStateChanged& e) {
  if (t.state() > static_cast<std::uint8_t>(NodeState::kLost)) return false;
  e.id = NodeId{t.id()};
  e.state = static_cast<NodeState>(t.state());
  e.reason = text(t.reason());
  return true;
}
bool decode(const journal::NodeRemoved& t, NodeRemoved& e) {
  e.id = NodeId{t.id()};
  return true;
}
bool decode(const journal::QueueSet& t, QueueSet& e) { return convert::to_queue(t, e.queue); }
bool decode(const journal::QueueRemoved& t, QueueRemoved& e) {
  e.name = text(t.name());
  return true;
}
bool decode(const journal::LicenceSet& t, LicenceSet& e) {
  e.licence = {text(t.name()), t.total()};
  return true;
}
bool decode(const journal::LicenceRemoved& t, LicenceRemoved& e) {
  e.name = text(t.name());
  return true;
}
bool decode(const journal::AccountSet& t, AccountSet& e) { return convert::to_account(t.account(), e.account); }
bool decode(const journal::AccountRemoved& t, AccountRemoved& e) {
  e.name = text(t.name());
  return true;
}
bool decode(const journal::MemberSet& t, MemberSet& e) { return convert::to_member(t.member(), e.member); }
bool decode(const journal::MemberRemoved& t, MemberRemoved& e) {
  e.account = text(t.account());
  e.user = text(t.user());
  return true;
}
bool decode(const journal::QosSet& t, QosSet& e) { return convert::to_qos(t.qos(), e.qos); }
bool decode(const journal::QosRemoved& t, QosRemoved& e) {
  e.name = text(t.name());
  return true;
}
bool decode(const journal::UsageNoted& t, UsageNoted& e) {
  return each(t.usage(), [&](const journal::Usage& u) {
    e.usage.push_back({text(u.account()), text(u.user()), u.cpu_seconds()});
    return convert::is_usage(u);
  });
}
bool decode(const journal::PodsReady& t, PodsReady& e) {
  return each(t.pods(), [&](const journal::ReadyPod& x) {
    if (x.ref() == nullptr) return false;
    e.pods.push_back({to_pod_ref(*x.ref()), x.ready(), text(x.address()), {}});
    return true;
  });
}
bool decode(const journal::ServiceSet& t, ServiceSet& e) { return convert::to_service_set(t, e.service); }
bool decode(const journal::ServiceStatusSet& t, ServiceStatusSet& e) {
  e.id = ServiceId{t.id()};
  return convert::to_service_status(t.status(), e.status);
}
bool decode(const journal::ServiceRemoved& t, ServiceRemoved& e) {
  e.id = ServiceId{t.id()};
  return true;
}
bool decode(const journal::TokenAdded& t, TokenAdded& e) { return convert::to_token(t, e.token); }
bool decode(const journal::TokenRemoved& t, TokenRemoved& e) {
  e.id = text(t.id());
  return true;
}

template <class Body, class Table>
bool decode_into(const Table* table, std::vector<Event>& out) {
  if (table == nullptr) return false;
  Body body;
  if (!decode(*table, body)) return false;
  out.emplace_back(std::move(body));
  return true;
}

bool decode_event(const journal::EventBox& box, std::vector<Event>& out) {
  using E = journal::Event;
  switch (box.event_type()) {
    case E::JobSubmitted:
      return decode_into<JobSubmitted>(box.event_as_JobSubmitted(), out);
    case E::ElementsCancelled:
      return decode_into<ElementsCancelled>(box.event_as_ElementsCancelled(), out);
    case E::PodsBound:
      return decode_into<PodsBound>(box.event_as_PodsBound(), out);
    case E::PodsStarted:
      return decode_into<PodsStarted>(box.event_as_PodsStarted(), out);
    case E::PodsStopping:
      return decode_into<PodsStopping>(box.event_as_PodsStopping(), out);
    case E::PodsEnded:
      return decode_into<PodsEnded>(box.event_as_PodsEnded(), out);
    case E::PodsAdopted:
      return decode_into<PodsAdopted>(box.event_as_PodsAdopted(), out);
    case E::JobsForgotten:
      return decode_into<JobsForgotten>(box.event_as_JobsForgotten(), out);
    case E::JobChanged:
      return decode_into<JobChanged>(box.event_as_JobChanged(), out);
    case E::NodeJoined:
      return decode_into<NodeJoined>(box.event_as_NodeJoined(), out);
    case E::NodeStateChanged:
      return decode_into<NodeStateChanged>(box.event_as_NodeStateChanged(), out);
    case E::NodeRemoved:
      return decode_into<NodeRemoved>(box.event_as_NodeRemoved(), out);
    case E::QueueSet:
      return decode_into<QueueSet>(box.event_as_QueueSet(), out);
    case E::QueueRemoved:
      return decode_into<QueueRemoved>(box.event_as_QueueRemoved(), out);
    case E::TokenAdded:
      return decode_into<TokenAdded>(box.event_as_TokenAdded(), out);
    case E::TokenRemoved:
      return decode_into<TokenRemoved>(box.event_as_TokenRemoved(), out);
    case E::LicenceSet:
      return decode_into<LicenceSet>(box.event_as_LicenceSet(), out);
    case E::AccountSet:
      return decode_into<AccountSet>(box.event_as_AccountSet(), out);
    case E::AccountRemoved:
      return decode_into<AccountRemoved>(box.event_as_AccountRemoved(), out);
    case E::MemberSet:
      return decode_into<MemberSet>(box.event_as_MemberSet(), out);
    case E::MemberRemoved:
      return decode_into<MemberRemoved>(box.event_as_MemberRemoved(), out);
    case E::QosSet:
      return decode_into<QosSet>(box.event_as_QosSet(), out);
    case E::QosRemoved:
      return decode_into<QosRemoved>(box.event_as_QosRemoved(), out);
    case E::UsageNoted:
      return decode_into<UsageNoted>(box.event_as_UsageNoted(), out);
    case E::LicenceRemoved:
      return decode_into<LicenceRemoved>(box.event_as_LicenceRemoved(), out);
    case E::PodsReady:
      return decode_into<PodsReady>(box.event_as_PodsReady(), out);
    case E::ServiceSet:
      return decode_into<ServiceSet>(box.event_as_ServiceSet(), out);
    case E::ServiceStatusSet:
      return decode_into<ServiceStatusSet>(box.event_as_ServiceStatusSet(), out);
    case E::ServiceRemoved:
      return decode_into<ServiceRemoved>(box.event_as_ServiceRemoved(), out);
    case E::NONE:
      return false;
  }
  return false;
}

}  // namespace

std::string encode_batch(const Batch& batch) {
  // One builder a thread, so that a steady stream of batches does not allocate.
  thread_local Builder b(64 * 1024);
  thread_local std::vector<fb::Offset<journal::EventBox>> boxes;
  b.Clear();
  boxes.clear();
  for (const Event& event : batch.events) {
    const Encoded encoded = std::visit([](const auto& body) { return encode(b, body); }, event);
    boxes.push_back(journal::CreateEventBox(b, encoded.first, encoded.second));
  }
  const auto events = b.CreateVector(boxes);
  b.Finish(journal::CreateBatch(b, batch.index, batch.at, events));
  std::string bytes(reinterpret_cast<const char*>(b.GetBufferPointer()), b.GetSize());
  constexpr std::size_t kKept = 16U << 20;
  if (bytes.size() > kKept) b.Reset();  // a rare giant does not hold its memory for ever
  return bytes;
}

Result<Batch> decode_batch(std::span<const std::byte> bytes) {
  const Error bad{ErrorCode::kInternal, "", "a batch of events is malformed", 0};
  const convert::Aligned aligned(bytes);
  // Each of many small events is a few tables: the default limit of a million is below a large batch.
  fb::Verifier verifier(aligned.data(), aligned.size(), 16, 100'000'000);
  if (!verifier.VerifyBuffer<journal::Batch>(nullptr)) return bad;
  const auto* table = fb::GetRoot<journal::Batch>(aligned.data());
  Batch batch;
  batch.index = table->index();
  batch.at = table->at();
  if (table->events() != nullptr) {
    batch.events.reserve(table->events()->size());
    for (const auto* box : *table->events()) {
      if (!decode_event(*box, batch.events)) return bad;
    }
  }
  return batch;
}

}  // namespace berth::state
