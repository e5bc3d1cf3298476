// sbatch: a script to run later.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "state/units.h"
#include "tools/cli/output.h"
#include "tools/cli/text.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/job_options.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/script.h"
#include "tools/slurm/submit.h"
#include "tools/slurm/variables.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

constexpr std::size_t kScriptMax = 900 * 1024;  // with the environment, within what a job may take

Result<std::string> read_all(int fd, const std::string& name) {
  std::string text;
  std::array<char, 65536> piece{};
  while (true) {
    const ssize_t got = ::read(fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0)
      return Error{ErrorCode::kInvalid, "", fmt::format("Unable to read {}: {}", name, std::strerror(errno)), 0};
    if (got == 0) return text;
    text.append(piece.data(), static_cast<std::size_t>(got));
    if (text.size() > kScriptMax) {
      return Error{ErrorCode::kInvalid, "", fmt::format("{}: a script may have at most 900 KiB", name), 0};
    }
  }
}

std::string base_name(const std::string& path) { return path.substr(path.find_last_of('/') + 1); }

int wait_for(ServerLink& link, JobId job) {
  // Its end is told; what it was is asked for, so that a restart of the server on the way loses nothing.
  while (true) {
    auto detail = link.call_patiently_for<JobDetail>(ShowJobRequest{job});
    if (!detail) return fail("sbatch", slurm_error(detail.error()));
    const JobRow& row = detail->row;
    if (row.counts.active() == 0) {
      if (row.summary == PodState::kSucceeded) return 0;
      return row.exit_code > 0 && row.signal == 0 ? row.exit_code : 1;
    }
    sleep_ms(200);
  }
}

}  // namespace

int sbatch(const Context& context, const Words& words) {
  const CommandTable& table = table_of("sbatch");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  Given given = std::move(*parsed);
  if (const auto code = answer_about_itself(table, given)) return *code;
  if (Status good = fill_from_environment(table, Reader::kSbatch, given); !good) {
    return fail("sbatch", good.error().message);
  }

  std::string script, name = "sbatch";
  Words arguments = given.words;
  if (given.has("wrap")) {
    if (!given.words.empty()) return fail("sbatch", "Script arguments not permitted with --wrap option");
    script = "#!/bin/sh\n# This script was created by sbatch --wrap.\n\n" + given.text("wrap") + "\n";
    name = "wrap";
  } else {
    const bool file = !arguments.empty();
    const std::string path = file ? arguments.front() : "stdin";
    int fd = STDIN_FILENO;
    if (file) fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail("sbatch", fmt::format("Unable to open file {}", path));
    auto text = read_all(fd, path);
    if (file) ::close(fd);
    if (!text) return fail("sbatch", text.error().message);
    script = std::move(*text);
    if (file) name = base_name(path);
    if (name == "stdin") name = "sbatch";
    if (Status good = check_script(script); !good) return fail("sbatch", good.error().message);
  }
  auto inside = script_options(table, script, !given.has("ignore-pbs"));
  if (!inside) return fail_parse(table, inside.error());
  given.fill_from(*inside);
  if (given.has("verbose")) tell_ignored(table, given);

  auto made = make_job(given, name, JobUse::kBatch);
  if (!made) return fail_job("sbatch", made.error(), "Batch job submission failed: ");
  Launch& launch = made->launch;
  launch.argv = {name};
  launch.argv.insert(launch.argv.end(), arguments.empty() ? arguments.end() : arguments.begin() + 1, arguments.end());
  launch.script = std::move(script);
  JobSpec& spec = made->spec;
  ServerLink link(context);
  add_default_account(link, spec, launch.env);
  spec.launch = encode_launch(launch);
  const bool dry = given.has("test-only");
  auto done = submit(link, spec, dry, given.has("wait") ? ServerLink::kPatienceMs : 5'000);
  if (!done) {
    return fail("sbatch", (dry ? "allocation failure: " : "Batch job submission failed: ") + done.error().message);
  }
  if (dry) {
    fmt::print(stderr, "sbatch: Job could be run in partition {} (it was not submitted)\n", spec.queue);
    return 0;
  }
  const JobId id = *done;
  Output out;
  if (given.has("parsable")) {
    out.write(std::to_string(id.value) + "\n");
  } else if (!given.has("quiet")) {
    out.write("Submitted batch job " + std::to_string(id.value) + "\n");
  }
  out.flush();
  if (given.has("wait")) {
    const int code = wait_for(link, id);
    return code;
  }
  return out.finish();
}

}  // namespace berth::tools::slurm
