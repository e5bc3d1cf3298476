"""Nodes that are drained, that fall silent, that come back: what happens to their pods, and that nothing gets a second copy."""

import os
import signal
import unittest

import harness
import leftovers
from harness import ClusterTest, wait_until

LOST_AFTER = ("--node-lost-after", "1s", "--heartbeat", "200ms")
RECORD = 'echo "$BERTH_NODE $BERTH_ATTEMPT" >> "$LEDGER"; '


class Drain(ClusterTest):
    OPTIONS = {"agents": 2, "cpus": 2}

    def test_a_drained_node_gets_nothing_new_and_what_runs_goes_on(self):
        running = self.cluster.submit("--array", "0-1", "--cpus", "2", "--", "sh", "-c", "sleep 2; echo done")
        self.cluster.wait_state(running, "running")
        wait_until("both run", lambda: all(pod["state"] == "running" for pod in self.cluster.pods(running)))
        self.cluster.run("drain", "n1", "--reason", "new disks")
        row = self.cluster.nodes()["n1"]
        self.assertEqual((row["state"], row["reason"]), ("drained", "new disks"))
        self.assertEqual(self.cluster.wait(running).returncode, 0)
        job = self.cluster.submit("--array", "0-5", "--cpus", "2", "--", "true")
        self.cluster.wait(job)
        self.assertEqual({pod["node"] for pod in self.cluster.pods(job)}, {"n2"})
        self.cluster.run("resume", "n1")
        self.assertEqual(self.cluster.nodes()["n1"]["state"], "up")
        job = self.cluster.submit("--array", "0-1", "--cpus", "2", "--", "sleep", "1")
        self.cluster.wait(job)
        self.assertEqual({pod["node"] for pod in self.cluster.pods(job)}, {"n1", "n2"})

    def test_explain_tells_that_the_nodes_are_drained(self):
        for node in ("n1", "n2"):
            self.cluster.run("drain", node)
        job = self.cluster.submit("--", "true")
        self.assertIn("drained", self.cluster.run("explain", job).stdout)
        for node in ("n1", "n2"):
            self.cluster.run("resume", node)
        self.assertEqual(self.cluster.wait(job).returncode, 0)

    def test_a_drain_outlives_a_restart_of_the_server(self):
        self.cluster.run("drain", "n2", "--reason", "later")
        self.cluster.server.kill()
        self.cluster.start_server()
        wait_until("n2 is drained and back", lambda: self.cluster.nodes()["n2"]["connected"])
        self.assertEqual(self.cluster.nodes()["n2"]["state"], "drained")
        self.cluster.run("resume", "n2")

    def test_a_node_that_does_not_exist_is_named(self):
        self.assert_one_line(self.cluster.run("drain", "n77", check=False), 1, "n77")


