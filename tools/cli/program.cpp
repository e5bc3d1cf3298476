#include "tools/cli/program.h"

#include <algorithm>
#include <cstdio>
#include <exception>

#include "tools/cli/arguments.h"
#include "tools/cli/output.h"
#include "tools/cli/paths.h"
#include "tools/cli/terminal.h"
#include "tools/cli/text.h"

#ifndef BERTH_VERSION
#error "BERTH_VERSION is set by tools/CMakeLists.txt"
#endif

namespace berth::tools {

namespace {

constexpr const char* kDescription =
    "Decides where and when every container and process of a cluster runs, writes it down so that it is never lost, "
    "and\n"
    "has lean agents run it.";

constexpr const char* kExamples =
    "berth dev                                          a server and an agent on this machine\n"
    "berth submit --array 1-1000 --cpus 1 ./task.sh     a thousand tasks, one command\n"
    "berth wait 1                                       until all have ended\n"
    "berth logs 1.17                                    what the 17th wrote\n"
    "berth explain 2                                    why it waits";

std::string as_one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (text.ends_with(' ')) text.pop_back();
  return with_first_lower(std::move(text));
}

int show_help(const CommandPage& page) {
  Output out;
  out.write(help_text(page, help_width()));
  return out.finish();
}

// "help token create" is "token create --help". Behind the command's own path, not at the end: what follows it is a
// command line that must not run.
std::vector<std::string> without_help_command(std::vector<std::string> words, const CommandPage& root) {
  if (words.empty() || words[0] != "help") return words;
  words.erase(words.begin());
  const CommandPage* page = &root;
  auto at = words.begin();
  for (; at != words.end(); ++at) {
    const CommandPage* below = page->command(*at);
    if (below == nullptr) break;
    page = below;
  }
  words.insert(at, "--help");
  return words;
}

}  // namespace

std::string berth_version() { return BERTH_VERSION; }

std::unique_ptr<CLI::App> make_app(Context& context) {
  auto app = std::make_unique<CLI::App>(std::string("A berth planner for containers and batch jobs\n\n") + kDescription,
                                        "berth");
  app->footer(kExamples);
  app->require_subcommand(1);
  app->set_help_flag("-h,--help", "show this page");
  app->set_version_flag("--version", berth_version(), "print the version");
  app->add_option("--server", context.server,
                  "the server: HOST:PORT, or the path of a Unix socket; several with commas between, of which one "
                  "leads (default: $BERTH_SERVER, else the server of 'berth login', else the socket of this machine)")
      ->type_name("SERVER");
  return app;
}

int run_words(CLI::App& app, Context& context, std::vector<std::string> words) {
  const CommandPage root = describe(app);
  words = without_help_command(std::move(words), root);
  Arguments arguments;
  const state::Status good = check_arguments(root, words, arguments);
  set_running_command(arguments.page->path);
  if (!good) return report(good.error(), true);
  if (arguments.help) return show_help(*arguments.page);
  context.command = std::move(arguments.command);
  if (context.identity_dir.empty()) context.identity_dir = default_identity_directory();
  try {
    std::reverse(arguments.words.begin(), arguments.words.end());  // CLI11 takes them from the back
    if (context.server.empty()) context.server = default_server(context.identity_dir);
    app.parse(arguments.words);
    return context.exit_code;
  } catch (const CLI::CallForVersion&) {
    Output out;
    out.write("berth " + berth_version() + "\n");
    return out.finish();
  } catch (const CLI::ParseError& error) {
    return report(state::invalid("", as_one_line(error.what())), true);
  } catch (const std::exception& error) {
    return report(state::Error{state::ErrorCode::kInternal, "", std::string("internal error: ") + error.what(), 0});
  }
}

int run_program(int argc, char** argv, const std::function<void(CLI::App&, Context&)>& add_commands) {
  Context context;
  const std::unique_ptr<CLI::App> app = make_app(context);
  add_commands(*app, context);
  return run_words(*app, context, std::vector<std::string>(argv + std::min(argc, 1), argv + argc));
}

}  // namespace berth::tools
