"""Accounts, users, qualities of service and shares from the command line, on a real server and agent."""

import unittest

import harness
from harness import ClusterTest, wait_until

ANA, BEN = "nobody", "games"  # two users that every Debian has


@harness.needs_root
class Accounts(ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 2}
    SLEEP = ("--cpus", "0.1", "--mem", "16M", "--", "sleep", "300")

    def rows(self, kind="account"):
        rows = self.cluster.json(kind, "ls", "-o", "json")
        return rows if kind != "account" else {(r["account"], r["user"]): r for r in rows if r["account"]}

    def test_from_the_first_account_to_the_last(self):
        run, submit = self.cluster.run, self.cluster.submit
        # Without accounts anybody submits.
        free = submit("--cpus", "0.1", "--", "true", user=ANA)
        self.cluster.wait(free)
        run("account", "add", "science", "--shares", "3", "--description", "all of it")
        run("account", "add", "physics", "--parent", "science", "--max-running", "3")
        run("account", "add", "biology", "--parent", "science")
        run("user", "add", ANA, "--account", "physics", "--max-jobs", "8")
        run("user", "add", ANA, "--account", "biology")
        rows = self.rows()
        self.assertEqual(list(rows), [("science", None), ("biology", None), ("biology", ANA), ("physics", None), ("physics", ANA)])
        self.assertEqual(rows["physics", None]["limits"], {"running": 3})
        self.assertTrue(rows["physics", ANA]["default"])
        self.assertAlmostEqual(rows["physics", None]["share"], 0.5)
        # Only members submit now, and only what they may.
        self.assert_one_line(run("submit", "--", "true", user=BEN, check=False), 1, "is in no account")
        self.assert_one_line(run("submit", "--account", "art", "--", "true", user=ANA, check=False), 1, "biology, physics, science")
        self.assert_one_line(run("submit", "--array", "1-9", "--", "true", user=ANA, check=False), 1,
                             "at most 8 jobs that wait or run")
        many = submit("--array", "1-6", *self.SLEEP, user=ANA)
        wait_until("three run", lambda: self.cluster.job(many)["counts"].get("running", 0) == 3)
        self.assertEqual(self.rows()["physics", ANA]["taken"]["running"], 3)
        self.assertIn("account physics may have at most 3 jobs that run at once", run("explain", many).stdout)
        self.assertEqual(self.cluster.job(many)["account"], "physics")
        other = submit("--account", "biology", *self.SLEEP, user=ANA)
        self.cluster.wait_state(other, "running")  # another account, another limit
        # The limit goes: so does the wait.
        run("account", "set", "physics", "--max-running", "none")
        wait_until("six run", lambda: self.cluster.job(many)["counts"].get("running", 0) == 6)
        for words, says in ((("account", "rm", "physics"), "still has user"), (("user", "rm", ANA, "--account", "physics"), "still has jobs"),
                            (("account", "set", "science", "--parent", "physics"), "below itself"),
                            (("account", "set", "nothing", "--shares", "2"), "there is no account"),
                            (("user", "set", ANA, "--shares", "2"), "is in several")):
            with self.subTest(words=words):
                done = run(*words, check=False)
                self.assertIn(says, done.stderr)
                self.assert_one_line(done, done.returncode, says)
                self.assertNotEqual(done.returncode, 0)
        for words in (("account", "add", "x y"), ("account", "add", "x", "--shares", "-1"), ("account", "add", "x", "--max-cpus", "many"),
                      ("qos", "add", "x", "--over-limit", "perhaps"), ("qos", "add", "x", "--usage", "-2")):
            with self.subTest(words=words):
                self.assertNotEqual(run(*words, check=False).returncode, 0)
        self.assertNotIn(("x", None), self.rows())
        # All of it is still there after a crash of the server.
        before = {key: (row["shares"], row["limits"], row["taken"]) for key, row in self.rows().items()}
        self.cluster.server.kill()
        self.cluster.server.start()
        wait_until("the server is back", lambda: run("status", check=False).returncode == 0)
        after = {key: (row["shares"], row["limits"], row["taken"]) for key, row in self.rows().items()}
        self.assertEqual(before, after)
        self.assertGreater(self.rows()["physics", ANA]["cpu_seconds"], 0)
        for job in (many, other):
            run("cancel", job)
            self.cluster.wait(job)
        for words in (("user", "rm", ANA, "--account", "physics"), ("user", "rm", ANA), ("account", "rm", "physics"),
                      ("account", "rm", "biology"), ("account", "rm", "science")):
            run(*words)
        self.assertEqual(self.rows(), {})

    def test_a_quality_of_service(self):
        run, submit = self.cluster.run, self.cluster.submit
        run("qos", "add", "urgent", "--priority", "50", "--users", ANA, "--max-job-time", "1h", "--user-max-running", "1")
        self.assertEqual(self.rows("qos")[0]["user_limits"], {"running": 1})
        self.assert_one_line(run("submit", "--qos", "urgent", "--", "true", user=BEN, check=False), 1, "is not for user")
        self.assert_one_line(run("submit", "--qos", "urgent", "--time", "2h", "--", "true", user=ANA, check=False), 1, "at most 1h00m")
        first = submit("--qos", "urgent", *self.SLEEP, user=ANA)
        self.cluster.wait_state(first, "running")
        self.assertEqual(self.cluster.job(first)["qos"], "urgent")
        second = submit("--qos", "urgent", *self.SLEEP, user=ANA)
        self.assertIn("in quality urgent may have at most 1 job", run("explain", second).stdout)
        rows = self.cluster.json("priority", "-o", "json")
        self.assertEqual([(r["job"], r["priority"], r["priority_qos"]) for r in rows], [(int(second), 50, 50)])
        run("update", second, "--qos", "normal", user=ANA)
        self.cluster.wait_state(second, "running")
        for job in (first, second):
            run("cancel", job)
            self.cluster.wait(job)
        run("qos", "rm", "urgent")


