"""Berth's Slurm commands beside real Slurm's on the same command lines (tests/golden)."""

import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "golden"))

import golden  # noqa: E402
import real_slurm  # noqa: E402
import run as golden_run  # noqa: E402


class Golden(unittest.TestCase):
    def test_what_differs_from_real_slurm_is_what_the_page_lists(self):
        steps = golden.read_cases()
        told = []

        def report(step, names, real, berth):
            told.append(f"{step.key}: {', '.join(sorted(names))}\n--- slurm {real[2]}\n{real[0]}{real[1]}"
                        f"--- berth {berth[2]}\n{berth[0]}{berth[1]}")

        try:
            found = golden_run.compare_all(steps, report)
        except real_slurm.MissingSlurm as missing:
            self.skipTest(str(missing))
        lines = golden_run.judge(found, golden.listed_differences(golden_run.PAGE))
        if lines:
            news = {line.split(": ", 1)[1].rsplit(": ", 1)[0] for line in lines if line.startswith("differs now: ")}
            shown = "\n".join(text for text in told if any(text.startswith(key) for key in news))
            self.fail("\n".join(lines) + "\n" + shown)
        self.assertGreater(len(found), 250, "command lines were compared")


class Comparison(unittest.TestCase):
    """That the comparison can fail."""

    def compare(self, mode, real, berth):
        step = golden.Step("section", mode, "command")
        return golden.compare(step, (real, "", 0), (berth, "", 0))

    def test_a_field_a_variable_an_option_and_a_line(self):
        self.assertEqual(self.compare("fields", "A=1 B=two words C=\n", "A=1 B=two word C=\n"), {"B"})
        self.assertEqual(self.compare("fields", "RunTime=1 A=1\n", "RunTime=2\n"), {"A"})
        self.assertEqual(self.compare("variables", "SLURM_A=1\nHOME=/a\n", "SLURM_A=2\nHOME=/b\n"), {"SLURM_A"})
        self.assertEqual(self.compare("options", "  -a, --all\n", "  --other\n"), {"--all"})
        self.assertEqual(self.compare("sorted", "a\nb\n", "b\na\n"), set())
        self.assertEqual(self.compare("text", "a\n", "b\n"), {"output"})
        step = golden.Step("section", "text", "command")
        self.assertEqual(golden.compare(step, ("", "x", 0), ("", "y", 1)), {"errors", "code"})

    def test_new_and_vanished_differences_are_both_told(self):
        lines = golden_run.judge({"a": {"output"}, "b": set(), "c": {"code"}}, {"b": {"errors"}, "c": {"code"}, "d": {"x"}})
        self.assertEqual(lines, ["differs now: a: output", "listed, and differs no more: b: errors",
                                 "listed, and no command line of cases.txt: d"])


if __name__ == "__main__":
    unittest.main()
