"""`berth place`: no server is asked, nothing runs."""

import json
import os
import subprocess
import unittest

import harness


def place(*words):
    return subprocess.run([harness.BERTH, "place", *words], capture_output=True, text=True, check=False, timeout=30)


class Place(unittest.TestCase):
    def test_this_machine_as_a_picture(self):
        done = place("--request", "threads=1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"\[.*[Aa].*\]")
        self.assertRegex(done.stdout, r"A  threads=1: threads \d+\n")

    def test_the_plan_as_json(self):
        done = place("--json", "--request", "threads=1,mem=10M", "--request", "threads=1")
        if done.returncode != 0:
            self.assertIn("has not", done.stderr)  # one hardware thread is all there is
            self.skipTest("this machine has one hardware thread")
        first, second = json.loads(done.stdout)
        self.assertNotEqual(first["cpuset"], second["cpuset"])
        self.assertEqual(sum(memory["mem_mib"] for memory in first["memory"]), 10)

    def test_what_does_not_fit_is_refused_in_one_line(self):
        done = place("--request", f"cpus={os.cpu_count() + 1}")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count("\n"), 1)
        self.assertIn("the machine has not", done.stderr)

    def test_bad_input_gets_one_line(self):
        for words in (("--request", "cores=4"), ("--request", "cpus=0"), ("--topology", "/nowhere.xml"),
                      ("--topology", "/dev/null"), ("--no-such",)):
            done = place(*words)
            self.assertEqual(done.returncode, 2, words)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)


if __name__ == "__main__":
    unittest.main()
