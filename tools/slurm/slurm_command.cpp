// What makes the berth binary speak Slurm: its name, `berth slurm install-links`, and what all of the commands share.
#include "tools/slurm/slurm_command.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/cli/output.h"
#include "tools/cli/paths.h"
#include "tools/cli/program.h"
#include "tools/slurm/commands.h"
#include "tools/slurm/import.h"
#include "tools/slurm/options.h"

namespace berth::tools {

namespace slurm {

namespace {

struct Command {
  const char* name;
  int (*run)(const Context& context, const Words& words);
};
constexpr Command kCommands[] = {{"sbatch", sbatch},   {"srun", srun},     {"salloc", salloc},     {"squeue", squeue},
                                 {"scancel", scancel}, {"sinfo", sinfo},   {"scontrol", scontrol}, {"sacct", sacct},
                                 {"sprio", sprio},     {"sshare", sshare}, {"sacctmgr", sacctmgr}, {"sdiag", sdiag},
                                 {"sreport", sreport}, {"sstat", sstat}};

// Makes DIR/sbatch and the others links to this program. What is there and is no link of ours stays.
int install_links(const std::string& directory) {
  char self[PATH_MAX] = "";
  const ssize_t size = ::readlink("/proc/self/exe", self, sizeof self - 1);
  if (size <= 0) return report({state::ErrorCode::kInternal, "", "cannot find this program's own file", 0});
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) {
    return report({state::ErrorCode::kInvalid, "", directory + ": " + std::strerror(errno), 0});
  }
  Output out;
  for (const Command& command : kCommands) {
    const std::string path = directory + "/" + command.name;
    struct stat there {};
    if (::lstat(path.c_str(), &there) == 0) {
      if (!S_ISLNK(there.st_mode)) {
        return report({state::ErrorCode::kConflict, "", path + " is there already, and no link; it was left alone", 0});
      }
      ::unlink(path.c_str());
    }
    if (::symlink(self, path.c_str()) != 0) {
      return report({state::ErrorCode::kInvalid, "", path + ": " + std::strerror(errno), 0});
    }
    out.write(path + " -> " + self + "\n");
  }
  return out.finish();
}

int import_file(const std::string& path) {
  const auto site = read_site(path);
  if (!site) return report(site.error());
  const auto text = import_site(*site);
  if (!text) return report(text.error());
  Output out;
  out.write(*text);
  return out.finish();
}

// What every command has is told once.
bool is_of_all(std::string_view name) {
  return name == "help" || name == "usage" || name == "verbose" || name == "version";
}

// docs/slurm-options.md's tables.
std::string options_page() {
  std::string page;
  for (const CommandTable* table : all_tables()) {
    page += fmt::format("### {}\n\n| option | |\n|---|---|\n", table->name);
    std::vector<Option> options = table->options;
    std::stable_sort(options.begin(), options.end(),
                     [](const Option& a, const Option& b) { return a.support < b.support; });
    for (const Option& one : options) {
      if (is_of_all(one.name)) continue;
      std::string name =
          one.letter != 0 ? fmt::format("`-{}`, `--{}`", one.letter, one.name) : fmt::format("`--{}`", one.name);
      const char* mark = one.support == Support::kHonoured  ? ""
                         : one.support == Support::kIgnored ? "no effect: "
                                                            : "**refused**: ";
      page += fmt::format("| {} | {}{} |\n", name, mark, one.text);
    }
    page += "\n";
  }
  return page;
}

}  // namespace

int fail(std::string_view command, const std::string& message) {
  std::fflush(stdout);
  // What a client of Slurm's library prints has no "error:" of its own.
  const bool library = command.starts_with("slurm_");
  fmt::print(stderr, "{}{} {}\n", command, library ? " error:" : ": error:", message);
  return 1;
}

std::optional<int> answer_about_itself(const CommandTable& table, const Given& given) {
  if (given.has("version")) {
    print_version(given.has("verbose"));
    return 0;
  }
  if (!given.has("help") && !given.has("usage")) return std::nullopt;
  Output out;
  out.write(given.has("help") ? help_of(table) : usage_of(table));
  return out.finish();
}

void print_version(bool verbose) {
  fmt::print("slurm 22.05.8\n");
  if (verbose) fmt::print("berth {}\n", berth_version());
  std::fflush(stdout);
}

}  // namespace slurm

bool is_slurm_command(std::string_view name) {
  return std::any_of(std::begin(slurm::kCommands), std::end(slurm::kCommands),
                     [&](const slurm::Command& command) { return name == command.name; });
}

int run_slurm_command(std::string_view name, std::vector<std::string> words) {
  Context context;
  context.identity_dir = default_identity_directory();
  context.server = default_server(context.identity_dir);
  for (const slurm::Command& command : slurm::kCommands) {
    if (name != command.name) continue;
    try {
      return command.run(context, words);
    } catch (const std::exception& error) {
      return slurm::fail(name, std::string("internal error: ") + error.what());
    }
  }
  return 1;
}

void add_slurm_command(CLI::App& app, Context& context) {
  CLI::App* group = add_command(app, "slurm", "Slurm's commands: sbatch, srun, squeue, …",
                                "This program is Slurm's commands by another name. With links of their names in a "
                                "directory of your PATH, scripts and programs that speak Slurm work with Berth; what "
                                "of Slurm they know is in docs/slurm.md.",
                                "berth slurm install-links ~/bin\nberth slurm options");
  group->group("About machines");
  group->require_subcommand(1);
  CLI::App* links = add_command(*group, "install-links", "Make links of the commands' names to this program", "",
                                "berth slurm install-links /usr/local/bin");
  auto directory = std::make_shared<std::string>();
  links->add_option("DIR", *directory, "where")->required();
  on_run(links, context, [directory] { return slurm::install_links(*directory); });
  CLI::App* import = add_command(
      *group, "import", "Print Berth's configuration after a slurm.conf",
      "What it says, with gres.conf, cgroup.conf and topology.conf beside it and the files that it includes, as the "
      "server's configuration; then as comments what to start on each node, and every line that has no equivalent, "
      "with the reason. Nothing is changed.",
      "berth slurm import /etc/slurm/slurm.conf >berth.yaml");
  auto path = std::make_shared<std::string>();
  import->add_option("FILE", *path, "slurm.conf")->required();
  on_run(import, context, [path] { return slurm::import_file(*path); });
  CLI::App* options =
      add_command(*group, "options", "Print which options the commands take, as Markdown", "", "berth slurm options");
  on_run(options, context, [] {
    Output out;
    out.write(slurm::options_page());
    return out.finish();
  });
}

}  // namespace berth::tools
