// The parser of job files on any bytes: jobs that can be built or are refused, or one clear line that names the file.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tools/cli/job_draft.h"
#include "tools/cli/job_file.h"

namespace {

using namespace berth;

void check_line(const std::string& message) {
  if (message.empty() || message.size() > 2000) std::abort();
  for (const char c : message) {
    if (static_cast<unsigned char>(c) < 0x20) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto jobs = tools::parse_job_file({reinterpret_cast<const char*>(data), size}, "file");
  if (!jobs) {
    if (!jobs.error().message.starts_with("file:")) std::abort();
    check_line(jobs.error().message);
    return 0;
  }
  if (jobs->empty()) std::abort();
  const tools::Surroundings surroundings{{"HOME=/home/ana"}, "/home/ana", 022};
  for (const tools::JobInFile& job : *jobs) {
    const auto spec = tools::build_job(job.draft, surroundings);
    // What was built must be what the server takes apart again.
    if (spec && (spec->launch.empty() || spec->launch.size() > state::kMaxLaunchBytes)) std::abort();
    if (!spec && spec.error().message.empty()) std::abort();
  }
  return 0;
}
