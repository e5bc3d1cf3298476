"""Conditions, taints and rules about other pods, on agents with labels: where pods land, and what those that wait are told."""

import unittest

from harness import ClusterTest, wait_until


class Constraints(ClusterTest):
    OPTIONS = {"agents": 0, "cpus": 2}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cluster.add_agent(1, "--label", "zone=a", "--feature", "ssd")
        cls.cluster.add_agent(2, "--label", "zone=a")
        cls.cluster.add_agent(3, "--label", "zone=b", "--label", "gen=3")
        cls.cluster.add_agent(4, "--label", "zone=c", "--taint", "team=x")
        cls.cluster.wait_nodes(4)

    def nodes_of(self, *options):
        job = self.cluster.submit(*options, "--", "true")
        self.assertEqual(self.cluster.wait(job).returncode, 0)
        return [pod["node"] for pod in self.cluster.pods(job)]

    def test_pods_go_where_the_condition_holds(self):
        for condition, node in (("ssd", "n1"), ("zone=a & !ssd", "n2"), ("gen>2", "n3"), ("node in (n[2-3]) & gen", "n3")):
            self.assertEqual(set(self.nodes_of("--array", "1-8", "--where", condition)), {node}, condition)
        self.assertEqual(self.nodes_of("--nodelist", "n[1-2]", "--exclude", "n1"), ["n2"])

    def test_a_wish_is_met_where_it_can_be(self):
        self.assertEqual(self.nodes_of("--prefer", "zone=b"), ["n3"])
        self.assertEqual(self.nodes_of("--prefer", "zone=nowhere", "--prefer", "!ssd & zone=a"), ["n2"])

    def test_only_pods_that_tolerate_it_go_to_a_tainted_node(self):
        self.assertNotIn("n4", self.nodes_of("--nodes", "3"))
        self.assertEqual(self.nodes_of("--where", "zone=c", "--tolerate", "team"), ["n4"])
        refused = self.cluster.run("submit", "--where", "zone=c", "--", "true", check=False)
        self.assert_one_line(refused, 1, "1 by taint team=x", "3 by condition zone=c")

    def test_own_pods_keep_apart_by_zone_and_the_rest_is_told_why_it_waits(self):
        job = self.cluster.submit("--array", "1-3", "--apart", "own@zone", "--", "sleep", "60")
        wait_until("two run", lambda: sum(pod["state"] == "running" for pod in self.cluster.pods(job)) == 2)
        nodes = {pod["node"] for pod in self.cluster.pods(job) if pod["state"] == "running"}
        self.assertEqual(len(nodes & {"n1", "n2"}), 1)
        self.assertIn("n3", nodes)
        text = self.cluster.run("explain", job).stdout
        self.assertIn(f"3 nodes ruled out by apart from job={job} by zone", text)
        self.assertIn("1 node ruled out by taint team=x", text)
        self.cluster.run("cancel", job)
        self.cluster.wait(job)

    def test_pods_that_wait_for_others_start_when_those_do(self):
        late = self.cluster.submit("--together", "app=db@zone", "--", "true")
        self.assertIn("together with app=db by zone", self.cluster.run("explain", late).stdout)
        first = self.cluster.submit("--label", "app=db", "--where", "zone=b", "--", "sleep", "60")
        self.assertEqual(self.cluster.wait(late).returncode, 0)
        self.assertEqual([pod["node"] for pod in self.cluster.pods(late)], ["n3"])
        self.cluster.run("cancel", first)
        self.cluster.wait(first)

    def test_spread_and_exclusive(self):
        self.assertEqual(sorted(self.nodes_of("--gang", "3", "--spread", "node")), ["n1", "n2", "n3"])
        alone = self.cluster.submit("--nodes", "3", "--exclusive", "--", "sleep", "60")
        self.cluster.wait_state(alone, "running")
        other = self.cluster.submit("--", "true")
        self.assertIn("a pod that has the node for itself", self.cluster.run("explain", other).stdout)
        self.cluster.run("cancel", alone)
        self.assertEqual(self.cluster.wait(other).returncode, 0)

    def test_rules_outlive_a_restart_of_the_server(self):
        job = self.cluster.submit("--label", "app=lone", "--apart", "app@zone", "--where", "zone=a", "--", "sleep", "60")
        self.cluster.wait_state(job, "running")
        self.cluster.server.kill()
        self.cluster.start_server()
        wait_until("all are back", lambda: all(node["connected"] for node in self.cluster.nodes().values()))
        self.assertEqual(self.nodes_of("--label", "app=other"), ["n3"])
        self.cluster.run("cancel", job)
        self.cluster.wait(job)

    def test_a_gang_is_counted_out(self):
        self.assertEqual(sorted(self.nodes_of("--nodes", "2", "--where", "[ssd*1&zone=b*1]")), ["n1", "n3"])
        self.assert_one_line(self.cluster.run("submit", "--gang", "3", "--where", "[ssd*1&zone=b*1]", "--", "true", check=False),
                             1, "counts out 2 pods and the gang has 3")

    def test_bad_ones_get_one_line(self):
        for options in (("--where", "zone="), ("--where", "(ssd"), ("--prefer", "a b"), ("--nodelist", "n[2-1]"),
                        ("--tolerate", "a b"), ("--label", "web"), ("--apart", "@zone"), ("--spread", "zone:0")):
            self.assert_one_line(self.cluster.run("submit", *options, "--", "true", check=False), 2, options[0])


if __name__ == "__main__":
    unittest.main()
