#include "state/condition.h"

#include <algorithm>
#include <charconv>
#include <functional>

#include "state/text.h"

namespace berth::state {

namespace {

constexpr int kDepthMax = 64;
constexpr std::uint32_t kPartPodsMax = 65'536;

bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
         c == '-' || c == ':' || c == '/' || c == '+';
}

bool whole_number(std::string_view text, std::int64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// Whether pred holds for a value that the node has for the label.
template <class Pred>
bool any_value(const std::vector<std::string>& words, const std::string& key, Pred&& pred) {
  const std::string start = key + "=";
  for (auto at = std::lower_bound(words.begin(), words.end(), start); at != words.end() && at->starts_with(start);
       ++at) {
    if (pred(std::string_view(*at).substr(start.size()))) return true;
  }
  return false;
}

}  // namespace

// ---- lists of names -------------------------------------------------------------------------------------------------

namespace {

// One name of a list, with at most some brackets: "n[1-3]-[a,b]" has none but numbers in them.
Status expand_name(std::string_view text, std::string_view field, std::vector<std::string>& out, std::size_t& bytes) {
  const std::size_t open = text.find('[');
  if (open == std::string_view::npos) {
    if (text.empty() || text.find(']') != std::string_view::npos ||
        !std::all_of(text.begin(), text.end(), is_word_char)) {
      return invalid(std::string(field),
                     shown(text) + " is not a name; names are letters, digits and _ . -, with [1-20,30] for numbers");
    }
    bytes += text.size();
    out.emplace_back(text);
    return Unit{};
  }
  const std::size_t close = text.find(']', open);
  if (close == std::string_view::npos) return invalid(std::string(field), shown(text) + " has no ] for its [");
  const std::string head(text.substr(0, open)), tail(text.substr(close + 1));
  std::string_view ranges = text.substr(open + 1, close - open - 1);
  while (true) {
    const std::size_t comma = ranges.find(',');
    const std::string_view range = ranges.substr(0, comma);
    const std::size_t dash = range.find('-');
    const std::string_view from = range.substr(0, dash),
                           to = dash == std::string_view::npos ? from : range.substr(dash + 1);
    std::int64_t first = 0, last = 0;
    if (!whole_number(from, first) || !whole_number(to, last) || first < 0 || last < first || last > 999'999'999) {
      return invalid(std::string(field),
                     shown(range) + " in " + shown(text) + " is not a range of numbers, such as 1-20 or 007");
    }
    for (std::int64_t n = first; n <= last; ++n) {
      std::string digits = std::to_string(n);
      if (from.size() > digits.size()) digits.insert(0, from.size() - digits.size(), '0');
      if (Status good = expand_name(head + digits + tail, field, out, bytes); !good) return good;
      if (out.size() > kListNamesMax || bytes > kListBytesMax) {
        return invalid(std::string(field),
                       "the list stands for more than 100,000 names, or for more than 1 MiB of them");
      }
    }
    if (comma == std::string_view::npos) return Unit{};
    ranges.remove_prefix(comma + 1);
  }
}

}  // namespace

Result<std::vector<std::string>> parse_name_list(std::string_view text, std::string_view field) {
  std::vector<std::string> names;
  std::size_t from = 0, bytes = 0;
  int depth = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size()) {
      depth += text[i] == '[' ? 1 : text[i] == ']' ? -1 : 0;
      if (text[i] != ',' || depth > 0) continue;
    }
    if (Status good = expand_name(text.substr(from, i - from), field, names, bytes); !good) return good.error();
    from = i + 1;
  }
  return names;
}

// ---- parsing --------------------------------------------------------------------------------------------------------

class ConditionParser {
 public:
  ConditionParser(std::string_view text, std::string_view field) : text_(text), field_(field) {}

  Result<Condition> parse() {
    if (text_.size() > kConditionBytesMax)
      return invalid(std::string(field_), "a condition has at most 4096 characters");
    condition_.terms_.emplace_back();
    skip();
    if (at_ == text_.size()) return fail("a condition");
    const std::uint32_t root = any(0, true);
    skip();
    if (!failed_ && at_ != text_.size()) (void)fail("& or |");
    if (failed_) return error_;
    condition_.root_ = root;
    if (group_from_ != std::string_view::npos) finish_group();
    return failed_ ? Result<Condition>(error_) : Result<Condition>(std::move(condition_));
  }

