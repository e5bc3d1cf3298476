// A job as options and as files describe it: every field's good and bad values, and what becomes of them.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <gtest/gtest.h>
#include <span>

#include "tools/cli/job_draft.h"
#include "tools/cli/job_file.h"

namespace berth::tools {
namespace {

using namespace state;

const JobField& field_named(const std::string& name) {
  const auto& fields = job_fields();
  return *std::find_if(fields.begin(), fields.end(), [&](const JobField& field) { return field.name == name; });
}

Surroundings here() { return {{"HOME=/home/ana", "PATH=/bin", "_=/usr/bin/berth"}, "/home/ana/work", 0027}; }

Launch launch_of(const JobSpec& spec) {
  auto launch = decode_launch(std::as_bytes(std::span(spec.launch.data(), spec.launch.size())));
  EXPECT_TRUE(launch.ok());
  return launch ? *launch : Launch{};
}

JobSpec built(const JobDraft& draft) {
  auto spec = build_job(draft, here());
  EXPECT_TRUE(spec.ok()) << (spec ? "" : spec.error().message);
  return spec ? *spec : JobSpec{};
}

struct FieldCase {
  const char* field;
  std::vector<const char*> good, bad;
};
const std::vector<FieldCase> kFieldCases = {
    {"name", {"x", "a b"}, {""}},
    {"queue", {"long"}, {""}},
    {"priority", {"0", "-1000", "1000"}, {"", "1001", "-1001", "high", "1.5", "99999999999999999999"}},
    {"time", {"90", "15m", "1h30m", "00:10:00"}, {"", "0", "soon", "-1", "1:2:3:4", "9999999d"}},
    {"time-min", {"90", "15m", "00:10:00"}, {"", "0", "soon", "-1"}},
    {"deadline", {"+8h", "now+2hours", "18:30", "2030-01-31T18:30:01", "tomorrow"}, {"", "now", "soon", "+", "25:00"}},
    {"requeue", {"true", "false", "0", "1000"}, {"", "-1", "1001", "often"}},
    {"after",
     {"afterok:1", "afterok:1:2:3", "afterany:4,afternotok:5", "after:6+10", "singleton", "afterok:1?afterany:2",
      "aftercorr:1,afterok:2", "afterok:1_3:2", "after:1[3]+5", "aftercorr:1_*", "afterany:4.0"},
     {"", "12", "afterok", "afterok:", "afterok:x", "afterok:0", "afterok:1+5", "singleton:1", "aftercorr:1_2",
      "aftercorr", "afterok:1_", "afterok:1[3", "afterok:1_x", "afterok:1[1-3]", "afterok:_3", "afterok:1,",
      "afterok:1,afterany:2?after:3"}},
    {"begin",
     {"+1h", "now", "now+5", "now+2hours", "now+1day", "18:30", "6:30pm", "2030-01-31", "2030-01-31T18:30:01",
      "01/31/30", "midnight", "noon", "teatime", "today", "tomorrow"},
     {"", "soon", "+", "now+", "now+5fortnights", "25:00", "13:00pm", "2030-02-30", "2030-13-01", "12:60",
      "2030-01-31T"}},
    {"hold", {"true", "false"}, {}},
    {"account", {"physics"}, {""}},
    {"qos", {"long"}, {""}},
    {"comment", {"a note"}, {""}},
    {"grace", {"0", "0s", "300ms", "24h"}, {"", "25h", "-1", "never"}},
    {"array",
     {"0", "1-1000", "0-99:2", "1,5,9-12", "1-10%3"},
     {"", "9-1", "a-b", "1-10%0", "1-10%", "1-5,3", "1-100000000"}},
    {"gang", {"1", "65536"}, {"", "0", "65537", "-1", "two"}},
    {"nodes", {"1", "65536", "2-4", "3-3"}, {"", "0", "65537", "-1", "two", "4-2", "2-", "2-x", "0-4"}},
    {"per-node", {"1", "65536"}, {"", "0", "x"}},
    {"switches", {"1"}, {"", "0", "2@10"}},
    {"cpus", {"2", "0.5", "1500m"}, {"", "0", "-1", "nan", "1e9"}},
    {"mem", {"512M", "1.5G", "64"}, {"", "0", "-5M", "lots", "99999999999999999999G"}},
    {"gpus", {"0", "64", "0.25", "0.001"}, {"", "-1", "65", "two", "1.5", "0.0", "1.0"}},
    {"resources",
     {"fpga", "fpga=2", "fpga:2", "disk=10G"},
     {"", "=2", "fpga=", "fpga=0", "fpga=x", "2=3", "fpga=99999999999999"}},
    {"disk", {"10G", "512M"}, {"", "0", "big"}},
    {"licences", {"matlab", "matlab=2"}, {"", "matlab=0", "a b=1"}},
    {"cores-in", {"numa", "package", "l3", "soft:numa"}, {"", "soft:", "socket", "hard:numa"}},
    {"threads-per-core", {"1", "2"}, {"", "0", "9"}},
    {"features", {"ssd", "ssd,ib"}, {"", ",", "a b"}},
    {"where", {"ssd", "zone in (a,b) & !old", "[a*2&b*4]"}, {"", "zone=", "a b", "(a", "[a"}},
    {"prefer", {"ssd", "gen>3"}, {"", "&"}},
    {"nodelist", {"n1", "n[1-20],login"}, {"", "n[1", "n[2-1]", "a b", "n[1-9999999]"}},
    {"exclude", {"n1", "n[1-20],login"}, {"", "n[1", ","}},
    {"tolerate", {"gpu", "team=x", "*"}, {"", "a b", "gpu:prefer"}},
    {"labels", {"app=web"}, {"", "app", "=x", "app=", "a=b=c"}},
    {"apart", {"own", "app=web", "app=web@rack", "soft:own@zone"}, {"", "@rack", "app=", "soft:"}},
    {"together", {"app=web@rack"}, {"", "&"}},
    {"spread", {"node", "zone:2", "soft:zone"}, {"zone:0", "zone:x"}},
    {"image",
     {"dir:tag", "oci:/a/b:v1", "docker://host/app", "host:5000/app:v1", "docker-archive:a.tar", "rootfs:/srv/root"},
     {"", "dir", ":tag", "dir:", "oci:dir", "docker://app", "rootfs:"}},
    {"pull", {"missing", "always", "never"}, {"", "often"}},
    {"registry-auth", {"auth.json"}, {""}},
    {"mounts",
     {"type=bind,src=/a,dst=/b", "type=bind,source=a,target=/b,ro", "src=/a,dst=/b,readonly=false", "type=tmpfs,dst=/t",
      "type=tmpfs,dst=/t,size=64M", "type=scratch,dst=/s"},
     {"", "/a:/b", "type=bind,dst=/b", "type=bind,src=/a", "type=bind,src=/a,dst=b", "type=tmpfs,src=/a,dst=/t",
      "type=scratch,dst=/s,size=1M", "type=volume,dst=/v", "type=bind,src=/a,dst=/proc",
      "type=bind,src=/a,dst=/b,ro=no", "type=tmpfs,dst=/t,size=big", "type=bind,src=/a,dst=/b,propagation=shared"}},
    {"tmpfs", {"/tmp", "/tmp:size=64M", "/dev/shm:size=1G"}, {"", "tmp", "/tmp:64M", "/tmp:size=", "/dev"}},
    {"read-only", {"true", "false"}, {}},
    {"hostname", {"lab-7", "a.b"}, {"", "-a", "a b"}},
    {"seccomp", {"default", "unconfined"}, {"", "off"}},
    {"ulimits",
     {"nofile=1024", "nofile=1024:4096", "core=unlimited", "stack=64M:unlimited"},
     {"", "nofile", "files=1", "nofile=2:1", "nofile=-1", "nofile=many", "nofile=1M"}},
    {"env", {"A=b", "A=", "HOME"}, {"", "=x"}},
    {"cwd", {"/tmp", "sub"}, {""}},
    {"output", {"out-%j-%a"}, {""}},
    {"error", {"err-%j"}, {""}},
    {"umask", {"0", "022", "0777"}, {"", "9", "01000", "-1", "77777777777777777777"}},
};

TEST(JobFields, TakeGoodValuesAndRefuseBadOnesInOneLineThatSaysWhatIsWrong) {
  for (const FieldCase& one : kFieldCases) {
    const JobField& field = field_named(one.field);
    for (const char* value : one.good) {
      JobDraft draft;
      EXPECT_TRUE(field.set(draft, value, "--x").ok()) << one.field << " '" << value << "'";
    }
    for (const char* value : one.bad) {
      JobDraft draft;
      const Status set = field.set(draft, value, "--x");
      ASSERT_FALSE(set.ok()) << one.field << " '" << value << "'";
      EXPECT_EQ(set.error().code, ErrorCode::kInvalid);
      EXPECT_EQ(set.error().field, "--x");
      EXPECT_FALSE(set.error().message.empty());
      EXPECT_EQ(set.error().message.find('\n'), std::string::npos);
    }
  }
}

TEST(JobFields, AreAllInTheTableOfCasesButFlagsAndTheCommand) {
  for (const JobField& field : job_fields()) {
    if (field.shape == FieldShape::kFlag || field.shape == FieldShape::kCommand) continue;
    EXPECT_TRUE(std::any_of(kFieldCases.begin(), kFieldCases.end(), [&](const FieldCase& c) {
      return std::string(c.field) == field.name;
    })) << field.name;
  }
}

TEST(BuildJob, AProcessTakesOverDirectoryEnvironmentAndMask) {
  JobDraft draft;
  draft.argv = {"/opt/bin/task", "1"};
  draft.variables = {"A=1", "A=2", "HOME"};
  const JobSpec spec = built(draft);
  const Launch launch = launch_of(spec);
  EXPECT_EQ(spec.name, "task");
  EXPECT_EQ(spec.kind, JobKind::kSingle);
  EXPECT_EQ(launch.driver, Driver::kProcess);
  EXPECT_EQ(launch.cwd, "/home/ana/work");
  EXPECT_EQ(launch.umask, 0027U);
  EXPECT_EQ(launch.env, (std::vector<std::string>{"A=2", "HOME=/home/ana", "PATH=/bin"}));
}

TEST(BuildJob, AClearedEnvironmentHasAPathAndWhatWasSet) {
  JobDraft draft;
  draft.argv = {"task"};
  draft.clear_environment = true;
  draft.variables = {"A=1"};
  EXPECT_EQ(launch_of(built(draft)).env, (std::vector<std::string>{"A=1", "PATH=/usr/local/bin:/usr/bin:/bin"}));
}

TEST(BuildJob, AContainerTakesOverNothingButWhatWasSet) {
  JobDraft draft;
  draft.image = "images/busybox:latest";
  draft.variables = {"A=1"};
  draft.output = "out-%j";
  const Launch launch = launch_of(built(draft));
  EXPECT_EQ(launch.driver, Driver::kOci);
  EXPECT_EQ(launch.image, "/home/ana/work/images/busybox:latest");
  EXPECT_EQ(launch.env, (std::vector<std::string>{"A=1"}));
  EXPECT_EQ(launch.cwd, "");
  EXPECT_EQ(launch.output_path, "/home/ana/work/out-%j");
  EXPECT_TRUE(launch.argv.empty());
}

TEST(BuildJob, NodesAreAGangWithEachPodOnANodeOfItsOwn) {
  JobDraft draft;
  draft.argv = {"task"};
  draft.nodes = 4;
  const JobSpec spec = built(draft);
  EXPECT_EQ(spec.kind, JobKind::kGang);
  EXPECT_EQ(spec.elements.size(), 4U);
  EXPECT_TRUE(spec.distinct_nodes);
}

TEST(BuildJob, AGangSaysHowItsPodsLieOverNodes) {
  JobDraft draft;
  draft.argv = {"task"};
  draft.gang = 8;
  draft.nodes = 2;
  draft.per_node = 6;
  draft.contiguous = true;
  JobSpec spec = built(draft);
  EXPECT_EQ(spec.elements.size(), 8U);
  EXPECT_FALSE(spec.distinct_nodes);
  EXPECT_EQ(spec.gang, (GangShape{2, 2, 6, 0, true, false}));
  draft.nodes_max = 4;
  EXPECT_EQ(built(draft).gang, (GangShape{2, 4, 6, 0, true, false}));
}

TEST(BuildJob, FieldsThatContradictEachOtherAreRefused) {
  const auto refused = [](const std::function<void(JobDraft&)>& change) {
    JobDraft draft;
    draft.argv = {"task"};
    change(draft);
    const auto spec = build_job(draft, here());
    return spec ? std::string() : spec.error().field;
  };
  EXPECT_EQ(refused([](JobDraft& d) { d.array = IndexSet::dense(2), d.gang = 2; }), "gang");
  EXPECT_EQ(refused([](JobDraft& d) { d.array = IndexSet::dense(2), d.nodes = 2; }), "nodes");
  EXPECT_EQ(refused([](JobDraft& d) { d.gang = 2, d.nodes = 4; }), "nodes");
  EXPECT_EQ(refused([](JobDraft& d) { d.nodes = 2, d.nodes_max = 4; }), "nodes");
  EXPECT_EQ(refused([](JobDraft& d) { d.per_node = 2; }), "per-node");
  EXPECT_EQ(refused([](JobDraft& d) { d.switches = 1; }), "switches");
  EXPECT_EQ(refused([](JobDraft& d) { d.array = IndexSet::dense(2), d.contiguous = true; }), "contiguous");
  EXPECT_EQ(refused([](JobDraft& d) { d.argv.clear(); }), "command");
  EXPECT_EQ(refused([](JobDraft& d) { d.argv = {""}; }), "command");
  EXPECT_EQ(refused([](JobDraft& d) { d.variables = {"NOT_SET_HERE"}; }), "env");
  EXPECT_EQ(refused([](JobDraft& d) { d.image = "a:b", d.cwd = "sub"; }), "cwd");
  EXPECT_EQ(refused([](JobDraft& d) { d.argv.assign(2, std::string(1U << 20, 'x')); }), "command");
}

// ---- files ----------------------------------------------------------------------------------------------------------
JobDraft only(const std::string& text) {
  auto jobs = parse_job_file(text, "job.yaml");
  EXPECT_TRUE(jobs.ok()) << (jobs ? "" : jobs.error().message);
  return jobs && jobs->size() == 1 ? jobs->front().draft : JobDraft{};
}

TEST(JobFile, HoldsEveryFieldThatOptionsHave) {
  const JobDraft draft = only(
      "name: all\nqueue: long\npriority: -3\ntime: 1h30m\nrequeue: 2\ngrace: 5s\narray: 1-9:2%2\ncpus: 0.5\nmem: "
      "64M\ngpus: 1\n"
      "features: [ssd, ib]\nenv:\n  A: 1\n  B:\nenv-clear: yes\ncwd: /tmp\noutput: o\nerror: e\nappend: true\numask: "
      "027\n"
      "command: [echo, a b]\n");
  EXPECT_EQ(draft.name, "all");
  EXPECT_EQ(draft.queue, "long");
  EXPECT_EQ(draft.priority, -3);
  EXPECT_EQ(draft.time_limit_ms, 5'400'000);
  EXPECT_EQ(draft.requeues_max, 2U);
  EXPECT_EQ(draft.grace_ms, 5000);
  ASSERT_TRUE(draft.array.has_value());
  EXPECT_EQ(draft.array->to_string(), "1-9:2");
  EXPECT_EQ(draft.throttle, 2U);
  EXPECT_EQ(draft.request, (Request{{500, 64, 1}, {"ssd", "ib"}}));
  EXPECT_EQ(draft.variables, (std::vector<std::string>{"A=1", "B="}));
  EXPECT_TRUE(draft.clear_environment);
  EXPECT_TRUE(draft.append);
  EXPECT_EQ(draft.umask, 0027U);
  EXPECT_EQ(draft.argv, (std::vector<std::string>{"echo", "a b"}));
}

TEST(JobFile, ACommandOfOneLineIsRunByTheShell) {
  EXPECT_EQ(only("command: echo $X | wc\n").argv, (std::vector<std::string>{"/bin/sh", "-c", "echo $X | wc"}));
}

TEST(JobFile, FieldsBesideTheListOfJobsHoldForEachUnlessItSaysOtherwise) {
  const auto jobs =
      parse_job_file("cpus: 2\nenv: [A=1]\ncommand: [x]\njobs:\n- name: a\n- name: b\n  cpus: 3\n  env: {A: 2}\n", "f");
  ASSERT_TRUE(jobs.ok()) << jobs.error().message;
  ASSERT_EQ(jobs->size(), 2U);
  EXPECT_EQ((*jobs)[0].draft.request.resources.cpu_milli, 2000U);
  EXPECT_EQ((*jobs)[1].draft.request.resources.cpu_milli, 3000U);
  EXPECT_EQ((*jobs)[1].draft.argv, (std::vector<std::string>{"x"}));
  EXPECT_EQ((*jobs)[1].draft.variables, (std::vector<std::string>{"A=1", "A=2"}));
  EXPECT_EQ((*jobs)[0].at, "f:5");
  EXPECT_EQ((*jobs)[1].at, "f:6");
}

TEST(JobFile, WhatIsWrongIsToldWithFileLineFieldAndWhatIsAccepted) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"command: [x]\ncpus: many\n",
       "f:2: field 'cpus': 'many' is not a number of cpus; accepted: 2, 0.5 or 1500m, from 0.001 to 1000000"},
      {"command: [x]\ncpus: [1, 2]\n",
       "f:2: field 'cpus': a list is not accepted; accepted: a number of cpus: 2, 0.5 or 1500m"},
      {"command: [x]\narray: {}\n",
       "f:2: field 'array': a mapping is not accepted; accepted: indexes such as 1-1000, 0-99:2 or 1,5,9-12, with %N "
       "for at most N at once"},
      {"command: [x]\nname:\n", "f:2: field 'name': has no value; accepted: a text"},
      {"command: [x]\ncommand: [y]\n", "f:2: field 'command': is given twice"},
      {"command: []\n", "f:1: field 'command': is empty; accepted: a list of words, or one line that /bin/sh runs"},
      {"command: {a: b}\n",
       "f:1: field 'command': a mapping is not accepted; accepted: a list of words, or one line that /bin/sh runs"},
      {"command: [x, [y]]\n",
       "f:1: field 'command': an item is a list; accepted: a list of words, or one line that /bin/sh runs"},
      {"append: maybe\n", "f:1: field 'append': 'maybe' is not accepted; accepted: true or false"},
      {"env: 7\n",
       "f:1: field 'env': a single value is not accepted; accepted: a mapping of names to values, or a list of "
       "NAME=VALUE and NAME"},
      {"env:\n  A: 1\n  A: 2\n", "f:3: field 'env': 'A' is given twice"},
      {"env:\n  A: [1]\n",
       "f:2: field 'env': a variable is not NAME: VALUE; accepted: a mapping of names to values, or a list of "
       "NAME=VALUE and NAME"},
      {"env:\n  A=B: 1\n", "f:2: field 'env': 'A=B' is not the name of a variable"},
      {"jobs: []\n", "f:1: field 'jobs': the list is empty; accepted: a list of jobs"},
      {"jobs: 3\n", "f:1: field 'jobs': a single value; accepted: a list of jobs"},
      {"jobs:\n- 3\n", "f:2: field 'jobs': a job is a mapping of fields, not a single value"},
      {"- 1\n", "f:1: the file holds a list; accepted: a mapping of fields, as in 'command: [./task]'"},
      {"", "f: the file has no job"},
      {"--- {command: x}\n--- {command: y}\n", "f: the file has several documents; list the jobs under 'jobs:'"},
  };
  for (const auto& [text, line] : cases) {
    const auto jobs = parse_job_file(text, "f");
    ASSERT_FALSE(jobs.ok()) << text;
    EXPECT_EQ(jobs.error().message, line) << text;
    EXPECT_EQ(jobs.error().code, ErrorCode::kInvalid);
  }
}

