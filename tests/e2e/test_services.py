"""Services: three copies run, are mended, scaled, updated, rolled back and moved, on real agents with real processes."""

import os
import signal
import time
import unittest

import harness
from harness import ClusterTest, wait_until

LOST_AFTER = ("--node-lost-after", "1s", "--heartbeat", "200ms")
FAST = ("--update-monitor", "200ms", "--rollback-monitor", "200ms", "--cpus", "0.1")


class Services(ClusterTest):
    OPTIONS = {"agents": 3, "cpus": 2, "server": LOST_AFTER}

    def service(self, name):
        return self.cluster.json("service", "show", name, "-o", "json")

    def replicas(self, name, state="running"):
        return [task for task in self.cluster.json("service", "ps", name, "-o", "json")
                if task["state"] == state and not task["stopping"]]

    def wait_ready(self, name, count):
        def ready():
            rows = [row for row in self.cluster.json("service", "ls", "-o", "json") if row["name"] == name]
            return rows and rows[0]["ready"] == count and rows[0]["replicas"] == count
        wait_until(lambda: f"{count} of {name} are ready: {self.service(name)}\n{self.cluster.logs_of_daemons(5)}", ready)

    def create(self, name, *words):
        self.addCleanup(lambda: self.cluster.run("service", "rm", name, check=False))
        return self.cluster.run("service", "create", name, *words)

    def test_three_copies_run_on_three_nodes_and_a_killed_one_is_replaced(self):
        self.create("web", "--replicas", 3, *FAST, "--", "sh", "-c", "echo $$; exec sleep 1000")
        before = self.replicas("web")
        self.assertEqual({task["node"] for task in before}, {"n1", "n2", "n3"})
        self.assertTrue(all(task["ready"] for task in before))
        victim = before[1]
        pid = int(self.cluster.run("logs", victim["job"]).stdout)
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        wait_until("another takes its place",
                   lambda: [t for t in self.replicas("web") if t["slot"] == victim["slot"] and t["job"] != victim["job"]])
        print(f"a killed replica was replaced after {time.monotonic() - began:.3f} s")
        self.wait_ready("web", 3)
        past = [t for t in self.cluster.json("service", "ps", "-a", "web", "-o", "json") if t["job"] == victim["job"]]
        self.assertEqual(past[0]["state"], "failed")
        self.assertEqual(self.cluster.json("ls", "-o", "json"), [])  # replicas are not among the jobs

    def test_scaling_updating_and_rolling_back(self):
        self.create("app", "--replicas", 2, *FAST, "--env", "V=1", "--", "sh", "-c", "echo version $V; exec sleep 1000")
        self.cluster.run("service", "scale", "app=4")
        self.assertEqual(len(self.replicas("app")), 4)
        self.cluster.run("service", "update", "app", "--env", "V=2", "--update-order", "start-first")
        for task in self.replicas("app"):
            self.assertEqual(self.cluster.run("logs", task["job"]).stdout, "version 2\n")
        self.assertEqual(self.service("app")["revision"], 2)
        self.cluster.run("service", "rollback", "app")
        self.assertEqual({task["revision"] for task in self.replicas("app")}, {1})
        self.assertEqual(self.service("app")["update"], "rolled back")
        self.cluster.run("service", "scale", "app=0")
        self.assertEqual(self.replicas("app"), [])

    def test_a_bad_version_rolls_itself_back_and_shows_its_last_words(self):
        self.create("api", "--replicas", 2, *FAST, "--update-order", "start-first", "--update-failure-action", "rollback",
                    "--", "sleep", "1000")
        done = self.cluster.run("service", "update", "api", check=False, *["--", "sh", "-c", "echo no database; exit 3"])
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("rolled back to revision 1: replica api.1 of revision 2 failed: exit code 3", done.stderr)
        self.assertIn("no database", done.stderr)
        self.wait_ready("api", 2)
        self.assertEqual({task["revision"] for task in self.replicas("api")}, {1})

    def test_a_drained_nodes_replicas_move(self):
        self.create("mover", "--replicas", 3, *FAST, "--", "sleep", "1000")
        self.addCleanup(lambda: self.cluster.run("resume", "n2"))
        self.cluster.run("drain", "n2")
        wait_until("n2 is empty", lambda: self.cluster.nodes()["n2"]["pods"] == 0)
        self.wait_ready("mover", 3)
        self.assertNotIn("n2", {task["node"] for task in self.replicas("mover")})

    def test_one_on_every_node(self):
        self.create("watch", "--every-node", *FAST, "--", "sleep", "1000")
        self.assertEqual(sorted(task["node"] for task in self.replicas("watch")), ["n1", "n2", "n3"])

    def test_deploy_does_what_is_needed_and_no_more(self):
        path = self.cluster.path("shop.yaml")
        text = """
name: shop
services:
  - name: front
    command: [sleep, "1000"]
    replicas: 2
    cpus: 0.1
    update-monitor: 200ms
  - name: back
    command: [sleep, "1000"]
    cpus: 0.1
"""
        self.addCleanup(lambda: self.cluster.run("service", "rm", "--namespace", "shop", "front", "back", check=False))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        self.assertEqual(self.cluster.run("deploy", "-f", path).stdout, "front: new\nback: new\n")
        index = self.cluster.json("status", "-o", "json")["journal_index"]
        self.assertEqual(self.cluster.run("deploy", "-f", path).stdout, "front: unchanged\nback: unchanged\n")
        self.assertEqual(self.cluster.json("status", "-o", "json")["journal_index"], index)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace("replicas: 2", "replicas: 3").split("  - name: back")[0])
        diff = self.cluster.run("deploy", "-f", path, "--diff", "--prune").stdout
        self.assertEqual(diff, "front: changes: replicas 2 -> 3\nback: is removed\n")
        self.cluster.run("deploy", "-f", path, "--prune")
        rows = self.cluster.json("service", "ls", "--namespace", "shop", "-o", "json")
        self.assertEqual([(row["name"], row["ready"]) for row in rows if not row["removing"]], [("front", 3)])

    def test_what_cannot_be_is_refused_in_one_line(self):
        refused = lambda *words: self.cluster.run(*words, check=False)
        self.assert_one_line(refused("service", "create", "Web_1", "--", "true"), 1, "as in DNS")
        self.assert_one_line(refused("service", "create", "x", "--replicas", "-1", "--", "true"), 2, "--replicas", "0 to 100000")
        self.assert_one_line(refused("service", "create", "x", "--health", "ftp:21", "--", "true"), 2, "--health", "http:PORT")
        self.assert_one_line(refused("service", "scale", "nobody=3"), 1, "there is no service 'nobody'")
        self.assert_one_line(refused("service", "create", "x"), 2, "command")
        self.create("one", *FAST, "--port", "9000", "--publish", "19000:9000", "--", "sleep", "1000")
        self.assert_one_line(refused("service", "create", "one", "--", "true"), 1, "already")
        self.assert_one_line(refused("service", "create", "two", "--publish", "19000:1", "--", "true"), 1,
                             "port 19000/tcp is published by service 'one'")
        self.assertEqual([row["name"] for row in self.cluster.json("service", "ls", "-o", "json") if not row["removing"]], ["one"])


