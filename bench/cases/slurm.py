"""The same work through the same commands on Berth and on real Slurm (Debian's, high-throughput settings), in alternation.

One node each, of all cpus of this machine: slurmd and a Berth agent run the jobs as real processes. --jobs N: so many wait
in the queue for the second half (10,000; 50,000 takes a quarter of an hour with Slurm).
"""

import os
import shlex
import subprocess
import sys
import time

from harness import ROOT, BenchError, BenchSkip, Cluster, Scratch, status_kib

sys.path.insert(0, os.path.join(ROOT, "tests", "golden"))
import real_slurm  # noqa: E402

CPUS = os.cpu_count()
MEM_MIB = 2 * 1024
ROUNDS = 3
WAITING = 10_000
PATIENCE_S = 900


class Side:
    def __init__(self, name, links, work, environment, pid):
        self.name, self.work, self.pid = name, work, pid
        self.environment = {"LANG": "C.UTF-8", "HOME": work, "USER": "root", "PATH": links + ":/usr/sbin:/usr/bin:/sbin:/bin",
                            **environment}

    def run(self, text, check=True):
        done = subprocess.run(["/bin/sh", "-c", text], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              timeout=PATIENCE_S, cwd=self.work, env=self.environment)
        if check and done.returncode != 0:
            raise BenchError(f"{self.name}: {text}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def timed(self, text):
        before = time.monotonic()
        self.run(text)
        return time.monotonic() - before

    def lines(self, text):
        return len(self.run(text).splitlines())

    def wait(self, text, wanted):
        deadline = time.monotonic() + PATIENCE_S
        while self.lines(text) != wanted:
            if time.monotonic() > deadline:
                raise BenchError(f"{self.name}: not {wanted} lines of {text} after {PATIENCE_S} s")
            time.sleep(0.02)


def run(options, figures):
    try:
        real_slurm.check_available()
    except real_slurm.MissingSlurm as missing:
        raise BenchSkip(str(missing)) from missing
    waiting = options.jobs or options.count(WAITING, 40)
    with Scratch(options) as scratch, Cluster(options, scratch) as cluster:
        agent = cluster.start("agent", ["agent", "--join", cluster.socket, "--name", "n1", "--data", os.path.join(scratch, "agent"),
                                        "--cpus", str(CPUS), "--mem", f"{MEM_MIB}M"])
        agent.wait_for(lambda: "n1" in cluster.run("nodes", check=False), "the agent")
        slurm = real_slurm.RealSlurm(nodes=1, cpus=CPUS, mem_mib=MEM_MIB, more=real_slurm.HIGH_THROUGHPUT)
        try:
            measure(options, figures, scratch, cluster, slurm, waiting)
        finally:
            slurm.close()


def measure(options, figures, scratch, cluster, slurm, waiting):
    links, work = os.path.join(scratch, "bin"), os.path.join(scratch, "work")
    cluster.run("slurm", "install-links", links)
    for directory in (work, slurm.path("work")):
        os.makedirs(directory)
    sides = [Side("berth", links, work, {"BERTH_SERVER": cluster.socket}, cluster.server.pid),
             Side("slurm", slurm.path("bin"), slurm.path("work"), slurm.environment, slurm.controller().pid)]
    for side in sides:
        side.wait("sinfo -h -t idle -o %D | grep -x 1 || true", 1)
        side.run("srun true")  # caches, the first control group
    for number in range(options.count(ROUNDS, 1)):
        for side in sides if number % 2 == 0 else sides[::-1]:
            throughput(options, figures, side)
    for side in sides:
        queue_of(figures, side, waiting)
    restart(figures, sides, cluster, slurm, waiting)
    print_table(figures, waiting)


def throughput(options, figures, side):
    jobs, elements, steps = options.count(100, 5), options.count(500, 10), options.count(20, 2)
    add = lambda name, value: figures.add(f"{side.name}_{name}", value)  # noqa: E731
    loop = f"for i in $(seq {jobs}); do sbatch -Q {{}} -o /dev/null --wrap true || exit 1; done"
    add("submissions_per_s", jobs / side.timed(loop.format("-H -J held")))
    side.run("scancel -n held")
    side.wait("squeue -h", 0)
    before = time.monotonic()
    side.run(loop.format(""))
    side.wait("squeue -h", 0)
    add("jobs_to_the_end_per_s", jobs / (time.monotonic() - before))
    before = time.monotonic()
    side.run(f"sbatch -Q --array=1-{elements} -o /dev/null --wrap true")
    side.wait("squeue -h -t PD", 0)
    add("array_starts_per_s", elements / (time.monotonic() - before))
    side.wait("squeue -h", 0)
    add("array_to_the_end_per_s", elements / (time.monotonic() - before))
    for _ in range(steps):
        add("srun_true_ms", side.timed("srun true") * 1000)


def queue_of(figures, side, waiting):
    """So many jobs that wait, each by an sbatch of its own."""
    before_kib = status_kib(side.pid, "VmRSS")
    each = "sbatch -Q -H -o /dev/null -t 10 --wrap true"
    side.run(f"seq {waiting} | xargs -P 4 -n 1 sh -c {shlex.quote(each)}")
    side.wait("squeue -h", waiting)
    figures.add(f"{side.name}_bytes_per_waiting_job", (status_kib(side.pid, "VmRSS") - before_kib) * 1024 / waiting)
    for _ in range(3):
        figures.add(f"{side.name}_squeue_ms", side.timed("squeue > /dev/null") * 1000)
        figures.add(f"{side.name}_squeue_of_another_user_ms", side.timed("squeue -h -u nobody") * 1000)
        figures.add(f"{side.name}_sbatch_behind_them_ms", side.timed("sbatch -Q -H -J more -o /dev/null --wrap true") * 1000)
    side.run("scancel -n more")


def restart(figures, sides, cluster, slurm, waiting):
    """From the signal to the first whole answer of the next server."""
    berth, real = sides
    before = time.monotonic()
    cluster.server.stop()
    cluster.processes.remove(cluster.server)
    cluster.server = cluster.start("server", cluster.server.argv[1:])
    cluster.server.wait_for(cluster.answers, "the server's answer")
    berth.wait("squeue -h", waiting)
    figures.add("berth_restart_s", time.monotonic() - before)
    before = time.monotonic()
    controller = slurm.controller()
    controller.terminate()
    controller.wait(timeout=120)
    slurm.processes = [(name, child) for name, child in slurm.processes if child is not controller]
    slurm.start_controller()
    real.wait("squeue -h", waiting)
    figures.add("slurm_restart_s", time.monotonic() - before)
    figures.note_outcome(f"{waiting} jobs waited on both sides after the restart")


ROWS = (("submissions_per_s", "sbatch in a loop, submissions/s", True),
        ("jobs_to_the_end_per_s", "single jobs from the first sbatch to the last end, jobs/s", True),
        ("array_starts_per_s", "an array from its sbatch to the last start, elements/s", True),
        ("array_to_the_end_per_s", "... to the last end, elements/s", True),
        ("srun_true_ms", "srun true, ms", False),
        ("squeue_ms", "squeue of them all, ms", False),
        ("squeue_of_another_user_ms", "squeue -u of a user without jobs, ms", False),
        ("sbatch_behind_them_ms", "sbatch behind them, ms", False),
        ("bytes_per_waiting_job", "memory of the server for each, bytes", False),
        ("restart_s", "restart with them, s", False))


def print_table(figures, waiting):
    print(f"medians; from squeue on with {waiting:,} jobs waiting; x: how many times better Berth is")
    print(f"  {'':<60}{'Berth':>14}{'Slurm':>14}{'x':>10}")
    for name, what, more_is_better in ROWS:
        berth, slurm = figures.get(f"berth_{name}"), figures.get(f"slurm_{name}")
        above, below = (berth, slurm) if more_is_better else (slurm, berth)
        ratio = above / below if below > 0 else float("nan")
        figures.add(f"{name}_times", ratio)
        print(f"  {what:<60}{berth:>14,.1f}{slurm:>14,.1f}{ratio:>10,.1f}")
