// The words of a command line: what is told about wrong ones, and that every page, completion and man page is sound.
#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tools/cli/arguments.h"
#include "tools/cli/completion.h"
#include "tools/cli/program.h"
#include "tools/cli/text.h"

namespace berth::tools {
namespace {

class CommandLine : public ::testing::Test {
 protected:
  CommandLine() : app_(make_app(context_)) {
    add_job_commands(*app_, context_);
    add_admin_commands(*app_, context_);
    add_server_command(*app_, context_);
    add_agent_command(*app_, context_);
    add_dev_command(*app_, context_);
    add_place_command(*app_, context_);
    add_bench_commands(*app_, context_);
    add_doc_commands(*app_, context_);
    root_ = describe(*app_);
  }

  // The line that is told, "" if the words are good.
  std::string told(const std::vector<std::string>& words) {
    arguments_ = {};
    const state::Status good = check_arguments(root_, words, arguments_);
    return good ? "" : error_line(arguments_.page->path, good.error(), true);
  }

  static void each_page(const CommandPage& page, const std::function<void(const CommandPage&)>& visit) {
    visit(page);
    for (const CommandPage& below : page.commands) each_page(below, visit);
  }

  Context context_;
  std::unique_ptr<CLI::App> app_;
  CommandPage root_;
  Arguments arguments_;
};

TEST_F(CommandLine, WrongWordsAreToldInOneLineThatNamesTheCommandAndWhatWasMeant) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"sumbit"}, "berth: unknown command 'sumbit'; did you mean submit?"},
      {{"submit", "--mme", "1G", "true"}, "berth: submit: unknown option --mme; did you mean --mem?"},
      {{"submit", "--qqqqqqqq", "true"}, "berth: submit: unknown option --qqqqqqqq"},
      {{"submit", "-Z", "true"}, "berth: submit: unknown option -Z"},
      {{"submit", "--mem"}, "berth: submit: --mem needs a value: --mem SIZE"},
      {{"submit", "--mem", "--", "true"}, "berth: submit: --mem needs a value: --mem SIZE"},
      {{"submit", "--mem", "--cpus", "2", "true"}, "berth: submit: --mem needs a value: --mem SIZE"},
      {{"submit", "--append=yes", "true"}, "berth: submit: --append takes no value"},
      {{"submit", "--cpus", "1", "--cpus=2", "true"}, "berth: submit: --cpus is given twice"},
      {{"ls", "-o", "xml"}, "berth: ls: -o: 'xml' is not accepted; accepted: table, wide, json"},
      {{"show"}, "berth: show: JOB is missing; usage: berth show [OPTIONS] JOB"},
      {{"show", "1", "2"}, "berth: show: unexpected word '2'; usage: berth show [OPTIONS] JOB"},
      {{"nodes", "--", "-x"}, "berth: nodes: unexpected word '-x' after --"},
      {{"completion", "tcsh"}, "berth: completion: 'tcsh' is not accepted; accepted: bash, zsh, fish"},
      {{"sub\nmit"}, "berth: unknown command 'sub?mit'; did you mean submit?"},
  };
  for (const auto& [words, line] : cases) EXPECT_EQ(told(words), line);
}

TEST_F(CommandLine, AMissingCommandIsToldWithAllThereAre) {
  EXPECT_TRUE(told({}).starts_with("berth: a command is missing; there are: submit, run, "));
  EXPECT_TRUE(told({"token"}).starts_with("berth: token: a command is missing; there are: "));
}

TEST_F(CommandLine, TheCommandToRunBeginsAtTheFirstPlainWordOrBehindTheDashes) {
  const std::vector<std::pair<std::vector<std::string>, std::vector<std::string>>> cases = {
      {{"submit", "hostname", "-f"}, {"hostname", "-f"}},
      {{"submit", "--cpus", "2", "sh", "-c", "[x]"}, {"sh", "-c", "[x]"}},
      {{"submit", "-c2", "--", "--name", "--", ""}, {"--name", "--", ""}},
      {{"run", "--requeue", "make", "-j4"}, {"make", "-j4"}},
      {{"run", "--requeue", "3", "make"}, {"make"}},
      {{"run", "--requeue=3", "make"}, {"make"}},
      {{"submit", "ls", "--help"}, {"ls", "--help"}},
  };
  for (const auto& [words, command] : cases) {
    EXPECT_EQ(told(words), "");
    EXPECT_EQ(arguments_.command, command);
    EXPECT_FALSE(arguments_.help);
  }
}

