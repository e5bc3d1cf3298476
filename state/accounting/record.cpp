#include "state/accounting/record.h"

#include <algorithm>
#include <map>

namespace berth::accounting {

using namespace state;

namespace {

// Sums run times by the hour. What a pod has whole hours of is noted at their two ends, so that a pod costs the same
// however long it ran.
class Hours {
 public:
  void add(TimeUs from, TimeUs to) {
    const std::int64_t first = from / kHourUs;
    const std::int64_t last = to / kHourUs;
    if (first == last) {
      part(first) += to - from;
      return;
    }
    part(first) += (first + 1) * kHourUs - from;
    part(last) += to - last * kHourUs;
    if (last - first > 1) {
      ++change_[first + 1];
      --change_[last];
    }
  }
  // use(hour, microseconds), ascending.
  template <class Use>
  void each(Use&& use) {
    std::int64_t whole = 0;
    for (auto change = change_.begin(); change != change_.end(); ++change) {
      whole += change->second;
      const auto next = std::next(change);
      for (std::int64_t hour = change->first; next != change_.end() && hour < next->first; ++hour) {
        part(hour) += whole * kHourUs;
      }
    }
    for (const auto& [hour, us] : parts_) {
      if (us != 0) use(hour, us);
    }
  }

 private:
  std::int64_t& part(std::int64_t hour) {
    if (last_ == nullptr || last_hour_ != hour) {
      last_ = &parts_[hour];
      last_hour_ = hour;
    }
    return *last_;
  }
  std::map<std::int64_t, std::int64_t> parts_, change_;
  std::int64_t* last_ = nullptr;
  std::int64_t last_hour_ = 0;
};

// `milli` thousandths for `us`: in milliseconds of a whole one.
std::uint64_t product_ms(std::int64_t us, std::uint64_t milli) {
  return static_cast<std::uint64_t>(static_cast<double>(us) * static_cast<double>(milli) / 1e6);
}

class NodeNames {
 public:
  NodeNames(const Cluster& cluster, std::vector<std::string>& names) : cluster_(cluster), names_(names) {}
  void add(NodeId id) {
    if (names_.size() == kRowNodesMax || id == last_ || id == NodeId{}) return;
    last_ = id;
    if (std::find(seen_.begin(), seen_.end(), id) != seen_.end()) return;
    seen_.push_back(id);
    const Node* node = cluster_.node(id);
    if (node != nullptr) names_.push_back(node->info.name);
  }