class Loss(unittest.TestCase):
    def test_a_killed_nodes_replicas_run_elsewhere_and_the_server_may_restart(self):
        cluster = harness.Cluster(2, cpus=2, server=LOST_AFTER)
        self.addCleanup(cluster.close)
        cluster.run("service", "create", "web", "--replicas", 2, *FAST, "--", "sleep", "1000")
        cluster.server.kill()
        cluster.start_server()
        cluster.wait_nodes(2)
        def tasks():
            return [t for t in cluster.json("service", "ps", "web", "-o", "json") if t["state"] == "running" and t["ready"]]
        wait_until("both run", lambda: len(tasks()) == 2)
        victim = tasks()[0]["node"]
        agent = cluster.agents[int(victim[1:])]
        agent.kill()
        began = time.monotonic()
        wait_until("both run elsewhere", lambda: len([t for t in tasks() if t["node"] != victim]) == 2)
        print(f"a killed node's replicas ran elsewhere after {time.monotonic() - began:.3f} s, 1 s of them to declare it lost")
        agent.start()
        cluster.wait_nodes(2)
        wait_until("what it still ran is stopped", lambda: cluster.nodes()[victim]["pods"] == 0)
        self.assertEqual(len(tasks()), 2)


if __name__ == "__main__":
    unittest.main()
