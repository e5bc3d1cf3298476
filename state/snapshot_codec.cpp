#include "state/snapshot_codec.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "state/journal_convert.h"

namespace berth::state {

namespace {

namespace fb = flatbuffers;
using Builder = fb::FlatBufferBuilder;

// Before each part: its length, a multiple of 16, and zeros. A length of 0 ends the sequence.
struct PartHeader {
  std::uint64_t length = 0;
  std::uint64_t zero = 0;
};
static_assert(sizeof(PartHeader) == 16);

constexpr std::size_t kPartBytes = 4U << 20;  // about; one job is never split
constexpr std::size_t kPodsInPart = 50'000;

std::span<const std::byte> bytes_of(const PartHeader& header) { return std::as_bytes(std::span(&header, 1)); }

fb::Offset<fb::Vector<const journal::ElementRange*>> intervals(Builder& b, const IntervalSet& set) {
  if (set.empty()) return {};
  std::vector<journal::ElementRange> list;
  list.reserve(set.intervals().size());
  for (const auto& [first, end] : set.intervals()) list.emplace_back(first, end);
  return b.CreateVectorOfStructs(list);
}

bool to_intervals(const fb::Vector<const journal::ElementRange*>* list, std::uint32_t size, IntervalSet& out) {
  return convert::each(list, [&](const journal::ElementRange& r) {
    if (r.first() >= r.end() || r.end() > size) return false;
    out.insert(r.first(), r.end());
    return true;
  });
}

fb::Offset<journal::Job> encode_job(Builder& b, const Job& job) {
  std::vector<journal::EndedElement> ended;
  job.outcomes.each(0, [&](std::uint32_t element, const PodOutcome& o) {
    ended.emplace_back(convert::outcome(o, o.message), element);
    return true;
  });
  std::vector<journal::Attempt> used;
  for (const auto& [element, attempts] : job.attempts) used.emplace_back(element, attempts);
  const auto owner = convert::owner(b, job.owner);
  const auto spec = convert::job_spec(b, job.spec);
  const auto pending = intervals(b, job.pending);
  const auto cancelled = intervals(b, job.cancelled);
  const auto outcomes = ended.empty() ? 0 : b.CreateVectorOfStructs(ended);
  const auto attempts = used.empty() ? 0 : b.CreateVectorOfStructs(used);
  const auto messages = convert::strings(b, job.messages);
  const journal::PodUse use = convert::pod_use(job.use);
  const auto late = intervals(b, job.late);
  fb::Offset<fb::Vector<fb::Offset<journal::OpenElements>>> open;
  fb::Offset<fb::Vector<const journal::ElementRange*>> never;
  if (job.corresponding != nullptr) {
    std::vector<fb::Offset<journal::OpenElements>> list;
    for (const auto& [number, elements] : job.corresponding->open) {
      list.push_back(journal::CreateOpenElements(b, number, intervals(b, elements)));
    }
    open = b.CreateVector(list);
    never = intervals(b, job.corresponding->never);
  }
  return journal::CreateJob(b, job.id.value, owner, spec, job.submit_key, job.submitted_at, job.first_started_at,
                            job.ended_at, pending, cancelled, outcomes, attempts, messages, job.next_step, &use, late,
                            open, never);
}

// Everything but the counts, which follow from the rest.
bool decode_job(const journal::Job& table, Job& job) {
  job.id = JobId{table.id()};
  job.owner = convert::to_owner(table.owner());
  if (!convert::to_job_spec(table.spec(), job.spec)) return false;
  const std::uint32_t size = job.spec.elements.size();
  job.submit_key = table.submit_key();
  job.submitted_at = table.submitted_at();
  job.first_started_at = table.first_started_at();
  job.ended_at = table.ended_at();
  job.next_step = table.next_step();
  if (table.use() != nullptr) job.use = convert::to_pod_use(*table.use());
  if (!to_intervals(table.pending(), size, job.pending) || !to_intervals(table.cancelled(), size, job.cancelled) ||
      !to_intervals(table.late(), size, job.late)) {
    return false;
  }
  if (table.open() != nullptr) {
    job.corresponding = std::make_unique<Job::Corresponding>();
    Job::Corresponding& of = *job.corresponding;
    of.ready = job.pending;
    const auto take = [&](const fb::Vector<const journal::ElementRange*>* list, IntervalSet& to) {
      if (!to_intervals(list, size, to)) return false;
      for (const auto& [first, end] : to.intervals()) of.ready.erase(first, end);
      return true;
    };
    for (const journal::OpenElements* open : *table.open()) {
      if (!take(open->elements(), of.open[open->number()])) return false;
    }
    if (!take(table.never(), of.never)) return false;
  }
  job.messages = convert::strings(table.messages());
  const bool ended = convert::each(table.outcomes(), [&](const journal::EndedElement& x) {
    PodOutcome outcome;
    if (x.element() >= size || !convert::to_outcome(x.outcome(), outcome) || !is_final(outcome.state)) return false;
    if (outcome.message != 0 && outcome.message >= job.messages.size()) return false;
    job.outcomes.slot(x.element()) = outcome;
    return true;
  });
  return ended && convert::each(table.attempts(), [&](const journal::Attempt& x) {
           job.attempts[x.element()] = x.used();
           return x.element() < size && x.used() != 0;
         });
}

void count_states(Job& job) {
  auto& by_state = job.counts.by_state;
  by_state[static_cast<std::size_t>(PodState::kPending)] += job.pending.size();
  by_state[static_cast<std::size_t>(PodState::kCancelled)] += job.cancelled.size();
  by_state[static_cast<std::size_t>(PodState::kDeadline)] += job.late.size();
  job.outcomes.each(0, [&](std::uint32_t, const PodOutcome& outcome) {
    ++by_state[static_cast<std::size_t>(outcome.state)];
    return true;
  });
}

bool decode_node(const journal::Node& table, Node& node) {
  if (table.id() == 0 || table.state() > static_cast<std::uint8_t>(NodeState::kLost)) return false;
  if (!convert::to_node_info(table.info(), node.info)) return false;
  node.id = NodeId{table.id()};
  node.state = static_cast<NodeState>(table.state());
  node.reason = convert::text(table.reason());
  node.joined_at = table.joined_at();
  node.subnet = table.subnet();
  return true;
}

bool decode_pod(const journal::LivePod& table, Pod& pod) {
  if (!convert::is_pod_state(table.state()) || !convert::is_pod_state(table.stop_state())) return false;
  pod.ref = convert::to_pod_ref(table.ref());
  pod.node = NodeId{table.node()};
  pod.state = static_cast<PodState>(table.state());
  pod.stopping = table.stopping();
  pod.stop_state = static_cast<PodState>(table.stop_state());
  pod.ready = table.ready();
  pod.gpu_mask = table.gpu_mask();
  pod.bound_at = table.bound_at();
  pod.started_at = table.started_at();
  return pod.state == PodState::kBound || pod.state == PodState::kRunning;
}

}  // namespace

// Collects tables and hands each full part to the sink.
class SnapshotCodec::Writer {
 public:
  Writer(const Cluster& cluster, const Sink& sink) : cluster_(cluster), sink_(sink) {}

