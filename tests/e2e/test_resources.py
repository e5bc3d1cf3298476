"""What nodes have beside cpu and memory, and where on them pods run: real agents, facts read back from the kernel."""

import gzip
import os
import unittest

from harness import BERTH, Cluster, ClusterTest, free_port, wait_until  # noqa: F401
from harness import is_root, needs_root

SYS = "/sys/fs/cgroup"


def cpus_of(text):
    """A list of cpus as the kernel writes it, as a set."""
    found = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


class Countables(ClusterTest):
    OPTIONS = {"agent": ["--resource", "fpga=2", "--disk", "100G", "--pods", "5"]}

    def test_they_are_listed_taken_and_waited_for(self):
        cluster = self.cluster
        node = cluster.nodes()["n1"]
        self.assertEqual(node["resources"], {"disk": 102400, "fpga": 2})
        self.assertEqual(node["pods_max"], 5)
        one = cluster.submit("--resource", "fpga=2", "--disk", "10G", "--cpus", "0.1", "sleep", "1000")
        cluster.wait_state(one, "running")
        self.assertEqual(cluster.nodes()["n1"]["resources_used"], {"disk": 10240, "fpga": 2})
        two = cluster.submit("--resource", "fpga", "--cpus", "0.1", "true")
        said = cluster.run("explain", two).stdout
        self.assertIn("free fpga", said)
        self.assertIn("fpga 1", said)
        cluster.run("cancel", one)
        cluster.wait(two)
        self.assertEqual(cluster.job(two)["state"], "succeeded")
        self.assertEqual(cluster.nodes()["n1"]["resources_used"], {})
        self.assert_one_line(cluster.run("submit", "--resource", "fpga=3", "true", check=False), 1, "total fpga")
        self.assert_one_line(cluster.run("submit", "--resource", "tpu", "true", check=False), 1, "total tpu")
        self.assert_one_line(cluster.run("submit", "--resource", "a b", "true", check=False), 2, "accepted")

    def test_a_node_runs_no_more_pods_than_it_says(self):
        cluster = self.cluster
        many = cluster.submit("--array", "1-8", "--cpus", "0.1", "sleep", "1000")
        wait_until("five run", lambda: sum(p["state"] == "running" for p in cluster.pods(many)) == 5)
        self.assertIn("pods on the node", cluster.run("explain", many).stdout)
        cluster.run("cancel", many)
        cluster.wait(many)

    def test_licences_are_the_clusters(self):
        cluster = self.cluster
        cluster.run("licence", "set", "matlab", "1")
        one = cluster.submit("--licence", "matlab", "--cpus", "0.1", "sleep", "1000")
        cluster.wait_state(one, "running")
        two = cluster.submit("--licence", "matlab=1", "--cpus", "0.1", "true")
        self.assertIn("1 of 1 licences matlab are in use", cluster.run("explain", two).stdout)
        self.assertEqual(cluster.json("licence", "ls", "-o", "json"), [{"name": "matlab", "total": 1, "used": 1}])
        self.assert_one_line(cluster.run("licence", "rm", "matlab", check=False), 1, "is wanted by jobs")
        cluster.run("cancel", one)
        cluster.wait(two)
        self.assertEqual(cluster.job(two)["state"], "succeeded")
        cluster.run("licence", "rm", "matlab")
        self.assert_one_line(cluster.run("submit", "--licence", "matlab", "true", check=False), 1, "no licence 'matlab'")

    def test_queues_have_nodes_and_states(self):
        cluster = self.cluster
        cluster.run("queue", "add", "gpu", "--nodes", "gpu", "--max-nodes", "1", "--users", "alice,bob")
        queue = next(q for q in cluster.json("queue", "ls", "-o", "json") if q["name"] == "gpu")
        self.assertEqual((queue["nodes"], queue["max_nodes"], queue["users"]), ("gpu", 1, ["alice", "bob"]))
        self.assert_one_line(cluster.run("submit", "-q", "gpu", "true", check=False), 1, "the queue's nodes (gpu)")
        cluster.run("queue", "set", "gpu", "--nodes", "all", "--state", "down")
        job = cluster.submit("-q", "gpu", "--cpus", "0.1", "true")
        self.assertIn("queue gpu is down", cluster.run("explain", job).stdout)
        cluster.run("queue", "set", "gpu", "--state", "up")
        cluster.wait(job)
        self.assertEqual(cluster.job(job)["state"], "succeeded")
        self.assert_one_line(cluster.run("queue", "set", "gpu", "--state", "open", check=False), 2, "accepted: up, down")
        self.assert_one_line(cluster.run("queue", "set", "nope", "--state", "up", check=False), 1, "no queue 'nope'")
        cluster.run("queue", "rm", "gpu")


