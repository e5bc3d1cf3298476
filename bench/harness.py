"""What every bench shares: a server of its own in a temporary directory, agents, figures, and cleaning up by process id."""

import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
START_LIMIT_S = 60
RUN_LIMIT_S = 300  # no program that a bench waits for takes longer


class BenchError(Exception):
    """One line for the user."""


class BenchSkip(Exception):
    """What is missing for this bench, in one line."""


def data_directory(name):
    """A folder of the real inputs that are no part of this project; None where they are absent."""
    root = os.environ.get("BERTH_DATA") or os.path.join(os.path.dirname(ROOT), "shared", "data")
    path = os.path.join(root, name)
    return path if os.path.isdir(path) else None


class Options:
    def __init__(self, build, short, jobs=0):
        self.build = os.path.abspath(build)
        self.short = short
        self.jobs = jobs  # 0: as many as the bench thinks right
        self.berth = os.path.join(self.build, "berth")

    def program(self, name):
        path = os.path.join(self.build, name)
        if not os.path.exists(path):
            raise BenchError(f"{path} is missing: build it first (./dev build)")
        return path

    def seconds(self, normal):
        """How long to measure: a moment with --short."""
        return 0.3 if self.short else normal

    def count(self, normal, short):
        return short if self.short else normal


class Figures:
    """Name -> number; a repeated name collects values, of which the median counts."""

    def __init__(self):
        self.values = {}
        self.outcome = []

    def add(self, name, value):
        self.values.setdefault(name, []).append(float(value))

    def add_all(self, flat, prefix=""):
        for name, value in flat.items():
            self.add(prefix + name, value)

    def get(self, name):
        return statistics.median(self.values[name])

    def ratio(self, name, above, below):
        if self.get(below):
            self.add(name, self.get(above) / self.get(below))

    def note_outcome(self, line):
        """What shows that the work was done: a count or a hash."""
        self.outcome.append(line)

    def flat(self):
        return {name: round(self.get(name), 4) for name in self.values}

    def print_table(self, name):
        print(f"bench {name}: {processor()}, {os.cpu_count()} cores, {time.strftime('%Y-%m-%d', time.gmtime())}")
        width = max((len(n) for n in self.values), default=0)
        for figure in self.values:
            spread = ""
            if len(self.values[figure]) > 1:
                spread = f"   ({min(self.values[figure]):,.3f} to {max(self.values[figure]):,.3f}, {len(self.values[figure])} runs)"
            print(f"  {figure:<{width}}  {self.get(figure):>16,.3f}{spread}")
        for line in self.outcome:
            print(f"  outcome: {line}")

    def write(self, name):
        directory = os.path.join(ROOT, "build", "bench")
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, name + ".json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(self.flat(), out, indent=2)
            out.write("\n")
        print(f"  written to {os.path.relpath(path)}")


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as source:
        for line in source:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


class Scratch:
    """A temporary directory on the disk of the build directory: a journal in memory would measure nothing."""

    def __init__(self, options):
        base = os.path.join(options.build, "bench-tmp")
        os.makedirs(base, exist_ok=True)
        self.path = tempfile.mkdtemp(prefix="run-", dir=base)

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)