  void write() {
    const bool done = write_head() && write_jobs() && write_pods();
    if (done) sink_(bytes_of(PartHeader{}));
  }

 private:
  bool flush(fb::Offset<journal::Snapshot> part) {
    b_.Finish(part);
    const std::size_t length = b_.GetSize();
    const std::size_t whole = (length + 15) / 16 * 16;
    static constexpr std::array<std::byte, 16> kZeros{};
    const bool go_on = sink_(bytes_of(PartHeader{whole, 0})) &&
                       sink_(std::as_bytes(std::span(b_.GetBufferPointer(), length))) &&
                       (whole == length || sink_(std::span(kZeros).first(whole - length)));
    b_.Clear();
    return go_on;
  }

  bool write_head() {
    std::vector<fb::Offset<journal::Node>> nodes;
    for (const auto& [id, node] : cluster_.nodes_) {
      const auto info = convert::node_info(b_, node.info);
      const auto reason = convert::text(b_, node.reason);
      nodes.push_back(journal::CreateNode(b_, id.value, info, static_cast<std::uint8_t>(node.state), reason,
                                          node.joined_at, node.subnet));
    }
    const auto node_list = b_.CreateVector(nodes);
    std::vector<fb::Offset<journal::QueueSet>> queues;
    for (const auto& [name, queue] : cluster_.queues_) queues.push_back(convert::queue(b_, queue));
    const auto queue_list = b_.CreateVector(queues);
    std::vector<fb::Offset<journal::TokenAdded>> tokens;
    for (const auto& [id, token] : cluster_.tokens_) tokens.push_back(convert::token(b_, token));
    const auto token_list = b_.CreateVector(tokens);
    const auto licence_list = licences();
    const auto accounts = list<berth::spec::Account>(cluster_.accounts_, convert::account);
    const auto members = list<berth::spec::Member>(cluster_.members_, convert::member);
    const auto qos = list<berth::spec::Qos>(cluster_.qos_, convert::qos);
    std::vector<fb::Offset<journal::Usage>> usage;
    for (const auto& [key, used] : cluster_.usage_) usage.push_back(convert::usage(b_, key.first, key.second, used));
    const auto usage_list = usage.empty() ? 0 : b_.CreateVector(usage);
    std::vector<fb::Offset<journal::ServiceSet>> services;
    for (const auto& [id, service] : cluster_.services_) services.push_back(convert::service_set(b_, service));
    const auto service_list = services.empty() ? 0 : b_.CreateVector(services);
    return flush(journal::CreateSnapshot(b_, cluster_.applied_index_, cluster_.applied_at_, cluster_.last_job_id_.value,
                                         cluster_.last_node_id_.value, 0, 0, node_list, queue_list, token_list, 0,
                                         licence_list, accounts, members, qos, usage_list, service_list,
                                         cluster_.last_service_id_.value));
  }

