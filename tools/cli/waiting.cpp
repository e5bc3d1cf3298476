#include "tools/cli/waiting.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <ctime>
#include <optional>

#include "state/units.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr TimeUs kSecond = 1'000'000;

Error not_a(std::string_view text, std::string_view field, const char* what, const char* accepted) {
  return invalid(std::string(field), "'" + printable(clip(text, 64)) + "' is not " + what + "; accepted: " + accepted);
}

// As many digits as there are, at most `most`; nothing else.
std::optional<int> number(std::string_view text, std::size_t most) {
  if (text.empty() || text.size() > most) return std::nullopt;
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

// HH:MM[:SS], with am or pm behind it
bool time_of_day(std::string_view text, std::tm& out) {
  int half = -1;
  if (text.size() > 2 &&
      (text.ends_with("am") || text.ends_with("pm") || text.ends_with("AM") || text.ends_with("PM"))) {
    half = text[text.size() - 2] == 'p' || text[text.size() - 2] == 'P' ? 1 : 0;
    text.remove_suffix(2);
  }
  const std::vector<std::string> parts = split(text, ':');
  if (parts.size() < 2 || parts.size() > 3) return false;
  const auto hour = number(parts[0], 2), minute = number(parts[1], 2);
  const auto second = parts.size() == 3 ? number(parts[2], 2) : 0;
  if (!hour || !minute || !second || *hour > 23 || *minute > 59 || *second > 59) return false;
  if (half >= 0 && (*hour < 1 || *hour > 12)) return false;
  out.tm_hour = half < 0 ? *hour : *hour % 12 + 12 * half;
  out.tm_min = *minute;
  out.tm_sec = *second;
  return true;
}

// YYYY-MM-DD, MM/DD/YY or MMDDYY
bool date(std::string_view text, std::tm& out) {
  std::optional<int> year, month, day;
  if (text.size() == 10 && text[4] == '-' && text[7] == '-') {
    year = number(text.substr(0, 4), 4);
    month = number(text.substr(5, 2), 2);
    day = number(text.substr(8, 2), 2);
  } else if (text.size() == 8 && text[2] == '/' && text[5] == '/') {
    year = number(text.substr(6, 2), 2);
    month = number(text.substr(0, 2), 2);
    day = number(text.substr(3, 2), 2);
    if (year) *year += 2000;
  }
  if (!year || !month || !day || *month < 1 || *month > 12 || *day < 1 || *day > 31) return false;
  out.tm_year = *year - 1900;
  out.tm_mon = *month - 1;
  out.tm_mday = *day;
  return true;
}

std::optional<TimeUs> seconds_of(std::tm when) {
  when.tm_isdst = -1;
  const int day = when.tm_mday, month = when.tm_mon;
  const std::time_t at = std::mktime(&when);
  if (at < 0 || when.tm_mday != day || when.tm_mon != month) return std::nullopt;  // the 31st of a shorter month
  return TimeUs{at} * kSecond;
}

// now+COUNT[seconds|minutes|hours|days|weeks]
std::optional<TimeUs> from_now(std::string_view rest) {
  std::size_t digits = 0;
  while (digits < rest.size() && rest[digits] >= '0' && rest[digits] <= '9') ++digits;
  const auto count = number(rest.substr(0, digits), 9);
  if (!count) return std::nullopt;
  std::string unit(rest.substr(digits));
  if (unit.ends_with('s') && unit.size() > 1) unit.pop_back();
  constexpr std::array<std::pair<std::string_view, std::int64_t>, 6> kUnits{
      {{"", 1}, {"second", 1}, {"minute", 60}, {"hour", 3600}, {"day", 86'400}, {"week", 604'800}}};
  for (const auto& [name, seconds] : kUnits) {
    if (unit == name) return *count * seconds * kSecond;
  }
  return std::nullopt;
}

}  // namespace

