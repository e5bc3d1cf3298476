#include "tools/slurm/jobs.h"

#include <algorithm>
#include <map>

#include "state/units.h"
#include "tools/cli/text.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

std::uint32_t cpus_of(const Resources& resources) { return std::max(1U, (resources.cpu_milli + 999) / 1000); }

std::string Record::id() const {
  std::string text = std::to_string(job.id.value);
  if (folded) {
    return text + "_[" + job.waiting + (job.throttle != 0 ? "%" + std::to_string(job.throttle) : "") + "]";
  }
  return index && array() ? text + "_" + std::to_string(*index) : text;
}

std::string Record::exit_text() const {
  // A shell's 128 + N stands for the signal.
  const int code = signal != 0 || exit_code < 0 ? 0 : exit_code;
  if (exit_code < 0 && signal == 0 && is_final(state) && state == PodState::kFailed) return "1:0";
  return std::to_string(code) + ":" + std::to_string(signal);
}

std::string Record::reason() const {
  if (waits()) return std::string(name_of(job.wait_reason));
  switch (state) {
    case PodState::kFailed:
      return exit_code < 0 ? "JobLaunchFailure" : "NonZeroExitCode";
    case PodState::kOutOfMemory:
      return "OutOfMemory";
    case PodState::kTimedOut:
      return "TimeLimit";
    case PodState::kNodeLost:
      return "NodeDown";
    case PodState::kDeadline:
      return "DeadLine";
    default:
      return "None";
  }
}

std::string Record::qos() const { return job.qos.empty() ? "normal" : job.qos; }

std::int64_t Record::priority() const { return place.value_or(Place::kSite + Place::kPoint * job.priority); }

std::string Record::node_list() const { return hostlist(nodes); }

std::uint32_t Record::cpus() const { return pods() * cpus_of(job.resources); }

std::uint32_t Record::pods() const { return job.kind == JobKind::kGang ? job.pods : 1; }

std::uint32_t Record::node_count() const {
  if (!nodes.empty() || !detail || detail->spec.kind != JobKind::kGang) {
    return std::max<std::uint32_t>(1, static_cast<std::uint32_t>(nodes.size()));
  }
  const GangShape& shape = detail->spec.gang;
  const std::uint32_t each = std::max(shape.per_node, 1U);
  const std::uint32_t least = shape.per_node == 0 ? 1 : (detail->spec.elements.size() + each - 1) / each;
  return std::max(shape.nodes_min, least);
}

std::int64_t Record::elapsed_s(TimeUs now) const {
  if (started_at == 0) return 0;
  return std::max<std::int64_t>(0, ((ended_at != 0 ? ended_at : now) - started_at) / 1'000'000);
}

// ---- asking ---------------------------------------------------------------------------------------------------------

Result<std::vector<JobRow>> fetch_rows(ServerLink& link, const JobFilter& filter) {
  std::vector<JobRow> rows;
  ListJobsRequest request;
  request.filter = filter;
  request.limit = 10'000;
  while (true) {
    auto page = link.call_for<JobPage>(request);
    if (!page) return page.error();
    std::move(page->rows.begin(), page->rows.end(), std::back_inserter(rows));
    if (page->next == JobId{}) return rows;
    request.after = page->next;
  }
}

