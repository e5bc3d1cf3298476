"""berth exec: commands inside of running pods, with their streams, their end, and the end of whoever watches."""

import fcntl
import hashlib
import os
import pty
import pwd
import random
import select
import shutil
import signal
import struct
import subprocess
import termios
import time
import unittest

import harness  # first: it finds the one below
import image
import network
import test_service_story
from harness import BERTH, Cluster, ClusterTest, wait_until

ANA, BEN = "nobody", "games"
MEGABYTE = 1 << 20


def processes_with(word):
    """The ids of processes with this word in their command line."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if word.encode() in words:
            found.append(int(name))
    return found


def some_bytes(size, seed):
    return random.Random(seed).randbytes(size)


class Terminal:
    """A command on a pseudo-terminal of ours."""

    def __init__(self, cluster, *words, rows=33, columns=101):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.master)
        self.seen = b""
        self.process = subprocess.Popen([BERTH, *map(str, words)], stdin=slave, stdout=slave, stderr=slave,
                                        env=dict(cluster.environment, TERM="vt220"), start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0))
        os.close(slave)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text):
        os.write(self.master, text.encode())

    def wait_for(self, text):
        """Until this is on the screen; what came since the last call, up to it."""
        deadline = time.monotonic() + harness.PATIENCE_S
        while text.encode() not in self.seen:
            if time.monotonic() > deadline:
                raise AssertionError(f"never saw {text!r}, but {self.seen!r}")
            if not select.select([self.master], [], [], 0.2)[0]:
                continue
            try:
                self.seen += os.read(self.master, 65536)
            except OSError:
                raise AssertionError(f"it ended without {text!r}: {self.seen!r}") from None
        before, self.seen = self.seen.split(text.encode(), 1)
        return before.decode(errors="replace")

    def end(self):
        while True:  # what nobody reads would keep it
            try:
                if select.select([self.master], [], [], 0.05)[0]:
                    self.seen += os.read(self.master, 65536)
            except OSError:
                break
            if self.process.poll() is not None:
                break
        return self.process.wait(timeout=harness.PATIENCE_S)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)


class Commands:
    """What holds in every kind of pod. `submit(*options, command)` starts one; self.pod runs."""

    def exec(self, *words, pod=None, options=(), **more):
        return self.cluster.run("exec", *options, pod or self.pod, "--", *words, check=False, **more)

    def test_output_error_and_exit_code_come_through(self):
        done = self.exec("sh", "-c", "echo out; echo wrong >&2; exit 7")
        self.assertEqual((done.stdout, done.stderr, done.returncode), ("out\n", "wrong\n", 7))

    def test_a_signal_is_128_and_its_number(self):
        self.assertEqual(self.exec("sh", "-c", "kill -TERM $$").returncode, 143)
        self.assertEqual(self.exec("sh", "-c", "kill -KILL $$").returncode, 137)

    def test_a_program_that_is_not_there_is_one_line_and_127(self):
        self.assert_one_line(self.exec("/no/such/program", "x"), 127, "/no/such/program")

    def test_input_is_empty_unless_it_is_asked_for(self):
        self.assertEqual(self.exec("cat", stdin="hidden").stdout, "")
        self.assertEqual(self.exec("cat", options=["-i"], stdin="seen\n").stdout, "seen\n")

    def test_variables_are_set_over_the_pods(self):
        done = self.exec("sh", "-c", "echo $COLOUR $SHAPE $BERTH_JOB_ID", options=["-e", "COLOUR=red", "--env", "SHAPE=round"])
        self.assertEqual(done.stdout, f"red round {self.pod}\n")
        self.assertEqual(self.exec("sh", "-c", "echo $COLOUR").stdout, "green\n")

    def test_a_hundred_megabytes_go_both_ways_unharmed(self):
        sent = some_bytes(100 * MEGABYTE, 1)
        process = subprocess.Popen([BERTH, "exec", "-i", str(self.pod), "--", "cat"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, env=self.cluster.environment)
        came = process.communicate(sent, timeout=300)[0]
        self.assertEqual(process.returncode, 0)
        self.assertEqual(len(came), len(sent))
        self.assertEqual(hashlib.sha256(came).digest(), hashlib.sha256(sent).digest())

    def test_a_command_that_takes_no_more_input_ends_all_the_same(self):
        process = subprocess.Popen([BERTH, "exec", "-i", str(self.pod), "--", "head", "-c", "5"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, env=self.cluster.environment)
        came = process.communicate(some_bytes(8 * MEGABYTE, 2), timeout=60)[0]
        self.assertEqual((len(came), process.returncode), (5, 0))

    def test_what_it_leaves_in_the_background_is_not_waited_for(self):
        begun = time.monotonic()
        done = self.exec("sh", "-c", "sleep 41 & echo done")
        self.assertEqual((done.stdout, done.returncode), ("done\n", 0))
        self.assertLess(time.monotonic() - begun, 35)

    def test_a_terminal_has_our_size_and_kind_and_follows_it(self):
        terminal = Terminal(self.cluster, "exec", "-it", self.pod, "--", "sh")
        self.addCleanup(terminal.close)
        terminal.type("echo si''ze $(stty size) $TERM.\n")
        terminal.wait_for("size 33 101 vt220.")
        terminal.resize(44, 122)
        # It is told of it by a signal, some time.
        terminal.type("until [ \"$(stty size)\" = '44 122' ]; do sleep 0.1; done; echo fol''lowed\n")
        terminal.wait_for("followed")
        terminal.type("exit 5\n")
        self.assertEqual(terminal.end(), 5)
        self.assertEqual(termios.tcgetattr(terminal.master)[:4], terminal.before[:4])

    def test_ctrl_c_goes_to_the_command(self):
        terminal = Terminal(self.cluster, "exec", "-it", self.pod, "--", "sh", "-c",
                            "trap 'echo cau''ght; exit 9' INT; echo rea''dy; while :; do sleep 0.1; done")
        self.addCleanup(terminal.close)
        terminal.wait_for("ready")
        terminal.type("\x03")
        terminal.wait_for("caught")
        self.assertEqual(terminal.end(), 9)

    def test_who_watches_is_killed_and_the_command_goes(self):
        for options in ((), ("-i",)):
            with self.subTest(options):
                seconds = str(10_000 + random.randrange(10_000))
                process = subprocess.Popen([BERTH, "exec", *options, str(self.pod), "--", "sh", "-c",
                                            f"sleep {seconds} & sleep {seconds}; true"], stdin=subprocess.PIPE,
                                           env=self.cluster.environment)
                self.addCleanup(process.stdin.close)
                wait_until("both run", lambda: len(processes_with(seconds)) == 2)
                process.kill()
                process.wait()
                wait_until("none is left", lambda: not processes_with(seconds))

    def test_a_terminal_that_is_gone_takes_its_command_along(self):
        seconds = str(20_000 + random.randrange(10_000))
        terminal = Terminal(self.cluster, "exec", "-it", self.pod, "--", "sh", "-c", f"trap '' HUP; sleep {seconds}; true")
        self.addCleanup(terminal.close)
        wait_until("it runs", lambda: processes_with(seconds))
        terminal.process.kill()
        wait_until("it is gone", lambda: not processes_with(seconds))

    def test_the_pod_ends_and_the_command_with_it(self):
        pod = self.submit("sleep", "300")
        process = self.cluster.popen("exec", pod, "--", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.assertEqual(process.stdout.readline(), "ready\n")
        self.cluster.run("cancel", pod)
        self.assertIn(process.wait(timeout=harness.PATIENCE_S), (137, 143))

    def test_ten_at_once(self):
        running = []
        for number in range(10):
            running.append(subprocess.Popen([BERTH, "exec", "-i", str(self.pod), "--", "sh", "-c",
                                             f"cat; exit {number}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            env=self.cluster.environment))
        for number, process in enumerate(running):
            sent = some_bytes(MEGABYTE, number)
            self.assertEqual(process.communicate(sent, timeout=120)[0], sent)
            self.assertEqual(process.returncode, number)

    def test_who_does_not_read_holds_up_nobody_and_nothing_grows(self):
        lazy = subprocess.Popen([BERTH, "exec", str(self.pod), "--", "sh", "-c", "yes aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"],
                                stdout=subprocess.PIPE, env=self.cluster.environment)
        self.addCleanup(lazy.stdout.close)
        lazy.stdout.read(1000)
        time.sleep(0.5)  # all that may be on its way is
        before = self.memory_kib()
        time.sleep(1.5)
        self.assertEqual(self.exec("echo", "fine").stdout, "fine\n")
        self.assertLess(self.memory_kib() - before, 8 * 1024)
        lazy.kill()
        lazy.wait()

    def memory_kib(self):
        total = 0
        for daemon in (self.cluster.server, *self.cluster.agents.values()):
            with open(f"/proc/{daemon.process.pid}/status", encoding="utf-8") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))
        return total


class Processes(Commands, ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 2}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.pod = cls.submit("sleep", "3000")

    @classmethod
    def submit(cls, *words, user=None):
        job = cls.cluster.submit("--cpus", "0.1", "--mem", "64M", "--env", "COLOUR=green", "--cwd", "/usr", "--grace", "1s", "--",
                                 *words, user=user)
        cls.cluster.wait_state(job, "running")
        return job

    def test_it_is_in_the_pods_directory_and_groups(self):
        self.assertEqual(self.exec("pwd").stdout, "/usr\n")
        (main,) = processes_with("3000")
        with open(f"/proc/{main}/cgroup", encoding="utf-8") as file:
            self.assertEqual(self.exec("cat", "/proc/self/cgroup").stdout, file.read())

    def test_it_has_no_descriptors_but_its_streams(self):
        self.assertEqual(self.exec("sh", "-c", "ls /proc/$$/fd").stdout.split(), ["0", "1", "2"])
        terminal = Terminal(self.cluster, "exec", "-it", self.pod, "--", "sh", "-c", "ls -m /proc/$$/fd; true")
        self.addCleanup(terminal.close)
        terminal.wait_for("0, 1, 2\r\n")

    def test_one_element_of_an_array_is_named_by_its_index(self):
        job = self.cluster.submit("--array", "4-5", "--cpus", "0.1", "--mem", "32M", "--", "sleep", "300")
        wait_until("both run", lambda: [p["state"] for p in self.cluster.pods(job)] == ["running"] * 2)
        for name in (f"{job}.5", f"{job}[5]"):
            self.assertEqual(self.exec("sh", "-c", "echo $BERTH_ARRAY_INDEX", pod=name).stdout, "5\n")
        self.assert_one_line(self.exec("true", pod=job), 1, "2 pods", f"{job}.4")
        self.assert_one_line(self.exec("true", pod=f"{job}.6"), 1, "no element 6")
        self.cluster.run("cancel", job)

    def test_bad_words_are_told_in_one_line(self):
        self.assert_one_line(self.cluster.run("exec", self.pod, check=False), 2, "COMMAND")
        self.assert_one_line(self.cluster.run("exec", "twelve", "--", "ls", check=False), 2, "twelve")
        self.assert_one_line(self.exec("ls", options=["-e", "COLOUR"]), 2, "NAME=VALUE")
        self.assert_one_line(self.exec("ls", options=["-it"]), 2, "terminal")
        self.assert_one_line(self.exec("ls", pod=999999), 1, "999999")

    def test_a_pod_that_does_not_run_is_told(self):
        ended = self.cluster.submit("--", "true")
        self.cluster.wait(ended)
        self.assert_one_line(self.exec("ls", pod=ended), 1, "succeeded")
        waiting = self.cluster.submit("--hold", "--", "true")
        self.assert_one_line(self.exec("ls", pod=waiting), 1, "pending")
        self.cluster.run("cancel", waiting)

    @harness.needs_root
    def test_it_runs_as_the_pods_user_who_alone_may(self):
        pod = self.submit("sleep", "300", user=ANA)
        ana = pwd.getpwnam(ANA)
        groups = sorted(str(g) for g in os.getgrouplist(ANA, ana.pw_gid))
        for who in (ANA, None):  # an administrator runs it as the pod's user, too
            done = self.exec("sh", "-c", "id -u; id -g; grep CapEff /proc/self/status; id -G", pod=pod, user=who)
            lines = done.stdout.splitlines()
            self.assertEqual(lines[:3], [str(ana.pw_uid), str(ana.pw_gid), "CapEff:\t" + "0" * 16], done.stderr)
            self.assertEqual(sorted(lines[3].split()), groups)
        self.assert_one_line(self.exec("id", pod=pod, user=BEN), 1, "another user")
        self.assert_one_line(self.exec("id", pod=self.pod, user=BEN), 1, "another user")
        terminal = Terminal(self.cluster, "exec", "-it", pod, "--", "sh", "-c", "echo op''ened > $(tty)")
        self.addCleanup(terminal.close)
        terminal.wait_for("opened")
        self.cluster.run("cancel", pod)


class Containers(Commands, ClusterTest):
    RUNTIME = "crun"

    @classmethod
    def setUpClass(cls):
        why = "containers need root" if not harness.is_root() else image.missing()
        if why:
            raise unittest.SkipTest(why)
        if shutil.which(cls.RUNTIME) is None:
            raise unittest.SkipTest(f"{cls.RUNTIME} is not installed")
        cls.cluster = Cluster(1, cpus=2, agent=["--runtime", cls.RUNTIME])
        cls.addClassCleanup(cls.cluster.close)
        cls.image = image.make(cls.cluster.path("busybox"))
        cls.pod = cls.submit("sleep", "3000")

    @classmethod
    def submit(cls, *words, user=None):
        job = cls.cluster.submit("--image", cls.image, "--cpus", "0.1", "--mem", "64M", "--env", "COLOUR=green", "--cwd", "/tmp",
                                 "--grace", "1s", "--", *words, user=user)
        cls.cluster.wait_state(job, "running")
        return job

    def test_it_sees_the_containers_files_and_processes(self):
        self.exec("sh", "-c", "echo here > /tmp/mark")
        self.assertEqual(self.exec("cat", "mark").stdout, "here\n")
        self.assertFalse(os.path.exists("/tmp/mark"))
        self.assertEqual(self.exec("cat", "/proc/1/cmdline").stdout, "sleep\0003000\0")

    def test_it_runs_as_the_pods_user(self):
        pod = self.submit("sleep", "300", user=ANA)
        self.assertEqual(self.exec("id", "-u", pod=pod, user=ANA).stdout, f"{pwd.getpwnam(ANA).pw_uid}\n")
        self.assert_one_line(self.exec("id", pod=pod, user=BEN), 1, "another user")
        self.cluster.run("cancel", pod)

    def test_nothing_of_a_command_is_left_in_the_bundle(self):
        self.exec("true")
        (bundle,) = (name for name in os.listdir(self.cluster.path("agent1", "bundles")) if name.startswith(f"{self.pod}-")
                     or name.startswith(f"{self.pod}."))
        wait_until("it is clean", lambda: not [name for name in os.listdir(self.cluster.path("agent1", "bundles", bundle))
                                               if name.startswith("exec-")])


class ContainersOfRunc(Containers):
    RUNTIME = "runc"

    def test_what_it_leaves_in_the_background_is_not_waited_for(self):
        # runc stays until nobody holds the streams any more.
        begun = time.monotonic()
        done = self.exec("sh", "-c", "sleep 41 > /dev/null 2>&1 & echo done")
        self.assertEqual((done.stdout, done.returncode), ("done\n", 0))
        self.assertLess(time.monotonic() - begun, 35)


@unittest.skipIf(test_service_story.missing(), test_service_story.missing())
class PodNetworks(unittest.TestCase):
    def test_a_command_is_in_the_network_of_its_pod_and_finds_its_files(self):
        cluster = Cluster(1, network=network.Network(1), cpus=2)
        self.addCleanup(cluster.close)
        look = "cat /etc/resolv.conf /etc/hosts; ls -l /proc/self/ns/net | grep -o 'net:.*'"
        try:
            cluster.run("service", "create", "web", "--network", "pods", "--cpus", "0.1", "--", "sh", "-c", look + "; sleep 300")
        except subprocess.TimeoutExpired:
            self.fail("the service does not come up:\n" + cluster.run("events").stdout + cluster.logs_of_daemons())
        (task,) = cluster.json("service", "ps", "web", "-o", "json")
        said = wait_until("it has said all", lambda: "net:[" in (log := cluster.run("logs", task["job"]).stdout) and log)
        self.assertEqual(cluster.run("exec", task["job"], "--", "sh", "-c", look).stdout, said)
        self.assertIn("berth.internal", said)
        self.assertNotIn(os.readlink("/proc/self/ns/net"), said)


class Losses(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster(1, tls=True, server=["--node-lost-after", "60s", "--heartbeat", "300ms"])
        self.addCleanup(self.cluster.close)
        self.pod = self.cluster.submit("--", "sleep", "3000")
        self.cluster.wait_state(self.pod, "running")
        self.seconds = str(30_000 + random.randrange(10_000))
        self.process = self.cluster.popen("exec", self.pod, "--", "sh", "-c", f"sleep {self.seconds}; true")
        self.addCleanup(self.process.stdout.close)
        self.addCleanup(self.process.stderr.close)
        wait_until("it runs", lambda: processes_with(self.seconds))

    def ends_with(self, piece):
        self.assertEqual(self.process.wait(timeout=harness.PATIENCE_S), 1)
        said = self.process.stderr.read()
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertIn(piece, said)
        wait_until("the command is gone", lambda: not processes_with(self.seconds))
        self.assertEqual(self.cluster.job(self.pod)["state"], "running")

    def test_an_agent_that_is_killed_ends_the_command_and_not_the_pod(self):
        self.cluster.agents[1].kill()
        self.ends_with("node")
        away = self.cluster.run("exec", self.pod, "--", "true", check=False)
        self.assertEqual(away.returncode, 1)
        self.assertIn("n1, which is not connected", away.stderr)
        self.cluster.agents[1].start()
        self.cluster.wait_nodes(1)
        # The next agent runs commands in the pods of the one before it.
        self.assertEqual(self.cluster.run("exec", self.pod, "--", "echo", "again").stdout, "again\n")

    def test_a_server_that_is_killed_ends_the_command_and_not_the_pod(self):
        self.cluster.server.kill()
        self.assertEqual(self.process.wait(timeout=harness.PATIENCE_S), 1)
        self.cluster.start_server()
        self.cluster.wait_nodes(1)
        self.ends_with("connection to the server was lost")

    def test_a_server_that_stops_ends_the_command(self):
        self.cluster.server.end(signal.SIGTERM)
        self.assertEqual(self.process.wait(timeout=harness.PATIENCE_S), 1)
        wait_until("the command is gone", lambda: not processes_with(self.seconds))


if __name__ == "__main__":
    unittest.main()
