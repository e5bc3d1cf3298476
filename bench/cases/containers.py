"""A container's start through Berth against the bare runtime on the same bundle. The container's process itself says when it
runs: a static program that prints the time."""

import json
import os
import shutil
import subprocess
import sys
import time

from harness import BenchError, Cluster, Scratch, percentile, run_program

RUNTIME = "crun"
BARE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bare_runtime.py")


def run(options, figures):
    for tool in (RUNTIME, "umoci", "unshare"):
        if shutil.which(tool) is None:
            raise BenchError(f"{tool} is not installed")
    containers = options.count(50, 3)
    with Scratch(options) as scratch:
        image, bundle = make_image(options.program("start_clock"), scratch)
        with Cluster(options, scratch) as cluster:
            cluster.agent()
            start_one(options, cluster, image, os.path.join(scratch, "first"))  # the image is unpacked once
            berth = [start_one(options, cluster, image, os.path.join(scratch, f"out.{i}")) for i in range(containers)]
            bare = bare_starts(bundle, containers, scratch)
    figures.add("bare_start_p50_ms", percentile(bare, 0.50))
    figures.add("bare_start_p99_ms", percentile(bare, 0.99))
    figures.add("berth_start_p50_ms", percentile(berth, 0.50))
    figures.add("berth_start_p99_ms", percentile(berth, 0.99))
    figures.add("berth_minus_bare_p50_ms", percentile(berth, 0.50) - percentile(bare, 0.50))
    figures.add("berth_over_bare_p50_ratio", percentile(berth, 0.50) / percentile(bare, 0.50))
    figures.note_outcome(f"{len(berth)} containers through Berth and {len(bare)} through {RUNTIME} wrote the time of their start")


def make_image(program, scratch):
    layout, bundle = os.path.join(scratch, "image"), os.path.join(scratch, "bundle")
    commands = [["umoci", "init", "--layout", layout], ["umoci", "new", "--image", layout + ":clock"],
                ["umoci", "unpack", "--image", layout + ":clock", bundle]]
    for argv in commands:
        subprocess.run(argv, check=True, capture_output=True)
    shutil.copy(program, os.path.join(bundle, "rootfs", "start_clock"))
    subprocess.run(["umoci", "repack", "--image", layout + ":clock", bundle], check=True, capture_output=True)
    path = os.path.join(bundle, "config.json")
    with open(path, encoding="utf-8") as source:
        config = json.load(source)
    config["process"]["args"] = ["/start_clock"]
    config["process"]["terminal"] = False
    with open(path, "w", encoding="utf-8") as out:
        json.dump(config, out)
    return layout + ":clock", bundle


def start_one(options, cluster, image, output):
    argv = [options.berth, "submit", "--server", cluster.socket, "--image", image, "--cpus", "1", "--mem", "64M", "--output", output,
            "--", "/start_clock"]
    before = time.time()
    done = run_program(argv)
    if done.returncode != 0:
        raise BenchError(f"berth submit ended with {done.returncode}: {done.stderr.strip()}")
    deadline = time.monotonic() + 30
    while True:
        try:
            with open(output, encoding="utf-8") as source:
                text = source.read()
        except FileNotFoundError:
            text = ""
        if text.endswith("\n"):
            time.sleep(0.05)  # the container is taken down before the next one is measured
            return (float(text) - before) * 1000
        if time.monotonic() > deadline:
            jobs = subprocess.run([options.berth, "ls", "--server", cluster.socket], capture_output=True, text=True, check=False)
            raise BenchError(f"no container wrote {output} within 30 s; {jobs.stdout.strip()[-500:]}")
        time.sleep(0.001)


def bare_starts(bundle, count, scratch):
    # crun refuses a hybrid cgroup tree: it gets a mount namespace without the unified part, as agents do for it.
    argv = ["unshare", "--mount", sys.executable, BARE, RUNTIME, bundle, str(count), scratch]
    done = run_program(argv)
    if done.returncode != 0:
        raise BenchError(f"{RUNTIME} could not run the bundle: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout)
