// Conditions on nodes, as people write them:
//
//   ssd                     the node has the feature, or a label of that name
//   zone=a  zone!=a         a label's value (a label is a feature with a value: "zone=a"); != also without the label
//   gen>3  gen>=3 …         a label's value as a whole number
//   zone in (a,b)           one of several values; zone notin (a,b)
//   node=n7  node in (n[1-20,30],login)   the node's name; in lists, [1-20,30] stands for numbers
//   a & b, a | b, !a, (…)   & binds more tightly
//   [a|b|c]                 all pods of a gang on nodes of the same one
//   [a*2&b*4]               of a gang, 2 pods on nodes with a, 4 on nodes with b
//
// Slurm's feature expressions are a part of this language, and so is what Kubernetes' label selectors say. Any bytes
// are safe input (fuzzed); what parses is short and shallow.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "state/result.h"

namespace berth::state {

inline constexpr std::size_t kConditionBytesMax = 4'096;
inline constexpr std::size_t kListNamesMax = 100'000, kListBytesMax = 1 << 20;  // a list of names may stand for

class Condition {
 public:
  Condition() = default;  // holds everywhere
  static Result<Condition> parse(std::string_view text, std::string_view field);

  // `words` are the node's features and labels, sorted. A choice in brackets holds where one of its parts does.
  bool holds(std::string_view name, const std::vector<std::string>& words) const;

  // The brackets' parts: conditions of their own, with what stands beside the brackets.
  struct Part {
    std::string text;
    std::uint32_t pods = 0;  // 0: the whole gang
  };
  const std::vector<Part>& parts() const { return parts_; }
  bool counted() const { return !parts_.empty() && parts_[0].pods != 0; }

 private:
  friend class ConditionParser;
  enum class Op : std::uint8_t {
    kTrue,
    kAnd,
    kOr,
    kNot,
    kWord,
    kIn,
    kNotIn,
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual
  };
  struct Term {
    Op op = Op::kTrue;
    std::uint32_t left = 0, right = 0;  // of kAnd, kOr, kNot
    std::string key;
    std::vector<std::string> values;  // sorted
    std::int64_t number = 0;
  };
  bool holds(std::uint32_t term, std::string_view name, const std::vector<std::string>& words) const;

  std::vector<Term> terms_;
  std::uint32_t root_ = 0;
  std::vector<Part> parts_;
};

// "n[1-3,07-09],login" -> n1 n2 n3 n07 n08 n09 login. Numbers keep the width they are written with.
Result<std::vector<std::string>> parse_name_list(std::string_view text, std::string_view field);

}  // namespace berth::state