TEST_F(CommandLine, ValuesAreTakenAsTheyAreWhateverTheyLookLike) {
  ASSERT_EQ(told({"submit", "--priority", "-5", "--name=", "--env", "A=[b,c]", "true"}), "");
  EXPECT_EQ(arguments_.words,
            (std::vector<std::string>{"submit", "--priority", "-5", "--name", "", "--env", "A=[b,c]"}));
}

TEST_F(CommandLine, HelpIsAskedForOfTheCommandThatWasNamedEvenIfItsWordsAreIncomplete) {
  ASSERT_EQ(told({"token", "create", "--help"}), "");
  EXPECT_TRUE(arguments_.help);
  EXPECT_EQ(arguments_.page->path, "berth token create");
  ASSERT_EQ(told({"show", "-h"}), "");
  EXPECT_TRUE(arguments_.help);
}

TEST_F(CommandLine, EveryHelpPageFitsIntoAHundredColumns) {
  each_page(root_, [](CommandPage page) {
    page.examples.clear();  // shown as they were written
    for (const std::string& line : split(help_text(page, 100), '\n')) {
      EXPECT_LE(columns_of(line), 100U) << page.path << ": " << line;
    }
  });
}

TEST_F(CommandLine, EveryPageHasASummaryAndExamples) {
  each_page(root_, [](const CommandPage& page) {
    EXPECT_FALSE(page.summary.empty()) << page.path;
    EXPECT_FALSE(page.examples.empty()) << page.path;
  });
}

TEST_F(CommandLine, EveryOptionIsDescribed) {
  each_page(root_, [](const CommandPage& page) {
    for (const OptionEntry& option : page.options)
      EXPECT_FALSE(option.text.empty()) << page.path << " --" << option.name;
    for (const PositionalEntry& positional : page.positionals) EXPECT_FALSE(positional.text.empty()) << page.path;
  });
}

// Runs a program on a text; its exit code and what it said, or nothing if it is not installed.
class Checked {
 public:
  Checked(const std::string& program, const std::string& words, const std::string& text) {
    if (std::system(("command -v " + program + " >/dev/null 2>&1").c_str()) != 0) return;
    std::array<char, 64> path{"/tmp/berth-cli-test-XXXXXX"};
    const int fd = mkstemp(path.data());
    if (fd < 0) return;
    installed = write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    close(fd);
    if (std::FILE* pipe = popen((program + " " + words + " " + path.data() + " 2>&1").c_str(), "r")) {
      std::array<char, 512> piece{};
      while (std::fgets(piece.data(), piece.size(), pipe) != nullptr) said += piece.data();
      code = pclose(pipe);
    }
    unlink(path.data());
  }
  bool installed = false;
  int code = -1;
  std::string said;
};

TEST_F(CommandLine, CompletionScriptsAreSoundInTheirShells) {
  const std::vector<std::pair<std::string, std::string>> scripts = {
      {"bash", bash_completion(root_)}, {"zsh", zsh_completion(root_)}, {"fish", fish_completion(root_)}};
  int tried = 0;
  for (const auto& [shell, script] : scripts) {
    const Checked checked(shell, "-n", script);
    if (!checked.installed) continue;
    ++tried;
    EXPECT_EQ(checked.code, 0) << shell << ": " << checked.said;
    EXPECT_EQ(checked.said, "") << shell;
  }
  EXPECT_GT(tried, 0) << "not even bash is here";
}

TEST_F(CommandLine, TheCheckOfACompletionScriptCanFail) {
  const Checked checked("bash", "-n", bash_completion(root_) + "\nif then\n");
  ASSERT_TRUE(checked.installed);
  EXPECT_NE(checked.code, 0);
}

TEST_F(CommandLine, ManPagesAreWrittenForEveryCommandAndGroffHasNothingToSayAboutThem) {
  std::string all;
  each_page(root_, [&](const CommandPage& page) {
    const std::string text = man_page(page, "0.1.0");
    EXPECT_TRUE(text.starts_with(".TH ")) << page.path;
    EXPECT_TRUE(man_file_name(page).ends_with(".1")) << page.path;
    all += text;
  });
  const Checked checked("groff", "-Kutf8 -man -Tutf8 -z -ww", all);
  if (!checked.installed) GTEST_SKIP() << "no groff here";
  EXPECT_EQ(checked.code, 0);
  EXPECT_EQ(checked.said, "");
}

}  // namespace
}  // namespace berth::tools
