#include "tools/slurm/submit.h"

#include <random>

#include "state/requests.h"
#include "tools/slurm/jobs.h"

namespace berth::tools::slurm {

using namespace state;

Result<JobId> submit(ServerLink& link, JobSpec spec, bool dry_run, std::int64_t patience_ms) {
  SubmitRequest request;
  request.dry_run = dry_run;
  if (!dry_run) {
    std::random_device random;
    request.submit_key = (std::uint64_t{random()} << 32 | random()) | 1;
  }
  request.jobs.push_back(std::move(spec));
  auto done = link.call_patiently_for<SubmitReply>(request, patience_ms);
  if (done) return dry_run ? JobId{} : done->jobs.at(0);
  Error error = done.error();
  const std::string known = slurm_error(error);
  const bool more = known != error.message && !ServerLink::is_lost(error);
  error.message = more ? known + " (" + error.message + ")" : known;
  return error;
}

}  // namespace berth::tools::slurm
