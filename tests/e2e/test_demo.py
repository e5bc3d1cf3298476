"""The demo, small: it comes to the outcome it promises and leaves nothing on the machine."""

import os
import subprocess
import sys
import unittest

import harness  # first: it finds the one below
import image


class Demo(unittest.TestCase):
    def test_a_small_demo_runs_and_leaves_nothing_behind(self):
        why = "containers need root" if not harness.is_root() else image.missing()
        if why:
            self.skipTest(why)
        done = subprocess.run([sys.executable, os.path.join(harness.ROOT, "tools", "demo", "demo.py"), "--berth", harness.BERTH,
                               "--containers", "20", "--processes", "30"], capture_output=True, text=True, timeout=300, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for piece in ("55 pods in", "52 succeeded", "1 out-of-memory", "1 timed-out", "container 20 of 20", "exit code 3",
                      "nothing is left behind"):
            self.assertIn(piece, done.stdout)


if __name__ == "__main__":
    unittest.main()
