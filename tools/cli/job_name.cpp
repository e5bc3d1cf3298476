#include "tools/cli/job_name.h"

#include <charconv>

#include "tools/cli/text.h"

namespace berth::tools {

namespace {

using namespace state;

Error not_a_name(std::string_view text, const char* what, const char* accepted) {
  return invalid("", "'" + printable(clip(text, 64)) + "' is not " + what + "; accepted: " + accepted);
}

bool take_id(std::string_view& text, JobId& id) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id.value);
  if (error != std::errc{} || !id) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

}  // namespace

Result<JobName> parse_job_name(std::string_view text) {
  const Error bad = not_a_name(text, "a job", "a job's id, as in 12, or some of its pods, as in 12.7 or 12[1-5,9]");
  JobName name;
  std::string_view rest = text;
  if (!take_id(rest, name.job)) return bad;
  if (rest.empty()) return name;
  if (rest.front() == '.') {
    rest.remove_prefix(1);
  } else if (rest.front() == '[' && rest.back() == ']') {
    rest = rest.substr(1, rest.size() - 2);
  } else {
    return bad;
  }
  auto indexes = IndexSet::parse(rest, "");
  if (!indexes) return bad;
  name.indexes = std::move(*indexes);
  return name;
}

Result<JobId> parse_job_id(std::string_view text) {
  std::string_view rest = text;
  JobId id;
  if (!take_id(rest, id) || !rest.empty()) return not_a_name(text, "a job", "a job's id, a whole number from 1");
  return id;
}

Result<PodName> parse_pod_name(std::string_view text) {
  auto name = parse_job_name(text);
  const bool good = name && (!name->indexes || name->indexes->size() == 1);
  if (!good) return not_a_name(text, "a pod", "a job's id, as in 12, or one of its pods, as in 12.7 or 12[7]");
  PodName pod{name->job, std::nullopt};
  if (name->indexes) pod.index = name->indexes->at(0);
  return pod;
}

Result<std::vector<JobId>> parse_job_ids(const std::vector<std::string>& texts) {
  std::vector<JobId> ids;
  for (const std::string& text : texts) {
    auto id = parse_job_id(text);
    if (!id) return id.error();
    ids.push_back(*id);
  }
  return ids;
}

}  // namespace berth::tools