 private:
  using Op = Condition::Op;

  Error fail(const std::string& wanted) {
    if (!failed_) {
      error_ = invalid(std::string(field_), shown(text_) + " is not a condition: " + wanted + " is expected at " +
                                                (at_ >= text_.size() ? "its end" : shown(text_.substr(at_, 20))));
    }
    failed_ = true;
    return error_;
  }
  Error fail_whole(const std::string& why) {
    if (!failed_) error_ = invalid(std::string(field_), shown(text_) + " is not a condition: " + why);
    failed_ = true;
    return error_;
  }
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  bool eat(char c) {
    skip();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  std::string_view word() {
    skip();
    const std::size_t from = at_;
    while (at_ < text_.size() && is_word_char(text_[at_])) ++at_;
    return text_.substr(from, at_ - from);
  }
  std::uint32_t add(Condition::Term term) {
    condition_.terms_.push_back(std::move(term));
    return static_cast<std::uint32_t>(condition_.terms_.size() - 1);
  }
  std::uint32_t join(Op op, std::uint32_t left, std::uint32_t right) {
    Condition::Term term;
    term.op = op;
    term.left = left;
    term.right = right;
    return add(std::move(term));
  }

  std::uint32_t any(int depth, bool top) {
    std::uint32_t left = all(depth, top);
    while (!failed_ && eat('|')) {
      if (top && group_from_ != std::string_view::npos) (void)fail_whole("beside [ ] there can only be &");
      const std::uint32_t right = all(depth, false);
      left = join(Op::kOr, left, right);
    }
    return left;
  }
  std::uint32_t all(int depth, bool top) {
    std::uint32_t left = one(depth, top);
    while (!failed_ && eat('&')) {
      const std::uint32_t right = one(depth, top);
      left = join(Op::kAnd, left, right);
    }
    return left;
  }
  std::uint32_t one(int depth, bool top) {
    if (failed_) return 0;
    if (depth > kDepthMax) {
      (void)fail_whole("it is nested too deeply");
      return 0;
    }
    if (eat('!')) return join(Op::kNot, one(depth + 1, false), 0);
    if (eat('(')) {
      const std::uint32_t inner = any(depth + 1, false);
      if (!failed_ && !eat(')')) (void)fail(")");
      return inner;
    }
    skip();
    if (at_ < text_.size() && text_[at_] == '[') return group(depth, top);
    return term();
  }

  // [a|b|c] or [a*2&b*4]
  std::uint32_t group(int depth, bool top) {
    if (!top || group_from_ != std::string_view::npos) {
      (void)fail_whole("[ ] can stand once, and not within ( ) or beside |");
      return 0;
    }
    group_from_ = at_++;
    std::uint32_t root = 0;
    while (!failed_) {
      const std::size_t from = at_;
      const std::uint32_t part = one(depth + 1, false);
      const std::size_t to = at_;
      std::uint32_t pods = 0;
      if (!failed_ && eat('*')) {
        std::int64_t number = 0;
        if (!whole_number(word(), number) || number < 1 || number > kPartPodsMax)
          (void)fail("a number of pods from 1 to 65536");
        pods = static_cast<std::uint32_t>(number);
      }
      pieces_.push_back({std::string(text_.substr(from, to - from)), pods});
      root = root == 0 ? part : join(Op::kOr, root, part);
      if (eat(']')) break;
      const bool counts = pieces_[0].pods != 0;
      if (!failed_ && !eat(counts ? '&' : '|')) (void)fail(counts ? "& or ]" : "* or | or ]");
    }
    group_to_ = at_;
    const bool counted = !pieces_.empty() && pieces_[0].pods != 0;
    for (const auto& piece : pieces_) {
      if (!failed_ && (piece.pods != 0) != counted) (void)fail_whole("in [ ] either all parts have a number or none");
    }
    return root;
  }
  void finish_group() {
    const std::string before(text_.substr(0, group_from_)), after(text_.substr(group_to_));
    for (const auto& piece : pieces_)
      condition_.parts_.push_back({before + "(" + piece.text + ")" + after, piece.pods});
  }

  std::uint32_t term() {
    Condition::Term term;
    term.key = word();
    if (term.key.empty()) {
      (void)fail("a feature or label");
      return 0;
    }
    term.op = Op::kWord;
    skip();
    const std::string_view rest = text_.substr(at_);
    const auto compare = [&](Op op, std::size_t length) {
      at_ += length;
      const std::string_view value = word();
      if (value.empty()) (void)fail("a value");
      term.op = op;
      if (op == Op::kIn || op == Op::kNotIn) {
        term.values.emplace_back(value);
      } else if (!failed_ && !whole_number(value, term.number)) {
        (void)fail_whole(shown(value) + " is not a whole number");
      }
    };
    const auto list = [&](Op op) {
      term.op = op;
      if (!eat('(')) return (void)fail("( and a list of values");
      const std::size_t close = text_.find(')', at_);
      if (close == std::string_view::npos) return (void)fail("a ) behind the list");
      std::string values(text_.substr(at_, close - at_));
      std::erase(values, ' ');
      auto names = parse_name_list(values, field_);
      if (!names) {
        if (!failed_) error_ = names.error();
        failed_ = true;
        return;
      }
      term.values = std::move(*names);
      std::sort(term.values.begin(), term.values.end());
      at_ = close + 1;
    };
    if (rest.starts_with("=="))
      compare(Op::kIn, 2);
    else if (rest.starts_with("!="))
      compare(Op::kNotIn, 2);
    else if (rest.starts_with("<="))
      compare(Op::kLessEqual, 2);
    else if (rest.starts_with(">="))
      compare(Op::kGreaterEqual, 2);
    else if (rest.starts_with("="))
      compare(Op::kIn, 1);
    else if (rest.starts_with("<"))
      compare(Op::kLess, 1);
    else if (rest.starts_with(">"))
      compare(Op::kGreater, 1);
    else if (const std::size_t before = at_; true) {
      const std::string_view name = word();
      if (name == "in")
        list(Op::kIn);
      else if (name == "notin")
        list(Op::kNotIn);
      else
        at_ = before;
    }
    return add(std::move(term));
  }

  std::string_view text_, field_;
  std::size_t at_ = 0;
  bool failed_ = false;
  Error error_;
  Condition condition_;
  std::size_t group_from_ = std::string_view::npos, group_to_ = 0;
  std::vector<Condition::Part> pieces_;
};

Result<Condition> Condition::parse(std::string_view text, std::string_view field) {
  return ConditionParser(text, field).parse();
}

// ---- holding --------------------------------------------------------------------------------------------------------

bool Condition::holds(std::string_view name, const std::vector<std::string>& words) const {
  return terms_.empty() || holds(root_, name, words);
}

bool Condition::holds(std::uint32_t at, std::string_view name, const std::vector<std::string>& words) const {
  const Term& term = terms_[at];
  const auto any = [&](auto&& pred) { return term.key == "node" ? pred(name) : any_value(words, term.key, pred); };
  const auto listed = [&](std::string_view value) {
    const auto found = std::lower_bound(term.values.begin(), term.values.end(), value);
    return found != term.values.end() && *found == value;
  };
  const auto number = [&](auto&& compares) {
    return any([&](std::string_view value) {
      std::int64_t is = 0;
      return whole_number(value, is) && compares(is, term.number);
    });
  };
  switch (term.op) {
    case Op::kTrue:
      return true;
    case Op::kAnd:
      return holds(term.left, name, words) && holds(term.right, name, words);
    case Op::kOr:
      return holds(term.left, name, words) || holds(term.right, name, words);
    case Op::kNot:
      return !holds(term.left, name, words);
    case Op::kWord:
      return std::binary_search(words.begin(), words.end(), term.key) ||
             any_value(words, term.key, [](std::string_view) { return true; });
    case Op::kIn:
      return any(listed);
    case Op::kNotIn:
      return !any(listed);
    case Op::kLess:
      return number(std::less<>());
    case Op::kLessEqual:
      return number(std::less_equal<>());
    case Op::kGreater:
      return number(std::greater<>());
    case Op::kGreaterEqual:
      return number(std::greater_equal<>());
  }
  return false;
}

}  // namespace berth::state