class Process:
    """A child with its output in a file; ended by SIGTERM, and by SIGKILL if that is not enough."""

    def __init__(self, argv, log_path):
        self.argv = argv
        self.log_path = log_path
        self.log = open(log_path, "ab")
        self.child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        self.pid = self.child.pid

    def text(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_for(self, ready, what):
        deadline = time.monotonic() + START_LIMIT_S
        while not ready():
            if self.child.poll() is not None:
                raise BenchError(f"{' '.join(self.argv[:3])} ended with {self.child.returncode}: {self.text().strip()[-500:]}")
            if time.monotonic() > deadline:
                raise BenchError(f"{what} did not come within {START_LIMIT_S} s: {self.text().strip()[-500:]}")
            time.sleep(0.02)

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.log.close()


class Cluster:
    """A server, and whatever agents a bench asks for. Use as a context."""

    def __init__(self, options, scratch):
        self.options = options
        self.scratch = scratch
        # A socket's path may be 107 bytes long: the scratch directory may be deeper than that.
        self.socket_dir = tempfile.mkdtemp(prefix="berth-bench-")
        self.socket = os.path.join(self.socket_dir, "s")
        self.processes = []

    def __enter__(self):
        try:
            self.server = self.start("server", ["server", "--data", os.path.join(self.scratch, "data"), "--socket", self.socket, "--listen", "none"])
            self.server.wait_for(lambda: os.path.exists(self.socket) and self.answers(), "the server's answer")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.stop()
        shutil.rmtree(self.socket_dir, ignore_errors=True)

    def start(self, name, arguments):
        process = Process([self.options.berth] + arguments, os.path.join(self.scratch, name + ".log"))
        self.processes.append(process)
        return process

    def answers(self):
        return run_program([self.options.berth, "nodes", "--server", self.socket]).returncode == 0

    def run(self, *arguments, check=True, stdin=None):
        done = run_program([self.options.berth, "--server", self.socket, *arguments], stdin=stdin)
        if check and done.returncode != 0:
            raise BenchError(f"berth {' '.join(arguments)} ended with {done.returncode}: {(done.stderr + done.stdout).strip()[-500:]}")
        return done.stdout

    def hollow_agents(self, count, *more, name="agents"):
        self.totals = os.path.join(self.scratch, name + ".json")
        agents = self.start(name, ["bench", "agents", "--count", str(count), "--json", self.totals, "--server", self.socket, *more])
        agents.wait_for(lambda: f"{count} agents are connected" in agents.text(), f"{count} hollow agents")
        return agents

    def agent(self, name="node1"):
        """A real agent; ready when the server lists it as up."""
        directory = os.path.join(self.scratch, "agent")
        agent = self.start("agent", ["agent", "--join", self.socket, "--name", name, "--data", directory])
        agent.wait_for(lambda: name in self.run("nodes", check=False), "the agent")
        return agent

    def load(self, **options):
        path = os.path.join(self.scratch, "load.json")
        arguments = ["bench", "load", "--json", path]
        for name, value in options.items():
            arguments += ["--" + name.replace("_", "-"), str(value)]
        text = self.run(*arguments)
        with open(path, encoding="utf-8") as source:
            figures = json.load(source)
        outcome = [line.strip() for line in text.splitlines() if line.strip().startswith("outcome")]
        return figures, outcome[0] if outcome else ""

    def thread_us(self, process):
        """Processor time of each thread so far, by its name: unlike a rate, it does not depend on what else runs here."""
        times = {}
        tasks = f"/proc/{process.pid}/task"
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/comm", encoding="utf-8") as source:
                name = source.read().strip().removeprefix("berth-")
            with open(f"{tasks}/{task}/schedstat", encoding="utf-8") as source:
                times[name] = times.get(name, 0) + int(source.read().split()[0]) / 1000
        return times

    def agent_totals(self, agents):
        """Stops the hollow agents and reads what they did."""
        agents.stop()
        with open(self.totals, encoding="utf-8") as source:
            return json.load(source)


def floors(options, scratch, seconds):
    """What the machine can do by itself, now."""
    return run_json([options.program("floor_bench"), scratch, str(seconds)])


def run_program(argv, limit_s=RUN_LIMIT_S, stdin=None):
    try:
        return subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=limit_s)
    except subprocess.TimeoutExpired as late:
        raise BenchError(f"{' '.join(argv[:4])} did not end within {limit_s} s") from late


def run_json(argv, limit_s=RUN_LIMIT_S):
    done = run_program(argv, limit_s)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)


def google_benchmark(options, program, pattern=".", limit_s=RUN_LIMIT_S):
    """The `benchmarks` rows of a Google Benchmark program."""
    argv = [options.program(program), "--benchmark_format=json", f"--benchmark_filter={pattern}"]
    argv.append("--benchmark_min_time=" + ("0.001" if options.short else "0.5"))
    return run_json(argv, limit_s)["benchmarks"]


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(part * 1000) * len(ordered) // 1000) - 1))]


def status_kib(pid, field):
    """A field of /proc/PID/status or smaps_rollup in KiB, 0 if it is not there."""
    for name in ("status", "smaps_rollup"):
        with open(f"/proc/{pid}/{name}", encoding="utf-8") as source:
            for line in source:
                if line.startswith(field + ":"):
                    return int(line.split()[1])
    return 0


def main_error(error):
    print(f"bench: {error}", file=sys.stderr)
    return 1