class Cores(ClusterTest):
    OPTIONS = {"cpus": 2, "agent": ["--pin"]}

    def test_pods_of_one_cpu_run_on_different_ones_and_the_kernel_says_so(self):
        cluster = self.cluster
        script = "echo $BERTH_CPUS; grep Cpus_allowed_list /proc/self/status; cat /proc/self/cgroup; sleep 2"
        jobs = [cluster.submit("sh", "-c", script) for _ in range(2)]
        cluster.wait(*jobs)
        seen = []
        for job in jobs:
            lines = cluster.run("logs", job).stdout.splitlines()
            allowed = next(line.split(":")[1] for line in lines if line.startswith("Cpus_allowed_list"))
            self.assertEqual(cpus_of(lines[0]), cpus_of(allowed))
            seen.append(cpus_of(allowed))
        self.assertEqual(sorted(map(len, seen)), [1, 1])
        self.assertFalse(seen[0] & seen[1], seen)

    @needs_root
    def test_a_pod_cannot_leave_its_cpus(self):
        if not os.path.isdir(os.path.join(SYS, "cpuset")) and not os.path.exists(os.path.join(SYS, "cgroup.controllers")):
            self.skipTest("no cpuset controller here")
        cluster = self.cluster
        script = "cat /proc/self/cpuset; taskset -p 0x3 $$ >/dev/null; grep Cpus_allowed_list /proc/self/status"
        job = cluster.submit("sh", "-c", script)
        cluster.wait(job)
        lines = cluster.run("logs", job).stdout.splitlines()
        self.assertIn("/berth/", lines[0])
        self.assertEqual(len(cpus_of(lines[-1].split(":")[1])), 1, lines)

    def test_explain_says_which_cores_a_pod_has(self):
        job = self.cluster.submit("sleep", "1000")
        self.cluster.wait_state(job, "running")
        self.assertRegex(self.cluster.run("explain", job).stdout, r"has hardware threads \d for itself")
        self.cluster.run("cancel", job)
        self.cluster.wait(job)

    def test_part_of_a_cpu_runs_anywhere(self):
        job = self.cluster.submit("--cpus", "0.5", "sh", "-c", "echo [$BERTH_CPUS]")
        self.cluster.wait(job)
        self.assertEqual(self.cluster.run("logs", job).stdout.strip(), "[]")

    def test_cores_are_known_after_both_are_killed(self):
        cluster = self.cluster
        one = cluster.submit("sh", "-c", "echo $BERTH_CPUS; sleep 1000")
        cluster.wait_state(one, "running")
        cluster.server.kill()
        cluster.agents[1].kill()
        cluster.start_server()
        cluster.agents[1].start()
        cluster.wait_nodes(1)
        two = cluster.submit("sh", "-c", "echo $BERTH_CPUS")
        cluster.wait(two)
        first, second = (cpus_of(cluster.run("logs", job).stdout) for job in (one, two))
        self.assertFalse(first & second, (first, second))
        cluster.run("cancel", one)
        cluster.wait(one)


