"""kill -9 at chosen moments: what runs keeps running, what ended meanwhile has its true end, nothing runs twice."""

import os
import signal
import unittest

import harness
import leftovers
from harness import wait_until


class Crash(unittest.TestCase):
    def setUp(self):
        self.cluster = harness.Cluster(1, cpus=2)
        self.addCleanup(self.cluster.close)
        self.gate = self.cluster.path("gate")
        self.book = self.cluster.path("ledger")

    def submit(self, *options, code=0, lines=1000):
        """A pod that records its start, waits for the gate, then writes many lines and exits with `code`."""
        script = (f'echo x >> {self.book}; echo first; while [ ! -e {self.gate} ]; do sleep 0.05; done; '
                  f'seq {lines}; exit {code}')
        job = self.cluster.submit(*options, "--cpus", "1", "--", "sh", "-c", script)
        self.cluster.wait_state(job, "running")
        wait_until("it began", lambda: os.path.exists(self.book))
        return job

    def open_gate(self):
        with open(self.gate, "w", encoding="utf-8"):
            pass

    def assert_whole(self, job, code=0, lines=1000):
        self.cluster.wait(job)
        pod = self.cluster.pods(job)[0]
        self.assertEqual((pod["state"], pod["exit_code"], pod["attempt"]), ("failed" if code else "succeeded", code, 1))
        self.assertEqual(self.cluster.run("logs", job).stdout, "first\n" + "".join(f"{i}\n" for i in range(1, lines + 1)))
        with open(self.book, encoding="utf-8") as file:
            self.assertEqual(file.read(), "x\n")

    def kill(self, *daemons):
        for daemon in daemons:
            daemon.process.kill()
        for daemon in daemons:
            daemon.process.wait()

    def back(self, *daemons):
        for daemon in daemons:
            daemon.start()
        self.cluster.wait_server()
        self.cluster.wait_nodes(1)

    def everyone(self):
        return self.cluster.server, self.cluster.agents[1]

    def test_the_server_is_killed_and_the_running_pod_is_adopted(self):
        job = self.submit(code=5)
        self.kill(self.cluster.server)
        self.back(self.cluster.server)
        self.assertEqual(self.cluster.job(job)["state"], "running")
        self.open_gate()
        self.assert_whole(job, code=5)

    def test_the_agent_is_killed_and_the_running_pod_is_adopted(self):
        job = self.submit(code=6)
        self.kill(self.cluster.agents[1])
        self.back(self.cluster.agents[1])
        self.assertEqual(self.cluster.job(job)["state"], "running")
        self.open_gate()
        self.assert_whole(job, code=6)

    def test_both_are_killed_and_the_running_pod_is_adopted(self):
        job = self.submit(code=7)
        self.kill(*self.everyone())
        self.back(*self.everyone())
        self.assertEqual(self.cluster.job(job)["state"], "running")
        self.open_gate()
        self.assert_whole(job, code=7)

    def ended_meanwhile(self, *daemons):
        job = self.submit(code=9)
        pids = [p for p in leftovers.processes(self.cluster.directory) if p not in self.daemon_pids()]
        self.kill(*daemons)
        self.open_gate()
        wait_until("all of the pod is gone, its shim too", lambda: not any(os.path.exists(f"/proc/{p}") for p in pids))
        self.back(*daemons)
        self.assert_whole(job, code=9)

    def daemon_pids(self):
        return [d.process.pid for d in self.everyone()]

    def test_a_pod_that_ended_without_its_agent_has_its_true_end(self):
        self.ended_meanwhile(self.cluster.agents[1])

    def test_a_pod_that_ended_without_agent_and_server_has_its_true_end(self):
        self.ended_meanwhile(*self.everyone())

    def test_a_pod_killed_for_memory_without_its_agent_is_out_of_memory(self):
        if self.cluster.nodes()["n1"]["limits"] == "none":
            self.skipTest("no control groups for memory here")
        job = self.cluster.submit("--mem", "32M", "--", "sh", "-c",
                                  f"while [ ! -e {self.gate} ]; do sleep 0.05; done; exec python3 -c 'x = bytearray(256 << 20)'")
        self.cluster.wait_state(job, "running")
        self.kill(self.cluster.agents[1])
        self.open_gate()
        wait_until("the pod is gone", lambda: set(leftovers.processes(self.cluster.directory)) <= set(self.daemon_pids()))
        self.back(self.cluster.agents[1])
        self.cluster.wait_state(job, "out-of-memory")

    def test_a_time_limit_holds_across_a_restart_of_the_agent(self):
        job = self.cluster.submit("--time", "2s", "--", "sleep", "300")
        self.cluster.wait_state(job, "running")
        self.kill(self.cluster.agents[1])
        self.back(self.cluster.agents[1])
        self.cluster.wait_state(job, "timed-out")

    def test_a_pod_adopted_after_a_crash_can_be_cancelled(self):
        job = self.submit()
        self.kill(*self.everyone())
        self.back(*self.everyone())
        self.cluster.run("cancel", job)
        self.cluster.wait_state(job, "cancelled")
        wait_until("its processes are gone", lambda: set(leftovers.processes(self.cluster.directory)) <= set(self.daemon_pids()))

    def test_jobs_that_waited_are_still_there_in_their_order(self):
        self.cluster.run("drain", "n1")
        jobs = [self.cluster.submit("--name", f"w{i}", "--cpus", "2", "--env", f"LEDGER={self.book}", "--", "sh", "-c",
                                    f"echo {i} >> {self.book}") for i in range(5)]
        self.kill(*self.everyone())
        self.back_drained()
        self.assertEqual([self.cluster.job(job)["state"] for job in jobs], ["pending"] * 5)
        self.assertEqual([self.cluster.job(job)["name"] for job in jobs], [f"w{i}" for i in range(5)])
        self.cluster.run("resume", "n1")
        self.cluster.wait(*jobs)
        with open(self.book, encoding="utf-8") as file:
            self.assertEqual(file.read().split(), list("01234"))

    def back_drained(self):
        for daemon in self.everyone():
            daemon.start()
        self.cluster.wait_server()
        wait_until("n1 is connected", lambda: self.cluster.nodes()["n1"]["connected"])

    def test_a_clean_stop_of_both_leaves_the_pod_running_too(self):
        job = self.submit(code=4)
        for daemon in reversed(self.everyone()):
            self.assertEqual(daemon.end(signal.SIGTERM), 0)
        self.back(*self.everyone())
        self.open_gate()
        self.assert_whole(job, code=4)

    def test_a_torn_tail_of_the_journal_is_cut_and_nothing_acknowledged_is_lost(self):
        jobs = [self.cluster.submit("--", "true") for _ in range(3)]
        self.cluster.wait(*jobs)
        self.kill(self.cluster.server)
        journal = self.cluster.path("server", "journal")
        newest = os.path.join(journal, sorted(os.listdir(journal))[-1])
        with open(newest, "ab") as file:
            file.write(b"\x40\x00\x00\x00torn")
        self.back(self.cluster.server)
        self.assertEqual([self.cluster.job(job)["state"] for job in jobs], ["succeeded"] * 3)

    def test_a_damaged_journal_is_refused_with_one_line(self):
        self.cluster.wait(*[self.cluster.submit("--", "true") for _ in range(3)])
        self.kill(self.cluster.server)
        journal = self.cluster.path("server", "journal")
        oldest = os.path.join(journal, sorted(os.listdir(journal))[0])
        with open(oldest, "r+b") as file:
            file.seek(200)
            byte = file.read(1)
            file.seek(200)
            file.write(bytes([byte[0] ^ 0x55]))
        self.cluster.server.start()
        self.assertEqual(self.cluster.server.process.wait(timeout=30), 1)
        self.assertIn(oldest, self.cluster.server.tail())

    def test_a_second_server_on_the_same_data_is_refused(self):
        done = self.cluster.run("server", "--data", self.cluster.path("server"), "--socket", self.cluster.path("other"), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(self.cluster.path("server"), done.stderr)
        self.cluster.run("status")


if __name__ == "__main__":
    unittest.main()
