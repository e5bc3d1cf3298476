#include "state/resources.h"

namespace berth::state {

std::vector<std::string> constraint_texts(const Request& request) {
  std::vector<std::string> texts;
  for (const std::string& feature : request.features) texts.push_back("feature " + feature);
  if (!request.where.empty()) texts.push_back("where " + request.where);
  for (const std::string& text : request.prefers) texts.push_back("rather where " + text);
  for (const std::string& taint : request.tolerates) texts.push_back("tolerates " + taint);
  for (const std::string& label : request.labels) texts.push_back("label " + label);
  for (const PodRule& rule : request.rules) {
    const std::string others = rule.selector.empty() ? "its own kind" : rule.selector;
    std::string text = rule.soft ? "rather " : "";
    switch (rule.kind) {
      case PodRule::Kind::kApart:
        text += "apart from " + others;
        break;
      case PodRule::Kind::kTogether:
        text += "together with " + others;
        break;
      case PodRule::Kind::kSpread:
        text += "spread of " + others;
        break;
    }
    text += " by " + rule.domain;
    if (rule.kind == PodRule::Kind::kSpread && rule.skew != 1) text += " within " + std::to_string(rule.skew);
    texts.push_back(std::move(text));
  }
  if (request.exclusive) texts.emplace_back("the node for itself");
  return texts;
}

}  // namespace berth::state