  template <class Table, class Map, class Convert>
  fb::Offset<fb::Vector<fb::Offset<Table>>> list(const Map& map, Convert&& convert) {
    std::vector<fb::Offset<Table>> list;
    for (const auto& [key, value] : map) list.push_back(convert(b_, value));
    return list.empty() ? fb::Offset<fb::Vector<fb::Offset<Table>>>() : b_.CreateVector(list);
  }

  fb::Offset<fb::Vector<fb::Offset<journal::LicenceSet>>> licences() {
    std::vector<fb::Offset<journal::LicenceSet>> list;
    for (const auto& [name, licence] : cluster_.licences_) {
      list.push_back(journal::CreateLicenceSet(b_, convert::text(b_, name), licence.total));
    }
    return list.empty() ? fb::Offset<fb::Vector<fb::Offset<journal::LicenceSet>>>() : b_.CreateVector(list);
  }

  bool write_jobs() {
    std::vector<fb::Offset<journal::Job>> jobs;
    const auto flush_jobs = [&] {
      const auto list = b_.CreateVector(jobs);
      jobs.clear();
      return flush(journal::CreateSnapshot(b_, 0, 0, 0, 0, list));
    };
    for (const auto& [id, job] : cluster_.jobs_) {
      jobs.push_back(encode_job(b_, *job));
      if (b_.GetSize() >= kPartBytes && !flush_jobs()) return false;
    }
    return jobs.empty() || flush_jobs();
  }

  // Through the nodes, whose pods are in order: the same cluster gives the same bytes.
  bool write_pods() {
    std::vector<journal::LivePod> pods;
    std::vector<fb::Offset<berth::spec::Pinning>> pins;
    std::vector<fb::Offset<journal::ReadyPod>> addresses;
    std::vector<journal::BindLimit> limits;
    const auto flush_pods = [&] {
      const auto list = b_.CreateVectorOfStructs(pods);
      const auto pin_list = pins.empty() ? 0 : b_.CreateVector(pins);
      const auto address_list = addresses.empty() ? 0 : b_.CreateVector(addresses);
      const auto limit_list = limits.empty() ? 0 : b_.CreateVectorOfStructs(limits);
      pods.clear();
      pins.clear();
      addresses.clear();
      limits.clear();
      return flush(journal::CreateSnapshot(b_, 0, 0, 0, 0, 0, list, 0, 0, 0, pin_list, 0, 0, 0, 0, 0, 0, 0,
                                           address_list, limit_list));
    };
    for (const auto& [node, ids] : cluster_.node_pods_) {
      for (const PodId& id : ids) {
        const Pod& pod = cluster_.pods_.at(id);
        pods.emplace_back(convert::pod_ref(pod.ref), pod.gpu_mask, pod.bound_at, pod.started_at, pod.node.value,
                          static_cast<std::uint8_t>(pod.state), pod.stopping, static_cast<std::uint8_t>(pod.stop_state),
                          pod.ready);
        if (const std::string& address = cluster_.address_of(id); !address.empty()) {
          addresses.push_back(convert::ready_pod(b_, pod.ref, pod.ready, address));
        }
        if (const Pinning* pinning = cluster_.pinning(id); pinning != nullptr) {
          pins.push_back(convert::pinning(b_, pods.size() - 1, *pinning));
        }
        if (pod.limit_ms != 0) limits.emplace_back(pod.limit_ms, static_cast<std::uint32_t>(pods.size() - 1));
        if (pods.size() >= kPodsInPart && !flush_pods()) return false;
      }
    }
    return pods.empty() || flush_pods();
  }

