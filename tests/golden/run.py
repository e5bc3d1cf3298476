#!/usr/bin/python3
"""Compares Berth's Slurm commands with real Slurm's, and shows what differs: run.py [--berth PATH] [--section WORD]
[--all] (also what docs/slurm.md lists) [--table] (the rows for docs/slurm.md). Exit code 1 on differences that are not
listed, and on listed ones that are not found; 77 where there is no Slurm."""

import argparse
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

import golden  # noqa: E402
import real_slurm  # noqa: E402

PAGE = os.path.join(HERE, "..", "..", "docs", "slurm.md")
IDS_BEFORE = 100  # so many are used up first: ids have as many digits on both sides


def berth_side(cluster):
    links, work = cluster.path("bin"), cluster.path("work")
    cluster.run("slurm", "install-links", links)
    os.makedirs(work, exist_ok=True)
    side = golden.Side("berth", links, work, {"BERTH_SERVER": cluster.socket}, "default")
    side.run(f"for i in $(seq {IDS_BEFORE}); do sbatch -Q -H -J burnt --wrap true; done; scancel -n burnt")
    return side


def real_side(slurm):
    work = slurm.path("work")
    os.mkdir(work)
    return golden.Side("slurm", slurm.path("bin"), work, slurm.environment, real_slurm.QUEUE)


def compare_all(steps, report):
    """{key: names} of all that differs. Raises MissingSlurm."""
    import harness
    slurm = real_slurm.RealSlurm(nodes=2, cpus=2, mem_mib=4096, first_job=IDS_BEFORE + 1,
                                 more="SchedulerParameters=batch_sched_delay=0,sched_min_interval=0")
    try:
        # One node after the other: of two that are alike the one that joined first is taken, as real Slurm takes n1.
        cluster = harness.Cluster(agents=1, cpus=2, mem="4G")
        try:
            cluster.add_agent(2)
            cluster.wait_nodes(2)
            return golden.run_cases(steps, real_side(slurm), berth_side(cluster), report)
        finally:
            cluster.close()
    finally:
        slurm.close()


def judge(found, listed):
    """What is new, and what has vanished: lines."""
    lines, everywhere = [], listed.get("*", set())
    for key, names in found.items():
        known = listed.get(key, set())
        names = names - everywhere
        if names - known:
            lines.append(f"differs now: {key}: {', '.join(sorted(names - known))}")
        if known - names:
            lines.append(f"listed, and differs no more: {key}: {', '.join(sorted(known - names))}")
    seen = set().union(*found.values()) if found else set()
    lines += [f"listed for all command lines, and differs nowhere: {name}" for name in sorted(everywhere - seen)]
    return lines + [f"listed, and no command line of cases.txt: {key}" for key in listed if key not in found and key != "*"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--berth")
    parser.add_argument("--section", default="")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.berth:
        os.environ["BERTH"] = os.path.abspath(arguments.berth)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ended from outside, it takes both with it
    steps = [step for step in golden.read_cases() if arguments.section in step.section]
    listed = {key: names for key, names in golden.listed_differences(PAGE).items()
              if not arguments.section or key == "*" or key in {step.key for step in steps}}

    def report(step, names, real, berth):
        names = names if arguments.all else names - listed.get("*", set())
        if not names or (not arguments.all and names == listed.get(step.key, set())):
            return
        print(f"\n== {step.key}\n   differs: {', '.join(sorted(names))}")
        for name, side in (("slurm", real), ("berth", berth)):
            print(f"   {name} ({side[2]}):\n" + "".join(f"      {line}\n" for line in (side[0] + side[1]).splitlines()), end="")

    try:
        found = compare_all(steps, report)
    except real_slurm.MissingSlurm as missing:
        print(f"skipped: {missing}")
        return 77
    if arguments.table:
        for key, names in found.items():
            if names - listed.get("*", set()):
                print(f"| `{key.replace('|', chr(92) + '|')}` | {', '.join(sorted(names - listed.get('*', set())))} | |")
    lines = judge(found, listed)
    print(*lines, sep="\n")
    print(f"{len(found)} command lines, {sum(1 for names in found.values() if names)} differ, {len(lines)} of them not as listed")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
