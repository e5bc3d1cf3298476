#include "tools/cli/completion.h"

#include <functional>

#include "tools/cli/text.h"

namespace berth::tools {

namespace {

using Visit = std::function<void(const CommandPage&, const std::string& words)>;

// Every command with the words that lead to it: "" for the root, "token create".
void each_command(const CommandPage& page, const std::string& words, const Visit& visit) {
  visit(page, words);
  for (const CommandPage& sub : page.commands)
    each_command(sub, words.empty() ? sub.name : words + " " + sub.name, visit);
}

std::vector<std::string> option_words(const CommandPage& page) {
  std::vector<std::string> words;
  for (const auto* list : {&page.options, &page.common_options}) {
    for (const OptionEntry& option : *list) {
      if (!option.name.empty()) words.push_back("--" + option.name);
      if (option.letter != 0) words.push_back(std::string("-") + option.letter);
    }
  }
  return words;
}

std::vector<std::string> command_names(const CommandPage& page) {
  std::vector<std::string> names;
  for (const CommandPage& sub : page.commands) names.push_back(sub.name);
  return names;
}

// 'it'\''s' : one word for a shell.
std::string shell_word(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

// For _arguments: brackets and colons have a meaning there.
std::string zsh_text(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string function_name(const std::string& words) {
  std::string name = "_berth";
  if (!words.empty()) name += "_" + words;
  for (char& c : name) {
    if (c == ' ' || c == '-') c = '_';
  }
  return name;
}

}  // namespace

std::string bash_completion(const CommandPage& root) {
  std::string commands, options, values;
  each_command(root, "", [&](const CommandPage& page, const std::string& words) {
    const std::string key = shell_word(words) + ") ";
    if (!page.commands.empty())
      commands += "    " + key + "echo " + shell_word(join(command_names(page), " ")) + " ;;\n";
    options += "    " + key + "echo " + shell_word(join(option_words(page), " ")) + " ;;\n";
    for (const auto* list : {&page.options, &page.common_options}) {
      for (const OptionEntry& option : *list) {
        if (option.value.empty() || option.optional) continue;
        const std::string choices = shell_word(join(option.choices, " "));
        if (!option.name.empty())
          values += "    " + shell_word(words + " --" + option.name) + ") echo " + choices + "; return 0 ;;\n";
        if (option.letter != 0)
          values += "    " + shell_word(words + " -" + option.letter) + ") echo " + choices + "; return 0 ;;\n";
      }
    }
  });
  return "# bash completion for berth: source it, or put it into /usr/share/bash-completion/completions/berth\n"
         "_berth_commands() {\n  case \"$1\" in\n" +
         commands +
         "  esac\n}\n"
         "_berth_options() {\n  case \"$1\" in\n" +
         options +
         "  esac\n}\n"
         "# The values of an option; fails if it takes none.\n"
         "_berth_values() {\n  case \"$1\" in\n" +
         values +
         "  esac\n  return 1\n}\n"
         "_berth() {\n"
         "  local word=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\" path= i choices\n"
         "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
         "    [[ \" $(_berth_commands \"$path\") \" == *\" ${COMP_WORDS[i]} \"* ]] && path=\"${path:+$path "
         "}${COMP_WORDS[i]}\"\n"
         "    [[ ${COMP_WORDS[i]} == -- ]] && { COMPREPLY=($(compgen -f -- \"$word\")); return; }\n"
         "  done\n"
         "  if choices=$(_berth_values \"$path $before\"); then\n"
         "    if [[ -n $choices ]]; then COMPREPLY=($(compgen -W \"$choices\" -- \"$word\")); else "
         "COMPREPLY=($(compgen -f -- \"$word\")); fi\n"
         "  elif [[ $word == -* ]]; then\n"
         "    COMPREPLY=($(compgen -W \"$(_berth_options \"$path\")\" -- \"$word\"))\n"
         "  else\n"
         "    COMPREPLY=($(compgen -W \"$(_berth_commands \"$path\")\" -- \"$word\"))\n"
         "    [[ ${#COMPREPLY[@]} -eq 0 ]] && COMPREPLY=($(compgen -f -- \"$word\"))\n"
         "  fi\n"
         "}\n"
         "complete -o filenames -F _berth berth\n";
}

std::string zsh_completion(const CommandPage& root) {
  std::string functions;
  each_command(root, "", [&](const CommandPage& page, const std::string& words) {
    std::string arguments;
    for (const auto* list : {&page.options, &page.common_options}) {
      for (const OptionEntry& option : *list) {
        const std::string action = option.choices.empty()
                                       ? ":" + zsh_text(option.value) + ":_files"
                                       : ":" + zsh_text(option.value) + ":(" + join(option.choices, " ") + ")";
        const std::string tail =
            "[" + zsh_text(option.text) + "]" + (option.value.empty() || option.optional ? "" : action);
        const std::string repeat = option.repeats ? "*" : "";
        if (!option.name.empty()) arguments += " \\\n    " + shell_word(repeat + "--" + option.name + tail);
        if (option.letter != 0) arguments += " \\\n    " + shell_word(repeat + "-" + option.letter + tail);
      }
    }
    std::string body;
    if (page.commands.empty()) {
      body = "  _arguments -s" + arguments + " \\\n    '*:file:_files'\n";
    } else {
      std::string names, cases;
      for (const CommandPage& sub : page.commands) {
        names += " " + shell_word(zsh_text(sub.name) + ":" + sub.summary);
        cases +=
            "        " + sub.name + ") " + function_name(words.empty() ? sub.name : words + " " + sub.name) + " ;;\n";
      }
      body = "  local state line\n  _arguments -C" + arguments +
             " \\\n    '1: :->command' '*::argument:->arguments'\n"
             "  case $state in\n    command)\n      local -a names=(" +
             names +
             ")\n      _describe command names ;;\n"
             "    arguments)\n      case $line[1] in\n" +
             cases + "      esac ;;\n  esac\n";
    }
    functions += function_name(words) + "() {\n" + body + "}\n";
  });
  return "#compdef berth\n# zsh completion for berth: put it as _berth into a directory of $fpath\n" + functions +
         "if [ \"$funcstack[1]\" = \"_berth\" ]; then _berth \"$@\"; else compdef _berth berth; fi\n";
}

std::string fish_completion(const CommandPage& root) {
  std::string out = "# fish completion for berth: put it into ~/.config/fish/completions/berth.fish\n";
  each_command(root, "", [&](const CommandPage& page, const std::string& words) {
    std::string condition = words.empty() ? "__fish_use_subcommand" : "";
    for (const std::string& word : split(words, ' ')) {
      if (!word.empty())
        condition += (condition.empty() ? "" : "; and ") + std::string("__fish_seen_subcommand_from ") + word;
    }
    const std::string head = "complete -c berth -n " + shell_word(condition);
    for (const CommandPage& sub : page.commands)
      out += head + " -f -a " + sub.name + " -d " + shell_word(sub.summary) + "\n";
    for (const auto* list : {&page.options, &page.common_options}) {
      for (const OptionEntry& option : *list) {
        out += head;
        if (!option.name.empty()) out += " -l " + option.name;
        if (option.letter != 0) out += std::string(" -s ") + option.letter;
        if (!option.value.empty() && !option.optional) out += " -r";
        if (!option.choices.empty()) out += " -f -a " + shell_word(join(option.choices, " "));
        out += " -d " + shell_word(option.text) + "\n";
      }
    }
  });
  return out;
}

}  // namespace berth::tools
