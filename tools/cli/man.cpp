// Man pages: the same text as --help, in roff.
#include "tools/cli/completion.h"
#include "tools/cli/text.h"

namespace berth::tools {

namespace {

// Text that roff leaves as it is.
std::string roff(std::string_view text) {
  std::string out;
  bool at_start = true;
  for (const char c : text) {
    if (at_start && (c == '.' || c == '\'')) out += "\\&";
    if (c == '\\') {
      out += "\\e";
    } else if (c == '-') {
      out += "\\-";
    } else {
      out += c;
    }
    at_start = c == '\n';
  }
  return out;
}

std::string paragraphs(std::string_view text) {
  std::string out;
  for (const std::string& line : split(text, '\n')) out += line.empty() ? ".PP\n" : roff(line) + "\n";
  return out;
}

std::string options_of(const std::vector<OptionEntry>& options) {
  std::string out;
  for (const OptionEntry& option : options)
    out += ".TP\n.B " + roff(option.spelling()) + "\n" + roff(with_first_upper(option.text)) + ".\n";
  return out;
}

std::string page_name(const CommandPage& page) {
  std::string name = page.path;
  for (char& c : name) {
    if (c == ' ') c = '-';
  }
  return name;
}

}  // namespace

std::string man_file_name(const CommandPage& page) { return page_name(page) + ".1"; }

std::string man_page(const CommandPage& page, const std::string& version) {
  const std::string name = page_name(page);
  std::string out = ".TH " + roff(name) + " 1 \"\" \"berth " + roff(version) + "\" \"Berth\"\n.SH NAME\n" + roff(name) +
                    " \\- " + roff(with_first_lower(page.summary)) + "\n.SH SYNOPSIS\n.B " + roff(page.usage()) + "\n";
  if (!page.description.empty()) out += ".SH DESCRIPTION\n" + paragraphs(page.description);
  if (!page.commands.empty()) {
    out += ".SH COMMANDS\n";
    for (const CommandPage& sub : page.commands) out += ".TP\n.B " + roff(sub.path) + "\n" + roff(sub.summary) + ".\n";
  }
  if (!page.positionals.empty()) {
    out += ".SH ARGUMENTS\n";
    for (const PositionalEntry& argument : page.positionals) {
      out += ".TP\n.I " + roff(argument.name) + "\n" + roff(with_first_upper(argument.text)) + ".\n";
    }
  }
  if (!page.options.empty()) out += ".SH OPTIONS\n" + options_of(page.options);
  if (!page.common_options.empty()) out += ".SH COMMON OPTIONS\n" + options_of(page.common_options);
  if (!page.examples.empty()) out += ".SH EXAMPLES\n.nf\n" + roff(page.examples) + "\n.fi\n";
  out += ".SH EXIT STATUS\n0 on success, 1 if it was refused or failed, 2 if the command line is wrong.\n";
  return out;
}

}  // namespace berth::tools
