"""Four agents, each in a network namespace of its own, joined by token over TLS: a cluster of machines, on one machine."""

import os
import unittest

import harness
import network
from harness import Cluster, wait_until


class FourMachines(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        why = network.missing()
        if why:
            raise unittest.SkipTest(why)
        cls.cluster = Cluster(4, network=network.Network(4), cpus=2,
                              server=["--node-lost-after", "2s", "--heartbeat", "300ms"])
        cls.addClassCleanup(cls.cluster.close)

    def test_each_node_has_joined_from_its_own_address(self):
        addresses = {row["address"].rsplit(":", 1)[0] for row in self.cluster.nodes().values()}
        self.assertEqual(addresses, {f"{self.cluster.network.subnet}.{i}" for i in range(2, 6)})

    def test_an_array_uses_all_nodes(self):
        job = self.cluster.submit("--array", "1-8", "--cpus", "1", "--", "sleep", "1")
        self.assertEqual(self.cluster.wait(job).returncode, 0)
        self.assertEqual({pod["node"] for pod in self.cluster.pods(job)}, {"n1", "n2", "n3", "n4"})

    def test_a_gang_on_distinct_nodes_meets(self):
        place = self.cluster.path("meeting")
        os.makedirs(place, exist_ok=True)
        script = (f'touch {place}/$BERTH_GANG_RANK; n=0; while [ $(ls {place} | wc -l) -lt 4 ]; do n=$((n+1)); '
                  '[ $n -lt 600 ] || exit 9; sleep 0.05; done; echo met')
        job = self.cluster.submit("--nodes", "4", "--cpus", "1", "--", "sh", "-c", script)
        self.assertEqual(self.cluster.wait(job).returncode, 0)
        self.assertEqual(len({pod["node"] for pod in self.cluster.pods(job)}), 4)

    def test_a_gang_that_finds_no_room_waits_as_a_whole(self):
        blocker = self.cluster.submit("--cpus", "2", "--", "sleep", "300")
        self.cluster.wait_state(blocker, "running")
        gang = self.cluster.submit("--nodes", "4", "--cpus", "2", "--", "true")
        other = self.cluster.submit("--cpus", "1", "--", "true")
        self.cluster.wait(other)
        self.assertEqual(self.cluster.job(gang)["state"], "pending")
        self.assertEqual([pod["state"] for pod in self.cluster.pods(gang)], ["pending"] * 4)
        self.assertIn("4", self.cluster.run("explain", gang).stdout)
        self.cluster.run("cancel", blocker)
        self.assertEqual(self.cluster.wait(gang).returncode, 0)

    def test_logs_come_from_the_node_that_has_them(self):
        job = self.cluster.submit("--array", "1-8", "--cpus", "1", "--", "sh", "-c", "echo $BERTH_NODE; sleep 1")
        self.cluster.wait(job)
        for pod in self.cluster.pods(job):
            self.assertEqual(self.cluster.run("logs", f"{job}[{pod['index']}]").stdout, pod["node"] + "\n")

    def test_a_cable_that_is_pulled_loses_the_node_and_plugged_in_again_brings_it_back(self):
        book = self.cluster.path("ledger")
        job = self.cluster.submit("--cpus", "2", "--requeue=1", "--env", f"LEDGER={book}", "--", "sh", "-c",
                                  'echo "$BERTH_NODE" >> "$LEDGER"; sleep 300')
        self.cluster.wait_state(job, "running")
        first = self.cluster.pods(job)[0]["node"]
        self.cluster.network.set_link(int(first[1:]), False)
        try:
            wait_until(lambda: f"it runs on another node: {self.cluster.pods(job)}",
                       lambda: [p["attempt"] for p in self.cluster.pods(job) if p["state"] == "running"] == [2])
            self.assertEqual(self.cluster.nodes()[first]["state"], "lost")
            self.assertNotEqual(self.cluster.pods(job)[0]["node"], first)
        finally:
            self.cluster.network.set_link(int(first[1:]), True)
        wait_until(lambda: f"{first} is back: {self.cluster.nodes()}", lambda: self.cluster.nodes()[first]["state"] == "up")
        self.cluster.run("cancel", job)
        self.cluster.wait_state(job, "cancelled")
        with open(book, encoding="utf-8") as file:
            self.assertEqual(len(file.read().split()), 2)


if __name__ == "__main__":
    unittest.main()
