#include "tools/cli/command_page.h"

#include <algorithm>
#include <cctype>

#include "tools/cli/text.h"

namespace berth::tools {

namespace {

constexpr std::size_t kNameColumns = 30;

std::string upper(std::string text) {
  for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}

// CLI11 writes "TYPE:VALIDATOR"; a set of accepted words is a validator written {a,b,c}.
struct TypeName {
  std::string value;
  std::vector<std::string> choices;
};
TypeName type_name_of(const CLI::Option& option) {
  const std::string whole = option.get_type_name();
  std::size_t colon = whole.find(':');
  // "HOST:PORT" is a name of ours.
  const bool named = colon != std::string::npos && colon + 1 < whole.size() && colon != 0 &&
                     whole.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ", colon + 1) == std::string::npos;
  if (named) colon = std::string::npos;
  TypeName type{whole.substr(0, colon), {}};
  if (colon != std::string::npos && colon + 1 < whole.size() && whole[colon + 1] == '{' && whole.back() == '}') {
    type.choices = split(whole.substr(colon + 2, whole.size() - colon - 3), ',');
  }
  if (type.value == "UINT" || type.value == "INT" || type.value == "FLOAT") type.value = "N";
  if (type.value == "TEXT") type.value = type.choices.empty() ? "TEXT" : "WORD";
  return type;
}

bool is_flag(const CLI::Option& option) { return option.get_items_expected_max() == 0; }

OptionEntry entry_of(const CLI::Option& option) {
  OptionEntry entry;
  if (!option.get_snames().empty()) entry.letter = option.get_snames().front()[0];
  entry.other_names = option.get_lnames();
  if (!entry.other_names.empty()) {
    entry.name = entry.other_names.front();
    entry.other_names.erase(entry.other_names.begin());
  }
  const TypeName type = type_name_of(option);
  // A flag whose type has a name of its own takes a value, but only written as --flag=VALUE.
  entry.optional = is_flag(option) && !type.value.empty() && type.value != "BOOLEAN" && type.value != "N";
  entry.value = is_flag(option) && !entry.optional ? "" : type.value;
  entry.choices = type.choices;
  entry.repeats = option.get_expected_max() > 1;
  entry.required = option.get_required();
  entry.text = with_first_lower(option.get_description());
  if (!option.get_default_str().empty()) entry.text += " (default: " + option.get_default_str() + ")";
  if (!option.get_envname().empty()) entry.text += " [$" + option.get_envname() + "]";
  entry.group = option.get_group();
  return entry;
}

PositionalEntry positional_of(const CLI::Option& option) {
  const TypeName type = type_name_of(option);
  const bool named = !type.value.empty() && type.value != "TEXT" && type.value != "WORD" && type.value != "N";
  return {named ? type.value : upper(option.get_name(true)), with_first_lower(option.get_description()),
          option.get_required(), option.get_expected_max() > 1, type.choices};
}

std::vector<OptionEntry> options_of(const CLI::App& app) {
  std::vector<OptionEntry> entries;
  for (const CLI::Option* option : app.get_options({})) {
    if (option->nonpositional() && !option->get_group().empty()) entries.push_back(entry_of(*option));
  }
  return entries;
}

CommandPage page_of(const CLI::App& app, const std::string& above, const std::vector<OptionEntry>& common) {
  CommandPage page;
  page.name = app.get_name();
  page.aliases = app.get_aliases();
  page.path = above.empty() ? page.name : above + " " + page.name;
  page.group = app.get_group();
  const std::string text = app.get_description();
  const std::size_t gap = text.find("\n\n");
  page.summary = with_first_upper(text.substr(0, gap));
  page.description = gap == std::string::npos ? "" : text.substr(gap + 2);
  page.examples = app.get_footer();
  page.common_options = common;
  for (OptionEntry& entry : options_of(app)) {
    if (entry.name != "help") page.options.push_back(std::move(entry));
  }
  for (const CLI::Option* option : app.get_options({})) {
    if (option->get_positional()) page.positionals.push_back(positional_of(*option));
  }
  page.alone = app.get_require_subcommand_min() == 0;
  page.command_words = !page.positionals.empty() && page.positionals.back().name == kCommandWords;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (command->get_name().empty() || command->get_group().empty()) continue;
    page.commands.push_back(page_of(*command, page.path, common));
  }
  return page;
}

void add_entry(std::string& out, const std::string& name, const std::string& text, std::size_t width) {
  std::string line = "  " + name;
  const std::size_t used = columns_of(line);
  std::string words = reflow(text, width, kNameColumns);
  if (words.empty()) words = std::string(kNameColumns, ' ') + "\n";
  if (used + 2 <= kNameColumns) {
    line.append(kNameColumns - used, ' ');
    words.erase(0, kNameColumns);
  } else {
    line += '\n';
  }
  out += line + words;
}

std::string text_of(const OptionEntry& option) {
  std::string text = option.text;
  if (option.required) text += " (required)";
  return text;
}

void add_options(std::string& out, const std::vector<OptionEntry>& options, const std::string& fallback,
                 std::size_t width) {
  std::vector<std::string> groups;
  for (const OptionEntry& option : options) {
    if (std::find(groups.begin(), groups.end(), option.group) == groups.end()) groups.push_back(option.group);
  }
  for (const std::string& group : groups) {
    out += "\n" + (group == "Options" ? fallback : group) + ":\n";
    for (const OptionEntry& option : options) {
      if (option.group == group) add_entry(out, option.spelling(), text_of(option), width);
    }
  }
}

void add_commands(std::string& out, const CommandPage& page, std::size_t width) {
  std::vector<std::string> groups;
  for (const CommandPage& command : page.commands) {
    if (std::find(groups.begin(), groups.end(), command.group) == groups.end()) groups.push_back(command.group);
  }
  std::size_t widest = 0;
  for (const CommandPage& command : page.commands) widest = std::max(widest, columns_of(command.name));
  for (const std::string& group : groups) {
    out += "\n" + (group == "Subcommands" ? "Commands" : group) + ":\n";
    for (const CommandPage& command : page.commands) {
      if (command.group != group) continue;
      const std::string name = command.name + std::string(widest - columns_of(command.name) + 3, ' ');
      std::string words = reflow(command.summary, width, columns_of(name) + 2);
      out += "  " + name + words.erase(0, columns_of(name) + 2);
    }
  }
}

}  // namespace

