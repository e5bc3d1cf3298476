#include "scheduler/check_request.h"

#include <algorithm>

#include "placement/constraints.h"
#include "state/condition.h"
#include "state/text.h"

namespace berth::scheduler {

using namespace state;

namespace {

constexpr std::size_t kWordsMax = 32;
constexpr std::size_t kAskedMax = 8;  // countables of one pod
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

namespace {

Status check_counts(std::vector<Countable>& list, const char* field) {
  std::sort(list.begin(), list.end());
  if (list.size() > kAskedMax) return invalid(field, "at most 8 of them may be asked for");
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!is_countable_name(list[i].name) || list[i].count == 0 || list[i].count > kCountMax) {
      return invalid(field, shown(list[i].name) + " is not asked for as NAME=NUMBER");
    }
    if (i != 0 && list[i - 1].name == list[i].name) return invalid(field, shown(list[i].name) + " is there twice");
  }
  return Unit{};
}

// What of one node's inside it wants.
Status check_inside(Request& request) {
  request.queue_nodes.clear();
  if (Status good = check_counts(request.counts, "resource"); !good) return good;
  if (Status good = check_counts(request.licences, "licence"); !good) return good;
  if (request.gpu_share_milli != 0 && (request.gpu_share_milli >= 1000 || request.resources.gpus != 1)) {
    return invalid("gpus", "a share of a GPU is more than 0 and less than one GPU");
  }
  if (request.cores.any() && request.resources.cpu_milli % 1000 != 0) {
    return invalid("cpus", "cores of one " + std::string(name_of(request.cores.level)) + " are asked for whole");
  }
  return Unit{};
}

Status check_shape(const JobSpec& spec) {
  const GangShape& shape = spec.gang;
  if (!shape.any()) return Unit{};
  const std::uint32_t size = spec.elements.size();
  if (spec.kind != JobKind::kGang) return invalid("nodes", "only a gang says how its pods lie over nodes");
  if (shape.nodes_min > size) {
    return invalid("nodes", "the gang wants at least " + std::to_string(shape.nodes_min) + " nodes for its " +
                                std::to_string(size) + " pods");
  }
  if (shape.nodes_max != 0 && shape.nodes_max < shape.nodes_min) {
    return invalid("nodes", "the most nodes are fewer than the least");
  }
  const std::uint32_t per_node = spec.distinct_nodes ? 1 : shape.per_node;
  if (per_node != 0 && shape.nodes_max != 0 && static_cast<std::uint64_t>(per_node) * shape.nodes_max < size) {
    return invalid("nodes", std::to_string(shape.nodes_max) + " nodes with " + std::to_string(per_node) +
                                " pods each do not hold the gang's " + std::to_string(size));
  }
  const bool more = shape.nodes_min != 0 || shape.nodes_max != 0 || shape.contiguous || shape.switches != 0;
  if (more && !spec.request.rules.empty()) {
    return invalid("nodes", "a gang with rules about other pods cannot say how many nodes or switches it wants");
  }
  if (more && spec.request.where.find('[') != std::string::npos) {
    if (auto where = Condition::parse(spec.request.where, "where"); where && !where->parts().empty()) {
      return invalid("nodes", "a gang with a choice in [ ] cannot say how many nodes or switches it wants");
    }
  }
  return Unit{};
}

}  // namespace

Status check_request(JobSpec& spec) {
  Request& request = spec.request;
  if (Status good = check_inside(request); !good) return good;
  if (Status good = check_shape(spec); !good) return good;
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
