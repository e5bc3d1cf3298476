#include "tools/cli/arguments.h"

#include <algorithm>
#include <set>

#include "tools/cli/text.h"

namespace berth::tools {

namespace {

using state::Error;
using state::invalid;
using state::Status;
using state::Unit;

std::string hint(const std::string& meant) { return meant.empty() ? "" : "; did you mean " + meant + "?"; }

// What an option whose value may be left out takes from the next word: only what can be nothing else.
bool is_number(const std::string& word) {
  const std::size_t from = word.starts_with('-') ? 1 : 0;
  return word.size() > from && word.find_first_not_of("0123456789", from) == std::string::npos;
}

class Checker {
 public:
  Checker(const CommandPage& root, const std::vector<std::string>& words, Arguments& out) : words_(words), out_(out) {
    out_.page = &root;
  }

  Status run() {
    while (at_ < words_.size() && !done_) {
      if (Status good = next(words_[at_++]); !good) return good;
    }
    return out_.help ? Status(Unit{}) : complete();
  }

 private:
  Status next(const std::string& word) {
    if (word == "--") return after_dashes();
    if (word.starts_with("--")) return long_option(word);
    if (word.size() > 1 && word[0] == '-') return letters(word);
    return plain(word);
  }

  Status after_dashes() {
    if (out_.page->command_words) {
      take_command(at_);
      return Unit{};
    }
    // Only plain words may follow: none of the other commands takes words that look like options.
    for (; at_ < words_.size(); ++at_) {
      if (words_[at_].starts_with('-')) return invalid("", "unexpected word '" + printable(words_[at_]) + "' after --");
      if (Status good = plain(words_[at_]); !good) return good;
    }
    return Unit{};
  }

  void take_command(std::size_t from) {
    out_.command.assign(words_.begin() + static_cast<std::ptrdiff_t>(from), words_.end());
    done_ = true;
  }

  Status long_option(const std::string& word) {
    const std::size_t equals = word.find('=');
    const std::string name = word.substr(2, equals == std::string::npos ? equals : equals - 2);
    const OptionEntry* option = out_.page->option(name);
    if (option == nullptr) {
      std::vector<std::string> known;
      for (const auto* list : {&out_.page->options, &out_.page->common_options}) {
        for (const OptionEntry& entry : *list) known.push_back("--" + entry.name);
      }
      return invalid("", "unknown option --" + printable(name) + hint(nearest("--" + name, known)));
    }
    if (name == "help") return ask_for_help();
    if (option->value.empty() && equals != std::string::npos) return invalid("", "--" + name + " takes no value");
    if (option->optional && equals == std::string::npos && at_ < words_.size() && is_number(words_[at_])) {
      out_.words.push_back(word + "=" + words_[at_++]);
      return Unit{};
    }
    if (option->value.empty() || option->optional) {
      out_.words.push_back(word);
      return Unit{};
    }
    if (!option->repeats && !given_.insert(option->name).second) return invalid("", "--" + name + " is given twice");
    out_.words.push_back("--" + name);
    if (equals == std::string::npos) return value_of(*option, "--" + name);
    return value(*option, "--" + name, word.substr(equals + 1));
  }

  Status letters(const std::string& word) {
    for (std::size_t i = 1; i < word.size(); ++i) {
      const std::string spelled = std::string("-") + word[i];
      const OptionEntry* option = out_.page->option(word[i]);
      if (option == nullptr) return invalid("", "unknown option " + printable(i == 1 ? word : spelled));
      if (option->name == "help") return ask_for_help();
      if (!option->value.empty() && !option->repeats && !given_.insert(option->name).second) {
        return invalid("", spelled + " is given twice");
      }
      out_.words.push_back(spelled);
      if (option->value.empty() || option->optional) continue;
      return i + 1 < word.size() ? value(*option, spelled, word.substr(i + 1)) : value_of(*option, spelled);
    }
    return Unit{};
  }

  Status value_of(const OptionEntry& option, const std::string& spelled) {
    const bool missing =
        at_ == words_.size() || words_[at_] == "--" ||
        (words_[at_].starts_with("--") && out_.page->option(std::string_view(words_[at_]).substr(2)) != nullptr);
    if (missing) return invalid("", spelled + " needs a value: " + spelled + " " + option.value);
    return value(option, spelled, words_[at_++]);
  }

  Status value(const OptionEntry& option, const std::string& spelled, const std::string& text) {
    const auto& choices = option.choices;
    if (!choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end()) {
      return invalid("", spelled + ": '" + printable(text) + "' is not accepted; accepted: " + join(choices, ", "));
    }
    if (text.find('\0') != std::string::npos) return invalid("", spelled + ": the value has a NUL byte");
    out_.words.push_back(text);
    return Unit{};
  }

  Status plain(const std::string& word) {
    if (!out_.page->commands.empty()) {
      const CommandPage* command = out_.page->command(word);
      if (command == nullptr) {
        std::vector<std::string> known;
        for (const CommandPage& entry : out_.page->commands) known.push_back(entry.name);
        const std::string meant = nearest(word, known);
        return invalid("", "unknown command '" + printable(word) + "'" +
                               (meant.empty() ? "; '" + out_.page->path + " --help' lists them" : hint(meant)));
      }
      out_.page = command;
      positionals_ = 0;
      out_.words.push_back(word);
      return Unit{};
    }
    const auto& positionals = out_.page->positionals;
    // The last of them stands for the command's own words.
    if (out_.page->command_words && positionals_ + 1 >= positionals.size()) {
      take_command(at_ - 1);
      return Unit{};
    }
    if (positionals_ >= positionals.size() && (positionals.empty() || !positionals.back().repeats)) {
      return invalid("", "unexpected word '" + printable(word) + "'; usage: " + out_.page->usage());
    }
    const PositionalEntry& entry = positionals[std::min(positionals_, positionals.size() - 1)];
    if (!entry.choices.empty() && std::find(entry.choices.begin(), entry.choices.end(), word) == entry.choices.end()) {
      return invalid("", "'" + printable(word) + "' is not accepted; accepted: " + join(entry.choices, ", "));
    }
    ++positionals_;
    out_.words.push_back(word);
    return Unit{};
  }

  Status ask_for_help() {
    out_.help = done_ = true;
    return Unit{};
  }

  Status complete() const {
    const CommandPage& page = *out_.page;
    if (!page.commands.empty() && !page.alone) {
      const bool version = std::find(out_.words.begin(), out_.words.end(), "--version") != out_.words.end();
      if (version) return Unit{};
      std::string known;
      for (const CommandPage& entry : page.commands) known += (known.empty() ? "" : ", ") + entry.name;
      return invalid("", "a command is missing; there are: " + known);
    }
    for (std::size_t i = positionals_; i < page.positionals.size(); ++i) {
      if (page.positionals[i].required)
        return invalid("", page.positionals[i].name + " is missing; usage: " + page.usage());
    }
    return Unit{};
  }

  const std::vector<std::string>& words_;
  Arguments& out_;
  std::set<std::string> given_;
  std::size_t at_ = 0;
  std::size_t positionals_ = 0;
  bool done_ = false;
};

}  // namespace

Status check_arguments(const CommandPage& root, const std::vector<std::string>& words, Arguments& out) {
  return Checker(root, words, out).run();
}

}  // namespace berth::tools
