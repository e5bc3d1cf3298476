"""One job at a time on an idle machine with a real agent. The process itself says when it runs: it writes the time down."""

import os
import subprocess
import time

from harness import BenchError, Cluster, Scratch, floors, percentile, run_program


def run(options, figures):
    jobs = options.count(200, 5)
    with Scratch(options) as scratch:
        figures.add_all(floors(options, scratch, options.seconds(2)))
        with Cluster(options, scratch) as cluster:
            cluster.agent()
            command_line(options, cluster, figures, scratch, jobs)
            load, _ = cluster.load(mode="latency", pods=jobs)
    if load["jobs_not_succeeded"]:
        raise BenchError(f"{load['jobs_not_succeeded']:.0f} of {jobs} jobs did not succeed")
    for name in ("submit_ack_p50_ms", "submit_ack_p99_ms", "submit_to_running_seen_p50_ms", "submit_to_running_seen_p99_ms",
                 "submit_to_started_row_p50_ms", "submit_to_started_row_p99_ms"):
        figures.add(name, load[name])
    figures.add("submit_ack_us", load["submit_ack_p50_ms"] * 1000)
    figures.ratio("ack_over_fdatasync_ratio", "submit_ack_us", "fdatasync_512_us")
    figures.note_outcome(f"{2 * jobs} jobs ran one by one and succeeded")


def command_line(options, cluster, figures, scratch, jobs):
    """From before `berth submit` starts to the time that the job's process wrote."""
    output = os.path.join(scratch, "started")
    first = submit_and_read(options, cluster, output, "first")  # page caches, the first cgroup
    if first <= 0:
        raise BenchError("a process ran before it was submitted: the clock was set")
    times = [submit_and_read(options, cluster, output, i) for i in range(jobs)]
    bare = []
    for _ in range(jobs):
        before = time.time()
        text = subprocess.run([options.program("start_clock")], capture_output=True, check=True).stdout
        bare.append((float(text) - before) * 1000)
    figures.add("submit_to_running_p50_ms", percentile(times, 0.50))
    figures.add("submit_to_running_p99_ms", percentile(times, 0.99))
    figures.add("bare_process_p50_ms", percentile(bare, 0.50))
    figures.add("submit_to_running_over_bare_ms", percentile(times, 0.50) - percentile(bare, 0.50))


def submit_and_read(options, cluster, output, number):
    path = f"{output}.{number}"
    argv = [options.berth, "submit", "--server", cluster.socket, "--cpus", "1", "--mem", "64M", "--output", path, "--", options.program("start_clock")]
    before = time.time()
    done = run_program(argv)
    if done.returncode != 0:
        raise BenchError(f"berth submit ended with {done.returncode}: {done.stderr.strip()}")
    deadline = time.monotonic() + 30
    while True:
        try:
            with open(path, encoding="utf-8") as source:
                text = source.read()
        except FileNotFoundError:
            text = ""
        if text.endswith("\n"):
            time.sleep(0.005)  # let its end settle: the next one finds an idle machine
            return (float(text) - before) * 1000
        if time.monotonic() > deadline:
            raise BenchError(f"{path} was not written within 30 s; {done.stdout.strip()}")
        time.sleep(0.001)
