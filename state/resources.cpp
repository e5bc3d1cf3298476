#include "state/resources.h"

#include <algorithm>
#include <charconv>

#include "state/text.h"
#include "state/units.h"

namespace berth::state {

bool is_countable_name(std::string_view text) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  return !text.empty() && text.size() <= 64 && letter(text[0]) && std::all_of(text.begin(), text.end(), [&](char c) {
    return letter(c) || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-' || c == ':';
  });
}

std::uint64_t count_of(const std::vector<Countable>& list, std::string_view name) {
  const auto found = std::find_if(list.begin(), list.end(), [&](const Countable& c) { return c.name == name; });
  return found == list.end() ? 0 : found->count;
}

std::string text_of(const Countable& countable) {
  return countable.name + ' ' +
         (countable.name == kDisk ? format_mem_mib(countable.count) : std::to_string(countable.count));
}

Result<Countable> parse_countable(std::string_view text, std::string_view field) {
  std::size_t at = text.find('=');
  if (at == std::string_view::npos) at = text.rfind(':');
  Countable out{std::string(text.substr(0, at)), 1};
  const auto refused = [&] {
    return invalid(std::string(field), std::string(field) + ": " + shown(text) +
                                           " is not known; accepted: NAME, NAME=NUMBER, or disk=SIZE");
  };
  if (!is_countable_name(out.name)) return refused();
  if (at == std::string_view::npos) return out;
  const std::string_view value = text.substr(at + 1);
  if (out.name == kDisk) {
    auto size = parse_mem_mib(value, field);
    if (!size) return size.error();
    out.count = *size;
  } else {
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out.count);
    if (error != std::errc() || end != value.data() + value.size()) return refused();
  }
  if (out.count == 0 || out.count > kCountMax) return refused();
  return out;
}

Status check_countables(std::vector<Countable>& list, std::string_view field) {
  std::sort(list.begin(), list.end());
  if (list.size() > kCountablesMax) return invalid(std::string(field), "at most 32 of them");
  for (std::size_t i = 1; i < list.size(); ++i) {
    if (list[i - 1].name == list[i].name) {
      return invalid(std::string(field), std::string(field) + ": " + shown(list[i].name) + " is there twice");
    }
  }
  return Unit{};
}

std::string_view name_of(CoreFit::Level level) {
  switch (level) {
    case CoreFit::Level::kL3:
      return "L3 cache";
    case CoreFit::Level::kNuma:
      return "NUMA node";
    case CoreFit::Level::kPackage:
      return "package";
    case CoreFit::Level::kNone:
      break;
  }
  return "machine";
}

std::vector<std::string> shape_texts(const GangShape& shape) {
  const auto some = [](std::uint32_t n, const char* one) { return std::to_string(n) + one + (n == 1 ? "" : "s"); };
  std::vector<std::string> texts;
  if (shape.nodes_min != 0) texts.push_back("on at least " + some(shape.nodes_min, " node"));
  if (shape.nodes_max != 0) texts.push_back("on at most " + some(shape.nodes_max, " node"));
  if (shape.per_node != 0) texts.push_back("at most " + some(shape.per_node, " pod") + " on a node");
  if (shape.switches != 0) texts.push_back("under at most " + some(shape.switches, " leaf switch"));
  if (shape.compact) texts.emplace_back("on as few nodes as can be");
  if (shape.contiguous) texts.emplace_back("on nodes that follow each other");
  return texts;
}

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
  for (const Countable& wanted : request.counts) texts.push_back(text_of(wanted));
  if (request.gpu_share_milli != 0) {
    texts.push_back(std::to_string(request.gpu_share_milli / 10) + " % of a GPU");
  }
  for (const Countable& wanted : request.licences) {
    texts.push_back("licence " + wanted.name + (wanted.count == 1 ? "" : " x " + std::to_string(wanted.count)));
  }
  if (request.cores.level != CoreFit::Level::kNone) {
    texts.push_back((request.cores.require ? "cores of one " : "rather cores of one ") +
                    std::string(name_of(request.cores.level)));
  }
  if (request.cores.threads_per_core != 0) {
    texts.push_back(std::to_string(request.cores.threads_per_core) + " hardware thread" +
                    (request.cores.threads_per_core == 1 ? "" : "s") + " of each core");
  }
  if (request.exclusive) texts.emplace_back("the node for itself");
  return texts;
}

}  // namespace berth::state
