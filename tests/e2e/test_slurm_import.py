"""A site's slurm.conf, and the server that runs with what `berth slurm import` makes of it."""

import os
import tempfile
import unittest

import harness
from harness import Cluster

SLURM = """# the site
ClusterName=site
SlurmctldHost=head(10.0.0.1)
SlurmdTimeout=90
AccountingStorageType=accounting_storage/slurmdbd
TopologyPlugin=topology/tree
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
Licenses=matlab:10
Prolog=/etc/slurm/prolog.sh
include nodes.conf
PartitionName=batch Nodes=ALL Default=YES MaxTime=7-0 DefaultTime=60
PartitionName=gpu Nodes=g1 MaxTime=1-0 \\
  PriorityTier=5 AllowAccounts=physics
"""
NODES = "NodeName=n[1-2] CPUs=2 RealMemory=2000 Feature=fast\nNodeName=g1 CPUs=2 RealMemory=2000 Gres=fpga:1 State=DOWN\n"
TOPOLOGY = "SwitchName=s1 Nodes=n[1-2]\nSwitchName=s2 Nodes=g1\nSwitchName=top Switches=s[1-2]\n"
CGROUP = "ConstrainCores=yes\nConstrainSwapSpace=yes\n"


class Import(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        for name, text in (("slurm.conf", SLURM), ("nodes.conf", NODES), ("topology.conf", TOPOLOGY), ("cgroup.conf", CGROUP)):
            self.write(name, text)

    def write(self, name, text):
        with open(os.path.join(self.directory, name), "w", encoding="utf-8") as out:
            out.write(text)

    def imported(self, check=True):
        done = harness.subprocess.run([harness.BERTH, "slurm", "import", os.path.join(self.directory, "slurm.conf")], check=False,
                                      capture_output=True, text=True, timeout=60)
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def test_a_server_starts_with_what_is_printed(self):
        text = self.imported().stdout
        self.write("berth.yaml", text)
        cluster = Cluster(agents=1, server=["--config", os.path.join(self.directory, "berth.yaml")])
        self.addCleanup(cluster.close)
        queues = {row["name"]: row for row in cluster.json("queue", "ls", "-o", "json")}
        self.assertLessEqual({"batch", "gpu"}, set(queues))
        self.assertIn("matlab", cluster.run("licence", "ls").stdout)
        links = cluster.path("bin")
        cluster.run("slurm", "install-links", links)
        record = harness.subprocess.run([os.path.join(links, "scontrol"), "show", "partition", "gpu"], check=True, capture_output=True,
                                        text=True, timeout=60, env=cluster.environment).stdout
        for part in ("MaxTime=1-00:00:00", "PriorityTier=5", "PreemptMode=REQUEUE", "AllowAccounts=physics"):
            self.assertIn(part, record)

    def test_what_has_no_equivalent_is_told_line_by_line(self):
        text = self.imported().stdout
        for part in (f"{self.directory}/slurm.conf:10 Prolog=/etc/slurm/prolog.sh: ", f"{self.directory}/cgroup.conf:2 ConstrainSwapSpace=yes: ",
                     "Default=YES: the queue of who names none", "berth drain g1 ", "--resource fpga=1",
                     "n[1-2]: berth agent --join head:7117 --token TOKEN --cpus 2 --mem 2000M --feature fast"):
            self.assertIn(part, text)

    def test_what_cannot_be_read_is_one_line(self):
        self.write("nodes.conf", "nonsense\n")
        done = self.imported(check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.assertIn("nodes.conf:1: \"nonsense\" is no line", done.stderr)
        self.assertEqual(done.stdout, "")


if __name__ == "__main__":
    unittest.main()
