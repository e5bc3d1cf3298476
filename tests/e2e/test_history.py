"""What has ended: each job is in the history once, with its true fields, whoever is killed when, and what was used adds up."""

import csv
import io
import json
import os
import random
import sqlite3
import tempfile
import unittest

import harness
import postgres
from harness import needs_root, wait_until

ANA, BEN = "nobody", "games"  # two users that every Debian has


class Accounted(unittest.TestCase):
    """A cluster with accounting; DATABASE() says where, SETTINGS are a file's."""

    SETTINGS = ""

    def database(self):
        return "sqlite"

    def setUp(self):
        self.files = tempfile.mkdtemp(prefix="berth-history-")
        self.addCleanup(lambda: harness.subprocess.run(["rm", "-rf", self.files], check=True))
        config = os.path.join(self.files, "config.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"accounting: {self.database()}\n{self.SETTINGS}")
        self.cluster = harness.Cluster(1, cpus=2, server=["--config", config])
        self.addCleanup(self.cluster.close)

    def history(self, *words, **more):
        return self.cluster.json("history", "-n", "0", "-o", "json", *words, **more)

    def ids(self, *words, **more):
        return [row["id"] for row in self.history(*words, **more)]

    def accounting(self):
        return self.cluster.json("status", "-o", "json")["accounting"]

    def wait_written(self):
        """Until nothing waits to be written."""
        wait_until(lambda: f"all is written: {self.accounting()}\n{self.cluster.server.tail(10)}",
                   lambda: self.accounting()["jobs_waiting"] == 0 and not self.accounting()["error"])

    def restart_server(self):
        self.cluster.server.kill()
        self.cluster.start_server()
        self.cluster.wait_nodes(1)

    def assert_adds_up(self, jobs):
        """Each of `jobs` and no other is there once, and what accounts and users used is what their jobs used."""
        self.wait_written()
        rows = self.history()
        self.assertEqual(sorted(row["id"] for row in rows), sorted(jobs))
        for by in ("account", "user", "both"):
            usage = self.cluster.json("usage", "--by", by, "-o", "json")
            self.assertEqual(sum(row["jobs"] for row in usage), len(jobs))
            for what in ("cpu_seconds", "gpu_seconds"):
                self.assertAlmostEqual(sum(row[what] for row in usage), sum(row[what] for row in rows), places=2)
        return rows


class History(Accounted):
    def test_what_it_says_of_a_job_is_what_was(self):
        failed = self.cluster.submit("--name", "bad", "--cpus", "1.5", "--mem", "64M", "--comment", "a note", "--time", "5m",
                                     "--", "sh", "-c", "sleep 0.3; exit 3")
        array = self.cluster.submit("--array", "1-9:2", "--cpus", "0.1", "--", "sh", "-c", "[ $BERTH_ARRAY_INDEX != 5 ]")
        held = self.cluster.submit("--hold", "--", "true")
        killed = self.cluster.submit("--cpus", "0.1", "--", "sh", "-c", "kill -9 $$")
        self.cluster.run("cancel", held)
        self.cluster.wait(failed, array, killed)
        shown = {job: self.cluster.json("show", job, "--pods", "-o", "json") for job in (failed, array, held, killed)}
        rows = {row["id"]: row for row in self.history()}
        self.assertEqual(set(rows), set(shown))
        for job, show in shown.items():
            row = rows[job]
            for name in ("name", "user", "queue", "kind", "state", "pod_count", "counts", "cpu_milli", "mem_mib", "gpus", "priority",
                         "submitted_at_us", "started_at_us", "ended_at_us", "account", "qos", "comment", "nodes", "time_limit_ms"):
                self.assertEqual(row[name], show[name], f"{name} of job {job}")
            ran_us = sum(pod["ended_at_us"] - pod["started_at_us"] for pod in show["pods"] if pod["started_at_us"])
            self.assertAlmostEqual(row["cpu_seconds"], ran_us * row["cpu_milli"] / 1e9, delta=0.003)
            self.assertEqual(row["mem_peak_mib"], max(pod["mem_peak_mib"] for pod in show["pods"]))
            pods = self.cluster.json("history", "--job", job, "--pods", "-o", "json")
            for pod, was in zip(pods, show["pods"], strict=True):
                for name in ("element", "index", "state", "node", "exit_code", "signal", "started_at_us", "mem_peak_mib"):
                    self.assertEqual(pod[name], was[name], f"{name} of pod {pod['index']} of job {job}")
        self.assertEqual([rows[job]["exit_code"] for job in (failed, array, held)], [3, 1, None])
        self.assertEqual(rows[killed]["signal"], 9)
        self.assertEqual(rows[array]["counts"], {"succeeded": 4, "failed": 1})
        self.assert_adds_up(shown)

    def test_filters_limits_and_forms(self):
        one = self.cluster.submit("--name", "one", "--", "true")
        two = self.cluster.submit("--name", 'two, "quoted"', "--", "false")
        self.cluster.wait(one, two)
        three = self.cluster.submit("--name", "one", "--", "true")
        self.cluster.wait(three)
        self.assertEqual(set(self.ids()), {one, two, three})
        self.assertEqual(self.ids("--name", "one"), [three, one])
        self.assertEqual(self.ids("--state", "failed,cancelled"), [two])
        self.assertEqual(self.ids("--job", f"{one},{three}"), [three, one])
        self.assertEqual(self.ids("--since", "1h"), self.ids())
        self.assertEqual(self.ids("--until", "1h"), [])
        self.assertEqual(self.ids("--queue", "other"), [])
        limited = self.cluster.json("history", "-n", "1", "-o", "json")
        self.assertEqual([row["id"] for row in limited], [three])
        rows = list(csv.DictReader(io.StringIO(self.cluster.run("history", "-o", "csv").stdout)))
        self.assertEqual({row["name"] for row in rows}, {"one", 'two, "quoted"'})
        table = self.cluster.run("history").stdout.splitlines()
        self.assertEqual(table[0].split()[:4], ["JOB", "NAME", "USER", "ACCOUNT"])
        self.assertEqual(len(table), 4)
        for words, piece in ((("--since", "soon"), "--since"), (("--state", "asleep"), "--state"), (("--state", "running"), "--state"),
                             (("--pods",), "--job"), (("-n", "-1"), "--limit")):
            done = self.cluster.run("history", *words, check=False)
            self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1), done.stderr)
            self.assertIn(piece, done.stderr)
        self.assertEqual(self.cluster.run("history", "--job", "999", check=False).returncode, 1)

    def test_a_damaged_database_is_told_and_what_ends_meanwhile_is_written_when_it_is_well(self):
        first = self.cluster.submit("--", "true")
        self.cluster.wait(first)
        self.wait_written()
        self.cluster.server.end()
        path = self.cluster.path("server", "accounting.db")
        os.rename(path, path + ".good")
        for beside in ("-wal", "-shm"):
            if os.path.exists(path + beside):
                os.remove(path + beside)
        with open(path, "w", encoding="utf-8") as file:
            file.write("no database" * 1000)
        self.cluster.start_server()
        self.cluster.wait_nodes(1)
        second = self.cluster.submit("--", "true")
        self.assertEqual(self.cluster.wait(second).returncode, 0)
        wait_until("it says so", lambda: "accounting.db" in self.accounting()["error"])
        self.assertIn("accounting.db", self.cluster.run("status").stdout)
        done = self.cluster.run("history", check=False)
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), done.stderr)
        os.rename(path + ".good", path)
        self.assert_adds_up([first, second])

    def test_a_newer_database_is_refused_in_one_line_and_jobs_go_on(self):
        self.wait_written()
        self.cluster.server.end()
        with sqlite3.connect(self.cluster.path("server", "accounting.db")) as database:
            database.execute("UPDATE schema_version SET version = 77")
        database.close()
        self.cluster.start_server()
        self.cluster.wait_nodes(1)
        self.assertEqual(self.cluster.wait(self.cluster.submit("--", "true")).returncode, 0)
        wait_until("it says so", lambda: "schema 77" in self.accounting()["error"])
        self.assertEqual(self.cluster.server.tail(1000).count("schema 77"), 1)


