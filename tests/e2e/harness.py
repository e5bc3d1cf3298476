"""Cluster: a real server and real agents, of the binary under test, in a directory of their own.

close() ends everything a cluster started, pods and shims too, whatever a test left behind, and removes control groups and
mounts (tools/demo/leftovers.py). Clusters do not collide: each
has its own directory, sockets, ports and node names.
"""

import json
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "tools", "demo"))
import leftovers  # noqa: E402

BERTH = os.path.abspath(os.environ.get("BERTH") or os.path.join(ROOT, "build", "release", "berth"))
PATIENCE_S = 60  # how long anything may take on a loaded machine before a test gives up
FINAL = {"succeeded", "failed", "out-of-memory", "timed-out", "cancelled", "node-lost", "deadline"}


def is_root():
    return os.geteuid() == 0


needs_root = unittest.skipUnless(is_root(), "needs root")


def wait_until(what, condition, seconds=PATIENCE_S, every=0.05):
    """Polls until condition() is true, and returns its value; fails with `what` (a text, or a function that makes one)."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s still not: {what() if callable(what) else what}")
        time.sleep(every)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def as_user(name):
    """The words before a command that run it as another user, with his groups, and the environment he would have."""
    entry = pwd.getpwnam(name)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--init-groups"]


class Daemon:
    """A server or an agent, restarted with the same command line."""

    def __init__(self, name, command, log, environment):
        self.name, self.command, self.log, self.environment = name, command, log, environment
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.environment, start_new_session=True)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def send(self, number):
        if self.alive():
            self.process.send_signal(number)

    def end(self, number=signal.SIGTERM, seconds=30):
        """Sends the signal, waits, and returns the exit code as Popen gives it. SIGKILL if it does not go."""
        if self.process is None:
            return None
        self.send(number)
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not end within {seconds} s of signal {number}:\n{self.tail()}") from None

    def kill(self):
        self.end(signal.SIGKILL)

    def tail(self, lines=30):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except OSError:
            return ""


class Cluster:
    def __init__(self, agents=1, *, network=None, tls=False, cpus=2, mem="4G", server=(), agent=(), start=True):
        self.directory = tempfile.mkdtemp(prefix="berth-e2e-")
        os.chmod(self.directory, 0o755)
        self.socket = os.path.join(self.directory, "s")
        self.network = network
        self.tls = tls or network is not None
        self.cpus, self.mem = cpus, mem
        self.agent_options = list(agent)
        host = network.address if network else "127.0.0.1"
        self.listen = f"{host}:{free_port()}" if self.tls else ""
        self.environment = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "LANG": "C.UTF-8",
                            "HOME": os.path.join(self.directory, "home"), "BERTH_SERVER": self.socket,
                            "BERTH_E2E": self.directory}
        os.mkdir(self.environment["HOME"])
        command = [BERTH, "server", "--data", self.path("server"), "--socket", self.socket]
        command += ["--listen", self.listen if self.tls else "none"]
        self.server = Daemon("server", command + list(server), self.path("server.log"), self.environment)
        self.agents = {}
        try:
            if start:
                self.start_server()
                for number in range(1, agents + 1):
                    self.add_agent(number)
                self.wait_nodes(agents)
        except BaseException:
            self.close()
            raise

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def node_name(self, number):
        return f"n{number}"

    # ---- daemons ----------------------------------------------------------------------------------------------------
    def start_server(self, wait=True):
        self.server.start()
        if wait:
            self.wait_server()

    def wait_server(self):
        def answers():
            if not self.server.alive():
                raise AssertionError("the server ended:\n" + self.server.tail())
            return self.run("status", check=False).returncode == 0
        wait_until(lambda: "the server answers\n" + self.server.tail(), answers)

    def add_agent(self, number, *options, token=None):
        """Makes and starts agent `number`; over TLS it joins with a token."""
        command = self.network.inside(number) if self.network else []
        command = command + [BERTH, "agent", "--data", self.path(f"agent{number}"), "--name", self.node_name(number),
                             "--cpus", str(self.cpus), "--mem", self.mem]
        if self.tls:
            command += ["--join", self.listen, "--token", token or self.token()]
        else:
            command += ["--join", self.socket]
        agent = Daemon(f"agent {number}", command + self.agent_options + list(options), self.path(f"agent{number}.log"),
                       self.environment)
        self.agents[number] = agent
        agent.start()
        return agent

    def token(self, *options):
        """A fresh token that lets a node join."""
        return find_token(self.run("token", "create", *options).stdout)

    def nodes(self):
        return {row["name"]: row for row in self.json("nodes", "-o", "json")}

    def wait_nodes(self, count):
        """Until so many nodes are connected and up."""
        def ready():
            for agent in self.agents.values():
                if not agent.alive():
                    raise AssertionError(f"{agent.name} ended:\n{agent.tail()}")
            return sum(row["connected"] and row["state"] == "up" for row in self.nodes().values()) >= count
        wait_until(lambda: f"{count} nodes are up: {self.nodes()}\n" + "".join(a.tail(5) for a in self.agents.values()), ready)

    # ---- the command line -------------------------------------------------------------------------------------------
    def run(self, *words, user=None, check=True, timeout=PATIENCE_S, stdin="", env=None, cwd=None):
        """`berth WORDS` to its end. With check, a failure fails the test and shows what was said."""
        command = (as_user(user) if user else []) + [BERTH, *map(str, words)]
        environment = dict(self.environment, **(env or {}))
        if user:
            environment["HOME"] = "/nonexistent"
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, errors="replace", timeout=timeout,
                              env=environment, cwd=cwd or self.directory, check=False)
        if check and done.returncode != 0:
            raise AssertionError(f"berth {' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def popen(self, *words, user=None, **more):
        command = (as_user(user) if user else []) + [BERTH, *map(str, words)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env=self.environment, cwd=self.directory, **more)

    def json(self, *words, **more):
        return json.loads(self.run(*words, **more).stdout)

    def submit(self, *words, **more):
        """Submits and returns the job's id."""
        return find_id(self.run("submit", *words, **more).stdout)

    def job(self, job):
        """The job's row of `ls`."""
        rows = [row for row in self.json("ls", "--all", "-o", "json", str(job)) if row["id"] == job]
        if len(rows) != 1:
            raise AssertionError(f"job {job} is not listed once: {rows}")
        return rows[0]

    def pods(self, job):
        return self.json("show", str(job), "--pods", "-o", "json")["pods"]

    def wait(self, *jobs, seconds=PATIENCE_S, check=False):
        return self.run("wait", *jobs, check=check, timeout=seconds)

    def wait_state(self, job, state, seconds=PATIENCE_S):
        return wait_until(lambda: f"job {job} is {state}: {self.job(job)}\n" + self.logs_of_daemons(5),
                          lambda: self.job(job)["state"] == state, seconds)

    def logs_of_daemons(self, lines=15):
        return "".join(f"[{d.name}]\n{d.tail(lines)}" for d in (self.server, *self.agents.values()))

    # ---- the end ----------------------------------------------------------------------------------------------------
    def close(self):
        for daemon in (*self.agents.values(), self.server):
            if daemon.alive():
                daemon.process.kill()
                daemon.process.wait()
        left = leftovers.remove(self.directory)
        if self.network:
            self.network.close()
        if left:
            raise AssertionError("left behind: " + ", ".join(left))


def find_id(text):
    numbers = re.findall(r"\d+", text)
    if not numbers:
        raise AssertionError(f"no job id in: {text!r}")
    return int(numbers[-1])


def find_token(text):
    match = re.search(r"berth1-[0-9a-f]{64}-\w+-\w+", text)
    if not match:
        raise AssertionError(f"no token in: {text!r}")
    return match.group(0)


class ClusterTest(unittest.TestCase):
    """A test case with one cluster for the whole class; OPTIONS are Cluster's arguments."""

    OPTIONS = {}

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(**cls.OPTIONS)
        cls.addClassCleanup(cls.cluster.close)

    def assert_one_line(self, done, code, *pieces):
        """One clear line on standard error, nothing on standard output, this exit code."""
        said = done.stderr.strip()
        self.assertEqual(done.returncode, code, said + done.stdout)
        self.assertEqual(len(said.splitlines()), 1, said)
        self.assertEqual(done.stdout, "")
        for piece in pieces:
            self.assertIn(piece, said)
