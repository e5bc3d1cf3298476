"""Bad input gets one clear line and exit code 2 (the command line is wrong) or 1 (refused), and changes nothing."""

import os
import unittest

import harness
from harness import ClusterTest

USAGE, REFUSED = 2, 1
RUN = ("--", "true")

# words, exit code, what the line must name
TABLE = [
    (("submit", "--no-such-option", *RUN), USAGE, "--no-such-option"),
    (("no-such-command",), USAGE, "no-such-command"),
    ((), USAGE, ""),
    (("submit",), USAGE, ""),
    (("submit", "--mem", "lots", *RUN), USAGE, "lots"),
    (("submit", "--mem", "", *RUN), USAGE, "mem"),
    (("submit", "--mem", "-5M", *RUN), USAGE, "-5M"),
    (("submit", "--mem", "99999999999999999999G", *RUN), USAGE, "mem"),
    (("submit", "--mem", "1G\nx", *RUN), USAGE, "mem"),
    (("submit", "--time", "soon", *RUN), USAGE, "soon"),
    (("submit", "--time", "1:2:3:4:5", *RUN), USAGE, "1:2:3:4:5"),
    (("submit", "--time", "0", *RUN), USAGE, "time"),
    (("submit", "--cpus", "-1", *RUN), USAGE, "-1"),
    (("submit", "--cpus", "0", *RUN), USAGE, "cpus"),
    (("submit", "--cpus", "nan", *RUN), USAGE, "nan"),
    (("submit", "--cpus", "1e9", *RUN), USAGE, "1e9"),
    (("submit", "--gpus", "-1", *RUN), USAGE, "gpus"),
    (("submit", "--gpus", "two", *RUN), USAGE, "two"),
    (("submit", "--array", "", *RUN), USAGE, "array"),
    (("submit", "--array", "9-1", *RUN), USAGE, "9-1"),
    (("submit", "--array", "a-b", *RUN), USAGE, "a-b"),
    (("submit", "--array", "1-10%0", *RUN), USAGE, "array"),
    (("submit", "--array", "1-5,3", *RUN), USAGE, "array"),
    (("submit", "--array", "1-100000000", *RUN), USAGE, "array"),
    (("submit", "--gang", "0", *RUN), USAGE, "gang"),
    (("submit", "--gang", "1000000", *RUN), USAGE, "gang"),
    (("submit", "--gang", "2", "--array", "1-2", *RUN), USAGE, "array"),
    (("submit", "--priority", "5000", *RUN), USAGE, "priority"),
    (("submit", "--env", "NOVALUE=", "--env", "=x", *RUN), USAGE, "env"),
    (("submit", "--requeue=-2", *RUN), USAGE, "requeue"),
    (("submit", "--queue", "nowhere", *RUN), REFUSED, "nowhere"),
    (("submit", "--cpus", "1000", *RUN), REFUSED, "cpu"),
    (("submit", "--mem", "900T", *RUN), REFUSED, "mem"),
    (("submit", "--gpus", "8", *RUN), REFUSED, "GPU"),
    (("submit", "--nodes", "3", *RUN), REFUSED, "3"),
    (("submit", "--file", "/nowhere/job.yaml"), USAGE, "/nowhere/job.yaml"),
    (("show", "999999"), REFUSED, "999999"),
    (("show", "abc"), USAGE, "abc"),
    (("show", "0"), USAGE, "0"),
    (("show", "99999999999999999999999"), USAGE, "99999999999999999999999"),
    (("cancel", "999999"), REFUSED, "999999"),
    (("cancel",), USAGE, ""),
    (("wait", "999999"), REFUSED, "999999"),
    (("logs", "999999"), REFUSED, "999999"),
    (("explain", "999999"), REFUSED, "999999"),
    (("ls", "-o", "xml"), USAGE, "xml"),
    (("ls", "--state", "asleep"), USAGE, "asleep"),
    (("drain", "nowhere"), REFUSED, "nowhere"),
    (("resume", "nowhere"), REFUSED, "nowhere"),
    (("completion", "tcsh"), USAGE, "tcsh"),
    (("token", "create", "--expires", "never"), USAGE, "never"),
    (("agent", "--join", "host:notaport", "--token", "x"), USAGE, "notaport"),
    (("agent", "--cpus", "many"), USAGE, "many"),
    (("server", "--listen", "nowhere"), USAGE, "nowhere"),
]

