"""Every way a pod can fail has its own state, exit code and reason, and the reason reaches the user."""

import os
import unittest

import harness
from harness import ClusterTest


class Failures(ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 2, "mem": "2G"}

    def ended(self, *words):
        """Submits, waits, and returns the row of the job's first pod, with the job's own row under "job"."""
        job = self.cluster.submit(*words)
        self.cluster.wait(job)
        pod = dict(self.cluster.pods(job)[0], job=self.cluster.job(job))
        self.assertEqual(pod["job"]["state"], pod["state"])
        return pod

    def test_an_exit_code_is_kept_and_told(self):
        pod = self.ended("--", "sh", "-c", "exit 3")
        self.assertEqual((pod["state"], pod["exit_code"]), ("failed", 3))
        self.assertIn("3", self.cluster.run("explain", pod["job"]["id"]).stdout)

    def test_a_signal_is_kept_apart_from_an_exit_code(self):
        pod = self.ended("--", "sh", "-c", "kill -SEGV $$")
        self.assertEqual((pod["state"], pod["signal"]), ("failed", 11))

    def test_a_pod_that_kills_itself_is_not_taken_for_one_out_of_memory(self):
        pod = self.ended("--", "sh", "-c", "kill -KILL $$")
        self.assertEqual((pod["state"], pod["signal"]), ("failed", 9))

    def test_over_the_time_limit_is_timed_out(self):
        pod = self.ended("--time", "500ms", "--", "sleep", "60")
        self.assertEqual(pod["state"], "timed-out")
        self.assertIn("limit", pod["job"]["reason"])

    def test_a_pod_that_ignores_sigterm_is_killed_after_its_grace(self):
        job = self.cluster.submit("--grace", "300ms", "--time", "500ms", "--", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
        self.cluster.wait(job)
        self.assertEqual(self.cluster.job(job)["state"], "timed-out")

    @harness.needs_root
    def test_over_the_memory_limit_is_out_of_memory(self):
        if self.cluster.nodes()["n1"]["limits"] == "none":
            self.skipTest("no control groups for memory here")
        pod = self.ended("--mem", "32M", "--", "python3", "-c", "x = bytearray(256 << 20)")
        self.assertEqual(pod["state"], "out-of-memory")
        self.assertIn("memory", pod["job"]["reason"])

    @harness.needs_root
    def test_a_child_killed_for_memory_counts_too(self):
        if self.cluster.nodes()["n1"]["limits"] == "none":
            self.skipTest("no control groups for memory here")
        pod = self.ended("--mem", "32M", "--", "sh", "-c", "python3 -c 'x = bytearray(256 << 20)'; exit 1")
        self.assertEqual(pod["state"], "out-of-memory")

    def test_a_program_that_is_not_there_is_named(self):
        pod = self.ended("--", "/nowhere/program")
        self.assertEqual(pod["state"], "failed")
        self.assertIn("/nowhere/program", pod["message"])

    def test_a_program_that_is_not_in_the_path_is_named(self):
        pod = self.ended("--", "no-such-program-anywhere")
        self.assertEqual(pod["state"], "failed")
        self.assertIn("no-such-program-anywhere", pod["message"])

    def test_a_file_that_is_no_program_is_named(self):
        path = self.cluster.path("plain")
        with open(path, "w", encoding="utf-8") as file:
            file.write("just text")
        pod = self.ended("--", path)
        self.assertEqual(pod["state"], "failed")
        self.assertIn(path, pod["message"])

    def test_a_working_directory_that_is_not_there_is_named(self):
        pod = self.ended("--cwd", "/nowhere/at/all", "--", "true")
        self.assertEqual(pod["state"], "failed")
        self.assertIn("/nowhere/at/all", pod["message"])

    def test_an_output_directory_that_is_not_there_is_named(self):
        pod = self.ended("--output", "/nowhere/out.txt", "--", "true")
        self.assertEqual(pod["state"], "failed")
        self.assertIn("/nowhere", pod["message"])

    @harness.needs_root
    def test_an_output_file_that_the_user_may_not_write_is_named(self):
        forbidden = self.cluster.path("forbidden")
        os.makedirs(forbidden, mode=0o755, exist_ok=True)
        job = self.cluster.submit("--output", forbidden + "/out.txt", "--", "true", user="nobody")
        self.cluster.wait(job)
        pod = self.cluster.pods(job)[0]
        self.assertEqual(pod["state"], "failed")
        self.assertIn("forbidden/out.txt", pod["message"])
        self.assertFalse(os.path.exists(forbidden + "/out.txt"))

    def test_wait_fails_if_any_pod_failed(self):
        good, bad = self.cluster.submit("--", "true"), self.cluster.submit("--", "false")
        self.assertEqual(self.cluster.wait(good).returncode, 0)
        self.assertEqual(self.cluster.wait(good, bad).returncode, 1)

    def test_one_failed_element_does_not_touch_the_others(self):
        job = self.cluster.submit("--array", "0-9", "--cpus", "0.1", "--", "sh", "-c", 'exit $((BERTH_ARRAY_INDEX == 4))')
        self.cluster.wait(job)
        states = {pod["index"]: pod["state"] for pod in self.cluster.pods(job)}
        self.assertEqual(states, {i: "failed" if i == 4 else "succeeded" for i in range(10)})

    def test_a_gang_member_that_fails_takes_the_others_down(self):
        job = self.cluster.submit("--gang", "3", "--cpus", "0.1", "--", "sh", "-c", '[ "$BERTH_GANG_RANK" = 1 ] && exit 7; sleep 60')
        self.cluster.wait(job)
        pods = {pod["index"]: pod for pod in self.cluster.pods(job)}
        self.assertEqual((pods[1]["state"], pods[1]["exit_code"]), ("failed", 7))
        self.assertEqual({pods[0]["state"], pods[2]["state"]}, {"cancelled"})
        self.assertEqual(self.cluster.job(job)["state"], "failed")


if __name__ == "__main__":
    unittest.main()
