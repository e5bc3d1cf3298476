// The Slurm dialect's small parts: times, sizes, host lists, patterns, scripts, columns.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>
#include <map>
#include <random>
#include <set>

#include "state/condition.h"
#include "tools/cli/server_link.h"
#include "tools/cli/waiting.h"
#include "tools/slurm/columns.h"
#include "tools/slurm/job_options.h"
#include "tools/slurm/jobs.h"
#include "tools/slurm/local_step.h"
#include "tools/slurm/options.h"
#include "tools/slurm/script.h"
#include "tools/slurm/text.h"
#include "tools/slurm/variables.h"

namespace berth::tools::slurm {
namespace {

using namespace state;

TEST(SlurmText, TimeLimitsInAllTheirForms) {
  constexpr std::int64_t kMinute = 60'000, kHour = 60 * kMinute, kDay = 24 * kHour;
  for (const auto& [text, ms] :
       std::vector<std::pair<const char*, std::int64_t>>{{"5", 5 * kMinute},
                                                         {"5:30", 5 * kMinute + 30'000},
                                                         {"0:03", 3'000},
                                                         {"1:02:03", kHour + 2 * kMinute + 3'000},
                                                         {"2-3", 2 * kDay + 3 * kHour},
                                                         {"2-3:4", 2 * kDay + 3 * kHour + 4 * kMinute},
                                                         {"0-0:0:9", 9'000},
                                                         {"0", 0},
                                                         {"0:00", 0},
                                                         {"0-0", 0},
                                                         {"UNLIMITED", 0},
                                                         {"infinite", 0}}) {
    const auto limit = parse_limit_ms(text);
    ASSERT_TRUE(limit.ok()) << text;
    EXPECT_EQ(*limit, ms) << text;
  }
  for (const char* text : {"", "x", "1:2:3:4", "1-", "-5", "1-2-3", "5m", "99999999999"}) {
    EXPECT_FALSE(parse_limit_ms(text).ok()) << text;
  }
}

TEST(SlurmText, LengthsAreWrittenAsTheyAreRead) {
  EXPECT_EQ(length_text(5), "0:05");
  EXPECT_EQ(length_text(3723), "1:02:03");
  EXPECT_EQ(length_text(3723, true), "01:02:03");
  EXPECT_EQ(length_text(2 * 86'400 + 3), "2-00:00:03");
  EXPECT_EQ(limit_text(0), "UNLIMITED");
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    const std::int64_t seconds = 1 + random() % (40 * 86'400);
    EXPECT_EQ(*parse_limit_ms(length_text(seconds, true)), seconds * 1000);
    EXPECT_EQ(*parse_limit_ms(length_text(seconds)), seconds * 1000) << length_text(seconds);
  }
}

TEST(SlurmText, MemoryIsInMiBUnlessItSays) {
  for (const auto& [text, mib] : std::vector<std::pair<const char*, std::uint64_t>>{{"512", 512},
                                                                                    {"1G", 1024},
                                                                                    {"2g", 2048},
                                                                                    {"100K", 1},
                                                                                    {"2048k", 2},
                                                                                    {"1T", 1'048'576},
                                                                                    {"7MB", 7},
                                                                                    {"0", 0}}) {
    const auto memory = parse_mem_mib(text);
    ASSERT_TRUE(memory.ok()) << text;
    EXPECT_EQ(*memory, mib) << text;
  }
  for (const char* text : {"", "G", "1.5G", "-1", "1X", "1 G"}) EXPECT_FALSE(parse_mem_mib(text).ok()) << text;
}

TEST(SlurmText, HostListsFoldAndUnfold) {
  EXPECT_EQ(hostlist({"n1", "n2", "n3", "n7", "login"}), "n[1-3,7],login");
  EXPECT_EQ(hostlist({"n3", "n1"}), "n[1,3]");
  EXPECT_EQ(hostlist({"n5"}), "n5");
  EXPECT_EQ(hostlist({}), "");
  EXPECT_EQ(hostlist({"a01", "a02", "a10"}), "a[01-02,10]");
  std::mt19937 random(5);
  for (int round = 0; round < 500; ++round) {
    std::set<std::string> names;
    for (std::uint32_t i = random() % 12; i != 0; --i) {
      const char* prefixes[] = {"n", "gpu-", "x1y", "login"};
      const std::uint32_t kind = random() % 4;
      names.insert(kind == 3 ? "login" : prefixes[kind] + std::to_string(random() % 40));
    }
    const std::string text = hostlist({names.begin(), names.end()});
    if (names.empty()) continue;
    const auto again = expand_hostlist(text);
    ASSERT_TRUE(again.ok()) << text;
    EXPECT_EQ(std::set<std::string>(again->begin(), again->end()), names) << text;
    EXPECT_EQ(again->size(), names.size()) << text;
  }
}

TEST(SlurmText, StatesByEitherName) {
  EXPECT_EQ(*parse_states("R,pending"), (std::vector<PodState>{PodState::kRunning, PodState::kPending}));
  EXPECT_EQ(parse_states("all")->size(), kPodStates);
  EXPECT_TRUE(parse_states("SUSPENDED")->empty());
  EXPECT_FALSE(parse_states("R,lost").has_value());
}

TEST(SlurmText, TimesOfDayLieInThePastForAccounting) {
  const TimeUs now = wall_clock_us();
  for (const char* text : {"00:00", "midnight", "now-1hour", "now-2days", "now"}) {
    const auto at = parse_when(text, now);
    ASSERT_TRUE(at.ok()) << text;
    EXPECT_LE(*at, now) << text;
  }
  EXPECT_EQ(*parse_when("now-1hour", now), now - 3'600'000'000);
  EXPECT_EQ(*parse_when("uts100", now), 100'000'000);
  EXPECT_EQ(time_text(*parse_when("2026-01-31T18:30:05", now)), "2026-01-31T18:30:05");
  EXPECT_FALSE(parse_when("whenever", now).ok());
}

TEST(SlurmPatterns, BecomeOurs) {
  EXPECT_EQ(output_pattern("slurm-%A_%a.out", true), "slurm-%j_%a.out");
  EXPECT_EQ(output_pattern("%x-%j-%N-%u.%t.%n%%", false), "%x-%j-%n-%u.0.0%%");
  EXPECT_EQ(output_pattern("%4j", false), "%4j");
  EXPECT_EQ(output_pattern("\\%j", false), "%%j");
  EXPECT_EQ(output_pattern("none", false), "/dev/null");
  EXPECT_EQ(output_pattern("%q", false), "%%q");
  EXPECT_EQ(expand_path("a%4j_%a%%", {7, 3, "n", "u", "x"}), "a0007_3%");
}

TEST(SlurmPatterns, OfStepsKnowTheirTasks) {
  const StepNames element{7, "a%b", true}, over{std::nullopt, "", false};
  EXPECT_EQ(*step_pattern("%2t-%n-%3n-%s-%J-%3a-%x", element), "%2r-0-000-%s-%j.%s-007-a%%b");
  EXPECT_EQ(*step_pattern("%t.%N.%2s.%a.%x.%A.%q", over), "%r.%n.%2s.4294967294.%x.%j.%%q");
  EXPECT_EQ(*step_pattern("none", over), "/dev/null");
  EXPECT_EQ(*step_pattern("all", over), "");
  EXPECT_EQ(*step_pattern("\\%t%n", over), "%%t%%n");
  EXPECT_EQ(*step_pattern("3", element), "3");
  EXPECT_FALSE(step_pattern("3", over).ok());
  EXPECT_FALSE(step_pattern("x%2n", over).ok());
  EXPECT_EQ(one_task("3"), 3U);
  EXPECT_FALSE(one_task("3a").has_value());
}

TEST(SlurmVariables, StandForOptionsThatTheCommandsHave) {
  for (const auto& [reader, command] : {std::pair{Reader::kSbatch, "sbatch"}, std::pair{Reader::kSalloc, "salloc"},
                                        std::pair{Reader::kSrun, "srun"}, std::pair{Reader::kStep, "srun"}}) {
    std::set<std::string> names;
    for (const auto& [name, option] : variables_of(reader)) {
      EXPECT_TRUE(names.insert(name).second) << name;
      const auto& options = table_of(command).options;
      EXPECT_TRUE(std::any_of(options.begin(), options.end(),
                              [&, word = std::string_view(option)](const Option& o) { return o.name == word; }))
          << command << " has no --" << option << ", which " << name << " stands for";
    }
  }
}

TEST(SlurmVariables, SayWhatTheCommandLineDoesNot) {
  const std::map<std::string, std::string> variables{
      {"SLURM_PARTITION", "p"},     {"SLURM_MEM_PER_CPU", "5"},  {"SLURM_LABELIO", "1"},
      {"SLURM_OVERLAP", "0"},       {"SLURM_EXPORT_ENV", "ALL"}, {"SRUN_EXPORT_ENV", "NONE"},
      {"SLURM_KILL_BAD_EXIT", "1"}, {"SLURM_GPUS", "4"},         {"SBATCH_REQ_SWITCH", "2@5"}};
  for (const auto& [name, value] : variables) setenv(name.c_str(), value.c_str(), 1);
  const CommandTable& table = table_of("srun");
  Given given = *parse(table, {"--mem", "1"});
  ASSERT_TRUE(fill_from_environment(table, Reader::kSrun, given).ok());
  EXPECT_EQ(given.text("partition") + given.text("export") + given.text("kill-on-bad-exit") + given.text("gpus"),
            "pNONE14");
  EXPECT_TRUE(given.has("label"));
  EXPECT_FALSE(given.has("overlap"));
  EXPECT_FALSE(given.has("mem-per-cpu"));  // --mem says what memory there is
  Given step;
  ASSERT_TRUE(fill_from_environment(table, Reader::kStep, step).ok());
  EXPECT_TRUE(step.has("label") && !step.has("partition") && !step.has("gpus"));
  Given batch;
  ASSERT_TRUE(fill_from_environment(table_of("sbatch"), Reader::kSbatch, batch).ok());
  EXPECT_EQ(batch.text("switches"), "2@5");
  setenv("SLURM_RESERVATION", "r", 1);
  const Status refused = fill_from_environment(table, Reader::kSrun, given);
  ASSERT_FALSE(refused.ok());
  EXPECT_TRUE(refused.error().message.starts_with("SLURM_RESERVATION: --reservation is not supported"));
  unsetenv("SLURM_RESERVATION");
  for (const auto& [name, value] : variables) unsetenv(name.c_str());
}

// What a step of `words` came to.
struct StepEnd {
  int code;
  std::string output;
  std::int64_t ms;
};
StepEnd run_step_here(const std::vector<std::string>& words, std::uint32_t tasks, std::int64_t kill_wait_ms) {
  const Given given = *parse(table_of("srun"), words);
  testing::internal::CaptureStdout();
  const std::int64_t before = now_ms();
  const int code = run_local_step(given, tasks, std::nullopt, kill_wait_ms);
  return {code, testing::internal::GetCapturedStdout(), now_ms() - before};
}

TEST(SlurmLocalStep, WhatIgnoresTheSignalIsKilledInTheEnd) {
  const StepEnd end = run_step_here(
      {"-K", "sh", "-c", "trap '' TERM; if [ $SLURM_PROCID = 1 ]; then sleep 0.5; exit 5; fi; sleep 9999"}, 2, 300);
  EXPECT_EQ(end.code, 128 + SIGKILL);
  EXPECT_LT(end.ms, 60'000);
}

TEST(SlurmLocalStep, WhatATaskLeavesBehindEndsWithTheStep) {
  const StepEnd end = run_step_here({"-l", "sh", "-c", "sleep 9999 & echo hi $!; printf rest"}, 1, 30'000);
  EXPECT_EQ(end.code, 0);
  EXPECT_LT(end.ms, 60'000);
  ASSERT_TRUE(end.output.starts_with("0: hi ")) << end.output;
  EXPECT_TRUE(end.output.ends_with("\n0: rest\n")) << end.output;
  const int left = std::stoi(end.output.substr(6));
  for (int i = 0; i < 200 && ::kill(left, 0) == 0; ++i) sleep_ms(10);
  // Gone, or a zombie that its new parent has not taken in.
  std::string state;
  std::ifstream("/proc/" + std::to_string(left) + "/stat") >> state >> state >> state;
  EXPECT_TRUE(state.empty() || state == "Z") << state;
}

TEST(SlurmLocalStep, WhatLeftItsGroupIsNotWaitedFor) {
  const StepEnd end = run_step_here({"-l", "sh", "-c", "setsid sleep 20 & sleep 0.2; echo hi"}, 1, 30'000);
  EXPECT_EQ(end.output, "0: hi\n");
  EXPECT_LT(end.ms, 15'000);
}

TEST(SlurmSignals, ByNameAndNumber) {
  EXPECT_EQ(signal_number("USR1"), 10);
  EXPECT_EQ(signal_number("sigterm"), 15);
  EXPECT_EQ(signal_number("9"), 9);
  EXPECT_EQ(signal_number("65"), 0);
  EXPECT_EQ(signal_number("NOPE"), 0);
}

Result<MadeJob> made_of(const std::vector<std::string>& words, JobUse use = JobUse::kBatch) {
  return make_job(*parse(table_of(use == JobUse::kTasks ? "srun" : "sbatch"), words), "job", use);
}
std::string variable_of(const MadeJob& made, const std::string& name) {
  for (const std::string& line : made.launch.env) {
    if (line.starts_with(name + "=")) return line.substr(name.size() + 1);
  }
  return "";
}

TEST(SlurmJobs, WordsNameJobsAndElements) {
  EXPECT_EQ(parse_job_word("12")->job, JobId{12});
  EXPECT_EQ(parse_job_word("12_3")->indexes->to_string(), "3");
  EXPECT_EQ(parse_job_word("12_[3-5,9%2]")->indexes->to_string(), "3-5,9");
  EXPECT_EQ(parse_job_word("12.batch")->job, JobId{12});
  EXPECT_EQ(parse_job_words({"1,2_[3,4],5"})->size(), 3U);
  for (const char* text : {"", "x", "_1", "0", "12_", "12_x", "-1"}) EXPECT_FALSE(parse_job_word(text).ok()) << text;
}

TEST(SlurmJobs, AreForgottenAWhileAfterTheirEnd) {
  JobRow job;
  EXPECT_FALSE(is_forgotten(job, 1'000'000'000));
  job.ended_at = 1'000'000;
  EXPECT_FALSE(is_forgotten(job, 301'000'000));
  EXPECT_TRUE(is_forgotten(job, 301'000'001));
  job.counts.by_state[static_cast<std::size_t>(PodState::kRunning)] = 1;
  EXPECT_FALSE(is_forgotten(job, 301'000'001));
}

TEST(SlurmJobs, ConditionsAreToldApart) {
  const Where both = split_where("((big)&(node in (n[1-2],n4)))&(node notin (n2))");
  EXPECT_EQ(both.features + "|" + both.nodes + "|" + both.without, "big|n[1-2],n4|n2");
  const Where nodes = split_where("node in (n1)");
  EXPECT_EQ(nodes.features + "|" + nodes.nodes + "|" + nodes.without, "|n1|");
  const Where own = split_where("(node in (a))|(node in (b))");
  EXPECT_EQ(own.features + "|" + own.nodes, "(node in (a))|(node in (b))|");
}

TEST(SlurmJobs, WhatWaitsHasAsManyNodesAsItAskedFor) {
  const auto nodes = [](const std::vector<std::string>& words) {
    Record record;
    JobDetail detail;
    detail.spec = made_of(words)->spec;
    record.detail = std::make_shared<const JobDetail>(std::move(detail));
    return record.node_count();
  };
  EXPECT_EQ(nodes({"-n1"}), 1U);
  EXPECT_EQ(nodes({"-N4"}), 4U);
  EXPECT_EQ(nodes({"-N3", "-n4"}), 3U);
  EXPECT_EQ(nodes({"-n6", "--ntasks-per-node=4"}), 2U);
}

TEST(SlurmOptions, AreParsedAsSlurmDoes) {
  const CommandTable& table = table_of("squeue");
  auto given = parse(table, {"--job", "12", "-ho", "%i", "--user=me,you", "-t", "R"});
  ASSERT_TRUE(given.ok()) << given.error().message;
  EXPECT_EQ(given->text("jobs"), "12");
  EXPECT_EQ(given->text("format"), "%i");
  EXPECT_TRUE(given->has("noheader"));
  EXPECT_EQ(given->text("user"), "me,you");
  // Options after words, where Slurm takes them; not behind a script, whose they are.
  EXPECT_EQ(parse(table_of("scontrol"), {"show", "job", "-o", "7"})->words,
            (std::vector<std::string>{"show", "job", "7"}));
  EXPECT_EQ(parse(table_of("sbatch"), {"-n2", "job.sh", "-n3"})->words, (std::vector<std::string>{"job.sh", "-n3"}));
  EXPECT_EQ(parse(table, {"--na", "x"})->text("name"), "x");
  EXPECT_EQ(parse(table, {"--nosuch"}).error().message, "unrecognized option '--nosuch'");
  EXPECT_EQ(parse(table, {"-t"}).error().message, "option requires an argument -- 't'");
  EXPECT_EQ(parse(table, {"--no"}).error().message, "unrecognized option '--no'");  // several begin so
  EXPECT_NE(parse(table_of("sbatch"), {"-S", "x"}).error().message.find("--core-spec is not supported"),
            std::string::npos);
}

TEST(SlurmOptions, EveryTableNamesEachOptionOnce) {
  for (const CommandTable* table : all_tables()) {
    std::set<std::string> names;
    std::set<char> letters;
    for (const Option& one : table->options) {
      EXPECT_TRUE(names.insert(one.name).second) << table->name << " --" << one.name;
      if (one.letter != 0) EXPECT_TRUE(letters.insert(one.letter).second) << table->name << " -" << one.letter;
      EXPECT_NE(std::string(one.text), "") << table->name << " --" << one.name;
    }
  }
}

TEST(SlurmShapes, WhatIsAskedOfANodeIsNotDividedAmongTasks) {
  struct Case {
    std::vector<std::string> words;
    std::uint32_t pods, cpus, gpus, mem_mib;
  };
  for (const Case& c :
       {Case{{"-n4", "--gres=gpu:1"}, 1, 4, 1, 0}, Case{{"-n4", "-G1"}, 1, 4, 1, 0}, Case{{"-n4", "-G8"}, 4, 1, 2, 0},
        Case{{"--ntasks-per-node=4", "--gpus-per-node=1"}, 1, 4, 1, 0}, Case{{"-n4", "--mem=8G"}, 1, 4, 0, 8192},
        Case{{"-n8", "--ntasks-per-node=4", "--mem=8G"}, 2, 4, 0, 8192},
        Case{{"-n8", "-N2-4", "--mem=1G"}, 2, 4, 0, 1024}, Case{{"-n4", "--exclusive"}, 1, 4, 0, 0},
        Case{{"-n4", "--mem-per-cpu=1G"}, 4, 1, 0, 1024}, Case{{"-N2", "-n4", "--gres=gpu:1"}, 2, 2, 1, 0},
        Case{{"-n4", "--array=1-2", "--gres=gpu:1"}, 2, 4, 1, 0}}) {
    const auto made = made_of(c.words);
    ASSERT_TRUE(made.ok()) << c.words[0] << " " << c.words.back() << ": " << made.error().message;
    const JobSpec& spec = made->spec;
    EXPECT_EQ(std::max(spec.elements.size(), 1U), c.pods) << c.words[0] << " " << c.words.back();
    EXPECT_EQ(spec.request.resources.cpu_milli, c.cpus * 1000) << c.words[0] << " " << c.words.back();
    EXPECT_EQ(spec.request.resources.gpus, c.gpus) << c.words[0] << " " << c.words.back();
    EXPECT_EQ(spec.request.resources.mem_mib, c.mem_mib) << c.words[0] << " " << c.words.back();
  }
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"-N2", "-n5", "--mem=1G"}, {"-n5", "--ntasks-per-node=4", "--exclusive"}, {"-N2", "-n4", "--array=1-2"}}) {
    EXPECT_FALSE(made_of(words).ok()) << words.back();
  }
}

TEST(SlurmShapes, AnArrayHasItsLicencesOnce) {
  const auto made = made_of({"-n2", "--array=1-2", "-L", "ansys:1"});
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->spec.request.licences.size(), 1U);
}

TEST(SlurmShapes, TasksThatAgentsStartShareANodeThatIsAskedFor) {
  const auto made = made_of({"-n4", "--mem=8G", "true"}, JobUse::kTasks);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->spec.elements.size(), 4U);
  EXPECT_EQ(made->spec.gang.nodes_max, 1U);
  EXPECT_EQ(made->spec.request.resources.mem_mib, 2048U);
  EXPECT_FALSE(made_of({"-n4", "--exclusive", "true"}, JobUse::kTasks).ok());
  EXPECT_TRUE(made_of({"-n4", "-N4", "--exclusive", "true"}, JobUse::kTasks).ok());
}

TEST(SlurmShapes, AllNodesThatAreListedAreTaken) {
  for (const auto& [words, nodes] : std::vector<std::pair<std::vector<std::string>, std::uint32_t>>{
           {{"-w", "n[1-2]"}, 2}, {{"-w", "n1,n3", "-n4"}, 2}, {{"-N2", "-w", "n1,n2"}, 2}, {{"-w", "n1,n1"}, 1}}) {
    const auto made = made_of(words);
    ASSERT_TRUE(made.ok()) << made.error().message;
    EXPECT_EQ(std::max(made->spec.elements.size(), 1U), nodes) << words.back();
  }
  EXPECT_EQ(made_of({"-w", "n1,n2", "-n3"})->spec.gang.nodes_min, 2U);
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"-N1", "-w", "n1,n2"}, {"-N3", "-w", "n1,n2"}, {"-n1", "-w", "n1,n2"}, {"-w", "n1,n2", "--array=1-2"}}) {
    EXPECT_FALSE(made_of(words).ok()) << words[0];
  }
}

TEST(SlurmShapes, AllMemoryOfANodeIsForWhoHasItForHimself) {
  EXPECT_NE(made_of({"--mem=0"}).error().message.find("--mem=0"), std::string::npos);
  EXPECT_TRUE(made_of({"--mem=0", "--exclusive"}).ok());
}

TEST(SlurmShapes, AStepOfAJobOnOneNodeDividesNothing) {
  const auto shape = local_shape(*parse(table_of("srun"), {"-n4", "--gres=gpu:1", "--mem=0", "-w", "n1,n2", "true"}));
  ASSERT_TRUE(shape.ok()) << shape.error().message;
  EXPECT_EQ(shape->tasks, 4U);
  EXPECT_FALSE(local_shape(*parse(table_of("srun"), {"-i", "file", "true"})).ok());
}

TEST(SlurmShapes, VariablesSayWhatWasAskedFor) {
  const auto made = made_of({"-n4", "--mem=8G", "--tasks-per-node=4", "--gpus-per-task=1", "--gpus-per-node=4"});
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_EQ(variable_of(*made, "SLURM_MEM_PER_NODE"), "8192");
  EXPECT_EQ(variable_of(*made, "SLURM_NTASKS_PER_NODE"), "4");
  EXPECT_EQ(variable_of(*made, "SLURM_GPUS_PER_TASK"), "1");
  EXPECT_EQ(variable_of(*made, "SLURM_GPUS_PER_NODE"), "4");
}

TEST(SlurmOptions, OfThoseThatExcludeEachOtherTheLastOneWins) {
  const CommandTable& table = table_of("sbatch");
  Given given = *parse(table, {"--mem-per-cpu=1G", "--no-requeue", "--tasks-per-node=2", "--requeue"});
  EXPECT_TRUE(given.has("requeue") && !given.has("no-requeue"));
  const auto script = script_options(
      table, "#!/bin/sh\n#SBATCH --mem-per-cpu=9G\n#SBATCH --mem=4G\n#SBATCH --no-requeue --ntasks-per-node=8 -n2\n",
      true);
  EXPECT_TRUE(script->has("mem") && !script->has("mem-per-cpu"));
  given.fill_from(*script);
  EXPECT_EQ(given.text("mem-per-cpu") + given.text("tasks-per-node") + given.text("ntasks"), "1G22");
  EXPECT_FALSE(given.has("mem") || given.has("no-requeue") || given.has("ntasks-per-node"));
}

TEST(SlurmScript, OptionsOfTheFirstComments) {
  const CommandTable& table = table_of("sbatch");
  const auto given = script_options(
      table,
      "#!/bin/sh\n# a comment\n#SBATCH -J one -n 2 # more\n\n#SBATCH --comment=\"a b\"\n"
      " #SBATCH -J indented\n#SBATCHx -J glued\n#PBS -N pbs -l walltime=1:00:00\ntrue\n#SBATCH -J late\n",
      true);
  ASSERT_TRUE(given.ok()) << given.error().message;
  EXPECT_EQ(given->text("job-name"), "one");
  EXPECT_EQ(given->text("ntasks"), "2");
  EXPECT_EQ(given->text("comment"), "a b");
  EXPECT_EQ(given->text("time"), "1:00:00");
  EXPECT_FALSE(script_options(table, "#!/bin/sh\n#PBS -l walltime=1:00\n", false)->has("time"));
  const auto pbs =
      script_options(table, "#!/bin/sh\n#PBS -N n -h -r n -V\n#PBS -l nodes=1:ppn=4,mem=2gb -oout\n", true);
  EXPECT_EQ(pbs->text("job-name") + pbs->text("ntasks-per-node") + pbs->text("mem") + pbs->text("output"), "n42gbout");
  EXPECT_TRUE(pbs->has("hold") && pbs->has("no-requeue"));
  const auto bsub = script_options(table, "#!/bin/sh\n#BSUB -J b -n 3 -W 1:30 -x\n", true);
  EXPECT_EQ(bsub->text("job-name") + bsub->text("ntasks") + bsub->text("time"), "b31:30:00");
  EXPECT_TRUE(bsub->has("exclusive"));
  EXPECT_NE(script_options(table, "#!/bin/sh\n#SBATCH --nope\n", true).error().message.find("line 2"),
            std::string::npos);
  EXPECT_FALSE(script_options(table, "#!/bin/sh\n#SBATCH -J \"open\n", true).ok());
  EXPECT_FALSE(check_script("echo\n").ok());
  EXPECT_FALSE(check_script("").ok());
  EXPECT_FALSE(check_script("#!/bin/sh\r\necho\r\n").ok());
  EXPECT_TRUE(check_script("#!/bin/sh\necho\n").ok());
}

TEST(SlurmColumns, WidthsAndLiterals) {
  struct R {};
  const std::vector<Field<R>> fields{{"name", 'j', "NAME", [](const R&) { return std::string("abcdef"); }},
                                     {"id", 'i', "ID", [](const R&) { return std::string("7"); }}};
  const R record;
  const auto shown = [&](const std::vector<Column<R>>& columns) { return line_of(columns, &record); };
  std::vector<std::string> unknown;
  EXPECT_EQ(shown(parse_letters<R>("%.4i|%3j|%j", fields, unknown)), "   7|abc|abcdef\n");
  EXPECT_TRUE(unknown.empty());
  EXPECT_EQ(shown(parse_letters<R>("id=%i %z", fields, unknown)), "id=7 %z\n");
  EXPECT_EQ(unknown, std::vector<std::string>{"z"});
  unknown.clear();
  EXPECT_EQ(shown(parse_names<R>("id:|,name:.8,what", fields, 20, unknown)), "7|  abcdef\n");
  EXPECT_EQ(unknown, std::vector<std::string>{"what"});
  EXPECT_EQ(line_of<R>(parse_names<R>("id:3 ,name", fields, 8, unknown), nullptr), "ID  NAME    \n");
}

}  // namespace
}  // namespace berth::tools::slurm
