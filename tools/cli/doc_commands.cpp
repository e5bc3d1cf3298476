// `berth version`, `berth completion`, `berth man`.
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <unistd.h>

#include "api/wire/message.h"
#include "tools/cli/completion.h"
#include "tools/cli/output.h"
#include "tools/cli/program.h"
#include "tools/cli/text.h"

namespace berth::tools {

using namespace state;

namespace {

constexpr const char* kDocGroup = "About berth";

int print(const std::string& text) {
  Output out;
  out.write(text);
  return out.finish();
}

const CLI::App& root_of(const CLI::App& command) {
  const CLI::App* at = &command;
  while (at->get_parent() != nullptr) at = at->get_parent();
  return *at;
}

void add_version_command(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, "version", "Print the version", "", "berth version");
  command->group(kDocGroup);
  on_run(command, context, [] {
    return print("berth " + berth_version() + " (protocol " + std::to_string(wire::kProtocolVersionOldest) + " to " +
                 std::to_string(wire::kProtocolVersion) + ")\n");
  });
}

void add_completion_command(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, "completion", "Print a completion script for a shell", "",
                                  "source <(berth completion bash)\n"
                                  "berth completion zsh > ~/.zfunc/_berth\n"
                                  "berth completion fish > ~/.config/fish/completions/berth.fish");
  command->group(kDocGroup);
  auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "bash, zsh or fish")
      ->type_name("SHELL")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  on_run(command, context, [command, shell] {
    const CommandPage page = describe(root_of(*command));
    return print(*shell == "bash"  ? bash_completion(page)
                 : *shell == "zsh" ? zsh_completion(page)
                                   : fish_completion(page));
  });
}

Status write_file(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const int error = fd < 0 ? errno : write_all(fd, text);
  if (fd >= 0) close(fd);
  if (error == 0) return Unit{};
  return Error{ErrorCode::kDenied, "dir", "cannot write " + path + ": " + std::strerror(error), 0};
}

int write_man_pages(const CommandPage& page, const std::string& directory) {
  if (Status written = write_file(directory + "/" + man_file_name(page), man_page(page, berth_version())); !written) {
    return report(written.error());
  }
  for (const CommandPage& sub : page.commands) {
    if (const int code = write_man_pages(sub, directory); code != 0) return code;
  }
  return 0;
}

void add_man_command(CLI::App& app, Context& context) {
  struct Options {
    std::vector<std::string> words;
    std::string directory;
  };
  CLI::App* command = add_command(app, "man", "Print a man page, or write all of them", "",
                                  "berth man submit | man -l -\nberth man --dir /usr/local/share/man/man1");
  command->group(kDocGroup);
  auto options = std::make_shared<Options>();
  command->add_option("command", options->words, "the command, as in token create")
      ->type_name("NAME")
      ->allow_extra_args();
  command->add_option("-d,--dir", options->directory, "write a page for every command into this directory")
      ->type_name("DIR");
  on_run(command, context, [command, options] {
    const CommandPage root = describe(root_of(*command));
    if (!options->directory.empty()) return write_man_pages(root, options->directory);
    const CommandPage* page = &root;
    for (const std::string& word : options->words) {
      const CommandPage* sub = page->command(word);
      if (sub == nullptr) {
        std::vector<std::string> names;
        for (const CommandPage& known : page->commands) names.push_back(known.name);
        return report(invalid("", "there is no command '" + printable(word) + "'" +
                                      (names.empty() ? "" : "; accepted: " + join(names, ", "))),
                      true);
      }
      page = sub;
    }
    return print(man_page(*page, berth_version()));
  });
}

}  // namespace

void add_doc_commands(CLI::App& app, Context& context) {
  add_version_command(app, context);
  add_completion_command(app, context);
  add_man_command(app, context);
}

}  // namespace berth::tools