TEST(JobFile, AnUnknownFieldIsToldWithTheOneThatWasMeantAndAllThereAre) {
  const auto jobs = parse_job_file("command: [x]\nquue: long\n", "f");
  ASSERT_FALSE(jobs.ok());
  EXPECT_TRUE(
      jobs.error().message.starts_with("f:2: field 'quue': is unknown, did you mean 'queue'? (accepted: name, queue, "))
      << jobs.error().message;
  // A list of jobs is not one of a job's own fields.
  EXPECT_FALSE(parse_job_file("jobs:\n- jobs: []\n", "f").ok());
}

TEST(JobFile, BytesThatAreNoYamlAreToldInOneLineAndNeverThrow) {
  for (const std::string& text :
       {std::string("command: [x\n"), std::string("\x00\x01\x02", 3), std::string("&a [*a]\n"), std::string("{{{{"),
        std::string(4000, '['), std::string("a: &x {b: *x}\n"), std::string("command: [\"a\\0b\"]\n")}) {
    const auto jobs = parse_job_file(text, "f");
    ASSERT_FALSE(jobs.ok());
    EXPECT_TRUE(jobs.error().message.starts_with("f:")) << jobs.error().message;
    EXPECT_EQ(jobs.error().message.find('\n'), std::string::npos);
  }
}

TEST(JobFile, AFileThatIsTooLargeIsRefusedBeforeItIsParsed) {
  EXPECT_EQ(parse_job_file(std::string(kMaxJobFileBytes + 1, ' '), "f").error().message,
            "f: the file is larger than 16 MiB");
}

TEST(JobFile, AFileThatIsNotThereIsNamed) {
  const auto jobs = read_job_file("/nowhere/job.yaml");
  ASSERT_FALSE(jobs.ok());
  EXPECT_TRUE(jobs.error().message.starts_with("/nowhere/job.yaml: cannot be read: "));
}

TEST(JobFile, ItsPageNamesEveryFieldWithWhatItAccepts) {
  const auto root = std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
  std::ifstream file(root / "docs" / "job-file.md");
  const std::string page{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  ASSERT_FALSE(page.empty());
  for (const JobField& field : job_fields()) {
    const std::string row = std::string("| `") + field.name + "` | " + field.accepted + " |";
    EXPECT_NE(page.find(row), std::string::npos) << row;
  }
}

}  // namespace
}  // namespace berth::tools
