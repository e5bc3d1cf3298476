#!/usr/bin/python3
"""Runs end-to-end tests: run.py [--berth PATH] [--jobs N] [--counts FILE] [MODULE[.Class[.test]] ...]

Without names, every test_*.py here, the longest first, N at a time, each in a process of its own. One line a test:
"ok", "FAILED" or "skipped" with the seconds it took; a failure's report follows its module. Exit code 1 if anything
failed, 77 if everything was skipped. FILE gets "passed failed skipped".
"""

import argparse
import glob
import os
import subprocess
import sys
import threading
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
FIRST = ("test_rounds", "test_crash")  # the longest


class Lines(unittest.TestResult):
    """Prints a line a test, and counts."""

    def __init__(self):
        super().__init__()
        self.passed = 0
        self.begun = time.monotonic()

    def startTest(self, test):
        super().startTest(test)
        self.begun = time.monotonic()

    def line(self, word, test, more=""):
        seconds = time.monotonic() - self.begun
        print(f"{word:8} {test.id()} ({seconds:.1f} s){more}", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        self.line("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.line("FAILED", test)
        print(self.failures[-1][1], flush=True)

    def addError(self, test, err):
        super().addError(test, err)
        self.line("FAILED", test)
        print(self.errors[-1][1], flush=True)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.line("FAILED", subtest)
            print((self.failures + self.errors)[-1][1], flush=True)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line("skipped", test, ": " + reason)


def run_here(names):
    """Runs the named tests in this process; returns (passed, failed, skipped)."""
    sys.path.insert(0, HERE)
    result = Lines()
    unittest.defaultTestLoader.loadTestsFromNames(names).run(result)
    return result.passed, len(result.failures) + len(result.errors), len(result.skipped)


def run_modules(modules, jobs):
    """Runs each module in a process, `jobs` at a time, and prints each one's output whole when it ends."""
    totals, lock, left = [0, 0, 0], threading.Lock(), list(modules)

    def worker():
        while True:
            with lock:
                if not left:
                    return
                module = left.pop(0)
            counts = os.path.join(HERE, f".counts.{os.getpid()}.{module}")
            begun = time.monotonic()
            done = subprocess.run([sys.executable, os.path.abspath(__file__), "--counts", counts, module], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
            try:
                with open(counts, encoding="utf-8") as file:
                    numbers = [int(number) for number in file.read().split()]
                os.unlink(counts)
            except OSError:
                numbers = [0, 1, 0]
            with lock:
                print(f"-- {module} ({time.monotonic() - begun:.0f} s)\n{done.stdout}", end="", flush=True)
                for i in range(3):
                    totals[i] += numbers[i]

    workers = [threading.Thread(target=worker) for _ in range(jobs)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    return tuple(totals)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--berth", help="the binary (default: $BERTH, or build/release/berth)")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--counts")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    if options.berth:
        os.environ["BERTH"] = os.path.abspath(options.berth)
    if options.names:
        passed, failed, skipped = run_here(options.names)
    else:
        modules = sorted(os.path.basename(path)[:-3] for path in glob.glob(os.path.join(HERE, "test_*.py")))
        modules.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
        passed, failed, skipped = run_modules(modules, max(1, options.jobs))
    if options.counts:
        with open(options.counts, "w", encoding="utf-8") as file:
            file.write(f"{passed} {failed} {skipped}\n")
    else:
        print(f"e2e: {passed} passed, {failed} failed, {skipped} skipped")
    if failed or not passed + skipped:
        return 1
    return 0 if passed else 77


if __name__ == "__main__":
    sys.exit(main())
