#include "tools/cli/command.h"

#include <cstdio>
#include <unistd.h>

#include "state/units.h"
#include "tools/cli/terminal.h"
#include "tools/cli/text.h"

namespace berth::tools {

namespace {

// The path of the command that runs, for the head of error lines; set once, before any command does anything.
std::string& running_path() {
  static std::string path = "berth";
  return path;
}

// The option that sets a field; "" for the words of the command, which have none.
std::string as_option(const std::string& field) {
  if (field == "command") return "";
  if (field == "features") return "--feature";
  if (field == "labels") return "--label";
  return field.starts_with('-') ? field : "--" + field;
}

}  // namespace

void set_running_command(const std::string& path) { running_path() = path; }

std::string error_line(const std::string& path, const state::Error& error, bool usage) {
  std::string head = "berth: ";
  if (const std::size_t blank = path.find(' '); blank != std::string::npos) head += path.substr(blank + 1) + ": ";
  std::string message = error.message;
  const std::string option = error.field.empty() ? "" : as_option(error.field);
  if (usage && !option.empty() && !message.starts_with(error.field + ":") && !message.starts_with(option + ":")) {
    message = option + ": " + message;
  }
  if (error.code == state::ErrorCode::kUnavailable && error.retry_after_ms != 0) {
    message += "; try again in " + state::format_duration_ms(error.retry_after_ms);
  }
  return head + printable(message);
}

int report(const state::Error& error, bool usage) {
  end_progress_line();
  const std::string line = error_line(running_path(), error, usage) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
  return usage ? kExitUsage : kExitRefused;
}

CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& summary,
                      const std::string& description, const std::string& examples) {
  CLI::App* command = parent.add_subcommand(name, description.empty() ? summary : summary + "\n\n" + description);
  command->footer(examples);
  command->fallthrough();
  return command;
}

void takes_command(CLI::App* command, const std::string& description) {
  command->add_option("command", CLI::callback_t([](const CLI::results_t&) { return true; }), description)
      ->type_name(kCommandWords)
      ->expected(0, 1);
}

void on_run(CLI::App* command, Context& context, std::function<int()> run) {
  command->callback([&context, run = std::move(run)] { context.exit_code = run(); });
}

}  // namespace berth::tools
