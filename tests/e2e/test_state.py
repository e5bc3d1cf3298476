"""`berth state`: a data directory that no server uses."""

import glob
import json
import os
import shutil
import struct
import subprocess
import tempfile
import unittest

import harness

SEGMENT_HEADER, RECORD_HEADER = 32, 24


def records(path):
    """(offset, length of the payload) of each record of a journal segment."""
    with open(path, "rb") as file:
        data = file.read()
    found, at = [], SEGMENT_HEADER
    while at + RECORD_HEADER < len(data):
        length = struct.unpack_from("<I", data, at)[0]
        if length == 0:
            break
        found.append((at, length))
        at += RECORD_HEADER + (length + 7) // 8 * 8
    return found


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


class State(harness.ClusterTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cluster = cls.cluster
        cls.jobs = [cluster.submit("--name", f"job-{i}", "--array", "1-3", "--", "true") for i in range(3)]
        for job in cls.jobs:
            cluster.wait(job, check=True)
        cls.data = cluster.path("server")
        cls.in_use = cluster.run("state", "check", cls.data, check=False)
        cluster.agents[1].end()
        cluster.server.end()

    def state(self, *words, check=True):
        return self.cluster.run("state", *words, check=check)

    def copy(self):
        """The data directory, to be damaged; and its only segment."""
        directory = tempfile.mkdtemp(dir=self.cluster.directory)
        data = os.path.join(directory, "data")
        shutil.copytree(self.data, data)
        return data, glob.glob(data + "/journal/*.log")[-1]

    def test_a_directory_that_a_server_uses_is_refused(self):
        self.assert_one_line(self.in_use, 1, "is in use by process", str(self.data))

    def test_what_is_whole_is_well(self):
        done = self.state("check", self.data)
        self.assertRegex(done.stdout, r"all is well up to batch \d+: 3 jobs, 0 pods on 1 node, state [0-9a-f]{16}\n$")
        done = self.state("repair", self.data)
        self.assertIn("nothing to repair", done.stdout)
        self.assertFalse(glob.glob(self.data + "/before-repair*"))

    def test_the_events_as_lines_and_as_json(self):
        lines = self.state("dump", self.data).stdout.splitlines()
        submitted = [line for line in lines if "  JobSubmitted  " in line]
        self.assertEqual(len(submitted), 3)
        for job, line in zip(self.jobs, submitted):
            self.assertIn(f"id={job} ", line)
            self.assertIn(f'name="job-{job - self.jobs[0]}"', line)
            self.assertIn('argv=["true"]', line)
        self.assertTrue(any("state=\"succeeded\"" in line for line in lines))

        batches = json.loads(self.state("dump", self.data, "-o", "json").stdout)
        self.assertEqual([batch["index"] for batch in batches], list(range(1, len(batches) + 1)))
        events = [event for batch in batches for event in batch["events"]]
        self.assertEqual(len(events), len(lines))
        ends = [end for event in events if event["event"] == "PodsEnded" for end in event["ends"]]
        self.assertEqual(sorted((end["ref"]["job"], end["ref"]["element"]) for end in ends),
                         [(job, element) for job in self.jobs for element in range(3)])
        some = json.loads(self.state("dump", self.data, "-o", "json", "--from", "2", "--to", "4").stdout)
        self.assertEqual(some, batches[1:4])

    def test_where_the_bytes_are(self):
        stats = json.loads(self.state("stats", self.data, "-o", "json").stdout)
        self.assertGreater(stats["disk"]["journal_bytes"], 500)
        counts = {kind["kind"]: kind["count"] for kind in stats["memory"]}
        self.assertEqual((counts["jobs"], counts["outcomes"], counts["nodes"], counts["running pods"]), (3, 9, 1, 0))
        self.assertEqual(stats["memory_bytes"], sum(kind["bytes"] for kind in stats["memory"]))
        self.assertEqual(stats["events"]["JobSubmitted"], 3)
        self.assertIn("running pods", self.state("stats", self.data).stdout)

    def test_a_damaged_middle_is_named_and_refused_and_repaired(self):
        data, segment = self.copy()
        found = records(segment)
        offset, length = found[len(found) // 2]
        flip(segment, offset + RECORD_HEADER + length // 2)
        place = f"{segment} is damaged at offset {offset}:"
        checked = self.state("check", data, check=False)
        self.assertEqual(checked.returncode, 1)
        self.assertIn("fault: " + place, checked.stdout)
        self.assertEqual(checked.stderr.count("\n"), 1, checked.stderr)

        refused = subprocess.run([harness.BERTH, "server", "--data", data, "--socket", data + ".s", "--listen", "none"],
                                 capture_output=True, text=True, check=False, timeout=harness.PATIENCE_S)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn(place, refused.stderr)

        dumped = self.state("dump", data, "-o", "json", check=False)
        self.assertEqual(dumped.returncode, 1)
        self.assertIn(place, dumped.stderr)
        self.assertEqual(len(json.loads(dumped.stdout)), len(found) - 1)  # what is behind is still shown

        planned = self.state("repair", "--dry-run", data)
        self.assertIn("nothing was changed", planned.stdout)
        self.assertEqual(self.state("check", data, check=False).stdout, checked.stdout)
        repaired = self.state("repair", data).stdout
        damaged = len(found) // 2 + 1
        self.assertIn(f"keeps: everything up to batch {damaged - 1}\n", repaired)
        self.assertIn(f"drops: {segment} bytes {offset} to ", repaired)
        self.assertIn(f"were batch {damaged}\n", repaired)
        self.assertIn(f"of batches {damaged + 1} to {len(found)}, which can be read but no longer follow: ", repaired)
        self.assertIn(f"all is well up to batch {damaged - 1}:", self.state("check", data).stdout)
        kept = data + "/before-repair-1"
        self.assertIn(f"{kept}/journal/", self.state("dump", kept, check=False).stderr)

        # A server goes on from there.
        server = harness.Daemon("repaired", [harness.BERTH, "server", "--data", data, "--socket", data + ".s", "--listen",
                                             "none"], data + ".log", self.cluster.environment)
        server.start()
        self.addCleanup(server.kill)
        listed = harness.wait_until(lambda: "the repaired server answers\n" + server.tail(), lambda: self.cluster.run(
            "--server", data + ".s", "ls", "--all", "-o", "json", check=False).stdout)
        self.assertLessEqual({row["name"] for row in json.loads(listed)}, {f"job-{i}" for i in range(3)})
        server.end()

    def test_a_torn_tail_needs_no_repair(self):
        data, segment = self.copy()
        offset, _ = records(segment)[-1]
        with open(segment, "r+b") as file:
            file.truncate(offset + RECORD_HEADER + 5)
        checked = self.state("check", data)
        self.assertIn(f"note: {segment} has a torn tail at offset {offset}: ", checked.stdout)
        self.assertIn("nothing to repair", self.state("repair", data).stdout)

    def test_bad_input_gets_one_line(self):
        self.assert_one_line(self.state("check", "/nowhere", check=False), 1, "/nowhere")
        self.assert_one_line(self.state("check", self.cluster.directory, check=False), 1, "is not a server's data directory")
        self.assert_one_line(self.state("stats", check=False), 2)
        self.assert_one_line(self.state("dump", self.data, "--from", "5", "--to", "4", check=False), 2, "--to", "--from 5")
        self.assert_one_line(self.state("dump", self.data, "-o", "yaml", check=False), 2)


if __name__ == "__main__":
    unittest.main()