  const Cluster& cluster_;
  const Sink& sink_;
  Builder b_{64 * 1024};
};

void SnapshotCodec::encode(const Cluster& cluster, const Sink& sink) { Writer(cluster, sink).write(); }

std::string SnapshotCodec::encode(const Cluster& cluster) {
  std::string bytes;
  encode(cluster, [&](std::span<const std::byte> part) {
    bytes.append(reinterpret_cast<const char*>(part.data()), part.size());
    return true;
  });
  return bytes;
}

bool SnapshotCodec::read_part(std::span<const std::byte> part, Cluster& cluster, std::string& wrong) {
  const auto bad = [&](std::string what) {
    wrong = std::move(what);
    return false;
  };
  const convert::Aligned aligned(part);
  fb::Verifier verifier(aligned.data(), aligned.size(), 16, 1'000'000'000);
  if (!verifier.VerifyBuffer<journal::Snapshot>(nullptr)) return bad("its structure");
  const auto* table = fb::GetRoot<journal::Snapshot>(aligned.data());
  if (table->index() != 0) cluster.applied_index_ = table->index();
  if (table->at() != 0) cluster.applied_at_ = table->at();
  if (table->last_job_id() != 0) cluster.last_job_id_ = JobId{table->last_job_id()};
  if (table->last_node_id() != 0) cluster.last_node_id_ = NodeId{table->last_node_id()};
  const bool nodes = convert::each(table->nodes(), [&](const journal::Node& entry) {
    Node node;
    return decode_node(entry, node) && node.id <= cluster.last_node_id_ &&
           cluster.node_names_.emplace(node.info.name, node.id).second && cluster.nodes_.emplace(node.id, node).second;
  });
  if (!nodes) return bad("a node");
  const bool jobs = convert::each(table->jobs(), [&](const journal::Job& entry) {
    auto job = std::make_unique<Job>();
    if (!decode_job(entry, *job)) return false;
    count_states(*job);
    if (job->submit_key != 0 && !cluster.submit_keys_.emplace(job->submit_key, job->id).second) return false;
    if (job->ended_at != 0) {
      cluster.ended_jobs_.emplace(job->ended_at, job->id);
      cluster.ended_pods_ += job->spec.elements.size();
    }
    const JobId id = job->id;
    const std::size_t before = cluster.jobs_.size();
    cluster.jobs_.emplace_hint(cluster.jobs_.end(), id, std::move(job));
    return cluster.jobs_.size() == before + 1;
  });
  if (!jobs) return bad("a job");
  std::vector<PodId> pod_ids;
  const bool pods = convert::each(table->pods(),
                                  [&](const journal::LivePod& entry) {
                                    Pod pod;
                                    Job* job = cluster.job_to_change(JobId{entry.ref().job()});
                                    if (job == nullptr || !decode_pod(entry, pod)) return false;
                                    ++job->counts.by_state[static_cast<std::size_t>(pod.state)];
                                    cluster.node_pods_[pod.node].insert(pod.ref.pod);
                                    pod_ids.push_back(pod.ref.pod);
                                    return cluster.pods_.emplace(pod.ref.pod, pod).second;
                                  }) &&
                    convert::to_pins(table->pins(), pod_ids.size(), [&](std::uint32_t of, Pinning pinning) {
                      cluster.pinnings_[pod_ids[of]] = std::move(pinning);
                    });
  const bool addresses = convert::each(table->addresses(), [&](const journal::ReadyPod& entry) {
    if (entry.ref() == nullptr) return false;
    const PodRef ref = convert::to_pod_ref(*entry.ref());
    const Pod* pod = cluster.pod(ref.pod);
    cluster.addresses_[ref.pod] = convert::text(entry.address());
    return pod != nullptr && pod->ref == ref;
  });
  const bool limits = convert::each(table->limits(), [&](const journal::BindLimit& limit) {
    if (limit.bind() >= pod_ids.size()) return false;
    cluster.pods_[pod_ids[limit.bind()]].limit_ms = limit.limit_ms();
    return true;
  });
  if (!pods || !addresses || !limits) return bad("a running pod");
  if (table->last_service_id() != 0) cluster.last_service_id_ = ServiceId{table->last_service_id()};
  const bool services = convert::each(table->services(), [&](const journal::ServiceSet& entry) {
    Service service;
    if (!convert::to_service_set(entry, service) || service.id > cluster.last_service_id_) return false;
    const bool named = cluster.service_names_.emplace(std::pair{service.space, service.name}, service.id).second;
    const ServiceId id = service.id;
    return named && cluster.services_.emplace(id, std::move(service)).second;
  });
  if (!services) return bad("a service");
  const bool queues = convert::each(table->queues(), [&](const journal::QueueSet& entry) {
    Queue queue;
    if (!convert::to_queue(entry, queue)) return false;
    cluster.queues_[queue.name] = queue;
    return true;
  });
  if (!queues) return bad("a queue");
  convert::each(table->licences(), [&](const journal::LicenceSet& entry) {
    Licence licence{convert::text(entry.name()), entry.total()};
    cluster.licences_[licence.name] = licence;
    return true;
  });
  const bool accounts = convert::each(table->accounts(), [&](const berth::spec::Account& entry) {
    Account account;
    if (!convert::to_account(&entry, account)) return false;
    cluster.accounts_[account.name] = account;
    return true;
  });
  const bool members = convert::each(table->members(), [&](const berth::spec::Member& entry) {
    Member member;
    if (!convert::to_member(&entry, member)) return false;
    cluster.members_[{member.account, member.user}] = member;
    return true;
  });
  const bool qos = convert::each(table->qos(), [&](const berth::spec::Qos& entry) {
    Qos made;
    if (!convert::to_qos(&entry, made)) return false;
    cluster.qos_[made.name] = made;
    return true;
  });
  const bool usage = convert::each(table->usage(), [&](const journal::Usage& entry) {
    cluster.usage_[{convert::text(entry.account()), convert::text(entry.user())}] = {entry.cpu_seconds(), entry.at()};
    return convert::is_usage(entry);
  });
  if (!accounts || !members || !qos || !usage) return bad("an account");
  const bool tokens = convert::each(table->tokens(), [&](const journal::TokenAdded& entry) {
    Token token;
    if (!convert::to_token(entry, token)) return false;
    cluster.tokens_[token.id] = token;
    return true;
  });
  return tokens || bad("a token");
}

Result<Cluster> SnapshotCodec::decode(std::span<const std::byte> bytes) {
  const auto bad = [](std::string what) {
    return Error{ErrorCode::kInternal, "", "the snapshot is malformed: " + std::move(what), 0};
  };
  Cluster cluster;
  while (true) {
    PartHeader header;
    if (bytes.size() < sizeof(header)) return bad("it ends early");
    std::memcpy(&header, bytes.data(), sizeof(header));
    bytes = bytes.subspan(sizeof(header));
    if (header.zero != 0 || header.length > bytes.size() || header.length % 16 != 0) return bad("the length of a part");
    if (header.length == 0) break;
    std::string wrong;
    if (!read_part(bytes.first(header.length), cluster, wrong)) return bad(std::move(wrong));
    bytes = bytes.subspan(header.length);
  }
  if (!bytes.empty()) return bad("bytes behind its end");
  if (std::string wrong = check_invariants(cluster); !wrong.empty()) return bad(std::move(wrong));
  return cluster;
}

}  // namespace berth::state