class Loss(unittest.TestCase):
    def setUp(self):
        self.cluster = harness.Cluster(1, cpus=2, server=LOST_AFTER)
        self.addCleanup(self.cluster.close)
        self.book = self.cluster.path("ledger")

    def runs(self):
        """(node, attempt) of every start, as the pods wrote it."""
        try:
            with open(self.book, encoding="utf-8") as file:
                return [(line.split()[0], int(line.split()[1])) for line in file]
        except OSError:
            return []

    def start_pod(self, *options, sleep="300"):
        job = self.cluster.submit(*options, "--cpus", "2", "--env", f"LEDGER={self.book}", "--", "sh", "-c",
                                  RECORD + f"sleep {sleep}; echo finished")
        self.cluster.wait_state(job, "running")
        wait_until("it wrote its line", self.runs)
        return job

    def lose(self, number, how=signal.SIGKILL):
        agent = self.cluster.agents[number]
        agent.send(how)
        if how == signal.SIGKILL:
            agent.process.wait()
        wait_until(lambda: f"n{number} is lost: {self.cluster.nodes()}",
                   lambda: self.cluster.nodes()[f"n{number}"]["state"] == "lost")

    def test_without_requeue_the_pod_fails_with_its_node(self):
        job = self.start_pod()
        self.lose(1)
        self.cluster.wait_state(job, "node-lost")
        self.assertIn("n1", self.cluster.pods(job)[0]["message"] + self.cluster.job(job)["reason"])

    def test_with_requeue_the_pod_runs_again_elsewhere_and_the_first_copy_is_stopped_on_return(self):
        job = self.start_pod("--requeue=1")
        self.cluster.add_agent(2)
        self.cluster.wait_nodes(2)
        self.lose(1)
        wait_until(lambda: f"it runs on n2: {self.cluster.pods(job)}", lambda: self.runs() == [("n1", 1), ("n2", 2)])
        self.assertEqual([(p["node"], p["attempt"], p["state"]) for p in self.cluster.pods(job)], [("n2", 2, "running")])
        first = pods_running(self.cluster, "n1")
        self.assertTrue(first, "the first copy should still run while its agent is away")
        self.cluster.agents[1].start()
        wait_until("n1 is back", lambda: self.cluster.nodes()["n1"]["state"] == "up")
        wait_until("the first copy is stopped", lambda: not pods_running(self.cluster, "n1"))
        self.assertEqual([(p["node"], p["attempt"], p["state"]) for p in self.cluster.pods(job)], [("n2", 2, "running")])
        self.assertEqual(self.runs(), [("n1", 1), ("n2", 2)])

    def test_a_requeued_pod_that_still_waits_is_adopted_when_its_node_returns(self):
        job = self.start_pod("--requeue=3", sleep="8")
        self.lose(1)
        self.cluster.wait_state(job, "pending")
        self.cluster.agents[1].start()
        self.cluster.wait_state(job, "running")
        self.cluster.wait(job)
        self.assertEqual(self.cluster.job(job)["state"], "succeeded")
        self.assertEqual(self.runs(), [("n1", 1)])
        self.assertEqual(self.cluster.run("logs", job).stdout, "finished\n")

    def test_a_frozen_agent_is_lost_too_and_its_pod_is_stopped_when_it_thaws(self):
        job = self.start_pod()
        self.lose(1, signal.SIGSTOP)
        self.cluster.wait_state(job, "node-lost")
        self.cluster.agents[1].send(signal.SIGCONT)
        wait_until("n1 is back", lambda: self.cluster.nodes()["n1"]["state"] == "up")
        wait_until("the copy nobody wants is stopped", lambda: not pods_running(self.cluster, "n1"))
        self.assertEqual(self.cluster.job(job)["state"], "node-lost")
        self.assertEqual(self.runs(), [("n1", 1)])

    def test_requeues_are_counted_and_end(self):
        job = self.start_pod("--requeue=1")
        self.lose(1)
        self.cluster.add_agent(2)
        wait_until("it runs again", lambda: len(self.runs()) == 2)
        self.lose(2)
        self.cluster.wait_state(job, "node-lost")
        self.assertEqual(self.runs(), [("n1", 1), ("n2", 2)])

    def test_a_short_absence_is_no_loss(self):
        self.cluster.close()
        self.cluster = harness.Cluster(1, cpus=2, server=["--node-lost-after", "60s"])
        self.addCleanup(self.cluster.close)
        self.book = self.cluster.path("ledger")
        job = self.start_pod("--requeue=1", sleep="3")
        self.cluster.agents[1].kill()
        wait_until("n1 is missed", lambda: not self.cluster.nodes()["n1"]["connected"])
        self.cluster.agents[1].start()
        self.assertEqual(self.cluster.wait(job).returncode, 0)
        self.assertEqual(self.runs(), [("n1", 1)])
        self.assertEqual(self.cluster.run("logs", job).stdout, "finished\n")


def pods_running(cluster, node):
    """Process ids of the pods that have BERTH_NODE=node in their environment."""
    found = []
    for process in leftovers.processes(cluster.directory):
        try:
            with open(f"/proc/{process}/environ", "rb") as file:
                if f"BERTH_NODE={node}".encode() in file.read().split(b"\0"):
                    found.append(process)
        except OSError:
            continue
    return found


if __name__ == "__main__":
    unittest.main()
