"""Every verb a user has, on one machine, against a real server and agent."""

import json
import os
import re
import signal
import subprocess
import threading
import unittest

import harness
import leftovers
from harness import ClusterTest, wait_until

VERBS = ("submit", "run", "ls", "show", "logs", "wait", "cancel", "explain", "nodes", "drain", "resume", "queue", "token", "login",
         "hold", "release", "update", "sim", "slurm",
         "status", "server", "agent", "dev", "bench", "version", "completion", "man")


class Submit(ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 2}

    def test_it_prints_the_id_and_the_job_runs(self):
        done = self.cluster.run("submit", "--", "true")
        self.assertRegex(done.stdout.strip(), r"^\d+$")
        job = int(done.stdout)
        self.assertEqual(self.cluster.wait(job).returncode, 0)
        self.assertEqual(self.cluster.job(job)["state"], "succeeded")

    def test_what_it_is_told_reaches_the_pod(self):
        out, err = self.cluster.path("o-%j-%x"), self.cluster.path("e-%j")
        job = self.cluster.submit("--name", "told", "--env", "COLOUR=deep blue", "--cwd", "/usr", "--output", out, "--error", err,
                                  "--", "sh", "-c", 'pwd; echo "$COLOUR"; echo oops >&2; echo "$BERTH_JOB_ID $BERTH_JOB_NAME"')
        self.cluster.wait(job)
        with open(self.cluster.path(f"o-{job}-told"), encoding="utf-8") as file:
            self.assertEqual(file.read(), f"/usr\ndeep blue\n{job} told\n")
        with open(self.cluster.path(f"e-{job}"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "oops\n")
        self.assertEqual(self.cluster.job(job)["name"], "told")

    def test_arguments_arrive_as_they_were(self):
        words = ["a b", "", "*", "$HOME", "'", '"', "\\", "ä", "--name", "-x"]
        job = self.cluster.submit("--", "python3", "-c", "import sys, json; print(json.dumps(sys.argv[1:]))", *words)
        self.cluster.wait(job)
        self.assertEqual(json.loads(self.cluster.run("logs", job).stdout), words)

    def test_an_array_runs_each_of_its_indexes_and_keeps_to_its_throttle(self):
        book = self.cluster.path("throttle")
        job = self.cluster.submit("--array", "1-9:2,20%2", "--cpus", "0.1", "--", "sh", "-c",
                                  f'echo + >> {book}; sleep 0.2; echo - >> {book}; echo "element $BERTH_ARRAY_INDEX"')
        self.assertEqual(self.cluster.wait(job).returncode, 0)
        self.assertEqual([pod["index"] for pod in self.cluster.pods(job)], [1, 3, 5, 7, 9, 20])
        self.assertEqual(self.cluster.run("logs", f"{job}[20]").stdout, "element 20\n")
        running = most = 0
        with open(book, encoding="utf-8") as file:
            for line in file:
                running += 1 if line[0] == "+" else -1
                most = max(most, running)
        self.assertEqual((running, most), (0, 2))

    def test_held_later_and_after_others(self):
        held = self.cluster.submit("--hold", "--account", "physics", "--comment", "a note", "--", "true")
        after = self.cluster.submit("--after", f"afterok:{held}", "--", "true")
        later = self.cluster.submit("--begin", "+1h", "--", "true")
        reasons = {job: self.cluster.job(job)["wait_reason"] for job in (held, after, later)}
        self.assertEqual(reasons, {held: "JobHeldUser", after: "Dependency", later: "BeginTime"})
        self.assertIn("a note", self.cluster.run("show", held).stdout)
        self.cluster.run("update", held, "--name", "renamed", "--time", "5m", "--priority", "-3")
        shown = self.cluster.json("show", held, "-o", "json")
        self.assertEqual((shown["name"], shown["time_limit_ms"], shown["priority"]), ("renamed", 300000, -3))
        self.cluster.run("release", held)
        self.assertEqual(self.cluster.wait(held, after).returncode, 0)
        self.cluster.run("update", later, "--begin", "now")
        self.assertEqual(self.cluster.wait(later).returncode, 0)
        for words, text in ((("update", later, "--name", "x"), "has already ended"), (("update", later), "nothing to change is named"),
                            (("submit", "--after", "afterok:99999", "--", "true"), "there is no job 99999"),
                            (("submit", "--begin", "someday", "--", "true"), "not a time to begin"), (("hold", "x"), "x")):
            done = self.cluster.run(*words, check=False)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertIn(text, done.stderr)

    def test_elements_wait_for_those_of_another_array_and_deadlines_are_kept(self):
        first = self.cluster.submit("--array", "0-2", "--", "sh", "-c", "test $BERTH_ARRAY_INDEX != 1")
        second = self.cluster.submit("--array", "0-2", "--after", f"aftercorr:{first}", "--", "true")
        one = self.cluster.submit("--after", f"afterok:{first}.2", "--", "true")
        self.cluster.wait(first, one)
        wait_until("those that can to end", lambda: self.cluster.job(second)["counts"]["succeeded"] == 2)
        self.assertEqual(self.cluster.job(second)["wait_reason"], "DependencyNeverSatisfied")
        self.assertIn(f"its dependency aftercorr:{first}_1 will never be met", self.cluster.run("explain", f"{second}.1").stdout)
        self.cluster.run("cancel", second)
        late = self.cluster.submit("--hold", "--time", "1m", "--time-min", "58s", "--deadline", "+1m", "--", "true")
        self.assertIn("deadline:", self.cluster.run("show", late).stdout)
        wait_until("it to be too late", lambda: self.cluster.job(late)["state"] == "deadline")
        self.assertIn("could not have ended before its deadline", self.cluster.job(late)["reason"])
        runs = self.cluster.submit("--deadline", "+2s", "--", "sleep", "100")
        self.assertNotEqual(self.cluster.wait(runs).returncode, 0)
        self.assertEqual(self.cluster.job(runs)["state"], "timed-out")
        for words, text in ((("--deadline", "now"), "not a deadline"), (("--time", "2h", "--deadline", "+1h"), "no end before"),
                            (("--time", "1h", "--time-min", "2h"), "over the time limit"),
                            (("--after", f"aftercorr:{first}"), "only an array has elements")):
            done = self.cluster.run("submit", *words, "--", "true", check=False)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertIn(text, done.stderr)

    def test_a_large_array_is_one_small_request(self):
        self.cluster.run("drain", "n1")
        try:
            job = self.cluster.submit("--array", "1-1000000", "--", "true")
            self.assertEqual(self.cluster.job(job)["counts"]["pending"], 1000000)
            self.cluster.run("cancel", job)
            self.assertEqual(self.cluster.job(job)["counts"]["cancelled"], 1000000)
        finally:
            self.cluster.run("resume", "n1")

    def test_a_gang_starts_together_and_knows_its_ranks(self):
        place = self.cluster.path("gang")
        os.mkdir(place)
        job = self.cluster.submit("--gang", "2", "--cpus", "1", "--", "sh", "-c",
                                  f'echo "$BERTH_GANG_SIZE" > {place}/$BERTH_GANG_RANK; n=0; '
                                  f'until [ -e {place}/0 ] && [ -e {place}/1 ]; do n=$((n+1)); [ $n -lt 600 ] || exit 9; sleep 0.05; done')
        self.assertEqual(self.cluster.wait(job).returncode, 0)
        self.assertEqual(sorted(os.listdir(place)), ["0", "1"])

    def test_a_dry_run_checks_and_changes_nothing(self):
        before = self.cluster.json("status", "-o", "json")["journal_index"]
        self.assertEqual(self.cluster.run("submit", "--dry-run", "--", "true").returncode, 0)
        self.assertEqual(self.cluster.run("submit", "--dry-run", "--cpus", "1000", "--", "true", check=False).returncode, 1)
        self.assertEqual(self.cluster.json("status", "-o", "json")["journal_index"], before)

    def test_a_job_file_says_the_same_as_options(self):
        path = self.cluster.path("job.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("name: from-file\ncommand: [sh, -c, 'echo $GREETING']\ncpus: 0.5\nmem: 64M\ntime: 1m\n"
                       "array: 1-2\nenv:\n  GREETING: hello\n")
        job = self.cluster.submit("--file", path)
        self.assertEqual(self.cluster.wait(job).returncode, 0)
        self.assertEqual(self.cluster.job(job)["name"], "from-file")
        self.assertEqual(self.cluster.run("logs", f"{job}[2]").stdout, "hello\n")

    def test_the_higher_priority_runs_first(self):
        book = self.cluster.path("order")
        blocker = self.cluster.submit("--cpus", "2", "--", "sleep", "1")
        jobs = [self.cluster.submit("--cpus", "2", "--priority", str(p), "--", "sh", "-c", f"echo {p} >> {book}") for p in (0, 5, 9)]
        self.cluster.wait(blocker, *jobs)
        with open(book, encoding="utf-8") as file:
            self.assertEqual(file.read().split(), ["9", "5", "0"])


class Run(ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 2}

    def test_it_streams_the_output_and_exits_with_the_pods_code(self):
        done = self.cluster.run("run", "--", "sh", "-c", "echo one; echo two >&2; exit 7", check=False)
        self.assertEqual(done.returncode, 7)
        self.assertIn("one\n", done.stdout)
        self.assertIn("two\n", done.stdout + done.stderr)

    def test_output_comes_while_the_pod_still_runs(self):
        client = self.cluster.popen("run", "--", "sh", "-c", "echo early; sleep 300")
        try:
            self.assertEqual(client.stdout.readline(), "early\n")
            self.assertIsNone(client.poll())
        finally:
            client.send_signal(signal.SIGINT)
            client.communicate(timeout=harness.PATIENCE_S)

    def test_ctrl_c_reaches_the_pod(self):
        client = self.cluster.popen("run", "--name", "interrupted", "--", "sh", "-c",
                                    "trap 'echo caught; exit 9' TERM INT; echo ready; while :; do sleep 0.05; done")
        self.assertEqual(client.stdout.readline(), "ready\n")
        client.send_signal(signal.SIGINT)
        out, _ = client.communicate(timeout=harness.PATIENCE_S)
        self.assertIn("caught", out)
        self.assertNotEqual(client.returncode, 0)
        row = [row for row in self.cluster.json("ls", "--all", "-o", "json") if row["name"] == "interrupted"][0]
        self.assertIn(row["state"], harness.FINAL)

    def test_large_output_arrives_whole(self):
        done = self.cluster.run("run", "--", "seq", "1", "200000")
        self.assertEqual(done.stdout, "".join(f"{i}\n" for i in range(1, 200001)))


class Follow(ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 2}

    def test_ls_filters(self):
        one = self.cluster.submit("--name", "left", "--", "true")
        two = self.cluster.submit("--name", "right", "--", "false")
        self.cluster.wait(one, two)
        ids = lambda *words: {row["id"] for row in self.cluster.json("ls", "--all", "-o", "json", *words)}
        self.assertLessEqual({one, two}, ids())
        self.assertEqual(ids("--name", "left") & {one, two}, {one})
        self.assertEqual(ids("--state", "failed") & {one, two}, {two})
        self.assertEqual(ids(one), {one})
        self.assertFalse({one, two} & {row["id"] for row in self.cluster.json("ls", "-o", "json")})

    def test_ls_prints_a_table_and_a_wide_one(self):
        job = self.cluster.submit("--name", "tabled", "--", "true")
        self.cluster.wait(job)
        for words in (("ls", "--all"), ("ls", "--all", "-o", "wide")):
            lines = self.cluster.run(*words).stdout.splitlines()
            self.assertTrue(any(str(job) in line and "tabled" in line and "succeeded" in line for line in lines), lines)

    def test_ls_pages_through_more_jobs_than_a_page_holds(self):
        cluster = harness.Cluster(0)
        self.addCleanup(cluster.close)
        path = cluster.path("many.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write("jobs:\n" + "".join("- {name: paged, command: ['true']}\n" for _ in range(2500)))
        cluster.run("submit", "--file", path)
        rows = cluster.json("ls", "--name", "paged", "-o", "json")
        self.assertEqual([row["id"] for row in rows], list(range(rows[0]["id"], rows[0]["id"] + 2500)))

    def test_show_tells_everything_about_a_job(self):
        job = self.cluster.submit("--name", "shown", "--cpus", "0.5", "--mem", "64M", "--time", "5m", "--", "sh", "-c", "exit 4")
        self.cluster.wait(job)
        said = self.cluster.run("show", job).stdout
        for piece in ("shown", "0.5", "64", "exit 4", "failed"):
            self.assertIn(piece, said)

    def test_logs_follow_until_the_end(self):
        job = self.cluster.submit("--", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done")
        done = self.cluster.run("logs", "-f", job)
        self.assertEqual(done.stdout, "1\n2\n3\n")

    def test_wait_waits_for_the_end(self):
        job = self.cluster.submit("--", "sleep", "0.5")
        self.assertEqual(self.cluster.wait(job).returncode, 0)
        self.assertEqual(self.cluster.job(job)["state"], "succeeded")

    def test_wait_gives_up_when_told(self):
        job = self.cluster.submit("--", "sleep", "300")
        done = self.cluster.run("wait", "--timeout", "300ms", job, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.cluster.run("cancel", job)

    def test_cancel_stops_what_runs_and_what_waits(self):
        job = self.cluster.submit("--array", "1-50", "--cpus", "1", "--", "sleep", "300")
        self.cluster.wait_state(job, "running")
        self.cluster.run("cancel", job)
        self.cluster.wait_state(job, "cancelled")
        self.assertEqual(self.cluster.job(job)["counts"], {"cancelled": 50})

    def test_cancel_takes_single_elements(self):
        job = self.cluster.submit("--array", "1-4", "--cpus", "0.5", "--", "sleep", "300")
        wait_until("all run", lambda: self.cluster.job(job)["counts"] == {"running": 4})
        self.cluster.run("cancel", f"{job}[2-3]")
        wait_until("two are cancelled", lambda: self.cluster.job(job)["counts"] == {"running": 2, "cancelled": 2})
        self.cluster.run("cancel", job)

    def test_cancelling_what_has_ended_is_told(self):
        job = self.cluster.submit("--", "true")
        self.cluster.wait(job)
        self.assert_one_line(self.cluster.run("cancel", job, check=False), 1, str(job))

    def test_explain_says_why_a_job_waits(self):
        blocker = self.cluster.submit("--cpus", "2", "--", "sleep", "300")
        self.cluster.wait_state(blocker, "running")
        job = self.cluster.submit("--cpus", "1.5", "--", "true")
        self.assertRegex(self.cluster.run("explain", job).stdout, "cpu")
        self.assertIn("cpu", self.cluster.job(job)["reason"])
        self.cluster.run("cancel", blocker)
        self.assertEqual(self.cluster.wait(job).returncode, 0)

    def test_nodes_tells_what_is_there_and_what_is_used(self):
        job = self.cluster.submit("--cpus", "1.5", "--mem", "256M", "--", "sleep", "300")
        self.cluster.wait_state(job, "running")
        row = self.cluster.nodes()["n1"]
        self.assertEqual((row["state"], row["connected"], row["pods"]), ("up", True, 1))
        self.assertIn("n1", self.cluster.run("nodes").stdout)
        self.cluster.run("cancel", job)

    def test_a_terminal_gets_a_live_picture(self):
        job = self.cluster.submit("--array", "1-4", "--cpus", "0.5", "--", "sleep", "0.3")
        said = on_a_terminal(self.cluster, "wait", str(job))
        self.assertIn("\r", said)
        self.assertRegex(said, r"4/4|100")


class Administer(ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 2}

    def test_a_queue_gives_its_jobs_priority_and_a_time_limit_and_goes_when_it_is_empty(self):
        self.cluster.run("queue", "add", "short", "--priority", "100", "--time", "1s")
        self.assertIn("short", self.cluster.run("queue", "ls").stdout)
        job = self.cluster.submit("--queue", "short", "--grace", "200ms", "--", "sleep", "300")
        self.cluster.wait_state(job, "timed-out")
        refused = self.cluster.run("submit", "--queue", "short", "--time", "1h", "--", "true", check=False)
        self.assert_one_line(refused, 1, "short")
        self.cluster.run("queue", "rm", "short")
        self.assertNotIn("short", self.cluster.run("queue", "ls").stdout)

    def test_a_node_that_is_gone_for_good_is_removed(self):
        agent = self.cluster.add_agent(2)
        self.cluster.wait_nodes(2)
        agent.kill()
        wait_until("it is away", lambda: not self.cluster.nodes()["n2"]["connected"])
        self.cluster.run("node", "rm", "n2")
        self.assertEqual(set(self.cluster.nodes()), {"n1"})
        self.cluster.agents.pop(2)

    def test_status_counts_what_there_is(self):
        status = self.cluster.json("status", "-o", "json")
        self.assertEqual((status["nodes"], status["nodes_connected"], status["pods_live"]), (1, 1, 0))

    def test_submit_can_wait_itself(self):
        self.assertEqual(self.cluster.run("submit", "--wait", "--", "true").returncode, 0)
        self.assertEqual(self.cluster.run("submit", "--wait", "--", "false", check=False).returncode, 1)

    def test_a_listing_that_is_watched_shows_what_changes_until_it_is_interrupted(self):
        client = self.cluster.popen("ls", "--watch=200ms", "--all")
        watchdog = threading.Timer(harness.PATIENCE_S, client.kill)
        watchdog.start()
        self.addCleanup(watchdog.cancel)
        self.cluster.submit("--name", "watched", "--", "true")
        self.assertTrue(any("watched" in line for line in client.stdout))
        client.send_signal(signal.SIGINT)
        client.communicate(timeout=harness.PATIENCE_S)


class Dev(unittest.TestCase):
    def test_one_command_is_a_whole_cluster_and_ctrl_c_ends_it(self):
        cluster = harness.Cluster(start=False)
        self.addCleanup(cluster.close)
        dev = harness.Daemon("dev", [harness.BERTH, "dev", "--data", cluster.path("data"), "--socket", cluster.socket],
                             cluster.path("dev.log"), cluster.environment)
        dev.start()
        self.addCleanup(dev.kill)
        wait_until(lambda: "a node is there: " + dev.tail(),
                   lambda: '"connected": true' in cluster.run("nodes", "-o", "json", check=False).stdout)
        self.assertEqual(cluster.run("run", "--", "echo", "hello").stdout, "hello\n")
        self.assertEqual(dev.end(signal.SIGINT), 0)
        wait_until("its agent is gone too", lambda: not leftovers.processes(cluster.directory), seconds=10)


class Papers(unittest.TestCase):
    """What the binary says about itself, without a server."""

    def berth(self, *words):
        return subprocess.run([harness.BERTH, *words], capture_output=True, text=True, check=False, timeout=30)

    def test_the_version_is_a_line(self):
        self.assertRegex(self.berth("version").stdout, r"\d+\.\d+\.\d+")

    def test_every_verb_has_a_page_with_examples(self):
        for verb in VERBS:
            with self.subTest(verb):
                done = self.berth(verb, "--help")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("berth " + verb, done.stdout)
                self.assertTrue(all(len(line) <= 160 for line in done.stdout.splitlines()))

    def test_completions_parse_in_their_shells_and_know_the_options(self):
        for shell in ("bash", "zsh", "fish"):
            with self.subTest(shell):
                done = self.berth("completion", shell)
                self.assertEqual(done.returncode, 0)
                for word in ("submit", "array", "drain"):
                    self.assertIn(word, done.stdout)
        self.assertEqual(subprocess.run(["bash", "-n"], input=self.berth("completion", "bash").stdout, text=True,
                                        capture_output=True, check=False).stderr, "")

    def test_bash_completes_verbs_and_options(self):
        script = self.berth("completion", "bash").stdout + """
COMP_WORDS=(berth sub); COMP_CWORD=1; COMP_LINE="berth sub"; COMP_POINT=9
f=$(complete -p berth | sed 's/.*-F \\([^ ]*\\).*/\\1/'); $f berth sub berth; echo "${COMPREPLY[@]}"
COMP_WORDS=(berth submit --arr); COMP_CWORD=2; COMP_LINE="berth submit --arr"; COMP_POINT=18
COMPREPLY=(); $f berth --arr submit; echo "${COMPREPLY[@]}"
"""
        done = subprocess.run(["bash", "--norc"], input=script, text=True, capture_output=True, check=False)
        self.assertEqual(done.stdout.split(), ["submit", "--array"], done.stderr)

    def test_man_pages_are_roff_and_name_every_option(self):
        page = self.berth("man", "submit").stdout
        self.assertTrue(page.startswith(".TH"), page[:80])
        options = set(re.findall(r"--[a-z][a-z-]+", self.berth("submit", "--help").stdout))
        self.assertTrue({o for o in options if o.replace("-", "\\-") in page or o in page} >= options - {"--help"})


def on_a_terminal(cluster, *words):
    """What the command writes when its output is a terminal."""
    near, far = os.openpty()
    client = subprocess.Popen([harness.BERTH, *words], stdin=subprocess.DEVNULL, stdout=far, stderr=far,
                              env=dict(cluster.environment, TERM="xterm"), cwd=cluster.directory)
    os.close(far)
    said = b""
    while True:
        try:
            piece = os.read(near, 65536)
        except OSError:  # the last writer is gone
            break
        if not piece:
            break
        said += piece
    os.close(near)
    client.wait(timeout=harness.PATIENCE_S)
    return said.decode(errors="replace")


if __name__ == "__main__":
    unittest.main()
