"""What happened lately, as the command tells it."""

import json
import threading
import unittest

from harness import ClusterTest, wait_until


class Events(ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 2}

    def events(self, *words):
        return self.cluster.json("events", "-o", "json", *words)

    def test_a_job_and_a_node_are_told_of(self):
        good = self.cluster.submit("--name", "fine", "--", "true")
        bad = self.cluster.submit("--name", "broken", "--", "sh", "-c", "exit 7")
        self.cluster.wait(good, bad)
        name = self.cluster.node_name(1)
        self.cluster.run("drain", name, "--reason", "new disks")
        self.cluster.run("resume", name)
        texts = [row["text"] for row in self.events(f"job/{good}")]
        self.assertEqual(len(texts), 2, texts)
        self.assertIn("submitted", texts[0])
        self.assertIn("succeeded", texts[1])
        warnings = self.events(f"job/{bad}", "--warnings")
        self.assertEqual(len(warnings), 1, warnings)
        self.assertIn("failed", warnings[0]["text"])
        self.assertTrue(any("drained: new disks" in row["text"] for row in self.events(f"node/{name}")))
        lines = self.cluster.run("events", "-n", "3").stdout.splitlines()
        self.assertEqual(len(lines), 3)
        self.assertRegex(lines[0], r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [ !] (job|node|pod) ")
        numbers = [row["number"] for row in self.events()]
        self.assertEqual(numbers, sorted(set(numbers)))

    def test_who_follows_hears_of_what_comes_also_across_a_restart_of_the_server(self):
        reader = self.cluster.popen("events", "-f", "-o", "json", "job")
        self.addCleanup(reader.kill)
        heard = []

        def listen():
            for line in reader.stdout:
                heard.append(json.loads(line))
        threading.Thread(target=listen, daemon=True).start()
        first = self.cluster.submit("--name", "one", "--", "true")
        wait_until(lambda: f"the job's end: {heard}", lambda: [row for row in heard if row["object"] == str(first) and "succeeded" in row["text"]])
        self.cluster.server.kill()
        self.cluster.start_server()
        second = self.cluster.submit("--name", "two", "--", "true")
        wait_until(lambda: f"the second job: {heard}", lambda: [row for row in heard if row["object"] == str(second)])

    def test_bad_input_is_one_line(self):
        for words, piece in ((["colour"], "accepted: job, pod, node"), (["job/"], "accepted"), (["-n", "0"], "-n")):
            done = self.cluster.run("events", *words, check=False)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
            self.assertIn(piece, done.stderr)


if __name__ == "__main__":
    unittest.main()
