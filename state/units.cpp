#include "state/units.h"

#include <array>
#include <charconv>
#include <chrono>

#include "state/text.h"

namespace berth::state {

namespace {

constexpr std::int64_t kDurationMaxMs = 10LL * 365 * 24 * 3600 * 1000;

Error not_a(std::string_view field, std::string_view text, std::string_view what, std::string_view accepted) {
  return invalid(std::string(field),
                 shown(text) + " is not " + std::string(what) + "; accepted: " + std::string(accepted));
}

// A decimal number with up to nine places, as billionths; false if there is none at the start.
bool take_decimal(std::string_view& text, std::uint64_t& whole, std::uint64_t& billionths) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), whole);
  if (error != std::errc{} || whole > 1'000'000'000'000ULL) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  billionths = 0;
  if (text.empty() || text.front() != '.') return true;
  text.remove_prefix(1);
  std::uint64_t scale = 100'000'000;
  bool any = false;
  while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    billionths += scale * static_cast<std::uint64_t>(text.front() - '0');
    scale /= 10;
    any = true;
    text.remove_prefix(1);
  }
  return any;
}

// value * unit, rounded up; saturates far above every limit.
std::uint64_t times_unit(std::uint64_t whole, std::uint64_t billionths, std::uint64_t unit) {
  const auto total = static_cast<__uint128_t>(whole) * unit +
                     (static_cast<__uint128_t>(billionths) * unit + 999'999'999U) / 1'000'000'000U;
  constexpr auto kMost = static_cast<__uint128_t>(1) << 62;
  return static_cast<std::uint64_t>(total < kMost ? total : kMost);
}

constexpr std::string_view kDurationForms =
    "90 (seconds), 90s, 15m, 2h, 1d, 1h30m, 250ms, MM:SS, HH:MM:SS, D-HH[:MM[:SS]], up to 10 years";

// "1h30m", "250ms", "90"
bool parse_suffixed(std::string_view text, std::uint64_t& ms) {
  ms = 0;
  bool first = true;
  std::uint64_t last_unit = ~0ULL;
  while (!text.empty()) {
    std::uint64_t whole = 0;
    std::uint64_t part = 0;
    if (!take_decimal(text, whole, part)) return false;
    std::uint64_t unit = 0;
    if (text.empty() && first) {
      unit = 1000;
    } else if (text.starts_with("ms")) {
      unit = 1;
      text.remove_prefix(2);
    } else if (!text.empty()) {
      switch (text.front()) {
        case 's':
          unit = 1000;
          break;
        case 'm':
          unit = 60'000;
          break;
        case 'h':
          unit = 3'600'000;
          break;
        case 'd':
          unit = 86'400'000;
          break;
        default:
          return false;
      }
      text.remove_prefix(1);
    }
    if (unit == 0 || unit >= last_unit) return false;  // from the larger to the smaller, each once
    last_unit = unit;
    ms += times_unit(whole, part, unit);
    if (ms > static_cast<std::uint64_t>(kDurationMaxMs)) return false;
    first = false;
  }
  return !first;
}

bool take_whole(std::string_view& text, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value > 1'000'000'000ULL) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

// MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS
bool parse_clock(std::string_view text, std::uint64_t& ms) {
  std::uint64_t days = 0;
  bool has_days = false;
  if (const std::size_t dash = text.find('-'); dash != std::string_view::npos) {
    if (!take_whole(text, days) || text.empty() || text.front() != '-') return false;
    text.remove_prefix(1);
    has_days = true;
  }
  std::array<std::uint64_t, 3> parts{};
  std::size_t count = 0;
  while (true) {
    if (count == parts.size() || !take_whole(text, parts[count++])) return false;
    if (text.empty()) break;
    if (text.front() != ':') return false;
    text.remove_prefix(1);
  }
  std::uint64_t seconds = 0;
  if (has_days) {
    seconds = days * 86'400 + parts[0] * 3600 + parts[1] * 60 + parts[2];
  } else if (count == 2) {
    seconds = parts[0] * 60 + parts[1];
  } else if (count == 3) {
    seconds = parts[0] * 3600 + parts[1] * 60 + parts[2];
  } else {
    return false;
  }
  ms = seconds * 1000;
  return true;
}

// value / unit with one decimal, rounded down, without a ".0".
std::string with_decimal(std::uint64_t value, std::uint64_t unit, const char* name) {
  const std::uint64_t tenth = value % unit * 10 / unit;
  return std::to_string(value / unit) + (tenth == 0 ? "" : "." + std::to_string(tenth)) + name;
}

std::string two_digits(std::int64_t value) { return (value < 10 ? "0" : "") + std::to_string(value); }

}  // namespace

