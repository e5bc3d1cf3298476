"""Memory of what idles on every node and on the server, and how quickly the command line starts."""

import os
import subprocess
import time

from harness import BenchError, Cluster, Scratch, percentile, status_kib

NODES = 5_000
SETTLE_S = 2


def run(options, figures):
    nodes = options.count(NODES, 20)
    with Scratch(options) as scratch:
        with Cluster(options, scratch) as cluster:
            settle(options)
            server = cluster.server.pid
            figures.add("server_idle_rss_mib", status_kib(server, "VmRSS") / 1024)
            agent = cluster.agent()
            settle(options)
            figures.add("agent_idle_rss_mib", status_kib(agent.pid, "VmRSS") / 1024)
            figures.add("agent_idle_pss_mib", status_kib(agent.pid, "Pss") / 1024)
            shim = shim_of_a_pod(cluster, scratch)
            figures.add("shim_rss_kib", status_kib(shim, "VmRSS"))
            figures.add("shim_pss_kib", status_kib(shim, "Pss"))
            cluster.hollow_agents(nodes)
            settle(options)
            figures.add("server_rss_mib", status_kib(server, "VmRSS") / 1024)
            figures.add("server_rss_nodes", nodes)
            command_line(options, cluster, figures)
            listed = len([line for line in cluster.run("nodes", "-o", "json").split('"name"')]) - 1
            figures.note_outcome(f"{listed} nodes listed; pid {shim} was the shim of a running pod")


def settle(options):
    time.sleep(0.2 if options.short else SETTLE_S)


def shim_of_a_pod(cluster, scratch):
    """The parent of a pod's process, as that process sees it."""
    path = os.path.join(scratch, "parent")
    cluster.run("submit", "--cpus", "1", "--mem", "64M", "--output", path, "--", "/bin/sh", "-c", "echo $PPID; exec sleep 60")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as source:
                text = source.read()
            if text.endswith("\n"):
                return int(text)
        time.sleep(0.02)
    raise BenchError("the pod did not start within 30 s")


def command_line(options, cluster, figures):
    runs = options.count(100, 3)
    commands = {"true": ["/bin/true"], "berth_version": [options.berth, "version"],
                "berth_ls": [options.berth, "ls", "--server", cluster.socket]}
    times = {name: [] for name in commands}
    for _ in range(runs):
        for name, argv in commands.items():  # in turns, so that a slow moment hits all of them
            before = time.perf_counter()
            subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
            times[name].append((time.perf_counter() - before) * 1000)
    for name, values in times.items():
        figures.add(f"{name}_start_p50_ms", percentile(values, 0.50))
    figures.ratio("berth_version_over_true_ratio", "berth_version_start_p50_ms", "true_start_p50_ms")
