"""The whole way: submit, journal, placement, start and end, with hollow nodes on the same machine."""

from harness import BenchError, Cluster, Scratch, floors

NODES = 5_000


def run(options, figures):
    nodes = options.count(NODES, 50)
    repeats = options.count(5, 1)
    acknowledged = 0
    with Scratch(options) as scratch:
        figures.add_all(floors(options, scratch, options.seconds(2)))
        with Cluster(options, scratch) as cluster:
            agents = cluster.hollow_agents(nodes)
            figures.add("nodes", nodes)
            for _ in range(repeats):
                acknowledged += arrays(options, cluster, agents, figures)
                acknowledged += singles(options, cluster, agents, figures, "singles", batch=100, window=16)
                acknowledged += singles(options, cluster, agents, figures, "singles_one_per_frame", batch=1, window=256)
            totals = cluster.agent_totals(agents)
        figures.add_all(floors(options, scratch, options.seconds(2)))
    # What the server acknowledged and what the nodes did, counted apart, must be the same.
    if totals["pods_started"] != acknowledged or totals["pods_ended"] != acknowledged or totals["starts_repeated"] != 0:
        raise BenchError(f"{acknowledged} pods were acknowledged, but the nodes started {totals['pods_started']:.0f} and ended "
                         f"{totals['pods_ended']:.0f}")
    figures.note_outcome(f"{acknowledged} pods acknowledged, and as many started and ended by the nodes")
    # The floors: a job that shared nothing would cost a write + fdatasync, and at least a frame there and back.
    figures.add("arrays_pod_us", 1e6 / figures.get("arrays_pods_per_s"))
    figures.add("singles_job_us", 1e6 / figures.get("singles_jobs_per_s"))
    figures.ratio("fdatasync_over_singles_job_ratio", "fdatasync_512_us", "singles_job_us")
    figures.ratio("singles_job_over_frame_echo_ratio", "singles_job_us", "frame_echo_us")


def arrays(options, cluster, agents, figures):
    pods = options.count(1_000_000, 2_000)
    load = measured_load(cluster, agents, figures, "arrays", mode="arrays", pods=pods, array_size=options.count(1_000, 100))
    figures.add("arrays_pods_per_s", load["arrays_pods_per_s"])
    return int(load["pods_acknowledged"])


def singles(options, cluster, agents, figures, name, batch, window):
    load = measured_load(cluster, agents, figures, name, mode="singles", pods=options.count(200_000, 1_000), batch=batch, window=window)
    figures.add(f"{name}_jobs_per_s", load["singles_jobs_per_s"])
    return int(load["pods_acknowledged"])


def measured_load(cluster, agents, figures, name, **options):
    """One load, with the processor time that each thread of the server and the agents' process spent on a pod of it."""
    before = {process: cluster.thread_us(process) for process in (cluster.server, agents)}
    load, outcome = cluster.load(**options)
    for process, names in ((cluster.server, {"berth": "loop"}), (agents, {"berth": "hollow_agents"})):
        after = cluster.thread_us(process)
        for thread, microseconds in after.items():
            spent = microseconds - before[process].get(thread, 0)
            figures.add(f"{name}_{names.get(thread, thread)}_cpu_us_per_pod", spent / load["pods_ended"])
    for part in ("p50", "p99"):
        figures.add(f"{name}_ack_{part}_ms", load[f"submit_ack_{part}_ms"])
    figures.note_outcome(f"{name}: {load['pods_ended']:.0f} pods, {outcome}")
    return load