 private:
  const Cluster& cluster_;
  std::vector<std::string>& names_;
  std::vector<NodeId> seen_;
  NodeId last_;
};

PodRow pod_row(const Cluster& cluster, const Job& job, std::uint32_t element, const PodOutcome* outcome) {
  PodRow pod;
  pod.element = element;
  pod.index = job.spec.elements.at(element);
  pod.state = outcome == nullptr ? cluster.pod_state(job, element) : outcome->state;
  if (outcome == nullptr) return pod;
  const Node* node = cluster.node(outcome->node);
  if (node != nullptr) pod.node = node->info.name;
  pod.attempt = outcome->attempt;
  pod.exit_code = outcome->exit_code;
  pod.signal = outcome->signal;
  pod.mem_peak_mib = outcome->mem_peak_mib;
  pod.started_at = outcome->started_at;
  pod.ended_at = outcome->ended_at;
  if (outcome->message < job.messages.size()) pod.message = job.messages[outcome->message];
  return pod;
}

void add_pods(const Cluster& cluster, const Job& job, std::vector<PodRow>& pods) {
  const std::uint32_t size = job.spec.elements.size();
  if (size < 2 || size > kHistoryPodsMax) return;
  pods.reserve(size);
  for (std::uint32_t e = 0; e < size; ++e) pods.push_back(pod_row(cluster, job, e, job.outcomes.find(e)));
}

JobRow job_row(const Job& job) {
  JobRow row;
  row.id = job.id;
  row.name = job.spec.name;
  row.user = job.owner.user;
  row.queue = job.spec.queue;
  row.kind = job.spec.kind;
  row.summary = summary_of(job.counts);
  row.counts = job.counts;
  row.resources = job.spec.request.resources;
  row.priority = job.spec.priority;
  row.submitted_at = job.submitted_at;
  row.started_at = job.first_started_at;
  row.ended_at = job.ended_at;
  if (job.messages.size() > 1) row.reason = job.messages[1];
  row.time_limit_ms = job.spec.time_limit_ms;
  row.uid = job.owner.uid;
  row.gid = job.owner.gid;
  row.pods = job.spec.elements.size();
  row.account = job.spec.account;
  row.qos = job.spec.qos;
  row.comment = job.spec.comment;
  row.step_of = job.spec.step_of;
  row.step = job.spec.step.number;
  return row;
}

}  // namespace

JobRecord record_of(const Cluster& cluster, const Job& job) {
  JobRecord record;
  HistoryRow& row = record.row;
  row.job = job_row(job);
  NodeNames nodes(cluster, row.job.nodes);
  Hours hours;
  bool told = false;
  job.outcomes.each(0, [&](std::uint32_t, const PodOutcome& outcome) {
    nodes.add(outcome.node);
    row.mem_peak_mib = std::max(row.mem_peak_mib, outcome.mem_peak_mib);
    row.attempts = std::max<std::uint32_t>(row.attempts, outcome.attempt);
    if (outcome.started_at > 0 && outcome.ended_at > outcome.started_at) {
      hours.add(outcome.started_at, outcome.ended_at);
    }
    if (!told && outcome.state == row.job.summary) {
      told = true;
      row.job.exit_code = outcome.exit_code;
      row.job.signal = outcome.signal;
    }
    return true;
  });
  const Request& request = job.spec.request;
  const std::uint64_t gpu_milli =
      request.gpu_share_milli != 0 ? request.gpu_share_milli : std::uint64_t{request.resources.gpus} * 1000;
  hours.each([&](std::int64_t hour, std::int64_t us) {
    const HourUse use{hour, product_ms(us, request.resources.cpu_milli), product_ms(us, gpu_milli)};
    row.cpu_ms += use.cpu_ms;
    row.gpu_ms += use.gpu_ms;
    if (!job.spec.is_step()) record.hours.push_back(use);
  });
  add_pods(cluster, job, record.pods);
  return record;
}

PodRow only_pod(const HistoryRow& row) {
  PodRow pod;
  pod.state = row.job.summary;
  pod.attempt = row.attempts;
  if (!row.job.nodes.empty()) pod.node = row.job.nodes.front();
  pod.exit_code = row.job.exit_code;
  pod.signal = row.job.signal;
  pod.mem_peak_mib = row.mem_peak_mib;
  pod.started_at = row.job.started_at;
  pod.ended_at = row.job.started_at == 0 ? 0 : row.job.ended_at;
  pod.message = row.job.reason;
  return pod;
}

std::size_t bytes_of(const Ended& unit) {
  constexpr std::size_t kStrings = 200;
  std::size_t bytes = sizeof(Ended);
  for (const JobRecord& job : unit.jobs) {
    bytes += sizeof(JobRecord) + kStrings + job.row.job.comment.size() + job.row.job.nodes.size() * 48 +
             job.pods.size() * (sizeof(PodRow) + 16) + job.hours.size() * sizeof(HourUse);
  }
  return bytes;
}

// ---- as bytes -------------------------------------------------------------------------------------------------------
//
// One list of fields for both directions. What a later version adds it adds at the end of a list, under `if
// (f.version() >= N)`, so that what an earlier one left in the spool can be read.

namespace {

constexpr std::uint8_t kFormat = 1;

class Writer {
 public:
  std::uint8_t version() const { return kFormat; }
  void number(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
    out.push_back(static_cast<char>(value));
  }
  template <class T>
  void operator()(T& value) {
    number(static_cast<std::uint64_t>(value));
  }
  void operator()(std::string& text) {
    number(text.size());
    out += text;
  }
  template <class T, class Each>
  void list(std::vector<T>& items, Each&& each) {
    number(items.size());
    for (T& item : items) each(item);
  }
  std::string out;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {
    operator()(version_);
    good_ = good_ && version_ >= 1 && version_ <= kFormat;
  }
  std::uint8_t version() const { return version_; }
  bool good() const { return good_; }
  bool done() const { return bytes_.empty(); }
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (bytes_.empty()) break;
      const auto byte = static_cast<std::uint8_t>(bytes_.front());
      bytes_.remove_prefix(1);
      value |= std::uint64_t{byte & 0x7FU} << shift;
      if ((byte & 0x80) == 0) return value;
    }
    good_ = false;
    return 0;
  }
  template <class T>
  void operator()(T& value) {
    value = static_cast<T>(number());
  }
  void operator()(std::string& text) {
    const std::uint64_t size = number();
    if (size > bytes_.size()) good_ = false;
    if (!good_) return;
    text.assign(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
  }
  template <class T, class Each>
  void list(std::vector<T>& items, Each&& each) {
    const std::uint64_t size = number();
    if (size > bytes_.size()) good_ = false;  // an item takes a byte at least
    for (std::uint64_t i = 0; good_ && i < size; ++i) each(items.emplace_back());
  }

 private:
  std::string_view bytes_;
  std::uint8_t version_ = 0;
  bool good_ = true;
};

template <class F>
void fields(F& f, PodRow& pod) {
  f(pod.element), f(pod.index), f(pod.state), f(pod.attempt), f(pod.node), f(pod.exit_code), f(pod.signal);
  f(pod.mem_peak_mib), f(pod.started_at), f(pod.ended_at), f(pod.message);
}

template <class F>
void fields(F& f, JobRow& row) {
  f(row.id.value), f(row.name), f(row.user), f(row.queue), f(row.kind), f(row.summary);
  for (std::uint32_t& count : row.counts.by_state) f(count);
  f(row.resources.cpu_milli), f(row.resources.mem_mib), f(row.resources.gpus);
  f(row.priority), f(row.submitted_at), f(row.started_at), f(row.ended_at), f(row.reason), f(row.time_limit_ms);
  f(row.uid), f(row.gid), f(row.pods), f(row.account), f(row.comment), f(row.qos);
  f.list(row.nodes, [&](std::string& node) { f(node); });
  f(row.exit_code), f(row.signal), f(row.step_of.value), f(row.step);
}

template <class F>
void fields(F& f, Ended& unit) {
  f(unit.index), f(unit.at);
  f.list(unit.jobs, [&](JobRecord& job) {
    fields(f, job.row.job);
    f(job.row.cpu_ms), f(job.row.gpu_ms), f(job.row.mem_peak_mib), f(job.row.attempts);
    f.list(job.pods, [&](PodRow& pod) { fields(f, pod); });
    f.list(job.hours, [&](HourUse& use) { f(use.hour), f(use.cpu_ms), f(use.gpu_ms); });
  });
}

bool in_range(const Ended& unit) {
  const auto known = [](PodState state) { return static_cast<std::size_t>(state) < kPodStates; };
  return std::all_of(unit.jobs.begin(), unit.jobs.end(), [&](const JobRecord& job) {
    return known(job.row.job.summary) && job.row.job.kind <= JobKind::kGang &&
           std::all_of(job.pods.begin(), job.pods.end(), [&](const PodRow& pod) { return known(pod.state); });
  });
}

}  // namespace

std::string encode_ended(Ended unit) {
  Writer writer;
  writer.number(kFormat);
  fields(writer, unit);
  return std::move(writer.out);
}

Result<Ended> decode_ended(std::string_view bytes) {
  Reader reader(bytes);
  Ended unit;
  if (reader.good()) fields(reader, unit);
  if (!reader.good() || !reader.done() || !in_range(unit)) {
    return Error{ErrorCode::kInternal, "", "what waits to be written is damaged, or of a later version", 0};
  }
  return unit;
}

}  // namespace berth::accounting
