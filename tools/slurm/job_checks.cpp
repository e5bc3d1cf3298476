// What is wrong with a job's options, said as Slurm says it.
#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "tools/cli/text.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/job_options.h"
#include "tools/slurm/text.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

template <std::size_t N>
bool one_of(const std::array<std::string_view, N>& known, const std::string& word) {
  return std::find(known.begin(), known.end(), word) != known.end();
}

constexpr std::array<std::string_view, 14> kMailTypes{
    "NONE",      "BEGIN",      "END",           "FAIL",          "REQUEUE",       "ALL",         "INVALID_DEPEND",
    "STAGE_OUT", "TIME_LIMIT", "TIME_LIMIT_90", "TIME_LIMIT_80", "TIME_LIMIT_50", "ARRAY_TASKS", ""};
constexpr std::array<std::string_view, 9> kDistributions{"block",   "cyclic", "fcyclic", "plane", "arbitrary",
                                                         "unknown", "*",      "pack",    "nopack"};

// block:cyclic:fcyclic,pack, plane=4
bool is_distribution(const std::string& text) {
  for (const std::string& part : split(text, ',')) {
    for (const std::string& word : split(part, ':')) {
      if (!one_of(kDistributions, lower(word.substr(0, word.find('='))))) return false;
    }
  }
  return true;
}

}  // namespace

Status check_words(const Given& given) {
  const auto wrong = [](const char* option) {
    return Error{ErrorCode::kInvalid, kBadOption, fmt::format("Invalid --{} specification", option), 0};
  };
  if (given.has("mail-type")) {
    for (const std::string& word : split(given.text("mail-type"), ',')) {
      if (!one_of(kMailTypes, upper(word))) return wrong("mail-type");
    }
  }
  const std::string exclusive = given.text("exclusive");
  if (!exclusive.empty() && exclusive != "user" && exclusive != "mcs" && exclusive != "exclusive") {
    return wrong("exclusive");
  }
  if (given.has("distribution") && !is_distribution(given.text("distribution"))) return wrong("distribution");
  return Unit{};
}

int fail_job(const char* command, const Error& error, const std::string& failure) {
  // A line that explains may stand before the one that programs look for.
  const std::size_t line = error.message.rfind('\n');
  if (line != std::string::npos) fail(command, error.message.substr(0, line));
  const std::string last = line == std::string::npos ? error.message : error.message.substr(line + 1);
  const int code = fail(command, error.field == kBadJob ? failure + last : last);
  return error.field == kBadOption ? 255 : code;
}

}  // namespace berth::tools::slurm
