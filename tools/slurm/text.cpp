#include "tools/slurm/text.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <ctime>
#include <fmt/format.h>
#include <map>

#include "state/condition.h"
#include "state/text.h"
#include "state/units.h"
#include "tools/cli/text.h"
#include "tools/cli/waiting.h"

namespace berth::tools::slurm {

using namespace state;

namespace {

constexpr std::array<StateName, kPodStates> kStates{{{"PD", "PENDING"},
                                                     {"CF", "CONFIGURING"},
                                                     {"R", "RUNNING"},
                                                     {"CD", "COMPLETED"},
                                                     {"F", "FAILED"},
                                                     {"OOM", "OUT_OF_MEMORY"},
                                                     {"TO", "TIMEOUT"},
                                                     {"CA", "CANCELLED"},
                                                     {"NF", "NODE_FAIL"},
                                                     {"DL", "DEADLINE"}}};
// States of Slurm's that nothing here is ever in; asking for them finds nothing.
constexpr std::array<const char*, 28> kOtherStates{
    "S",  "SUSPENDED", "CG", "COMPLETING",   "PR", "PREEMPTED",    "BF", "BOOT_FAIL",    "RQ", "REQUEUED",
    "RS", "RESIZING",  "RV", "REVOKED",      "SE", "SPECIAL_EXIT", "SO", "STAGE_OUT",    "ST", "STOPPED",
    "SI", "SIGNALING", "RH", "REQUEUE_HOLD", "RF", "REQUEUE_FED",  "RD", "RESV_DEL_HOLD"};

std::optional<std::int64_t> digits(std::string_view text) {
  if (text.empty() || text.size() > 9) return std::nullopt;
  std::int64_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

}  // namespace

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
  return out;
}
std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  return out;
}

std::string length_text(std::int64_t seconds, bool padded) {
  if (seconds < 0) seconds = 0;
  const std::int64_t days = seconds / 86'400, h = seconds / 3600 % 24, m = seconds / 60 % 60, s = seconds % 60;
  if (days != 0) return fmt::format("{}-{:02}:{:02}:{:02}", days, h, m, s);
  if (padded) return fmt::format("{:02}:{:02}:{:02}", h, m, s);
  return h != 0 ? fmt::format("{}:{:02}:{:02}", h, m, s) : fmt::format("{}:{:02}", m, s);
}

std::string limit_text(std::int64_t limit_ms, bool padded) {
  return limit_ms == 0 ? "UNLIMITED" : length_text((limit_ms + 999) / 1000, padded);
}

std::string time_text(TimeUs at, const char* none) {
  if (at == 0) return none;
  const std::time_t seconds = at / 1'000'000;
  std::tm when{};
  localtime_r(&seconds, &when);
  const char* format = std::getenv("SLURM_TIME_FORMAT");
  const bool own =
      format != nullptr && std::string_view(format) != "standard" && std::string_view(format) != "relative";
  std::array<char, 256> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), own ? format : "%Y-%m-%dT%H:%M:%S", &when);
  return {text.data(), size};
}

Result<std::int64_t> parse_limit_ms(std::string_view text) {
  const std::string word = lower(text);
  if (word == "infinite" || word == "unlimited" || word == "-1") return 0;
  const Error wrong = bad("Invalid --time specification");
  const std::size_t dash = text.find('-');
  std::int64_t seconds = 0;
  std::string_view clock = text;
  if (dash != std::string_view::npos) {
    const auto days = digits(text.substr(0, dash));
    if (!days) return wrong;
    seconds = *days * 86'400;
    clock = text.substr(dash + 1);
  }
  const std::vector<std::string> parts = split(clock, ':');
  if (parts.empty() || parts.size() > 3) return wrong;
  std::vector<std::int64_t> values;
  for (const std::string& part : parts) {
    const auto value = digits(part);
    if (!value) return wrong;
    values.push_back(*value);
  }
  if (dash != std::string_view::npos) {  // h, h:m or h:m:s
    constexpr std::array<std::int64_t, 3> kUnits{3600, 60, 1};
    for (std::size_t i = 0; i < values.size(); ++i) seconds += values[i] * kUnits[i];
  } else if (values.size() == 3) {
    seconds += values[0] * 3600 + values[1] * 60 + values[2];
  } else {  // m or m:s
    seconds += values[0] * 60 + (values.size() == 2 ? values[1] : 0);
  }
  return seconds * 1000;
}