@harness.needs_root
class Shares(ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 1, "server": ["--fair-share", "2d", "--scheduling", "easy"]}

    def test_who_used_less_of_his_share_is_next(self):
        run, submit = self.cluster.run, self.cluster.submit
        for account, user in (("physics", ANA), ("biology", BEN)):
            run("account", "add", account)
            run("user", "add", user, "--account", account)
        used = submit("--cpus", "1", "--mem", "16M", "--", "sleep", "2", user=ANA)
        self.cluster.wait(used)
        holder = submit("--cpus", "1", "--mem", "16M", "--", "sleep", "300")  # the administrator's, who is in no account
        self.cluster.wait_state(holder, "running")
        first = submit("--cpus", "1", "--mem", "16M", "--", "sleep", "300", user=ANA)
        second = submit("--cpus", "1", "--mem", "16M", "--", "sleep", "300", user=BEN)
        rows = self.cluster.json("priority", "-o", "json")
        self.assertEqual([r["job"] for r in rows], [int(second), int(first)])
        for row in rows:
            self.assertEqual(row["stands_for_ms"], row["waited_ms"] + row["share_ms"] + row["size_ms"])
        self.assertEqual(rows[0]["share_ms"], 2 * 86_400_000)
        self.assertLess(rows[1]["share_ms"], rows[0]["share_ms"])
        run("cancel", holder)
        self.cluster.wait_state(second, "running")
        self.assertEqual(self.cluster.job(first)["state"], "pending")
        for job in (second, first):
            run("cancel", job)
            self.cluster.wait(job)


@harness.needs_root
class Tiers(ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 2}
    SLEEP = ("--cpus", "1", "--mem", "16M", "--", "sleep", "300")

    def test_a_higher_tier_takes_the_room_and_gives_it_back(self):
        run, submit = self.cluster.run, self.cluster.submit
        run("queue", "add", "night", "--preempt", "requeue")
        run("queue", "add", "day", "--tier", "1")
        first = submit("--queue", "night", *self.SLEEP)
        self.cluster.wait_state(first, "running")
        second = submit("--queue", "night", *self.SLEEP)
        self.cluster.wait_state(second, "running")
        high = submit("--queue", "day", *self.SLEEP)
        self.cluster.wait_state(high, "running")
        self.assertEqual(self.cluster.job(first)["state"], "running")  # the one that started last went
        self.assertEqual(self.cluster.job(second)["state"], "pending")
        run("cancel", high)
        self.cluster.wait_state(second, "running")
        self.assertEqual(self.cluster.pods(second)[0]["attempt"], 2)
        for words, says in ((("queue", "set", "day", "--tier", "many"), "tier"), (("queue", "set", "day", "--preempt", "perhaps"), "accepted: off")):
            self.assert_one_line(run(*words, check=False), 2, says)
        for job in (first, second):
            run("cancel", job)
            self.cluster.wait(job)

    def test_requeue_by_hand(self):
        run = self.cluster.run
        job = self.cluster.submit(*self.SLEEP)
        self.cluster.wait_state(job, "running")
        run("requeue", job, "--hold")
        self.cluster.wait_state(job, "pending")
        self.assert_one_line(run("requeue", job, check=False), 1, "waits already")
        run("release", job)
        self.cluster.wait_state(job, "running")
        self.assertEqual(self.cluster.pods(job)[0]["attempt"], 2)
        run("cancel", job)
        self.cluster.wait(job)


if __name__ == "__main__":
    unittest.main()