JOB_FILES = [
    ("command: [true]\ncolour: blue\n", "colour"),
    ("command: {a: b}\n", "command"),
    ("command: [true]\ncpus: [1, 2]\n", "cpus"),
    ("command: [true]\ncpus: many\n", "many"),
    ("command: [true]\nmem: 12 parsecs\n", "12 parsecs"),
    ("command: [true]\narray: {}\n", "array"),
    ("command: [true]\nenv: 7\n", "env"),
    ("name: lonely\n", "command"),
    ("command: []\n", "command"),
    ("command: [true\n", "YAML"),
    ("- 1\n- 2\n", ""),
    ("", ""),
    ("command: [true]\ncommand: [false]\n", "command"),
    ("&a [*a]\n", ""),
    ("command: [\"a\\0b\"]\n", "command"),
    ("\x00\x01\x02", ""),
    ("command: [" * 2000, ""),
    ("\n!,'", ""),  # the YAML parser makes documents of it without end
]


class BadInput(ClusterTest):
    OPTIONS = {"agents": 1}

    def setUp(self):
        self.before = self.cluster.json("status", "-o", "json")["journal_index"]

    def tearDown(self):
        self.assertEqual(self.cluster.json("status", "-o", "json")["journal_index"], self.before, "something was changed")

    def test_each_gets_one_clear_line_and_its_exit_code(self):
        for words, code, piece in TABLE:
            with self.subTest(" ".join(words)):
                self.assert_one_line(self.cluster.run(*words, check=False), code, piece)

    def test_a_job_file_names_the_field_that_is_wrong(self):
        for text, piece in JOB_FILES:
            with self.subTest(text[:40]):
                path = self.cluster.path("job.yaml")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
                self.assert_one_line(self.cluster.run("submit", "--file", path, check=False), USAGE, "job.yaml", piece)

    def test_an_image_that_is_not_there_is_refused_when_it_can_be_known(self):
        done = self.cluster.run("submit", "--image", "", *RUN, check=False)
        self.assert_one_line(done, USAGE, "image")
        layout = self.cluster.path("layout")
        os.mkdir(layout)
        done = self.cluster.run("submit", "--image", layout + ":v1", *RUN, check=False)
        self.assert_one_line(done, USAGE, "--image", "not an OCI layout")
        with open(os.path.join(layout, "index.json"), "w", encoding="utf-8") as file:
            file.write('{"manifests": [{"annotations": {"org.opencontainers.image.ref.name": "v2"}}, {}]}')
        done = self.cluster.run("submit", "--image", layout + ":v1", *RUN, check=False)
        self.assert_one_line(done, USAGE, "--image", "no tag 'v1'", "accepted: v2")
        self.assertEqual(self.cluster.run("submit", "--dry-run", "--image", layout + ":v2", *RUN).stderr, "")
        done = self.cluster.run("submit", "--dry-run", "--image", layout + "-elsewhere:v1", *RUN)
        self.assertIn("the nodes need it", done.stderr)

    def test_the_option_is_named_as_it_is_written(self):
        done = self.cluster.run("submit", "--feature", "a b", *RUN, check=False)
        self.assert_one_line(done, USAGE, "--feature: ")
        self.assert_one_line(self.cluster.run("submit", check=False), USAGE, "submit: there is no command")


class NoServer(unittest.TestCase):
    def test_a_server_that_is_not_there_is_told_with_what_to_do(self):
        cluster = harness.Cluster(start=False)
        self.addCleanup(cluster.close)
        for words in (("ls",), ("submit", *RUN), ("nodes",), ("cancel", "1")):
            with self.subTest(words[0]):
                done = cluster.run(*words, check=False)
                self.assertEqual((done.returncode, done.stdout), (REFUSED, ""))
                self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
                self.assertIn(cluster.socket, done.stderr)

    def test_an_address_where_nobody_listens_is_told(self):
        cluster = harness.Cluster(start=False)
        self.addCleanup(cluster.close)
        address = f"127.0.0.1:{harness.free_port()}"
        done = cluster.run("ls", env={"BERTH_SERVER": address}, check=False)
        self.assertEqual((done.returncode, done.stdout), (REFUSED, ""))
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)

    def test_a_directory_for_data_that_cannot_be_made_is_told(self):
        cluster = harness.Cluster(start=False)
        self.addCleanup(cluster.close)
        plain = cluster.path("plain")
        with open(plain, "w", encoding="utf-8"):
            pass
        for words in (("server", "--data", plain + "/x", "--socket", cluster.path("t")),
                      ("agent", "--data", plain + "/x", "--join", cluster.path("t"))):
            with self.subTest(words[0]):
                done = cluster.run(*words, check=False, timeout=20)
                self.assertIn(done.returncode, (1, 2))
                self.assertIn(plain, done.stderr)
        self.assertTrue(os.path.isfile(plain))


if __name__ == "__main__":
    unittest.main()