class PretendedMachines(unittest.TestCase):
    """Agents that stand in for machines of which only the topology is here."""

    @classmethod
    def setUpClass(cls):
        source = os.path.join(os.path.dirname(__file__), "..", "..", "..", "shared", "data", "hwloc",
                              "mpibind.coral-lassen.xml.gz")
        if not os.path.exists(source):
            raise unittest.SkipTest("the machines' files are not here")
        cls.cluster = Cluster(agents=0)
        cls.addClassCleanup(cls.cluster.close)
        xml = cls.cluster.path("lassen.xml")
        with gzip.open(source, "rb") as packed, open(xml, "wb") as file:
            file.write(packed.read())
        for number in (1, 2):
            command = [BERTH, "agent", "--data", cls.cluster.path(f"agent{number}"), "--name", f"n{number}", "--topology",
                       xml, "--join", cls.cluster.socket]
            cls.cluster.agents[number] = cls.daemon(number, command)
        cls.cluster.wait_nodes(2)

    @classmethod
    def daemon(cls, number, command):
        from harness import Daemon
        agent = Daemon(f"agent {number}", command, cls.cluster.path(f"agent{number}.log"), cls.cluster.environment)
        agent.start()
        return agent

    def outputs(self, job):
        return [self.cluster.run("logs", f"{job}.{pod['index']}").stdout.split() for pod in self.cluster.pods(job)]

    def test_pods_never_share_a_core(self):
        cluster = self.cluster
        job = cluster.submit("--array", "1-8", "--cpus", "4", "sh", "-c", "echo $BERTH_NODE $BERTH_CPUS; sleep 3")
        cluster.wait(job)
        taken = {}
        for node, cpus in self.outputs(job):
            self.assertEqual(len(cpus_of(cpus)), 4)
            self.assertFalse(taken.setdefault(node, set()) & cpus_of(cpus))
            taken[node] |= cpus_of(cpus)
        self.assertEqual(sum(map(len, taken.values())), 32)

    def test_gpus_come_with_their_cores(self):
        cluster = self.cluster
        job = cluster.submit("--gpus", "2", "--cpus", "8", "--cores-in", "numa", "sh", "-c",
                             "echo $CUDA_VISIBLE_DEVICES $BERTH_CPUS")
        cluster.wait(job)
        (gpus, cpus), = self.outputs(job)
        # Of that machine two GPUs are near each package; the second begins at hardware thread 88.
        near = {frozenset({"0", "1"}): range(0, 88), frozenset({"2", "3"}): range(88, 176)}[frozenset(gpus.split(","))]
        self.assertTrue(all(cpu in near for cpu in cpus_of(cpus)), (gpus, cpus))
        self.assertIn("too few cores in one NUMA node",
                      cluster.run("submit", "--cpus", "100", "--cores-in", "numa", "true", check=False).stderr)


class Gangs(ClusterTest):
    OPTIONS = {"agents": 0, "server": []}

    @classmethod
    def setUpClass(cls):
        import tempfile
        with tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False) as file:
            file.write("SwitchName=s0 Nodes=n[1-2]\nSwitchName=s1 Nodes=n[3-4]\nSwitchName=top Switches=s[0-1]\n")
        cls.addClassCleanup(os.unlink, file.name)
        cls.cluster = Cluster(agents=4, server=["--switches", file.name])
        cls.addClassCleanup(cls.cluster.close)

    def nodes_of(self, job):
        return sorted({pod["node"] for pod in self.cluster.pods(job)})

    def test_they_stay_below_one_switch(self):
        cluster = self.cluster
        one = cluster.submit("--cpus", "1", "sleep", "1000")
        cluster.wait_state(one, "running")
        gang = cluster.submit("--gang", "4", "true")
        cluster.wait(gang)
        self.assertIn(self.nodes_of(gang), (["n3", "n4"], ["n1", "n2"]))
        first = self.nodes_of(one)[0]
        self.assertNotIn(first, self.nodes_of(gang))
        cluster.run("cancel", one)
        cluster.wait(one)

    def test_they_lie_over_nodes_as_they_say(self):
        cluster = self.cluster
        job = cluster.submit("--gang", "4", "--nodes", "4", "--cpus", "0.5", "true")
        cluster.wait(job)
        self.assertEqual(len(self.nodes_of(job)), 4)
        job = cluster.submit("--gang", "6", "--nodes", "2-3", "--per-node", "3", "--cpus", "0.5", "true")
        cluster.wait(job)
        self.assertIn(len(self.nodes_of(job)), (2, 3))
        job = cluster.submit("--gang", "2", "--nodes", "2", "--contiguous", "--cpus", "2", "true")
        cluster.wait(job)
        numbers = [int(name[1:]) for name in self.nodes_of(job)]
        self.assertEqual(numbers[1] - numbers[0], 1)
        shown = cluster.run("show", job).stdout
        self.assertIn("on nodes that follow each other", shown)
        self.assert_one_line(cluster.run("submit", "--gang", "6", "--nodes", "5", "true", check=False), 1, "only 4")


class BadFiles(unittest.TestCase):
    def test_a_bad_file_of_switches_is_one_line(self):
        import subprocess
        import tempfile
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "topology.conf")
            with open(path, "w", encoding="utf-8") as file:
                file.write("SwitchName=s0 Nodes=n[1-2]\nSwitchName=s1\n")
            done = subprocess.run([BERTH, "server", "--data", os.path.join(directory, "d"), "--switches", path],
                                  capture_output=True, text=True, timeout=30, check=False)
            self.assertEqual(done.returncode, 2)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
            self.assertIn("line 2", done.stderr)


if __name__ == "__main__":
    unittest.main()
