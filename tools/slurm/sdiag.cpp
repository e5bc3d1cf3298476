// sdiag: how the server is.
#include <ctime>
#include <fmt/format.h>

#include "tools/cli/output.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/options.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

std::string moment(TimeUs at) {
  const std::time_t seconds = at / 1'000'000;
  std::tm local{};
  localtime_r(&seconds, &local);
  char text[64] = "";
  std::strftime(text, sizeof text, "%a %b %d %H:%M:%S %Y", &local);
  return fmt::format("{} ({})", text, seconds);
}

}  // namespace

int sdiag(const Context& context, const Words& words) {
  const CommandTable& table = table_of("sdiag");
  auto parsed = parse(table, words);
  if (!parsed) return fail_parse(table, parsed.error());
  const Given& given = *parsed;
  if (const auto code = answer_about_itself(table, given)) return *code;
  if (given.has("verbose")) tell_ignored(table, given);
  if (!given.words.empty()) return fail("sdiag", "Unrecognized option: " + given.words.front());
  ServerLink link(context);
  auto info = link.call_for<ServerInfo>(ServerInfoRequest{});
  if (!info) return fail("slurm_get_statistics", slurm_error(info.error()));
  const TimeUs now = wall_clock_us();
  Output out;
  const std::string line(55, '*');
  out.write(fmt::format("{}\nsdiag output at {}\nData since      {}\n{}\n", line, moment(now), moment(info->started_at),
                        line));
  // Slurm's names where Berth knows the number, and no others: what it does not count is not there.
  out.write(fmt::format("DBD Agent queue size: {}\n\n", info->accounting_waiting));
  out.write(fmt::format("Job states ts:  {}\n", moment(now)));
  out.write(fmt::format("Jobs pending:   {}\nJobs running:   {}\n\n", info->pods_pending, info->pods_live));
  out.write("Berth's server:\n");
  const auto more = [&](const char* name, std::uint64_t value) { out.write(fmt::format("\t{:<24}{}\n", name, value)); };
  more("Jobs known:", info->jobs);
  more("Nodes:", info->nodes);
  more("Nodes connected:", info->nodes_connected);
  more("Journal index:", info->journal_index);
  more("Start latency p50 (us):", info->start_latency_p50_us);
  more("Start latency p99 (us):", info->start_latency_p99_us);
  return out.finish();
}

}  // namespace berth::tools::slurm
