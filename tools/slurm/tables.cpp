// Which options the commands take, which of them do something, and why the others do not.
#include <algorithm>

#include "tools/slurm/options.h"

namespace berth::tools::slurm {

namespace {

using enum Takes;
using enum Support;

constexpr const char* kOneCluster = "there is one cluster";
constexpr const char* kNoMail = "no mail is sent";
constexpr const char* kNoBinding = "tasks run on all cores that their job has on the node";
constexpr const char* kNoProfile = "nothing is profiled";
constexpr const char* kNoSteps = "jobs are listed, not their steps";
constexpr const char* kNoReservations = "there are no reservations";
constexpr const char* kNoLicenses = "jobs are not chosen by licences";
constexpr const char* kCores = "cores are counted, not their arrangement";

// What sbatch and srun share.
std::vector<Option> job_options() {
  return {
      {"account", 'A', kValue, kHonoured, "whom the job is for"},
      {"acctg-freq", 0, kValue, kIgnored, kNoProfile},
      {"begin", 'b', kValue, kHonoured, "not before this time"},
      {"chdir", 'D', kValue, kHonoured, "the directory to run in"},
      {"clusters", 'M', kValue, kIgnored, kOneCluster},
      {"comment", 0, kValue, kHonoured, "a note"},
      {"constraint", 'C', kValue, kHonoured, "features of the node"},
      {"contiguous", 0, kNothing, kHonoured, "nodes whose names follow each other"},
      {"core-spec", 'S', kValue, kRefused, kCores},
      {"cores-per-socket", 0, kValue, kRefused, kCores},
      {"cpu-freq", 0, kValue, kIgnored, "frequencies are left alone"},
      {"cpus-per-gpu", 0, kValue, kHonoured, "cpus for each GPU"},
      {"cpus-per-task", 'c', kValue, kHonoured, "cpus for each task"},
      {"deadline", 0, kValue, kHonoured, "not at all where it could not end before this time, which ends it"},
      {"delay-boot", 0, kValue, kIgnored, "nodes are not booted"},
      {"dependency", 'd', kValue, kHonoured, "other jobs first: afterok:1:2,afterany:3_4,aftercorr:5"},
      {"distribution", 'm', kValue, kHonoured, "of a step over nodes: block or cyclic; the rest has no effect"},
      {"error", 'e', kValue, kHonoured, "the file of standard error"},
      {"exclude", 'x', kValue, kHonoured, "not on these nodes"},
      {"exclusive", 0, kMaybe, kHonoured, "the node for itself"},
      {"export", 0, kValue, kHonoured, "ALL, NONE or the names of variables to pass on"},
      {"extra-node-info", 'B', kValue, kRefused, kCores},
      {"gid", 0, kValue, kRefused, "jobs run as who submits them"},
      {"gpu-bind", 0, kValue, kIgnored, kNoBinding},
      {"gpu-freq", 0, kMaybe, kIgnored, "frequencies are left alone"},
      {"gpus", 'G', kValue, kHonoured, "GPUs"},
      {"gpus-per-node", 0, kValue, kHonoured, "GPUs of the node"},
      {"gpus-per-task", 0, kValue, kHonoured, "GPUs for each task"},
      {"gres", 0, kValue, kHonoured, "gpu[:MODEL][:N], NAME[:TYPE][:N], or none; a model is a feature of the node"},
      {"gres-flags", 0, kValue, kIgnored, kNoBinding},
      {"help", 'h', kNothing, kHonoured, "this text"},
      {"hint", 0, kValue, kHonoured, "nomultithread leaves the other threads of cores idle; others have no effect"},
      {"hold", 'H', kNothing, kHonoured, "wait until released"},
      {"input", 'i', kValue, kHonoured, "the file of standard input: /dev/null or none"},
      {"job-name", 'J', kValue, kHonoured, "the job's name"},
      {"licenses", 'L', kValue, kHonoured, "licences of the cluster: name[:N],…"},
      {"mail-type", 0, kValue, kIgnored, kNoMail},
      {"mail-user", 0, kValue, kIgnored, kNoMail},
      {"mem", 0, kValue, kHonoured, "memory of the node, in MiB or with K, M, G, T; 0 only with --exclusive"},
      {"mem-bind", 0, kValue, kIgnored, kNoBinding},
      {"mem-per-cpu", 0, kValue, kHonoured, "memory for each cpu"},
      {"mem-per-gpu", 0, kValue, kHonoured, "memory for each GPU"},
      {"mincpus", 0, kValue, kHonoured, "cpus of the node at least"},
      {"network", 0, kValue, kIgnored, "networks are left alone"},
      {"nice", 0, kMaybe, kHonoured, "a lower priority, by so much (100)"},
      {"no-kill", 'k', kMaybe, kRefused, "a job ends when it loses a node"},
      {"nodefile", 'F', kValue, kRefused, "use --nodelist"},
      {"nodelist", 'w', kValue, kHonoured, "on all of these nodes, and no others"},
      {"nodes", 'N', kValue, kHonoured, "nodes: N or MIN-MAX"},
      {"ntasks", 'n', kValue, kHonoured, "tasks"},
      {"ntasks-per-core", 0, kValue, kIgnored, kCores},
      {"ntasks-per-node", 0, kValue, kHonoured, "tasks on each node"},
      {"tasks-per-node", 0, kValue, kHonoured, "the same"},
      {"ntasks-per-socket", 0, kValue, kIgnored, kCores},
      {"open-mode", 0, kValue, kHonoured, "append or truncate"},
      {"output", 'o', kValue, kHonoured, "the file of standard output"},
      {"overcommit", 'O', kNothing, kRefused, "cpus are not shared"},
      {"oversubscribe", 's', kNothing, kIgnored, "nodes are always shared"},
      {"partition", 'p', kValue, kHonoured, "the queue"},
      {"power", 0, kValue, kIgnored, "power is left alone"},
      {"prefer", 0, kValue, kHonoured, "features that the node had better have"},
      {"priority", 0, kValue, kHonoured, "the priority, from -1000 to 1000"},
      {"profile", 0, kValue, kIgnored, kNoProfile},
      {"propagate", 0, kMaybe, kIgnored, "limits are the node's"},
      {"qos", 'q', kValue, kHonoured, "the quality of service"},
      {"quiet", 'Q', kNothing, kHonoured, "say less"},
      {"reboot", 0, kNothing, kRefused, "nodes are not booted"},
      {"reservation", 0, kValue, kRefused, kNoReservations},
      {"signal", 0, kValue, kHonoured, "a signal before the time limit: [B:]SIGNAL[@SECONDS]"},
      {"sockets-per-node", 0, kValue, kRefused, kCores},
      {"spread-job", 0, kNothing, kIgnored, "nodes are filled"},
      {"switches", 0, kValue, kHonoured, "below so many leaf switches; it waits for them as long as it takes"},
      {"test-only", 0, kNothing, kHonoured, "check the job, and submit nothing"},
      {"thread-spec", 0, kValue, kRefused, kCores},
      {"threads-per-core", 0, kValue, kHonoured, "hardware threads to use of each core"},
      {"time", 't', kValue, kHonoured, "the time limit: minutes, H:M:S or D-H"},
      {"time-min", 0, kValue, kHonoured, "the time limit may be cut to this where the job starts sooner with it"},
      {"tmp", 0, kValue, kHonoured, "local disk, in MiB or with K, M, G, T"},
      {"uid", 0, kValue, kRefused, "jobs run as who submits them"},
      {"usage", 0, kNothing, kHonoured, "one line of help"},
      {"use-min-nodes", 0, kNothing, kIgnored, "few nodes are always preferred"},
      {"verbose", 'v', kNothing, kHonoured, "say more"},
      {"version", 'V', kNothing, kHonoured, "the version"},
      {"wckey", 0, kValue, kIgnored, "there are no workload keys"},
      {"bb", 0, kValue, kRefused, "there are no burst buffers"},
      {"bbf", 0, kValue, kRefused, "there are no burst buffers"},
      {"cluster-constraint", 0, kValue, kIgnored, kOneCluster},
      {"container", 0, kValue, kRefused, "use berth submit --image"},
      {"gpus-per-socket", 0, kValue, kRefused, kCores},
      {"mcs-label", 0, kValue, kRefused, "there are no such labels"},
      {"ntasks-per-gpu", 0, kValue, kRefused, "use --gpus-per-task"},
  };
}

CommandTable sbatch_table() {
  CommandTable table{"sbatch", "[script [args...]]", false, job_options()};
  const std::vector<Option> own{
      {"array", 'a', kValue, kHonoured, "indexes: 0-9:2%4"},
      {"batch", 0, kValue, kIgnored, "the script runs on the first node"},
      {"export-file", 0, kValue, kRefused, "use --export"},
      {"get-user-env", 0, kMaybe, kIgnored, "the environment is the submitter's"},
      {"ignore-pbs", 0, kNothing, kHonoured, "do not read #PBS lines"},
      {"kill-on-invalid-dep", 0, kValue, kRefused, "a job whose dependency fails waits until it is cancelled"},
      {"no-requeue", 0, kNothing, kHonoured, "do not run again after a lost node"},
      {"parsable", 0, kNothing, kHonoured, "print the job's id alone"},
      {"requeue", 0, kNothing, kHonoured, "run again after a lost node"},
      {"wait", 'W', kNothing, kHonoured, "wait for the job's end, and exit with its code"},
      {"wait-all-nodes", 0, kValue, kIgnored, "nodes are ready when they are given"},
      {"wrap", 0, kValue, kHonoured, "a command line instead of a script"},
  };
  table.options.insert(table.options.end(), own.begin(), own.end());
  return table;
}

CommandTable srun_table() {
  CommandTable table{"srun", "executable [args...]", false, job_options()};
  const std::vector<Option> own{
      {"accel-bind", 0, kValue, kIgnored, kNoBinding},
      {"bcast", 0, kMaybe, kRefused, "files are not sent"},
      {"bcast-exclude", 0, kValue, kIgnored, "files are not sent"},
      {"compress", 0, kMaybe, kIgnored, "files are not sent"},
      {"cpu-bind", 0, kValue, kIgnored, kNoBinding},
      {"cpu_bind", 0, kValue, kIgnored, kNoBinding},
      {"disable-status", 'X', kNothing, kIgnored, "an interrupt ends the tasks"},
      {"epilog", 0, kValue, kRefused, "there are no epilogs"},
      {"exact", 0, kNothing, kHonoured,
       "over nodes: only the cpus that its tasks ask for, so that steps run side by side"},
      {"het-group", 0, kValue, kRefused, "there are no heterogeneous jobs"},
      {"immediate", 'I', kMaybe, kRefused, "a job waits for its turn"},
      {"jobid", 0, kValue, kHonoured, "a step of this job"},
      {"kill-on-bad-exit", 'K', kMaybe, kHonoured, "end all tasks when one fails"},
      {"label", 'l', kNothing, kHonoured, "put the task's number before each line"},
      {"mpi", 0, kValue, kHonoured, "none"},
      {"msg-timeout", 0, kValue, kIgnored, "there is nothing to wait for"},
      {"multi-prog", 0, kNothing, kHonoured, "the command is a file that says which tasks run what"},
      {"no-allocate", 'Z', kNothing, kRefused, "nothing runs without a job"},
      {"overlap", 0, kNothing, kHonoured, "over nodes: mind no other steps"},
      {"preserve-env", 'E', kNothing, kIgnored, "the environment is passed on as it is"},
      {"prolog", 0, kValue, kRefused, "there are no prologs"},
      {"pty", 0, kNothing, kRefused, "there are no terminals in jobs yet"},
      {"quit-on-interrupt", 0, kNothing, kIgnored, "an interrupt ends the tasks"},
      {"relative", 'r', kValue, kHonoured, "without the first so many nodes of the job"},
      {"resv-ports", 0, kMaybe, kRefused, "ports are not handed out"},
      {"send-libs", 0, kMaybe, kIgnored, "files are not sent"},
      {"slurmd-debug", 0, kValue, kIgnored, "see berth agent -v"},
      {"task-epilog", 0, kValue, kRefused, "there are no epilogs"},
      {"task-prolog", 0, kValue, kRefused, "there are no prologs"},
      {"threads", 'T', kValue, kIgnored, "srun has one thread"},
      {"unbuffered", 'u', kNothing, kHonoured, "output as it comes (it always does)"},
      {"wait", 'W', kValue, kHonoured,
       "end the others so many seconds after the first task ended; of tasks that agents start only 0"},
      {"x11", 0, kMaybe, kRefused, "there is no X11"},
  };
  table.options.insert(table.options.end(), own.begin(), own.end());
  return table;
}

CommandTable salloc_table() {
  CommandTable table{"salloc", "[command [args...]]", false, job_options()};
  // What is of a file or a script.
  std::erase_if(table.options, [](const Option& o) {
    const std::string_view name = o.name;
    return name == "error" || name == "output" || name == "input" || name == "open-mode" || name == "export" ||
           name == "test-only" || name == "propagate";
  });
  const std::vector<Option> own{
      {"bell", 0, kNothing, kHonoured, "ring the terminal's bell when it is granted"},
      {"get-user-env", 0, kMaybe, kIgnored, "the environment is yours"},
      {"immediate", 'I', kMaybe, kRefused, "an allocation waits for its turn"},
      {"kill-command", 'K', kMaybe, kIgnored, "the command runs here, and is yours"},
      {"no-bell", 0, kNothing, kHonoured, "do not (the default)"},
      {"no-shell", 0, kNothing, kHonoured, "end when it is granted; scancel gives it back"},
      {"wait-all-nodes", 0, kValue, kIgnored, "nodes are ready when they are given"},
  };
  table.options.insert(table.options.end(), own.begin(), own.end());
  return table;
}

const std::vector<Option> kCommon{
    {"help", 0, kNothing, kHonoured, "this text"},     {"usage", 0, kNothing, kHonoured, "one line of help"},
    {"verbose", 'v', kNothing, kHonoured, "say more"}, {"version", 'V', kNothing, kHonoured, "the version"},
    {"clusters", 'M', kValue, kIgnored, kOneCluster},  {"federation", 0, kNothing, kIgnored, kOneCluster},
    {"local", 0, kNothing, kIgnored, kOneCluster},     {"sibling", 0, kNothing, kIgnored, kOneCluster},
};

CommandTable with_common(CommandTable table) {
  for (const Option& one : kCommon) {
    const bool own = std::any_of(table.options.begin(), table.options.end(),
                                 [&](const Option& o) { return std::string_view(o.name) == one.name; });
    if (!own) table.options.push_back(one);
  }
  return table;
}

CommandTable squeue_table() {
  return with_common(
      {"squeue",
       "",
       true,
       {
           {"account", 'A', kValue, kHonoured, "of these accounts"},
           {"all", 'a', kNothing, kIgnored, "no queue is hidden"},
           {"array", 'r', kNothing, kHonoured, "a line for each element of an array"},
           {"array-unique", 0, kNothing, kHonoured, "the same"},
           {"format", 'o', kValue, kHonoured, "%[.][width]letter …"},
           {"Format", 'O', kValue, kHonoured, "name[:[.]width], …"},
           {"hide", 0, kNothing, kIgnored, "no queue is hidden"},
           {"iterate", 'i', kValue, kHonoured, "again every so many seconds"},
           {"jobs", 'j', kValue, kHonoured, "these jobs"},
           {"json", 0, kNothing, kRefused, "use berth ls -o json"},
           {"yaml", 0, kNothing, kRefused, "use berth ls -o json"},
           {"licenses", 'L', kValue, kRefused, kNoLicenses},
           {"long", 'l', kNothing, kHonoured, "more columns"},
           {"me", 0, kNothing, kHonoured, "of you"},
           {"name", 'n', kValue, kHonoured, "of these names"},
           {"noconvert", 0, kNothing, kIgnored, "sizes are in MiB"},
           {"nodelist", 'w', kValue, kHonoured, "on these nodes"},
           {"noheader", 'h', kNothing, kHonoured, "no titles"},
           {"partition", 'p', kValue, kHonoured, "of these queues"},
           {"priority", 'P', kNothing, kIgnored, "a job waits in one queue"},
           {"qos", 'q', kValue, kHonoured, "of these qualities of service"},
           {"reservation", 'R', kValue, kRefused, kNoReservations},
           {"sort", 'S', kValue, kHonoured, "by these letters, - reverses"},
           {"start", 0, kNothing, kHonoured,
            "what waits, with the expected starts of the first 200 where they are known"},
           {"states", 't', kValue, kHonoured, "in these states, or all"},
           {"steps", 's', kMaybe, kHonoured, "the steps that run, of jobs over several nodes beside the script"},
           {"user", 'u', kValue, kHonoured, "of these users"},
       }});
}

CommandTable scancel_table() {
  return with_common({"scancel",
                      "[job_id[_index] ...]",
                      true,
                      {
                          {"account", 'A', kValue, kHonoured, "of this account"},
                          {"batch", 'b', kNothing, kIgnored, kNoSteps},
                          {"ctld", 0, kNothing, kIgnored, "it always goes through the server"},
                          {"full", 'f', kNothing, kIgnored, "all processes of a job are signalled"},
                          {"hurry", 'H', kNothing, kIgnored, "there is nothing to stage out"},
                          {"interactive", 'i', kNothing, kHonoured, "ask for each job"},
                          {"jobname", 'n', kValue, kHonoured, "of this name"},
                          {"name", 0, kValue, kHonoured, "of this name"},
                          {"me", 0, kNothing, kHonoured, "of you"},
                          {"nodelist", 'w', kValue, kHonoured, "on these nodes"},
                          {"partition", 'p', kValue, kHonoured, "of this queue"},
                          {"qos", 'q', kValue, kHonoured, "of this quality of service"},
                          {"quiet", 'Q', kNothing, kHonoured, "say less"},
                          {"reservation", 'R', kValue, kRefused, kNoReservations},
                          {"signal", 's', kValue, kHonoured, "TERM or KILL, which cancel; others are refused"},
                          {"state", 't', kValue, kHonoured, "PENDING, RUNNING or SUSPENDED"},
                          {"user", 'u', kValue, kHonoured, "of this user"},
                          {"wckey", 0, kValue, kRefused, "there are no workload keys"},
                      }});
}

CommandTable sinfo_table() {
  return with_common({"sinfo",
                      "",
                      true,
                      {
                          {"all", 'a', kNothing, kIgnored, "no queue is hidden"},
                          {"dead", 'd', kNothing, kHonoured, "nodes that do not respond"},
                          {"exact", 'e', kNothing, kHonoured, "do not group nodes that differ in size"},
                          {"format", 'o', kValue, kHonoured, "%[.][width]letter …"},
                          {"Format", 'O', kValue, kHonoured, "name[:[.]width], …"},
                          {"hide", 0, kNothing, kIgnored, "no queue is hidden"},
                          {"iterate", 'i', kValue, kHonoured, "again every so many seconds"},
                          {"json", 0, kNothing, kRefused, "use berth nodes -o json"},
                          {"yaml", 0, kNothing, kRefused, "use berth nodes -o json"},
                          {"list-reasons", 'R', kNothing, kHonoured, "why nodes are down or drained"},
                          {"long", 'l', kNothing, kHonoured, "more columns"},
                          {"noconvert", 0, kNothing, kIgnored, "sizes are in MiB"},
                          {"Node", 'N', kNothing, kHonoured, "a line for each node"},
                          {"nodes", 'n', kValue, kHonoured, "these nodes"},
                          {"noheader", 'h', kNothing, kHonoured, "no titles"},
                          {"partition", 'p', kValue, kHonoured, "these queues"},
                          {"reservation", 'T', kNothing, kRefused, kNoReservations},
                          {"responding", 'r', kNothing, kHonoured, "nodes that respond"},
                          {"sort", 'S', kValue, kIgnored, "nodes are sorted by queue, state and name"},
                          {"states", 't', kValue, kHonoured, "in these states"},
                          {"summarize", 's', kNothing, kHonoured, "a line for each queue"},
                      }});
}

CommandTable scontrol_table() {
  return with_common({"scontrol",
                      "command [words...]",
                      true,
                      {
                          {"all", 'a', kNothing, kIgnored, "no queue is hidden"},
                          {"details", 'd', kNothing, kHonoured, "more of each"},
                          {"future", 'F', kNothing, kIgnored, "there are no nodes to come"},
                          {"help", 'h', kNothing, kHonoured, "this text"},
                          {"hide", 0, kNothing, kIgnored, "no queue is hidden"},
                          {"oneliner", 'o', kNothing, kHonoured, "a record on one line"},
                          {"quiet", 'Q', kNothing, kHonoured, "say less"},
                          {"uid", 'u', kValue, kRefused, "it runs as you"},
                      }});
}

CommandTable sacct_table() {
  return with_common({"sacct",
                      "",
                      true,
                      {
                          {"accounts", 'A', kValue, kHonoured, "of these accounts"},
                          {"allclusters", 'L', kNothing, kIgnored, kOneCluster},
                          {"allocations", 'X', kNothing, kHonoured, "jobs without their steps"},
                          {"allusers", 'a', kNothing, kHonoured, "of all users"},
                          {"brief", 'b', kNothing, kHonoured, "jobid,state,exitcode"},
                          {"delimiter", 0, kValue, kHonoured, "between columns of -p and -P"},
                          {"duplicates", 'D', kNothing, kIgnored, "an id is given once"},
                          {"endtime", 'E', kValue, kHonoured, "until then"},
                          {"format", 'o', kValue, kHonoured, "these columns: name[%[-]width]"},
                          {"help", 'h', kNothing, kHonoured, "this text"},
                          {"helpformat", 'e', kNothing, kHonoured, "the names of the columns"},
                          {"jobs", 'j', kValue, kHonoured, "these jobs"},
                          {"long", 'l', kNothing, kHonoured, "many columns"},
                          {"name", 0, kValue, kHonoured, "of these names"},
                          {"noconvert", 0, kNothing, kIgnored, "sizes are in MiB"},
                          {"nodelist", 'N', kValue, kHonoured, "on these nodes"},
                          {"noheader", 'n', kNothing, kHonoured, "no titles"},
                          {"parsable", 'p', kNothing, kHonoured, "| behind each column"},
                          {"parsable2", 'P', kNothing, kHonoured, "| between columns"},
                          {"partition", 'r', kValue, kHonoured, "of these queues"},
                          {"qos", 'q', kValue, kHonoured, "of these qualities of service"},
                          {"starttime", 'S', kValue, kHonoured, "from then on; today by default"},
                          {"state", 's', kValue, kHonoured, "in these states"},
                          {"truncate", 'T', kNothing, kIgnored, "times are shown whole"},
                          {"units", 0, kValue, kIgnored, "sizes are in MiB"},
                          {"user", 'u', kValue, kHonoured, "of these users"},
                          {"uid", 0, kValue, kHonoured, "of these users"},
                          {"whole-hetjob", 0, kMaybe, kIgnored, "there are no heterogeneous jobs"},
                      }});
}

CommandTable sprio_table() {
  return with_common({"sprio",
                      "",
                      true,
                      {
                          {"format", 'o', kValue, kHonoured, "%[.][width]letter …"},
                          {"jobs", 'j', kValue, kHonoured, "these jobs"},
                          {"long", 'l', kNothing, kHonoured, "more columns"},
                          {"noheader", 'h', kNothing, kHonoured, "no titles"},
                          {"norm", 'n', kNothing, kHonoured, "without the weights"},
                          {"partition", 'p', kValue, kHonoured, "of these queues"},
                          {"sort", 'S', kValue, kHonoured, "by these letters, - reverses"},
                          {"user", 'u', kValue, kHonoured, "of these users"},
                          {"weights", 'w', kNothing, kHonoured, "the weights alone"},
                      }});
}

CommandTable sstat_table() {
  return with_common({"sstat",
                      "",
                      true,
                      {
                          {"allsteps", 'a', kNothing, kHonoured, "all steps of the jobs that run, and their scripts"},
                          {"fields", 0, kValue, kHonoured, "the same as --format"},
                          {"format", 'o', kValue, kHonoured, "these columns: name[%[-]width]"},
                          {"helpformat", 'e', kNothing, kHonoured, "the names of the columns"},
                          {"jobs", 'j', kValue, kHonoured, "these jobs, elements (12_3) and steps (12.0, 12.batch)"},
                          {"noconvert", 0, kNothing, kHonoured, "what was read and written in bytes"},
                          {"noheader", 'n', kNothing, kHonoured, "no titles"},
                          {"parsable", 'p', kNothing, kHonoured, "| behind each column"},
                          {"parsable2", 'P', kNothing, kHonoured, "| between columns"},
                          {"pidformat", 'i', kNothing, kRefused, "nodes do not tell the ids of processes"},
                      }});
}

CommandTable sshare_table() {
  return with_common({"sshare",
                      "",
                      true,
                      {
                          {"accounts", 'A', kValue, kHonoured, "these accounts"},
                          {"all", 'a', kNothing, kHonoured, "of all users, not only yours"},
                          {"format", 'o', kValue, kHonoured, "these columns: name[%[-]width]"},
                          {"helpformat", 'e', kNothing, kHonoured, "the names of the columns"},
                          {"long", 'l', kNothing, kHonoured, "more columns"},
                          {"noheader", 'n', kNothing, kHonoured, "no titles"},
                          {"parsable", 'p', kNothing, kHonoured, "| behind each column"},
                          {"parsable2", 'P', kNothing, kHonoured, "| between columns"},
                          {"partition", 'm', kNothing, kHonoured, "with a column for the queue, which is empty"},
                          {"users", 'u', kValue, kHonoured, "of these users"},
                          {"Users", 'U', kNothing, kHonoured, "users, without their accounts"},
                      }});
}

CommandTable sacctmgr_table() {
  return {"sacctmgr",
          "command [words...]",
          true,
          {
              {"associations", 's', kNothing, kHonoured, "list users and accounts with their associations"},
              {"help", 'h', kNothing, kHonoured, "this text"},
              {"immediate", 'i', kNothing, kHonoured, "do not ask before changes"},
              {"json", 0, kMaybe, kRefused, "use berth account ls -o json"},
              {"noheader", 'n', kNothing, kHonoured, "no titles"},
              {"oneliner", 'o', kNothing, kIgnored, "a record is always on one line"},
              {"parsable", 'p', kNothing, kHonoured, "| behind each column"},
              {"parsable2", 'P', kNothing, kHonoured, "| between columns"},
              {"quiet", 'Q', kNothing, kHonoured, "say less"},
              {"readonly", 'r', kNothing, kHonoured, "refuse changes"},
              {"usage", 0, kNothing, kHonoured, "one line of help"},
              {"verbose", 'v', kNothing, kHonoured, "say more"},
              {"version", 'V', kNothing, kHonoured, "the version"},
              {"yaml", 0, kMaybe, kRefused, "use berth account ls -o json"},
          }};
}

CommandTable sdiag_table() {
  return with_common({"sdiag",
                      "",
                      true,
                      {
                          {"all", 'a', kNothing, kIgnored, "all is always shown"},
                          {"reset", 'r', kNothing, kRefused, "what is counted is not set back"},
                          {"sort-by-id", 'i', kNothing, kIgnored, "requests are not counted by kind"},
                          {"sort-by-time", 't', kNothing, kIgnored, "requests are not counted by kind"},
                          {"sort-by-time2", 'T', kNothing, kIgnored, "requests are not counted by kind"},
                      }});
}

CommandTable sreport_table() {
  return with_common({"sreport",
                      "cluster|user report [name=value...]",
                      true,
                      {
                          {"all_clusters", 'a', kNothing, kIgnored, kOneCluster},
                          {"noheader", 'n', kNothing, kHonoured, "no titles"},
                          {"parsable", 'p', kNothing, kHonoured, "| behind each column"},
                          {"parsable2", 'P', kNothing, kHonoured, "| between columns"},
                          {"quiet", 'Q', kNothing, kIgnored, "it says nothing else"},
                          {"t", 't', kValue, kHonoured, "Seconds, Minutes, Hours or Percent"},
                          {"tres", 'T', kValue, kRefused, "cpus alone; berth usage has GPUs, too"},
                      }});
}

}  // namespace

const std::vector<const CommandTable*>& all_tables() {
  static const std::vector<CommandTable> tables{sbatch_table(),  srun_table(),   salloc_table(),   squeue_table(),
                                                scancel_table(), sinfo_table(),  scontrol_table(), sacct_table(),
                                                sprio_table(),   sshare_table(), sacctmgr_table(), sdiag_table(),
                                                sreport_table(), sstat_table()};
  static const std::vector<const CommandTable*> pointers = [] {
    std::vector<const CommandTable*> out;
    for (const CommandTable& table : tables) out.push_back(&table);
    return out;
  }();
  return pointers;
}

const CommandTable& table_of(std::string_view command) {
  for (const CommandTable* table : all_tables()) {
    if (table->name == command) return *table;
  }
  return *all_tables().front();
}

}  // namespace berth::tools::slurm
