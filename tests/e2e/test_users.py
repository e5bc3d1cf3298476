"""Pods run as who submitted them; a user sees and cancels only his own; administrators see and cancel everything."""

import os
import pwd
import unittest

import harness
from harness import ClusterTest

ANA, BEN = "nobody", "games"  # two users that every Debian has


@harness.needs_root
class Users(ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 2}

    def setUp(self):
        self.ana = pwd.getpwnam(ANA)

    def test_a_pod_runs_with_the_ids_and_groups_of_its_user(self):
        job = self.cluster.submit("--", "sh", "-c", "id -u; id -g; id -G; umask", user=ANA)
        self.cluster.wait(job)
        groups = " ".join(str(g) for g in os.getgrouplist(ANA, self.ana.pw_gid))
        said = self.cluster.run("logs", job, user=ANA).stdout.splitlines()
        self.assertEqual(said[:2], [str(self.ana.pw_uid), str(self.ana.pw_gid)])
        self.assertEqual(sorted(said[2].split()), sorted(groups.split()))

    def test_a_pod_of_root_runs_as_root(self):
        job = self.cluster.submit("--", "id", "-u")
        self.cluster.wait(job)
        self.assertEqual(self.cluster.run("logs", job).stdout, "0\n")

    def test_a_pod_of_a_user_has_no_capabilities(self):
        job = self.cluster.submit("--", "grep", "CapEff", "/proc/self/status", user=ANA)
        self.cluster.wait(job)
        self.assertEqual(self.cluster.run("logs", job).stdout.split(), ["CapEff:", "0" * 16])

    def test_output_files_belong_to_the_user(self):
        directory = self.cluster.path("ana")
        os.mkdir(directory)
        os.chown(directory, self.ana.pw_uid, self.ana.pw_gid)
        job = self.cluster.submit("--output", directory + "/%j.txt", "--", "echo", "mine", user=ANA)
        self.cluster.wait(job)
        path = f"{directory}/{job}.txt"
        self.assertEqual(os.stat(path).st_uid, self.ana.pw_uid)
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "mine\n")

    def test_another_users_job_can_be_neither_seen_nor_read_nor_cancelled(self):
        job = self.cluster.submit("--cpus", "0.1", "--", "sleep", "300", user=ANA)
        self.cluster.wait_state(job, "running")
        self.assertNotIn(job, [row["id"] for row in self.cluster.json("ls", "--all", "-o", "json", user=BEN)])
        for words in (("show", job), ("logs", job), ("cancel", job), ("explain", job), ("wait", job)):
            with self.subTest(words[0]):
                done = self.cluster.run(*words, user=BEN, check=False)
                self.assert_one_line(done, 1, str(job))
        self.assertEqual(self.cluster.job(job)["state"], "running")
        self.cluster.run("cancel", job, user=ANA)
        self.cluster.wait_state(job, "cancelled")

    def test_an_administrator_sees_and_cancels_everything(self):
        job = self.cluster.submit("--cpus", "0.1", "--", "sleep", "300", user=ANA)
        self.assertEqual(self.cluster.job(job)["user"], ANA)
        self.cluster.run("cancel", job)
        self.cluster.wait_state(job, "cancelled")

    def test_a_user_may_not_administer(self):
        for words in (("drain", "n1"), ("resume", "n1"), ("token", "create")):
            with self.subTest(words):
                self.assert_one_line(self.cluster.run(*words, user=ANA, check=False), 1)
        self.assertEqual(self.cluster.nodes()["n1"]["state"], "up")

    def test_a_user_may_lower_his_priority_but_not_raise_it(self):
        refused = self.cluster.run("submit", "--priority", "10", "--", "true", user=ANA, check=False)
        self.assert_one_line(refused, 1, "priority")
        self.cluster.submit("--priority=-10", "--", "true", user=ANA)

    def test_a_user_cannot_read_another_users_output_by_naming_its_file(self):
        secret = self.cluster.path("secret")
        with open(secret, "w", encoding="utf-8") as file:
            file.write("secret\n")
        os.chmod(secret, 0o600)
        job = self.cluster.submit("--output", secret, "--", "true", user=ANA)
        self.cluster.wait(job)
        done = self.cluster.run("logs", job, user=ANA, check=False)
        self.assertNotIn("secret\n", done.stdout)
        with open(secret, encoding="utf-8") as file:
            self.assertEqual(file.read(), "secret\n")


if __name__ == "__main__":
    unittest.main()
