#include "scheduler/check_request.h"

#include <algorithm>

#include "placement/constraints.h"
#include "state/condition.h"
#include "state/text.h"

namespace berth::scheduler {

using namespace state;

namespace {

constexpr std::size_t kWordsMax = 32;
constexpr std::uint32_t kSkewMax = 1'000'000;

void sort_unique(std::vector<std::string>& words) {
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
}

Status check_words(std::vector<std::string>& words, const char* field, const char* what, bool (*good)(std::string_view),
                   const char* accepted) {
  if (words.size() > kWordsMax) return invalid(field, "at most 32 " + std::string(what) + "s may be given");
  for (const std::string& word : words) {
    if (!good(word)) return invalid(field, shown(word) + " is not a " + what + "; accepted: " + accepted);
  }
  sort_unique(words);
  return Unit{};
}

const char* field_of(const PodRule& rule) {
  switch (rule.kind) {
    case PodRule::Kind::kApart:
      return "apart";
    case PodRule::Kind::kTogether:
      return "together";
    case PodRule::Kind::kSpread:
      break;
  }
  return "spread";
}

Status check_rule(const PodRule& rule) {
  const std::string field = field_of(rule);
  if (rule.domain.empty() || rule.domain.find('=') != std::string::npos || !placement::is_taint(rule.domain)) {
    return invalid(field, shown(rule.domain) + " is no domain; accepted: node, or the key of a label of nodes");
  }
  if (rule.kind == PodRule::Kind::kSpread && (rule.skew == 0 || rule.skew > kSkewMax)) {
    return invalid(field, "the difference between domains must be from 1 to 1000000");
  }
  if (rule.selector.empty()) return Unit{};
  auto selector = Condition::parse(rule.selector, field);
  if (!selector) return selector.error();
  if (!selector->parts().empty()) return invalid(field, "a choice of pods has no [ ]");
  return Unit{};
}

Status check_where(const JobSpec& spec) {
  auto where = Condition::parse(spec.request.where, "where");
  if (!where) return where.error();
  if (!where->counted()) return Unit{};
  if (spec.kind != JobKind::kGang) return invalid("where", "only a gang's pods can be counted out with [a*2&b*4]");
  std::uint64_t sum = 0;
  for (const auto& part : where->parts()) sum += part.pods;
  if (sum == spec.elements.size()) return Unit{};
  return invalid("where", "the condition counts out " + std::to_string(sum) + " pods and the gang has " +
                              std::to_string(spec.elements.size()));
}

}  // namespace

Status check_request(JobSpec& spec) {
  Request& request = spec.request;
  // A label asked for as a feature is a condition.
  for (const std::string& word : request.features) {
    if (word.find('=') == std::string::npos) continue;
    request.where = request.where.empty() ? word : "(" + request.where + ")&" + word;
  }
  std::erase_if(request.features, [](const std::string& word) { return word.find('=') != std::string::npos; });
  if (request.features.size() > kWordsMax) return invalid("feature", "at most 32 features may be asked for");
  sort_unique(request.features);
  if (request.plain()) return Unit{};
  if (Status good = check_words(request.labels, "label", "label", placement::is_label, "KEY=VALUE"); !good) return good;
  if (Status good =
          check_words(request.tolerates, "tolerate", "taint", placement::is_toleration, "KEY, KEY=VALUE, or * for all");
      !good) {
    return good;
  }
  if (!request.where.empty()) {
    if (Status good = check_where(spec); !good) return good;
  }
  std::size_t wishes = request.prefers.size();
  for (const PodRule& rule : request.rules) wishes += rule.soft ? 1 : 0;
  if (wishes > kPrefersMax) return invalid("prefer", "at most 4 preferences may be given, soft rules included");
  for (const std::string& text : request.prefers) {
    auto condition = Condition::parse(text, "prefer");
    if (!condition) return condition.error();
    if (!condition->parts().empty()) return invalid("prefer", "a preference has no [ ]");
  }
  if (request.rules.size() > kRulesMax) return invalid("apart", "at most 8 rules about other pods may be given");
  for (const PodRule& rule : request.rules) {
    if (Status good = check_rule(rule); !good) return good;
  }
  return Unit{};
}

void name_own_pods(JobSpec& spec, JobId id) {
  Request& request = spec.request;
  for (PodRule& rule : request.rules) {
    if (!rule.selector.empty()) continue;
    if (request.labels.empty()) request.labels.push_back("job=" + std::to_string(id.value));
    for (const std::string& label : request.labels) rule.selector += (rule.selector.empty() ? "" : "&") + label;
  }
}

}  // namespace berth::scheduler
