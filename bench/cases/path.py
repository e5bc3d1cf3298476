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
                acknowledged += arrays(options, cluster, figures)
                acknowledged += singles(options, cluster, figures, "singles", batch=100, window=16)
                acknowledged += singles(options, cluster, figures, "singles_one_per_frame", batch=1, window=256)
            totals = cluster.agent_totals(agents)
        figures.add_all(floors(options, scratch, options.seconds(2)))
    # What the server acknowledged and what the nodes did, counted apart, must be the same.
    if totals["pods_started"] != acknowledged or totals["pods_ended"] != acknowledged or totals["starts_repeated"] != 0:
        raise BenchError(f"{acknowledged} pods were acknowledged, but the nodes started {totals['pods_started']:.0f} and ended "
                         f"{totals['pods_ended']:.0f}")
    figures.note_outcome(f"{acknowledged} pods acknowledged, and as many started and ended by the nodes")
    figures.ratio("ack_over_fdatasync_ratio", "arrays_ack_us", "fdatasync_512_us")
    figures.add("arrays_pod_us", 1e6 / figures.get("arrays_pods_per_s"))
    figures.add("singles_job_us", 1e6 / figures.get("singles_jobs_per_s"))
    figures.ratio("singles_job_over_frame_echo_ratio", "singles_job_us", "frame_echo_us")


def arrays(options, cluster, figures):
    load, outcome = cluster.load(mode="arrays", pods=options.count(1_000_000, 2_000), array_size=options.count(1_000, 100))
    figures.add("arrays_pods_per_s", load["arrays_pods_per_s"])
    figures.add("arrays_ack_p50_ms", load["submit_ack_p50_ms"])
    figures.add("arrays_ack_p99_ms", load["submit_ack_p99_ms"])
    figures.add("arrays_ack_us", load["submit_ack_p50_ms"] * 1000)
    figures.note_outcome("arrays " + outcome)
    return int(load["pods_acknowledged"])


def singles(options, cluster, figures, name, batch, window):
    load, outcome = cluster.load(mode="singles", pods=options.count(200_000, 1_000), batch=batch, window=window)
    figures.add(f"{name}_jobs_per_s", load["singles_jobs_per_s"])
    figures.add(f"{name}_submitted_per_s", load["submitted_jobs_per_s"])
    figures.add(f"{name}_ack_p50_ms", load["submit_ack_p50_ms"])
    figures.add(f"{name}_ack_p99_ms", load["submit_ack_p99_ms"])
    figures.note_outcome(f"{name} {outcome}")
    return int(load["pods_acknowledged"])