class Nowhere(Accounted):
    def database(self):
        return "none"

    def test_without_accounting_it_says_so(self):
        self.assertEqual(self.cluster.wait(self.cluster.submit("--", "true")).returncode, 0)
        for verb in ("history", "usage"):
            done = self.cluster.run(verb, check=False)
            self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (1, "", 1), done.stderr)
            self.assertIn("keeps no accounting", done.stderr)
        self.assertEqual(self.accounting()["database"], "")
        self.assertFalse(os.path.exists(self.cluster.path("server", "accounting.db")))

    def test_what_is_no_database_is_refused(self):
        done = self.cluster.run("server", "--accounting", "mysql://x", "--data", self.cluster.path("other"), check=False)
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (2, 1), done.stderr)
        self.assertIn("--accounting: 'mysql://x'", done.stderr)


class Forgotten(Accounted):
    SETTINGS = "keep_ended_jobs: 1s\n"

    def test_what_the_state_has_forgotten_is_still_there(self):
        jobs = [self.cluster.submit("--name", f"job{i}", "--", "true") for i in range(5)]
        wait_until("they are forgotten", lambda: self.cluster.json("ls", "--all", "-o", "json") == [])
        rows = self.assert_adds_up(jobs)
        self.assertEqual({row["name"] for row in rows}, {f"job{i}" for i in range(5)})
        self.restart_server()
        self.assert_adds_up(jobs)


