// The parsers of cpus, sizes, times, numbers and array indexes on any text: a value within its bounds, or one clear
// line.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "state/condition.h"
#include "state/index_set.h"
#include "state/units.h"

namespace {

using namespace berth::state;

void check_error(const Error& error) {
  if (error.code != ErrorCode::kInvalid || error.field != "field" || error.message.empty() ||
      error.message.size() > 400)
    std::abort();
  for (const char c : error.message) {
    if (static_cast<unsigned char>(c) < 0x20) std::abort();
  }
}

template <class T>
void check(const Result<T>& result, T min, T max) {
  if (!result) return check_error(result.error());
  if (*result < min || *result > max) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto condition = Condition::parse(text, "field"); !condition) {
    check_error(condition.error());
  } else {
    const bool somewhere = condition->holds("n1", {"a", "b=1", "c=x"});
    for (const auto& part : condition->parts()) {
      const auto alone = Condition::parse(part.text, "field");
      if (!alone && part.text.size() <= kConditionBytesMax) std::abort();
      // Where a part holds the whole does.
      if (alone && alone->holds("n1", {"a", "b=1", "c=x"}) && !somewhere) std::abort();
    }
  }
  if (const auto names = parse_name_list(text, "field"); !names) check_error(names.error());
  const auto cpus = parse_cpu_milli(text, "field");
  check<std::uint32_t>(cpus, 1, 1'000'000'000);
  if (cpus && *parse_cpu_milli(format_cpu_milli(*cpus), "field") != *cpus) std::abort();
  const auto memory = parse_mem_mib(text, "field");
  check<std::uint64_t>(memory, 1, 1ULL << 30);
  if (memory && format_mem_mib(*memory).empty()) std::abort();
  const auto duration = parse_duration_ms(text, "field");
  check<std::int64_t>(duration, 1, 3650LL * 24 * 3600 * 1000);
  if (duration && format_duration_ms(*duration).empty()) std::abort();
  check<std::int64_t>(parse_integer(text, "field", -5, 100'000), -5, 100'000);

  const auto set = IndexSet::parse(text, "field");
  if (!set) {
    check_error(set.error());
    return 0;
  }
  if (set->empty() || set->size() > IndexSet::kMaxSize) std::abort();
  const auto again = IndexSet::parse(set->to_string(), "field");
  if (!again || !(*again == *set)) std::abort();
  for (const std::uint32_t position : {0U, set->size() / 2, set->size() - 1}) {
    std::uint32_t found = 0;
    if (!set->find(set->at(position), found) || found != position) std::abort();
  }
  return 0;
}
