#!/usr/bin/python3
"""A real batch on an embedded cluster: thousands of containers and processes, a gang, three ways to fail. It shows what a
user sees, and leaves nothing behind. `./dev demo` builds and runs it; as root, because it runs containers."""

import argparse
import collections
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import image  # noqa: E402
import leftovers  # noqa: E402

BERTH = os.path.normpath(os.path.join(HERE, "..", "..", "build", "release", "berth"))


class Demo:
    def __init__(self, options):
        self.options = options
        self.directory = tempfile.mkdtemp(prefix="berth-demo-")
        os.chmod(self.directory, 0o755)
        self.socket = os.path.join(self.directory, "socket")
        self.environment = dict(os.environ, BERTH_SERVER=self.socket)
        self.cluster = None
        self.jobs = {}  # id -> what it is

    def say(self, text):
        print(f"\n== {text}", flush=True)

    def berth(self, *words, check=True):
        done = subprocess.run([BERTH, *map(str, words)], capture_output=True, text=True, env=self.environment, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"berth {' '.join(map(str, words))}: {done.stderr.strip()}")
        return done.stdout

    def start(self):
        self.say("an embedded cluster: server and agent in one process group, its data in " + self.directory)
        with open(os.path.join(self.directory, "log"), "wb") as log:
            self.cluster = subprocess.Popen([BERTH, "dev", "--data", os.path.join(self.directory, "data"), "--socket", self.socket],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 30
        while True:
            done = subprocess.run([BERTH, "nodes", "-o", "json"], capture_output=True, text=True, env=self.environment, check=False)
            if done.returncode == 0 and any(node["connected"] for node in json.loads(done.stdout)):
                break
            if self.cluster.poll() is not None or time.monotonic() > deadline:
                with open(os.path.join(self.directory, "log"), encoding="utf-8") as log:
                    raise RuntimeError("the cluster did not start:\n" + log.read())
            time.sleep(0.05)
        print(self.berth("nodes"), end="")

    def submit(self, what, *words):
        shown = " ".join(word if " " not in word and "\n" not in word else repr(word) for word in words)
        job = int(self.berth("submit", *words).split()[-1])
        self.jobs[job] = what
        print(f"{job:>4}  {what:34} berth submit {shown[:150].replace(self.directory, '…')}", flush=True)
        return job

    def submit_all(self):
        self.say("the batch")
        containers, processes = self.options.containers, self.options.processes
        name = image.make(os.path.join(self.directory, "busybox"))
        small = ("--cpus", "0.1", "--mem", "32M")
        squares = "expr $BERTH_ARRAY_INDEX '*' $BERTH_ARRAY_INDEX"
        self.sample = self.submit(f"{containers} containers", "--array", f"1-{containers}", "--image", name, *small, "--", "sh", "-c",
                                  f'echo "container $BERTH_ARRAY_INDEX of {containers}: the square is $({squares})"')
        self.submit(f"{processes} processes", "--array", f"1-{processes}", *small, "--", "sh", "-c",
                    f'echo "process $BERTH_ARRAY_INDEX: the square is $({squares})"')
        meeting = os.path.join(self.directory, "meeting")
        os.mkdir(meeting)
        self.gang = self.submit("a gang of 2 that meet", "--gang", "2", *small, "--", "sh", "-c",
                                f'touch {meeting}/$BERTH_GANG_RANK; until [ $(ls {meeting} | wc -l) -eq 2 ]; do sleep 0.05; done; '
                                'echo "rank $BERTH_GANG_RANK of $BERTH_GANG_SIZE met the other"')
        self.failing = [
            self.submit("exits with 3", *small, "--", "sh", "-c", "echo about to fail; exit 3"),
            self.submit("takes more memory than it asked", "--cpus", "0.1", "--mem", "32M", "--image", name, "--", "sh", "-c",
                        "x=0123456789abcdef; while :; do x=$x$x; done"),
            self.submit("takes longer than it asked", *small, "--time", "1s", "--grace", "200ms", "--", "sleep", "60"),
        ]

    def follow(self):
        self.say("berth wait " + " ".join(map(str, self.jobs)))
        begun = time.monotonic()
        subprocess.run([BERTH, "wait", *map(str, self.jobs)], env=self.environment, check=False)
        return time.monotonic() - begun

    def results(self, seconds):
        rows = {row["id"]: row for row in json.loads(self.berth("ls", "--all", "-o", "json"))}
        self.say("what came of it")
        print(f"{'job':>4}  {'what':34} {'pods':>6} {'pods/s':>7}  states")
        total = collections.Counter()
        for job, what in self.jobs.items():
            row = rows[job]
            total.update(row["counts"])
            pods = sum(row["counts"].values())
            took = max((row["ended_at_us"] - row["submitted_at_us"]) / 1e6, 1e-6)
            rate = f"{pods / took:7.0f}" if pods > 2 else " " * 7
            print(f"{job:>4}  {what:34} {pods:>6} {rate}  {states(row['counts'])}")
        status = json.loads(self.berth("status", "-o", "json"))
        count = sum(total.values())
        print(f"\n{count} pods in {seconds:.1f} s, {count / seconds:.0f} pods/s: {states(total)}")
        print(f"from submission to running, waiting for room included: p50 {status['start_latency_p50_us'] / 1e6:.1f} s, "
              f"p99 {status['start_latency_p99_us'] / 1e6:.1f} s")
        print(self.one_by_one())
        self.say("what one of them wrote")
        for name in (f"{self.sample}[{min(42, self.options.containers)}]", f"{self.gang}[1]"):
            print(f"$ berth logs '{name}'\n{self.berth('logs', name)}", end="")
        self.say("why each failed one failed")
        for job in self.failing:
            print(f"$ berth explain {job}{' ' * 7}# {self.jobs[job]}\n{self.berth('explain', job)}", end="")
        wanted = collections.Counter({"succeeded": self.options.containers + self.options.processes + 2, "failed": 1,
                                      "out-of-memory": 1, "timed-out": 1})
        return total == wanted

    def one_by_one(self, count=50):
        """The same latency without a queue: one job at a time on the idle cluster."""
        jobs = []
        for _ in range(count):
            jobs.append(int(self.berth("submit", "--cpus", "0.1", "--", "true")))
            self.berth("wait", jobs[-1])
        rows = json.loads(self.berth("ls", "--all", "-o", "json", *jobs))
        took = sorted((row["started_at_us"] - row["submitted_at_us"]) / 1000 for row in rows)
        return (f"from submission to running, {count} jobs one by one on the idle cluster: p50 {took[count // 2]:.1f} ms, "
                f"p99 {took[count * 99 // 100]:.1f} ms")

    def close(self):
        if self.cluster is not None and self.cluster.poll() is None:
            self.cluster.send_signal(signal.SIGTERM)
            try:
                self.cluster.wait(timeout=15)
            except subprocess.TimeoutExpired:
                self.cluster.kill()
                self.cluster.wait()
        left = leftovers.remove(self.directory)
        print("\nnothing is left behind" if not left else "\nleft behind: " + ", ".join(left))
        return not left


def states(counts):
    return ", ".join(f"{counts[state]} {state}" for state in sorted(counts, key=lambda s: -counts[s]) if counts[state])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=1000, help="elements of the array of containers (default 1000)")
    parser.add_argument("--processes", type=int, default=2000, help="elements of the array of processes (default 2000)")
    parser.add_argument("--berth", default=BERTH, help="the binary")
    options = parser.parse_args()
    globals()["BERTH"] = os.path.abspath(options.berth)
    why = "run it as root: it starts containers" if os.geteuid() != 0 else image.missing()
    if why:
        print("demo: " + why, file=sys.stderr)
        return 1
    demo = Demo(options)
    good = clean = False
    try:
        demo.start()
        demo.submit_all()
        good = demo.results(demo.follow())
    except RuntimeError as error:
        print(f"demo: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
    finally:
        clean = demo.close()
    if not good:
        print("the outcome is not the one that was expected", file=sys.stderr)
    return 0 if good and clean else 1


if __name__ == "__main__":
    sys.exit(main())
