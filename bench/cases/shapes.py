"""Shapes of work that schedulers are measured with elsewhere, through the whole server, with hollow nodes on the same machine.

Those of kube-scheduler's scheduler_perf (the pods stay: from the submission until all run), those of a batch system, and
HyperQueue's short tasks (from the submission until all have ended). Each is checked by counting."""

import json
import random
import time

from harness import BenchError, Cluster, Scratch

ZONES = "abcde"
LIMIT_S = 120


def run(options, figures):
    pods = options.count(30_000, 300)
    nodes = options.count(5_000, 50)
    figures.add("nodes", nodes)
    with Scratch(options) as scratch, Cluster(options, scratch) as cluster:
        hollow(cluster, nodes, "1h")
        for _ in range(options.count(3, 1)):
            staying(options, cluster, figures, nodes, pods)
    with Scratch(options) as scratch, Cluster(options, scratch) as cluster:
        hollow(cluster, nodes, "0ms")
        for _ in range(options.count(3, 1)):
            passing(options, cluster, figures, pods)
    with Scratch(options) as scratch, Cluster(options, scratch) as cluster:
        sleeps(options, cluster, figures)
    for shape in ("node_affinity", "pod_anti_affinity", "topology_spread", "unschedulable_beside", "gangs_of_64", "preemption"):
        figures.ratio(f"{shape}_over_basic_ratio", f"{shape}_pods_per_s", "basic_pods_per_s")


def hollow(cluster, nodes, pod_time):
    """As many in each of five zones."""
    for zone in ZONES:
        cluster.hollow_agents(nodes // len(ZONES), "--pod-time", pod_time, "--feature", f"zone={zone}", "--name-prefix", f"{zone}-",
                              name=f"agents-{zone}")


def document(**fields):
    return {"command": ["true"], **{name.replace("_", "-"): value for name, value in fields.items()}}


def submit(cluster, jobs):
    out = cluster.run("submit", "--file", "-", stdin=json.dumps({"jobs": jobs}))  # JSON is YAML
    return [int(line) for line in out.split()]


def arrays(count, size=1_000, **fields):
    """So many pods in arrays."""
    sizes = [min(size, count - at) for at in range(0, count, size)]
    return [document(array=f"0-{each - 1}", mem="1G", **fields) for each in sizes]


def counts(cluster):
    status = json.loads(cluster.run("status", "-o", "json"))
    return status["pods_live"], status["pods_pending"]


def wait(cluster, what, holds):
    deadline = time.monotonic() + LIMIT_S
    while not holds(*counts(cluster)):
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: after {LIMIT_S} s there are {counts(cluster)} pods live and pending")
        time.sleep(0.005)


def clear(cluster):
    ids = [str(row["id"]) for row in json.loads(cluster.run("ls", "-o", "json"))]
    cluster.run("cancel", *ids)
    wait(cluster, "clearing up", lambda live, pending: live == 0 and pending == 0)


def until_all_run(cluster, figures, name, jobs, pods, beside=0):
    """`beside`: pods that run already; what waits already stays."""
    waiting = counts(cluster)[1]
    since = time.monotonic()
    submit(cluster, jobs)
    wait(cluster, name, lambda live, pending: live == beside + pods and pending <= waiting)
    figures.add(f"{name}_pods_per_s", pods / (time.monotonic() - since))
    figures.note_outcome(f"{name}: {pods} pods run")


def until_all_ended(cluster, figures, name, jobs, pods):
    since = time.monotonic()
    ids = submit(cluster, jobs)
    wait(cluster, name, lambda live, pending: live == 0 and pending == 0)
    took = time.monotonic() - since
    rows = json.loads(cluster.run("ls", "--all", "-o", "json", str(ids[-1])))
    if rows[0]["state"] != "succeeded":
        raise BenchError(f"{name}: job {ids[-1]} is {rows[0]['state']}")
    figures.add(f"{name}_pods_per_s", pods / took)
    figures.note_outcome(f"{name}: {pods} pods have ended")
    return took


def staying(options, cluster, figures, nodes, pods):
    until_all_run(cluster, figures, "basic", arrays(pods), pods)
    clear(cluster)
    until_all_run(cluster, figures, "node_affinity", arrays(pods, where="zone=a"), pods)
    clear(cluster)
    apart = nodes * 4 // 5
    until_all_run(cluster, figures, "pod_anti_affinity", arrays(apart, labels=["app=x"], apart=["app=x"]), apart)
    clear(cluster)
    until_all_run(cluster, figures, "topology_spread", arrays(pods // 3, spread=["zone"]), pods // 3)
    clear(cluster)
    # Those who cannot run now: all want one node. What comes after them is not held up.
    crowd = options.count(10_000, 100)
    submit(cluster, [document(array=f"0-{crowd - 1}", nodelist="a-00001", cpus=64)])
    wait(cluster, "the crowd before a node", lambda live, pending: live == 1 and pending == crowd - 1)
    until_all_run(cluster, figures, "unschedulable_beside", arrays(pods), pods, beside=1)
    clear(cluster)
    gangs = options.count(400, 4)
    until_all_run(cluster, figures, "gangs_of_64", [document(gang=64, mem="1G") for _ in range(gangs)], 64 * gangs)
    clear(cluster)
    preemption(cluster, figures, nodes)


def preemption(cluster, figures, nodes):
    """All nodes are full; a higher tier takes two in five of them."""
    cluster.run("queue", "add", "low", "--preempt", "cancel")
    cluster.run("queue", "add", "high", "--tier", "10")
    submit(cluster, arrays(nodes, queue="low", cpus=64))
    wait(cluster, "a full cluster", lambda live, pending: live == nodes and pending == 0)
    wanted = nodes * 2 // 5
    since = time.monotonic()
    ids = submit(cluster, arrays(wanted, queue="high", cpus=64))

    def running():
        rows = json.loads(cluster.run("ls", "-o", "json", *map(str, ids)))
        return sum(row["counts"].get("running", 0) for row in rows)
    deadline = since + LIMIT_S
    while running() != wanted:
        if time.monotonic() > deadline:
            raise BenchError(f"preemption: after {LIMIT_S} s {running()} of {wanted} pods run")
        time.sleep(0.01)
    figures.add("preemption_pods_per_s", wanted / (time.monotonic() - since))
    figures.note_outcome(f"preemption: {wanted} pods run in the room of others")
    clear(cluster)


def passing(options, cluster, figures, pods):
    until_all_ended(cluster, figures, "array_storm", arrays(10 * pods), 10 * pods)
    dice = random.Random(1)
    sizes = [document(cpus=dice.randint(1, 64), mem=f"{dice.randint(1, 64)}G", time=f"{dice.randint(1, 240)}m") for _ in range(pods // 3)]
    until_all_ended(cluster, figures, "mixed_singles", sizes, len(sizes))
    links = options.count(1_000, 20)
    took = until_all_ended(cluster, figures, "dependency_chain", [document(name="chain", after="singleton") for _ in range(links)], links)
    figures.add("dependency_link_ms", 1e3 * took / links)


def sleeps(options, cluster, figures):
    """Tasks of a tenth of a second: how much of the time that they need at least."""
    nodes, each = options.count(100, 4), 0.1
    pods = options.count(128_000, 512)
    cluster.hollow_agents(nodes, "--pod-time", "100ms")
    took = until_all_ended(cluster, figures, "sleeps_100_ms", arrays(pods), pods)
    figures.add("sleeps_100_ms_efficiency_percent", 100 * pods * each / (64 * nodes) / took)