std::string OptionEntry::spelling() const {
  std::string shown = letter != 0 ? std::string("-") + letter : "    ";
  if (!name.empty()) shown += (letter != 0 ? ", --" : "--") + name;
  if (value.empty()) return shown;
  return shown + (optional ? "[=" + value + "]" : " " + value);
}

std::string CommandPage::usage() const {
  std::string line = path + " [OPTIONS]";
  if (!commands.empty()) line += alone ? " [COMMAND]" : " COMMAND";
  for (const PositionalEntry& positional : positionals) {
    const bool last = command_words && &positional == &positionals.back();
    if (last) return line + " [--] COMMAND [ARG...]";
    const std::string shown = positional.name + (positional.repeats ? "..." : "");
    line += positional.required ? " " + shown : " [" + shown + "]";
  }
  return line;
}

const OptionEntry* CommandPage::option(std::string_view wanted) const {
  for (const auto* list : {&options, &common_options}) {
    for (const OptionEntry& entry : *list) {
      const auto& others = entry.other_names;
      if (entry.name == wanted || std::find(others.begin(), others.end(), wanted) != others.end()) return &entry;
    }
  }
  return nullptr;
}

const OptionEntry* CommandPage::option(char wanted) const {
  for (const auto* list : {&options, &common_options}) {
    for (const OptionEntry& entry : *list) {
      if (entry.letter == wanted) return &entry;
    }
  }
  return nullptr;
}

const CommandPage* CommandPage::command(std::string_view wanted) const {
  for (const CommandPage& entry : commands) {
    if (entry.name == wanted || std::find(entry.aliases.begin(), entry.aliases.end(), wanted) != entry.aliases.end())
      return &entry;
  }
  return nullptr;
}

CommandPage describe(const CLI::App& app) {
  const CLI::App* root = &app;
  std::string above;
  while (root->get_parent() != nullptr) {
    root = root->get_parent();
    above = root->get_name() + (above.empty() ? "" : " " + above);
  }
  std::vector<OptionEntry> common;
  for (OptionEntry& entry : options_of(*root)) {
    if (entry.name != "version") common.push_back(std::move(entry));
  }
  CommandPage page = page_of(app, above, common);
  if (root == &app) {  // the root's own options are the common ones, and --version
    std::erase_if(page.options, [](const OptionEntry& entry) { return entry.name != "version"; });
  }
  return page;
}

std::string help_text(const CommandPage& page, std::size_t width) {
  std::string out = reflow(page.path + ": " + with_first_lower(page.summary), width, 0);
  out += "\nUsage: " + page.usage() + "\n";
  if (!page.description.empty()) out += "\n" + reflow(page.description, width, 0);
  if (!page.commands.empty()) add_commands(out, page, width);
  if (!page.positionals.empty()) {
    out += "\nArguments:\n";
    for (const PositionalEntry& positional : page.positionals) add_entry(out, positional.name, positional.text, width);
  }
  add_options(out, page.options, "Options", width);
  add_options(out, page.common_options, "Common options", width);
  if (!page.examples.empty()) out += "\nExamples:\n" + reindent(page.examples, 2);
  if (!page.commands.empty()) out += "\n'" + page.path + " COMMAND --help' tells more about each.\n";
  return out;
}

}  // namespace berth::tools
