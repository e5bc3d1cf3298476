"""What is said of a bench's results from before and after a change."""

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench"))

import compare  # noqa: E402


class BenchCompare(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="berth-compare-")
        self.addCleanup(shutil.rmtree, self.directory)

    def results(self, side, *runs):
        """A directory with a result a run."""
        path = os.path.join(self.directory, side)
        os.makedirs(path)
        for number, flat in enumerate(runs):
            with open(os.path.join(path, f"{number}.json"), "w", encoding="utf-8") as out:
                json.dump(flat, out)
        return path

    def run_it(self, *words):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = compare.main(list(words))
            except SystemExit as ended:
                code = ended.code
        return code, out.getvalue(), err.getvalue()

    def word(self, name, before, after, limit=25):
        return compare.judge(name, before, after, limit)[1]

    def test_a_rate_that_fell_is_worse_and_a_time_that_fell_is_better(self):
        for name, before, after, word in (("jobs_per_s", [100, 101, 99], [60, 61, 59], "worse"),
                                          ("jobs_per_s", [100, 101, 99], [160, 161, 159], "better"),
                                          ("ack_p99_ms", [10, 11, 9], [5, 5, 5], "better"),
                                          ("server_rss_mib", [10, 11, 9], [20, 21, 19], "worse"),
                                          ("a_over_b_ratio", [10, 11, 9], [20, 21, 19], "no verdict")):
            self.assertEqual(self.word(name, before, after), word, name)

    def test_a_small_change_is_none(self):
        self.assertEqual(self.word("jobs_per_s", [100, 100, 100], [80, 80, 80]), "same")
        self.assertEqual(self.word("jobs_per_s", [100, 100, 100], [80, 80, 80], limit=10), "worse")

    def test_noise_is_no_verdict(self):
        self.assertEqual(self.word("jobs_per_s", [100, 60, 140], [70, 65, 120]), "unclear")
        # One run a side: only what is far apart counts.
        self.assertEqual(self.word("jobs_per_s", [100], [60]), "unclear")
        self.assertEqual(self.word("jobs_per_s", [100], [40]), "worse")

    def test_nothing_is_divided_by_nothing(self):
        self.assertEqual(self.word("jobs_per_s", [0], [0]), "same")
        self.assertEqual(self.word("jobs_per_s", [0], [5]), "no base")

    def test_the_exit_code_is_the_verdict(self):
        before = self.results("before", *[{"jobs_per_s": n, "gone_ms": 1} for n in (100, 101, 102)])
        same = self.results("same", *[{"jobs_per_s": n, "new_ms": 1} for n in (103, 99, 98)])
        worse = self.results("worse", *[{"jobs_per_s": n} for n in (10, 11, 12)])
        code, out, _ = self.run_it(before, "--with", same)
        self.assertEqual(code, 0, out)
        self.assertIn("only before", out)
        self.assertIn("only after", out)
        code, out, _ = self.run_it(before, "--with", worse)
        self.assertEqual(code, 1, out)
        self.assertIn("1 worse", out)

    def test_what_cannot_be_compared_is_one_line(self):
        good = self.results("good", {"jobs_per_s": 1})
        other = self.results("other", {"else_ms": 1})
        empty = self.results("empty")
        text = os.path.join(self.directory, "text.json")
        with open(text, "w", encoding="utf-8") as out:
            out.write('{"a": "b"}')
        for words, piece in (((good, "--with", os.path.join(self.directory, "none")), "cannot be read"),
                             ((good, "--with", text), "flat object"), ((good, "--with", empty), "no results"),
                             ((good, "--with", other), "no figure in common"), ((good, "--with", good, "--limit", "0"), "--limit")):
            code, _, err = self.run_it(*words)
            self.assertEqual(code, 2, err)
            self.assertIn(piece, err)
            self.assertEqual(len(err.strip().splitlines()), 1, err)


if __name__ == "__main__":
    unittest.main()