Result<std::uint64_t> parse_mem_mib(std::string_view text) {
  std::string_view number = text;
  std::uint64_t unit_kib = 1024;
  if (!number.empty() && (number.back() == 'B' || number.back() == 'b')) number.remove_suffix(1);
  if (!number.empty()) {
    switch (number.back()) {
      case 'K':
      case 'k':
        unit_kib = 1;
        number.remove_suffix(1);
        break;
      case 'M':
      case 'm':
        number.remove_suffix(1);
        break;
      case 'G':
      case 'g':
        unit_kib = 1024ULL * 1024;
        number.remove_suffix(1);
        break;
      case 'T':
      case 't':
        unit_kib = 1024ULL * 1024 * 1024;
        number.remove_suffix(1);
        break;
      default:
        break;
    }
  }
  const auto value = digits(number);
  if (!value) return bad("Invalid --mem specification");
  return (static_cast<std::uint64_t>(*value) * unit_kib + 1023) / 1024;
}

Result<TimeUs> parse_when(std::string_view text, TimeUs now) {
  if (text == "now") return now;
  if (text.starts_with("uts")) {
    if (const auto at = digits(text.substr(3))) return *at * 1'000'000;
  }
  if (text.starts_with("now-")) {
    auto after = parse_begin("now+" + std::string(text.substr(4)), "", now);
    if (after) return now - (*after - now);
  }
  auto at = parse_begin(text, "", now);
  if (!at) return bad("Invalid time specification (pos=0): " + std::string(text));
  // A time of day is today's here, not the next.
  if (*at > now && text.find('T') == std::string_view::npos && text.find('-') == std::string_view::npos &&
      text.find('/') == std::string_view::npos && text != "tomorrow" && !text.starts_with("now+")) {
    return *at - 86'400'000'000;
  }
  return *at;
}

std::string hostlist(std::vector<std::string> names) { return state::host_list(names); }

Result<std::vector<std::string>> expand_hostlist(std::string_view text) { return parse_name_list(text, ""); }

StateName state_name(PodState state) { return kStates[static_cast<std::size_t>(state)]; }

std::optional<std::vector<PodState>> parse_states(std::string_view text) {
  std::vector<PodState> states;
  for (const std::string& part : split(text, ',')) {
    const std::string word = upper(part);
    if (word.empty()) continue;
    bool known = word == "ALL";
    for (std::size_t i = 0; i < kPodStates; ++i) {
      if (word != "ALL" && word != kStates[i].compact && word != kStates[i].name) continue;
      states.push_back(static_cast<PodState>(i));
      known = true;
    }
    known = known || std::find(kOtherStates.begin(), kOtherStates.end(), word) != kOtherStates.end();
    if (!known) return std::nullopt;
  }
  return states;
}

const char* known_states() {
  return "PENDING,RUNNING,SUSPENDED,COMPLETED,CANCELLED,FAILED,TIMEOUT,NODE_FAIL,PREEMPTED,BOOT_FAIL,DEADLINE,"
         "OUT_OF_MEMORY,COMPLETING,CONFIGURING,RESIZING,RESV_DEL_HOLD,REQUEUED,REQUEUE_FED,REQUEUE_HOLD,REVOKED,"
         "SIGNALING,SPECIAL_EXIT,STAGE_OUT,STOPPED";
}

std::string fitted(std::string_view text, std::size_t width, bool right) {
  if (width == 0) return std::string(text);
  const std::string cut(text.substr(0, width));
  const std::string room(width - cut.size(), ' ');
  return right ? room + cut : cut + room;
}

}  // namespace berth::tools::slurm