class Aged(Accounted):
    SETTINGS = "accounting_keep: 1ms\n"

    def test_jobs_go_when_they_are_older_than_is_kept_and_their_use_stays(self):
        self.cluster.wait(self.cluster.submit("--", "true"))
        self.wait_written()
        self.restart_server()  # old ones are looked for at the start, then every ten minutes
        wait_until("it is gone", lambda: self.history() == [])
        self.assertEqual(self.cluster.json("usage", "-o", "json")[0]["jobs"], 1)


@needs_root
class Users(Accounted):
    def test_users_see_their_own_and_administrators_everything(self):
        jobs = {user: self.cluster.submit("--cpus", "0.1", "--", "sleep", "0.2", user=user) for user in (ANA, BEN)}
        jobs["root"] = self.cluster.submit("--", "true")
        self.cluster.wait(*jobs.values())
        self.assertEqual(set(self.ids()), set(jobs.values()))
        for user in (ANA, BEN):
            self.assertEqual(self.ids(user=user), [jobs[user]])
            self.assertEqual(self.ids("--user", user, user=user), [jobs[user]])
            self.assertEqual(self.ids("--user", user), [jobs[user]])
            self.assertEqual([row["user"] for row in self.cluster.json("usage", "--by", "user", "-o", "json", user=user)], [user])
        for words in (("history", "--user", BEN), ("history", "--job", jobs[BEN]), ("history", "--job", jobs[BEN], "--pods")):
            done = self.cluster.run(*words, user=ANA, check=False)
            self.assertEqual((done.returncode, done.stdout, len(done.stderr.splitlines())), (1, "", 1), done.stderr)
        self.assert_adds_up(jobs.values())


class Killed(Accounted):
    def disturb(self, round_number):
        """Something more that happens while jobs end."""

    def test_each_job_is_there_once_whenever_the_server_is_killed(self):
        chance = random.Random(20261129)
        jobs = []
        for number in range(6):
            for _ in range(8):
                jobs.append(self.cluster.submit("--cpus", "0.1", "--", "sleep", f"{chance.uniform(0, 0.5):.3f}"))
            jobs.append(self.cluster.submit("--cpus", "0.1", "--array", "1-20", "--", "true"))
            self.disturb(number)
            if self.cluster.server.alive():
                try:  # at any moment of what is going on
                    self.cluster.server.process.wait(timeout=chance.uniform(0, 0.4))
                except harness.subprocess.TimeoutExpired:
                    pass
            self.restart_server()
        self.cluster.wait(*jobs)
        rows = self.assert_adds_up(jobs)
        for row in rows:
            self.assertEqual((row["state"], row["exit_code"]), ("succeeded", 0), json.dumps(row))
        self.restart_server()
        self.assert_adds_up(jobs)


@postgres.needs_postgres
class KilledWithPostgres(Killed):
    def setUp(self):
        self.postgres = postgres.Postgres()
        self.addCleanup(self.postgres.close)
        self.postgres.start()
        super().setUp()

    def database(self):
        return f"'{self.postgres.uri}'"

    def disturb(self, round_number):
        """The database goes in one round and comes back in the next but one, and once it is killed in the middle."""
        if round_number == 1:
            self.postgres.stop()
        elif round_number == 3:
            wait_until("it says so", lambda: self.accounting()["error"])
            self.assertGreater(self.accounting()["jobs_waiting"], 0)
            self.postgres.start()
        elif round_number == 4:
            self.postgres.stop(harness.signal.SIGQUIT)
            self.postgres.start()

    def test_what_it_says_is_what_was_and_is_read_while_the_database_was_away(self):
        job = self.cluster.submit("--name", "ünïcode 'quoted'", "--array", "1-3", "--", "true")
        self.cluster.wait(job)
        self.assert_adds_up([job])
        self.assertEqual(self.ids("--name", "ünïcode 'quoted'", "--state", "succeeded,failed", "--since", "1h"), [job])
        self.assertEqual(len(self.cluster.json("history", "--job", job, "--pods", "-o", "json")), 3)
        self.assertEqual(self.postgres.ask("SELECT count(*) FROM berth.pods"), "3")
        self.postgres.stop()
        away = self.cluster.submit("--", "true")
        self.assertEqual(self.cluster.wait(away).returncode, 0)
        done = self.cluster.run("history", check=False)
        self.assertEqual((done.returncode, len(done.stderr.splitlines())), (1, 1), done.stderr)
        self.postgres.start()
        self.assert_adds_up([job, away])
        self.assertNotIn("host=", self.cluster.run("status").stdout)


if __name__ == "__main__":
    unittest.main()
