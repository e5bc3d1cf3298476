#!/usr/bin/python3
"""Runs one bench: starts what it needs in a temporary directory, prints a table and writes build/bench/NAME.json."""

import argparse
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import harness  # noqa: E402
from cases import accounting, containers, footprint, latency, micro, packing, path, shapes, sim, slurm  # noqa: E402

CASES = {
    "path": (path.run, "5,000 hollow nodes: arrays and single jobs from submission to their end"),
    "shapes": (shapes.run, "shapes that other schedulers are measured with: affinity, spread, gangs, preemption, short tasks"),
    "latency": (latency.run, "one job at a time on a real agent: submission to running process"),
    "containers": (containers.run, "a container's start through Berth against the bare runtime"),
    "footprint": (footprint.run, "memory of agent, shim and server; start time of the command line"),
    "placement": (micro.placement, "the placement engine against a plain loop"),
    "packing": (packing.run, "GPUs that each policy allocates on a production trace, beside published figures"),
    "sim": (sim.run, "job logs through the scheduler under a virtual clock, beside published schedules"),
    "journal": (micro.journal, "the journal's append against a bare write + fdatasync"),
    "state": (micro.state, "the state: durable events, bytes a pod, a million nodes and pods, restart, snapshots"),
    "core": (micro.core, "the core on one thread, without a disk: what the one writer costs a pod"),
    "services": (micro.services, "services in the core: many of them at rest, a node lost, all replicas of one replaced"),
    "accounting": (accounting.run, "the database of ended jobs: writing a year's jobs, and asking about them"),
    "slurm": (slurm.run, "the same commands on real Slurm beside it: rates, latencies, a long queue (--jobs), a restart"),
    "codec": (micro.codec, "encoding and decoding of frames, per pod"),
}

SKIPPED = 77  # the exit code; as other test tools have it


def main():
    listing = "\n".join(f"  {name:<11} {what}" for name, (_, what) in CASES.items())
    parser = argparse.ArgumentParser(description=__doc__, epilog="benches:\n" + listing,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=CASES, metavar="NAME")
    parser.add_argument("--short", action="store_true", help="a moment each: to see that it works, not how fast")
    parser.add_argument("--build", default=os.path.join(harness.ROOT, "build", "release"), help="where the programs are")
    parser.add_argument("--jobs", type=int, default=0, help="of accounting: how many (default: 1,000,000); of slurm: how many wait (10,000)")
    arguments = parser.parse_args()
    # Ended from outside, it takes its server and agents with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options = harness.Options(arguments.build, arguments.short, arguments.jobs)
    figures = harness.Figures()
    figures.add("load_average_before", os.getloadavg()[0])  # above 0: others shared the cores
    try:
        if not os.path.exists(options.berth) and arguments.name not in ("placement", "packing", "journal", "state", "core", "services", "accounting",
                                                                               "codec"):
            raise harness.BenchError(f"{options.berth} is missing: build it first (./dev build)")
        CASES[arguments.name][0](options, figures)
    except harness.BenchSkip as missing:
        print(f"skipped: {missing}")
        return SKIPPED
    except harness.BenchError as error:
        return harness.main_error(error)
    figures.print_table(arguments.name)
    if not options.short:  # a moment's figures would pass for real ones
        figures.write(arguments.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