TimeUs wall_clock_us() {
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Result<TimeUs> parse_begin(std::string_view text, std::string_view field, TimeUs now) {
  const auto bad = [&] { return not_a(text, field, "a time to begin", kBeginForms); };
  if (text == "now") return TimeUs{0};
  if (text.starts_with("now+")) {
    const auto after = from_now(text.substr(4));
    return after ? Result<TimeUs>(now + *after) : Result<TimeUs>(bad());
  }
  if (text.starts_with('+')) {
    const auto after = parse_duration_ms(text.substr(1), field);
    return after ? Result<TimeUs>(now + *after * 1000) : Result<TimeUs>(bad());
  }
  const std::time_t seconds = now / kSecond;
  std::tm when{};
  localtime_r(&seconds, &when);
  bool may_have_passed = true;  // a time of day means the next such
  constexpr std::array<std::pair<std::string_view, int>, 5> kHours{
      {{"midnight", 0}, {"elevenses", 11}, {"noon", 12}, {"fika", 15}, {"teatime", 16}}};
  const auto named = std::find_if(kHours.begin(), kHours.end(), [&](const auto& hour) { return hour.first == text; });
  if (named != kHours.end()) {
    when.tm_hour = named->second;
    when.tm_min = when.tm_sec = 0;
  } else if (text == "today" || text == "tomorrow") {
    when.tm_mday += text == "tomorrow" ? 1 : 0;
    when.tm_hour = when.tm_min = when.tm_sec = 0;
    const std::time_t at = std::mktime(&when);
    return TimeUs{at} * kSecond;
  } else if (!time_of_day(text, when)) {
    const std::size_t t = text.find_first_of("T-", text.find('/') == std::string_view::npos ? 8 : 0);
    const std::string_view day = text.substr(0, t);
    when.tm_hour = when.tm_min = when.tm_sec = 0;
    if (!date(day, when)) return bad();
    if (t != std::string_view::npos && !time_of_day(text.substr(t + 1), when)) return bad();
    may_have_passed = false;
  }
  auto at = seconds_of(when);
  if (at && may_have_passed && *at <= now) {
    ++when.tm_mday;
    when.tm_isdst = -1;
    at = TimeUs{std::mktime(&when)} * kSecond;
  }
  if (!at) return bad();
  return *at;
}

Result<TimeUs> parse_deadline(std::string_view text, std::string_view field, TimeUs now) {
  auto at = parse_begin(text, field, now);
  if (!at || *at == 0) return not_a(text, field, "a deadline", kBeginForms);
  return at;
}

namespace {

// 12, or an element of it: 12_3, 12.3 or 12[3]
bool parse_other(std::string_view word, Dependency& on) {
  const std::size_t end = word.find_first_of("_.[");
  const auto job = parse_integer(word.substr(0, end), "", 1, std::int64_t{1} << 62);
  if (!job) return false;
  on.job = JobId{static_cast<std::uint64_t>(*job)};
  if (end == std::string_view::npos) return true;
  std::string_view index = word.substr(end + 1);
  if (word[end] == '[') {
    if (!index.ends_with(']')) return false;
    index.remove_suffix(1);
  }
  if (word[end] == '_' && index == "*") return true;  // all of it, as Slurm writes it
  const auto number = parse_integer(index, "", 0, IndexSet::kMaxIndex);
  if (!number) return false;
  on.index = static_cast<std::uint32_t>(*number);
  return true;
}

}  // namespace

Result<Depends> parse_depends(std::string_view text, std::string_view field) {
  const auto bad = [&](std::string_view part) { return not_a(part, field, "a dependency", kDependsForms); };
  Depends depends;
  depends.any = text.find('?') != std::string_view::npos;
  if (depends.any && text.find(',') != std::string_view::npos) {
    return invalid(std::string(field), "',' (all of them) and '?' (any of them) do not go together");
  }
  using enum Dependency::Kind;
  constexpr std::array<Dependency::Kind, 6> kKinds{kAfter, kAfterAny, kAfterOk, kAfterNotOk, kSingleton, kAfterCorr};
  for (const std::string& part : split(text, depends.any ? '?' : ',')) {
    std::vector<std::string> words = split(part, ':');
    const auto kind = std::find_if(kKinds.begin(), kKinds.end(), [&](auto k) { return name_of(k) == words[0]; });
    if (kind == kKinds.end()) return bad(part);
    const bool alone = *kind == kSingleton;
    if (alone == (words.size() > 1)) return bad(part);
    if (alone) depends.all.push_back({*kind, JobId{}, 0, Dependency::State::kOpen});
    for (std::size_t i = 1; i < words.size(); ++i) {
      std::string_view word = words[i];
      std::int64_t minutes = 0;
      if (const std::size_t plus = word.find('+'); plus != std::string_view::npos) {
        const auto delay = parse_integer(word.substr(plus + 1), field, 0, 500'000);
        if (!delay || *kind != kAfter) return bad(part);
        minutes = *delay;
        word = word.substr(0, plus);
      }
      Dependency on{*kind, JobId{}, minutes * 60'000, Dependency::State::kOpen};
      if (!parse_other(word, on) || (*kind == kAfterCorr && on.index)) return bad(part);
      depends.all.push_back(on);
    }
  }
  return depends;
}

std::string depends_text(const JobSpec& spec) {
  std::string out;
  for (const Dependency& on : spec.depends) {
    if (on.state == Dependency::State::kMet) continue;
    if (!out.empty()) out += spec.any_dependency ? '?' : ',';
    out += name_of(on.kind);
    if (on.job != JobId{}) out += ":" + std::to_string(on.job.value);
    if (on.index) out += "_" + std::to_string(*on.index);
    if (on.delay_ms != 0) out += "+" + std::to_string(on.delay_ms / 60'000);
  }
  return out;
}

}  // namespace berth::tools