Result<std::uint32_t> parse_cpu_milli(std::string_view text, std::string_view field) {
  const Error bad = not_a(field, text, "a number of cpus", "2, 0.5 or 1500m, from 0.001 to 1000000");
  std::string_view rest = text;
  std::uint64_t whole = 0;
  std::uint64_t part = 0;
  if (!take_decimal(rest, whole, part)) return bad;
  const bool milli = rest == "m";
  if (!rest.empty() && !milli) return bad;
  if (milli && part != 0) return bad;
  const std::uint64_t value = milli ? whole : times_unit(whole, part, 1000);
  if (value == 0 || value > 1'000'000'000ULL) return bad;
  return static_cast<std::uint32_t>(value);
}

Result<std::uint64_t> parse_mem_mib(std::string_view text, std::string_view field) {
  const Error bad = not_a(field, text, "a size", "512M, 2G, 1.5G, 1T or a number of MiB, from 1M to 1024T");
  std::string_view rest = text;
  std::uint64_t whole = 0;
  std::uint64_t part = 0;
  if (!take_decimal(rest, whole, part)) return bad;
  std::uint64_t value = 0;
  if (rest.empty()) {
    value = times_unit(whole, part, 1);
  } else {
    const char unit = rest.front();
    rest.remove_prefix(1);
    if (!rest.empty() && rest != "i" && rest != "iB" && rest != "B") return bad;
    switch (unit) {
      case 'K':
      case 'k':
        value = (times_unit(whole, part, 1024) + (1U << 20) - 1) >> 20;
        break;
      case 'M':
      case 'm':
        value = times_unit(whole, part, 1);
        break;
      case 'G':
      case 'g':
        value = times_unit(whole, part, 1ULL << 10);
        break;
      case 'T':
      case 't':
        value = times_unit(whole, part, 1ULL << 20);
        break;
      case 'P':
      case 'p':
        value = times_unit(whole, part, 1ULL << 30);
        break;
      default:
        return bad;
    }
  }
  if (value == 0 || value > (1ULL << 30)) return bad;
  return value;
}

Result<std::int64_t> parse_duration_ms(std::string_view text, std::string_view field) {
  std::uint64_t ms = 0;
  const bool clock = text.find_first_of(":-") != std::string_view::npos;
  const bool good = clock ? parse_clock(text, ms) : parse_suffixed(text, ms);
  if (!good || ms == 0 || ms > static_cast<std::uint64_t>(kDurationMaxMs)) {
    return not_a(field, text, "a length of time", kDurationForms);
  }
  return static_cast<std::int64_t>(ms);
}

Result<std::int64_t> parse_integer(std::string_view text, std::string_view field, std::int64_t min, std::int64_t max) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < min || value > max) {
    return not_a(field, text, "a fitting number",
                 "a whole number from " + std::to_string(min) + " to " + std::to_string(max));
  }
  return value;
}

std::string format_cpu_milli(std::uint32_t cpu_milli) {
  std::string text = std::to_string(cpu_milli / 1000);
  if (std::uint32_t rest = cpu_milli % 1000; rest != 0) {
    std::string digits = std::to_string(1000 + rest).substr(1);
    while (digits.back() == '0') digits.pop_back();
    text += '.' + digits;
  }
  return text;
}

std::string format_mem_mib(std::uint64_t mem_mib) {
  if (mem_mib < 1024) return std::to_string(mem_mib) + " MiB";
  return mem_mib < 1024 * 1024 ? with_decimal(mem_mib, 1024, " GiB") : with_decimal(mem_mib, 1024 * 1024, " TiB");
}

std::string format_duration_ms(std::int64_t ms) {
  if (ms < 1000) return std::to_string(ms) + "ms";
  const std::int64_t seconds = ms / 1000;
  if (seconds < 60) return with_decimal(static_cast<std::uint64_t>(ms), 1000, "s");
  const auto two = [](std::int64_t a, const char* unit_a, std::int64_t b, const char* unit_b) {
    return std::to_string(a) + unit_a + two_digits(b) + unit_b;
  };
  if (seconds < 3600) return two(seconds / 60, "m", seconds % 60, "s");
  if (seconds < 86'400) return two(seconds / 3600, "h", seconds / 60 % 60, "m");
  return two(seconds / 86'400, "d", seconds / 3600 % 24, "h");
}

std::string format_time(TimeUs at) {
  if (at == 0) return "-";
  // By the calendar alone: the C library's gmtime would look at the environment.
  using std::chrono::floor;
  const std::chrono::sys_time<std::chrono::microseconds> time{std::chrono::microseconds(at)};
  const auto day = floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::int64_t second = floor<std::chrono::seconds>(time - day).count();
  return std::to_string(static_cast<int>(date.year())) + '-' + two_digits(static_cast<unsigned>(date.month())) + '-' +
         two_digits(static_cast<unsigned>(date.day())) + 'T' + two_digits(second / 3600) + ':' +
         two_digits(second / 60 % 60) + ':' + two_digits(second % 60) + 'Z';
}

}  // namespace berth::state
