"""`berth sim`: a job log in, a schedule out; and the server's own promise to a job that waits."""

import csv
import json
import os
import subprocess
import tempfile
import unittest
from xml.etree import ElementTree

import harness


def line(job, submit, run, procs, limit, user=1):
    return f"{job} {submit} -1 {run} {procs} -1 -1 {procs} {limit} -1 1 {user} -1 -1 -1 -1 -1 -1\n"


# On four processors: 2 waits for all of them until 100; 3 is over before that and passes, 4 is not.
LOG = "; MaxProcs: 4\n" + line(1, 0, 100, 3, 100) + line(2, 10, 50, 4, 60) + line(3, 20, 30, 1, 70, 2) + line(4, 30, 30, 1, 90, 2)


def sim(*words):
    return subprocess.run([harness.BERTH, "sim", *words], capture_output=True, text=True, check=False, timeout=60)


class Sim(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.log = os.path.join(scratch.name, "log.swf")
        self.starts = os.path.join(scratch.name, "starts.csv")
        with open(self.log, "w", encoding="utf-8") as out:
            out.write(LOG)

    def starts_with(self, *words):
        done = sim(self.log, "--jobs", self.starts, "--check", *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.starts, encoding="utf-8") as source:
            return {int(row["id"]): int(row["start_s"]) for row in csv.DictReader(source)}

    def test_backfill_and_none(self):
        self.assertEqual(self.starts_with("--policy", "easy"), {1: 0, 2: 100, 3: 20, 4: 150})
        self.assertEqual(self.starts_with("--policy", "fcfs"), {1: 0, 2: 100, 3: 150, 4: 150})
        # Knowing that 4 takes 30 s, it passes as well.
        self.assertEqual(self.starts_with("--policy", "easy", "--exact-limits"), {1: 0, 2: 100, 3: 20, 4: 50})

    def test_nodes_hold_what_they_have(self):
        starts = self.starts_with("--policy", "easy", "--nodes", "2", "--cpus", "2")
        self.assertEqual((starts[1], starts[2]), (0, 100))

    def test_the_same_input_gives_the_same_output(self):
        def run():
            rows = json.loads(sim(self.log, "--by", "user", "--json").stdout)
            for row in rows:
                self.assertGreater(row.pop("jobs_per_s"), 0)
            return rows
        first = run()
        self.assertEqual(first, run())
        self.assertEqual([row["policy"] for row in first], ["easy", "default"])
        self.assertEqual(sum(user["jobs"] for user in first[0]["by_user"]), 4)

    def test_a_table_for_people(self):
        done = sim(self.log, "--by", "size")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.startswith("4 jobs on 4 processors\n"), done.stdout)
        for word in ("easy", "default", "up to 1", "up to 4"):
            self.assertIn(word, done.stdout)

    def test_a_picture(self):
        plot = os.path.join(os.path.dirname(self.log), "plot.svg")
        for _ in range(2):
            self.assertEqual(sim(self.log, "--plot", plot).returncode, 0)
            with open(plot, encoding="utf-8") as source:
                picture = source.read()
        root = ElementTree.fromstring(picture)
        titles = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.get("font-weight")]
        self.assertEqual(titles, ["easy: processors in use", "easy: jobs that wait", "default: processors in use",
                                  "default: jobs that wait"])
        self.assertNotEqual(sim(self.log, "--plot", "/nowhere/plot.svg").returncode, 0)

    def test_bad_input_gets_one_line(self):
        with open(self.log, "a", encoding="utf-8") as out:
            out.write("5 6 seven\n")
        for words, what in (((self.log,), "log.swf:6: field 3 is not a number"),
                            (("/nowhere.swf",), "/nowhere.swf: No such file"),
                            (("/dev/null",), "does not say how many processors"),
                            ((self.log, "--policy", "lifo"), "accepted: default, easy, easy-sjbf, fcfs"),
                            ((self.log, "--nodes", "0"), "--nodes"),
                            ((), "LOG")):
            done = sim(*words)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn(what, done.stderr)

    def test_a_job_that_the_cluster_cannot_hold(self):
        done = sim(self.log, "--cpus", "3")
        self.assertEqual(done.returncode, 1)
        self.assertIn("job 2 wants 4 processors and the cluster has 3", done.stderr)


if __name__ == "__main__":
    unittest.main()
