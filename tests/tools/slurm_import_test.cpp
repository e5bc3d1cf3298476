// What is read of a site's slurm.conf, and what of it becomes Berth's configuration; the file of srun --multi-prog.
#include <gtest/gtest.h>
#include <string>

#include "tools/slurm/import.h"
#include "tools/slurm/multi_prog.h"
#include "tools/slurm/slurm_conf.h"

namespace berth::tools::slurm {
namespace {

using state::Error;
using state::ErrorCode;
using state::Result;

Result<std::vector<ConfLine>> parsed(std::string_view text) {
  return parse_conf(text, "slurm.conf", [](const std::string& path) -> Result<std::vector<ConfLine>> {
    if (path == "more.conf") return std::vector<ConfLine>{{path, 1, {{"Included", "yes"}}}};
    return Error{ErrorCode::kInvalid, "", "cannot read " + path, 0};
  });
}

SiteFiles site(std::string_view text) {
  auto lines = parsed(text);
  EXPECT_TRUE(lines.ok());
  return {lines.ok() ? *lines : std::vector<ConfLine>{}, {}, {}, ""};
}

std::string imported(std::string_view text) {
  auto out = import_site(site(text));
  return out ? *out : "error: " + out.error().message;
}

bool has(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  ADD_FAILURE() << "no \"" << part << "\" in:\n" << text;
  return false;
}

TEST(SlurmConf, LinesAreJoinedCutAndQuotedAsSlurmDoesIt) {
  const auto lines = parsed(
      "# a comment\n\nClusterName = two # words\nNodeName=n[1-2] \\\n  CPUs=4 Reason=\"new disks\"\nInclude more.conf\n"
      "A=\\#1\nEmpty=\n");
  ASSERT_TRUE(lines.ok()) << lines.error().message;
  ASSERT_EQ(lines->size(), 5U);
  EXPECT_EQ((*lines)[0].get("clustername"), "two");
  EXPECT_EQ((*lines)[1].number, 4U);
  EXPECT_EQ((*lines)[1].get("reason"), "new disks");
  EXPECT_EQ((*lines)[1].get("CPUs"), "4");
  EXPECT_EQ((*lines)[2].get("Included"), "yes");
  EXPECT_EQ((*lines)[3].get("A"), "#1");
  EXPECT_EQ((*lines)[4].get("Empty"), "");
}

TEST(SlurmConf, WhatIsNoLineIsToldWithItsPlace) {
  for (const auto& [text, said] : {std::pair{"ok=1\nnonsense\n", "slurm.conf:2: \"nonsense\" is no line"},
                                   std::pair{"A=\"open\n", "slurm.conf:1: "},
                                   std::pair{"a=1\nInclude gone.conf\n", "slurm.conf:2: cannot read gone.conf"},
                                   std::pair{"=1\n", "slurm.conf:1: "}}) {
    const auto lines = parsed(text);
    ASSERT_FALSE(lines.ok()) << text;
    EXPECT_TRUE(has(lines.error().message, said));
  }
}

TEST(SlurmImport, SettingsQueuesAndNodes) {
  const std::string text = imported(
      "ClusterName=site\nSlurmctldHost=head(10.0.0.1)\nSlurmdTimeout=120\nLicenses=matlab:10,ansys\n"
      "PriorityDecayHalfLife=14-0\nPreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n"
      "NodeName=DEFAULT Sockets=2 CoresPerSocket=8 ThreadsPerCore=2 RealMemory=64000\n"
      "NodeName=n[1-4] Feature=ib,fast\nNodeName=g1 Gres=gpu:a100:4,fpga:2 CoreSpecCount=1 State=DRAIN Reason=old\n"
      "NodeSet=fastones Feature=fast\n"
      "PartitionName=DEFAULT MaxTime=1-0\nPartitionName=batch Nodes=ALL Default=YES\n"
      "PartitionName=gpu Nodes=g1,fastones MaxTime=30 MaxNodes=2 AllowAccounts=physics,chem PriorityTier=10 "
      "State=DRAIN\n");
  for (const char* part :
       {"cluster: \"site\"\n", "node_lost_after: 2m\n", "licences: {\"matlab\": 10, \"ansys\": 1}\n",
        "fair_share_half_life: 14d\n", "  - {name: \"batch\", time_limit: 1d, preempt: requeue}\n",
        "  - {name: \"gpu\", time_limit: 30m, nodes: \"(node in (g1))|(fast)\", max_nodes: 2, accounts: [\"physics\", "
        "\"chem\"], tier: 10, preempt: requeue, state: draining}\n",
        "n[1-4]: berth agent --join head:7117 --token TOKEN --cpus 32 --mem 64000M --feature ib --feature fast\n",
        "--cpus 30 --mem 64000M --feature a100 --resource fpga=2 --gpus 4\n", "berth drain g1 --reason \"old\"\n",
        "Default=YES: the queue of who names none is \"default\""}) {
    has(text, part);
  }
}

TEST(SlurmImport, EveryLineWithoutAnEquivalentIsListed) {
  const std::string text = imported(
      "ProctrackType=proctrack/cgroup\nProlog=/etc/prolog\nNoSuchThing=1\nSlurmctldHost=a\nSlurmctldHost=b\n"
      "NodeName=n1 CPUs=1 Weight=5\nPartitionName=p Nodes=n1 Hidden=YES\nTopologyPlugin=topology/tree\n");
  for (const char* part :
       {"slurm.conf:2 Prolog=/etc/prolog: ", "slurm.conf:3 NoSuchThing=1: not known to be",
        "slurm.conf:5 SlurmctldHost=b: ", "slurm.conf:6 Weight=5: ", "slurm.conf:7 Hidden=YES: ",
        "there is no topology.conf", "# Nothing to be set:\n#   slurm.conf:1 ProctrackType=proctrack/cgroup: "}) {
    has(text, part);
  }
}

TEST(SlurmImport, NodesThatAreNoneAreRefused) {
  EXPECT_TRUE(has(imported("NodeName=n[1- CPUs=1\n"), "error: slurm.conf:1: "));
}

TEST(MultiProg, EveryTaskHasOneProgram) {
  const auto script = multi_prog_script("# comment\n0 echo 'a b' %t\n1-2 run \\\n  %o\n* rest\n", 5);
  ASSERT_TRUE(script.ok()) << script.error().message;
  EXPECT_EQ(*script,
            "case $SLURM_PROCID in\n"
            "0) exec 'echo' 'a b' ''\"$SLURM_PROCID\"'' ;;\n"
            "1|2) o=0; for i in 1 2; do [ $i = $SLURM_PROCID ] && break; o=$((o+1)); done; exec 'run' ''\"$o\"'' ;;\n"
            "3|4) exec 'rest' ;;\n"
            "esac\n");
}

TEST(MultiProg, WhatIsWrongIsToldInOneLine) {
  for (const auto& [text, said] :
       {std::pair{"0 a\n", ": no record for task id 1"}, std::pair{"x a\n", "1: Invalid task range specification (x)"},
        std::pair{"0-1 a\n1 b\n", "2: task 1 has a program already"},
        std::pair{"0\n* b\n", "1: no program behind \"0\""}, std::pair{"0 'open\n", "1: "}}) {
    const auto script = multi_prog_script(text, 2);
    ASSERT_FALSE(script.ok()) << text;
    EXPECT_TRUE(has(script.error().field + ": " + script.error().message, said));
  }
}

}  // namespace
}  // namespace berth::tools::slurm