namespace {

// The elements of an array (the pods of a gang) that are in one of the states.
Result<std::vector<PodRow>> fetch_pods(ServerLink& link, JobId job, const std::vector<PodState>& states) {
  std::vector<PodRow> rows;
  ListPodsRequest request{job, states, 0, 10'000};
  while (true) {
    auto page = link.call_for<PodPage>(request);
    if (!page) return page.error();
    std::move(page->rows.begin(), page->rows.end(), std::back_inserter(rows));
    if (!page->more) return rows;
    request.from_element = page->next_element;
  }
}

Record whole(JobRow row) {
  Record record;
  record.state = row.summary;
  record.nodes = row.nodes;
  record.started_at = row.started_at;
  record.ended_at = row.ended_at;
  record.exit_code = row.exit_code;
  record.signal = row.signal;
  if (record.state == PodState::kPending) record.nodes.clear();
  record.message = row.reason;
  record.job = std::move(row);
  return record;
}

Record element(const JobRow& row, const PodRow& pod) {
  Record record;
  record.job = row;
  record.index = pod.index;
  record.state = pod.state;
  if (!pod.node.empty()) record.nodes = {pod.node};
  record.started_at = pod.started_at;
  record.ended_at = pod.ended_at;
  record.exit_code = pod.exit_code;
  record.signal = pod.signal;
  record.mem_peak_mib = pod.mem_peak_mib;
  record.restarts = pod.attempt - std::min(pod.attempt, 1U);
  record.message = pod.message;
  if (pod.wait_reason != WaitReason::kNone) record.job.wait_reason = pod.wait_reason;
  if (pod.time_limit_ms != 0) record.job.time_limit_ms = pod.time_limit_ms;
  return record;
}

bool wanted(const Want& want, PodState state) {
  return want.states.empty() || std::find(want.states.begin(), want.states.end(), state) != want.states.end();
}

bool wanted(const Want& want, const Record& record) {
  if (!wanted(want, record.state)) return false;
  if (want.only.empty()) return true;
  return std::any_of(want.only.begin(), want.only.end(), [&](const auto& one) {
    return one.first == record.job.id && (!one.second || !record.index || *one.second == *record.index);
  });
}

Status add_array(ServerLink& link, const Want& want, const JobRow& row, std::vector<Record>& out) {
  std::vector<PodState> states;
  for (std::size_t i = 0; i < kPodStates; ++i) {
    const auto state = static_cast<PodState>(i);
    const bool one_by_one = state != PodState::kPending || want.each_element || !want.only.empty();
    if (row.counts.of(state) != 0 && one_by_one && wanted(want, state)) states.push_back(state);
  }
  // An element that is named is looked for by itself, whatever waits around it.
  const bool named = std::any_of(want.only.begin(), want.only.end(),
                                 [&](const auto& one) { return one.first == row.id && one.second; });
  if (!named) std::erase_if(states, [&](PodState s) { return s == PodState::kPending && !want.each_element; });
  if (row.counts.of(PodState::kPending) != 0 && !want.each_element && !named && wanted(want, PodState::kPending)) {
    Record record = whole(row);
    record.folded = true;
    record.state = PodState::kPending;
    record.nodes.clear();
    record.started_at = record.ended_at = 0;
    if (wanted(want, record)) out.push_back(std::move(record));
  }
  if (states.empty()) return Unit{};
  auto pods = fetch_pods(link, row.id, states);
  if (!pods) return pods.error();
  for (const PodRow& pod : *pods) {
    Record record = element(row, pod);
    if (wanted(want, record)) out.push_back(std::move(record));
  }
  return Unit{};
}

}  // namespace

Result<std::vector<Record>> fetch_records(ServerLink& link, const Want& want) {
  auto rows = fetch_rows(link, want.filter);
  if (!rows) return rows.error();
  std::vector<Record> records;
  for (JobRow& row : *rows) {
    if (row.kind == JobKind::kArray) {
      if (Status good = add_array(link, want, row, records); !good) return good.error();
      continue;
    }
    Record record = whole(std::move(row));
    if (wanted(want, record)) records.push_back(std::move(record));
  }
  return records;
}

namespace {

// The elements of an array that has ended; none where there were too many to be kept.
Result<std::vector<Record>> past_elements(ServerLink& link, const HistoryRow& row) {
  std::vector<Record> records;
  HistoryPodsRequest request{row.job.id, 0, kHistoryPodsMax};
  while (true) {
    auto page = link.call_for<PodPage>(request);
    if (!page) return page.error();
    for (const PodRow& pod : page->rows) records.push_back(element(row.job, pod));
    if (!page->more) return records;
    request.from_element = page->next_element;
  }
}

}  // namespace

Result<std::vector<Record>> fetch_past(ServerLink& link, const HistoryFilter& filter, const Want& want) {
  std::vector<Record> records;
  HistoryRequest request{filter, {}, 1000};
  do {
    auto page = link.call_for<HistoryPage>(request);
    if (!page && page.error().code == ErrorCode::kConflict) return records;  // it keeps none
    if (!page) return page.error();
    for (HistoryRow& row : page->rows) {
      std::vector<Record> of_job;
      if (row.job.kind == JobKind::kArray) {
        auto elements = past_elements(link, row);
        if (!elements) return elements.error();
        of_job = std::move(*elements);
      }
      if (of_job.empty()) {
        of_job.push_back(whole(std::move(row.job)));
        of_job.back().mem_peak_mib = row.mem_peak_mib;
      }
      for (Record& record : of_job) {
        record.past = true;
        if (wanted(want, record)) records.push_back(std::move(record));
      }
    }
    request.after = page->next;
  } while (request.after.job);
  return records;
}

Result<std::vector<NodeRow>> fetch_nodes(ServerLink& link) {
  std::vector<NodeRow> rows;
  ListNodesRequest request{NodeId{}, 10'000};
  while (true) {
    auto page = link.call_for<NodePage>(request);
    if (!page) return page.error();
    std::move(page->rows.begin(), page->rows.end(), std::back_inserter(rows));
    if (page->next == NodeId{}) break;
    request.after = page->next;
  }
  std::sort(rows.begin(), rows.end(), [](const NodeRow& a, const NodeRow& b) { return a.info.name < b.info.name; });
  return rows;
}

Result<std::vector<Queue>> fetch_queues(ServerLink& link) {
  auto page = link.call_for<QueuePage>(ListQueuesRequest{});
  if (!page) return page.error();
  return page->queues;
}

Result<std::vector<PriorityRow>> fetch_priorities(ServerLink& link, const std::vector<JobId>& jobs) {
  std::vector<PriorityRow> rows;
  PriorityRequest request;
  request.limit = 10'000;
  if (jobs.empty()) {
    while (true) {
      auto page = link.call_for<PriorityPage>(request);
      if (!page) return page.error();
      std::move(page->rows.begin(), page->rows.end(), std::back_inserter(rows));
      if (page->next == JobId{}) return rows;
      request.after = page->next;
    }
  }
  // One by one: a job that is not known is just absent.
  for (const JobId job : jobs) {
    request.jobs = {job};
    auto page = link.call_for<PriorityPage>(request);
    if (!page && page.error().code == ErrorCode::kNotFound) continue;
    if (!page) return page.error();
    std::move(page->rows.begin(), page->rows.end(), std::back_inserter(rows));
  }
  return rows;
}

Place::Place(const PriorityRow& row)
    : age(row.waited_ms / 1000),
      fair_share(row.head_start_ms / 1000),
      size(-row.delay_ms / 1000),
      queue(kPoint * row.of_queue),
      qos(kPoint * row.of_qos),
      own(kPoint * row.own) {}

Status add_places(ServerLink& link, std::vector<Record>& records) {
  constexpr std::size_t kOneByOne = 16;
  std::vector<JobId> jobs;
  for (const Record& record : records) {
    if (record.waits() && (jobs.empty() || jobs.back() != record.job.id)) jobs.push_back(record.job.id);
  }
  if (jobs.empty()) return Unit{};
  auto rows = fetch_priorities(link, jobs.size() > kOneByOne ? std::vector<JobId>{} : jobs);
  if (!rows) return rows.error();
  std::map<JobId, std::int64_t> places;
  for (const PriorityRow& row : *rows) {
    if (row.waits) places[row.job] = Place(row).sum();
  }
  for (Record& record : records) {
    if (!record.waits()) continue;
    if (const auto place = places.find(record.job.id); place != places.end()) {
      record.place = place->second;
    } else if (record.job.wait_reason == WaitReason::kHeldUser || record.job.wait_reason == WaitReason::kHeldAdmin) {
      record.place = 0;  // as Slurm's held jobs
    }
  }
  return Unit{};
}

Status add_details(ServerLink& link, std::vector<Record>& records, bool all) {
  constexpr std::size_t kAskedMax = 200;  // each is a question of its own
  std::map<JobId, std::shared_ptr<const JobDetail>> known;
  for (Record& record : records) {
    if (!all && (!record.waits() || record.job.kind != JobKind::kGang)) continue;
    if (!all && known.size() >= kAskedMax) break;
    auto found = known.find(record.job.id);
    if (found == known.end()) {
      auto detail = link.call_for<JobDetail>(ShowJobRequest{record.job.id});
      if (!detail && detail.error().code != ErrorCode::kNotFound) return detail.error();
      auto kept =
          detail ? std::make_shared<const JobDetail>(std::move(*detail)) : nullptr;  // null: forgotten meanwhile
      found = known.emplace(record.job.id, std::move(kept)).first;
    }
    record.detail = found->second;
  }
  return Unit{};
}

Where split_where(std::string where) {
  Where out;
  constexpr std::string_view kAnd = ")&(";
  while (true) {
    // The last part: all of it, or "(rest)&(node in (names))".
    const std::size_t at = where.rfind(")&(node ");
    const bool joined = at != std::string::npos && where.starts_with('(') && where.ends_with("))");
    std::string part = joined ? where.substr(at + kAnd.size(), where.size() - at - kAnd.size() - 1) : where;
    std::string* to = nullptr;
    for (const auto& [head, list] : {std::pair{std::string_view("node in ("), &out.nodes},
                                     std::pair{std::string_view("node notin ("), &out.without}}) {
      if (!part.starts_with(head) || part.find(')') != part.size() - 1) continue;
      part = part.substr(head.size(), part.size() - head.size() - 1);
      to = list;
    }
    if (to == nullptr || !to->empty()) break;
    *to = part;
    where = joined ? where.substr(1, at - 1) : "";
    if (!joined) break;
  }
  out.features = where;
  return out;
}

void want_only(Want& want, const std::vector<JobWord>& words) {
  for (const JobWord& word : words) {
    want.filter.jobs.push_back(word.job);
    if (!word.indexes) want.only.emplace_back(word.job, std::nullopt);
    for (std::uint32_t i = 0; word.indexes && i < word.indexes->size(); ++i) {
      want.only.emplace_back(word.job, word.indexes->at(i));
    }
  }
}

bool is_forgotten(const JobRow& job, TimeUs now) {
  return job.counts.active() == 0 && job.ended_at != 0 && now - job.ended_at > kMinJobAgeS * 1'000'000;
}

// ---- words ----------------------------------------------------------------------------------------------------------

Result<JobWord> parse_job_word(std::string_view text) {
  const Error wrong{ErrorCode::kInvalid, "", "Invalid job id " + std::string(text), 0};
  const std::string_view head = text.substr(0, text.find('.'));
  const std::size_t line = head.find('_');
  const auto id = parse_integer(head.substr(0, line), "job", 1, std::int64_t{1} << 62);
  if (!id) return wrong;
  JobWord word{JobId{static_cast<std::uint64_t>(*id)}, std::nullopt, ""};
  if (head.size() < text.size()) word.step = text.substr(head.size() + 1);
  if (line == std::string_view::npos) return word;
  std::string_view rest = head.substr(line + 1);
  if (rest.starts_with('[') && rest.ends_with(']')) rest = rest.substr(1, rest.size() - 2);
  rest = rest.substr(0, rest.find('%'));
  auto indexes = IndexSet::parse(rest, "job");
  if (!indexes) return wrong;
  word.indexes = std::move(*indexes);
  return word;
}

Result<std::vector<JobWord>> parse_job_words(const std::vector<std::string>& texts) {
  std::vector<JobWord> words;
  for (const std::string& text : texts) {
    // Commas inside of brackets belong to the indexes.
    std::string part;
    int depth = 0;
    for (std::size_t i = 0; i <= text.size(); ++i) {
      const char c = i < text.size() ? text[i] : ',';
      depth += c == '[' ? 1 : c == ']' ? -1 : 0;
      if (c != ',' || depth > 0) {
        part += c;
        continue;
      }
      if (part.empty()) continue;
      auto word = parse_job_word(part);
      if (!word) return word.error();
      words.push_back(std::move(*word));
      part.clear();
    }
  }
  return words;
}

Result<JobId> find_step(ServerLink& link, JobId job, const std::string& step) {
  const auto number = parse_integer(step, "step", 0, std::int64_t{1} << 31);
  if (!number) return JobId{};
  JobFilter filter;
  filter.steps_of = job;
  auto rows = fetch_rows(link, filter);
  if (!rows) return rows.error();
  for (const JobRow& row : *rows) {
    if (row.step == static_cast<std::uint32_t>(*number)) return row.id;
  }
  return JobId{};
}

std::string slurm_error(const Error& error) {
  if (ServerLink::is_lost(error)) return "Unable to contact slurm controller (connect failure)";
  switch (error.code) {
    case ErrorCode::kNotFound:
      if (error.field == "job") return "Invalid job id specified";
      if (error.field == "queue") return "Invalid partition name specified";
      if (error.field == "qos") return "Invalid qos specification";
      if (error.field.starts_with("licen")) return "Invalid license specification";
      if (error.field == "account") return "Invalid account or account/partition combination specified";
      break;
    case ErrorCode::kDenied:
      if (error.field == "qos" || error.field == "account") {
        if (error.message.find(" may have at most ") != std::string::npos) {
          return "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)";
        }
        return error.field == "qos" ? "Invalid qos specification"
                                    : "Invalid account or account/partition combination specified";
      }
      return "Access/permission denied";
    case ErrorCode::kUnavailable:
      return "Socket timed out on send/recv operation";
    case ErrorCode::kConflict:
      if (error.field == "job") return "Job/step already completing or completed";
      break;
    default:
      if (error.field == "resources" || error.field == "nodes" || error.field == "gang") {
        return "Requested node configuration is not available";
      }
      if (error.field == "time-min") return "Invalid time-min specification (exceeds job's time or other limits)";
      if (error.field == "time" || error.field == "deadline")
        return "Requested time limit is invalid (missing or exceeds some limit)";
      if (error.field == "depends") return "Job dependency problem";
      break;
  }
  return error.message;
}

}  // namespace berth::tools::slurm
