#include "tools/slurm/submit.h"

#include <algorithm>
#include <cerrno>
#include <pwd.h>
#include <random>
#include <set>
#include <unistd.h>
#include <utility>

#include "state/requests.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/job_options.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

constexpr const char* kNoNode = "Invalid node name specified";
constexpr const char* kNoFeature = "Invalid feature specification";

// Why no node will do, in the words that Slurm has for it.
std::string what_is_missing(ServerLink& link, const JobSpec& spec, const std::string& otherwise) {
  const auto nodes = fetch_nodes(link);
  if (!nodes) return otherwise;
  std::uint64_t cpu_milli = 0;
  std::set<std::string> names, features;
  for (const NodeRow& node : *nodes) {
    cpu_milli += node.info.capacity.cpu_milli;
    names.insert(node.info.name);
    features.insert(node.info.features.begin(), node.info.features.end());
  }
  const Where where = split_where(spec.request.where);
  for (const std::string& list : {where.nodes, where.without}) {
    const auto asked = expand_hostlist(list);
    if (!asked) continue;
    for (const std::string& name : *asked) {
      if (!name.empty() && !names.contains(name)) return kNoNode;
    }
  }
  const bool one_feature = where.features.find_first_of("&|()!*, <>") == std::string::npos;
  if (!where.features.empty() && one_feature && !features.contains(where.features)) return kNoFeature;
  const std::uint64_t asked =
      std::uint64_t{spec.request.resources.cpu_milli} * (spec.kind == JobKind::kGang ? spec.elements.size() : 1);
  return asked > cpu_milli ? "More processors requested than permitted" : otherwise;
}

}  // namespace

Result<JobId> submit(ServerLink& link, JobSpec spec, bool dry_run, std::int64_t patience_ms) {
  SubmitRequest request;
  request.dry_run = dry_run;
  if (!dry_run) {
    std::random_device random;
    request.submit_key = (std::uint64_t{random()} << 32 | random()) | 1;
  }
  request.jobs.push_back(std::move(spec));
  // Who is not to be there has to exist; who is to be, the server looks for.
  if (const std::string without = split_where(request.jobs[0].request.where).without; !without.empty()) {
    if (what_is_missing(link, request.jobs[0], "") == kNoNode) return Error{ErrorCode::kInvalid, "", kNoNode, 0};
  }
  auto done = link.call_patiently_for<SubmitReply>(request, patience_ms);
  if (done) return dry_run ? JobId{} : done->jobs.at(0);
  Error error = done.error();
  std::string known = slurm_error(error);
  if (known != error.message && !ServerLink::is_lost(error)) {
    if (error.field == "resources" || error.field == "nodes" || error.field == "gang") {
      known = what_is_missing(link, request.jobs[0], known);
    }
    // Why, in a line of its own, where Slurm's words do not say it: what follows is as programs look for it.
    const bool queue = error.code == ErrorCode::kNotFound && error.field == "queue";
    if (queue) {
      fail(program_invocation_short_name, "invalid partition specified: " + request.jobs[0].queue);
    } else if (known != kNoNode && known != kNoFeature) {
      fail(program_invocation_short_name, error.message);
    }
  }
  error.message = known;
  return error;
}

void add_default_account(ServerLink& link, const JobSpec& spec, std::vector<std::string>& environment) {
  if (!spec.account.empty()) return;
  const auto page = link.call_for<AccountPage>(ListAccountsRequest{});
  if (!page) return;  // what is wrong with the server, the submission will tell
  const passwd* me = getpwuid(geteuid());
  for (const ShareRow& row : page->rows) {
    if (me == nullptr || !row.is_default || row.user != me->pw_name) continue;
    set_variable(environment, "SLURM_JOB_ACCOUNT", row.account.name);
    std::sort(environment.begin(), environment.end());
    return;
  }
}

}  // namespace berth::tools::slurm
