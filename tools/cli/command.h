// How a command joins the binary. CLI11's tables are the one description of every option: parsing, --help, completion
// and man pages all come from them. A command is one function that adds a subcommand and sets its callback.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

#include "state/result.h"

namespace berth::tools {

inline constexpr int kExitRefused = 1;  // understood, and refused or failed
inline constexpr int kExitUsage = 2;    // the command line itself is wrong

struct Context {
  std::string server;        // --server, $BERTH_SERVER, or the default socket
  std::string identity_dir;  // ~/.config/berth
  int exit_code = 0;         // what main() returns; set by the command's callback
  // The words from COMMAND on, of a command that takes one (takes_command()); CLI11 never sees them.
  std::vector<std::string> command;
};

// Prints "berth: COMMAND: <message>" on standard error and returns the exit code for it (kExitUsage if `usage`). A
// usage error's field is shown in front, as the option it names: "berth: submit: --mem: 'abc' is not a size; accepted:
// ...".
int report(const state::Error& error, bool usage = false);
// The line that report() prints, without its newline, of the command with this path ("berth submit").
std::string error_line(const std::string& path, const state::Error& error, bool usage);
void set_running_command(const std::string& path);  // what report() names; set before a command runs
// Adds a subcommand with a description and examples (shown below the options, and in the man page).
CLI::App* add_command(CLI::App& parent, const std::string& name, const std::string& summary,
                      const std::string& description, const std::string& examples);
// The name of the positional that stands for them, in the tables.
inline constexpr const char* kCommandWords = "COMMAND";
// Declares that the command ends with the words of a command to run, `[--] COMMAND [ARG...]`; they land in
// Context::command.
void takes_command(CLI::App* command, const std::string& description);
// A callback whose return value becomes the exit code.
void on_run(CLI::App* command, Context& context, std::function<int()> run);

// tools/cli
void add_job_commands(CLI::App& app, Context& context);    // submit run ls show logs wait cancel hold …
void add_admin_commands(CLI::App& app, Context& context);  // nodes drain resume queue token login status
void add_doc_commands(CLI::App& app, Context& context);    // version completion man
// tools/roots
void add_server_command(CLI::App& app, Context& context);
void add_agent_command(CLI::App& app, Context& context);
void add_dev_command(CLI::App& app, Context& context);
void add_place_command(CLI::App& app, Context& context);
// tools/sim
void add_sim_command(CLI::App& app, Context& context);
// tools/slurm
void add_slurm_command(CLI::App& app, Context& context);
// tools/load
void add_bench_commands(CLI::App& app, Context& context);  // bench load, bench agents

}  // namespace berth::tools
