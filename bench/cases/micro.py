"""Rooms by themselves: placement, journal, codec, core, services."""

import os

from harness import ROOT, BenchError, Scratch, google_benchmark, run_json
from plot import curves


def placement(options, figures):
    pattern = "/(100|1000)(/|$)" if options.short else "."
    rows = {row["name"]: row for row in google_benchmark(options, "placement_bench", pattern, limit_s=900)}
    others = {"engine_equal": "equal_pods", "engine_gangs": "gangs_of_64_pods", "engine_impossible": "impossible_refusals"}
    for name, row in rows.items():
        if row.get("error_occurred"):
            raise BenchError(f"{name}: {row['error_message']}")
        kind, nodes, *percent = name.split("/")
        if kind == "engine_constrained":
            what = "without_constraint" if row["label"] == "none" else f"constraint_{row['label']}"
            figures.add(f"{what}_{nodes}_nodes_decision_ns", row["real_time"])
        elif kind in others:
            figures.add(f"{others[kind]}_{nodes}_nodes_per_s", row["items_per_second"])
        if kind == "shared":
            workers, clock = percent
            name = f"{nodes}_nodes_90_percent_full_{workers}_workers"
            figures.add(f"{name}_placements_per_s", row["items_per_second"])
            figures.add(f"{name}_packed_percent", row["packed"])
            if workers == "2":
                one = rows[f"shared/{nodes}/1/{clock}"]
                figures.add(f"{nodes}_nodes_two_workers_over_one_ratio",
                            row["items_per_second"] / one["items_per_second"])
        if kind != "engine":
            continue
        what = f"{nodes}_nodes_{percent[0]}_percent_full"
        figures.add(f"{what}_placements_per_s", row["items_per_second"])
        figures.add(f"{what}_decision_ns", row["real_time"])
        others_too = [kind for kind in ("scan", "plain_loop") if f"{kind}/{nodes}/{percent[0]}" in rows]
        for other in others_too:
            theirs = rows[f"{other}/{nodes}/{percent[0]}"]
            if theirs["hash"] != row["hash"]:
                raise BenchError(f"the engine and the {other} chose different nodes of {nodes}")
            figures.add(f"{what}_{other}_over_engine_ratio", theirs["real_time"] / row["real_time"])
        figures.note_outcome(f"{nodes} nodes, {row['full'] * 100:.1f} % full: {' and '.join(['the engine', *others_too])} chose the same, hash "
                             f"{int(row['hash']):012x}; {row['refused_share'] * 100:.1f} % of the pods found no room")
    if not options.short:
        draw_placement(rows)


def draw_placement(rows):
    """The curves of a whole run, as build/bench/placement.svg."""
    series = {}
    names = {"engine": "engine", "scan": "vector scan", "plain_loop": "plain loop"}
    for name, row in rows.items():
        kind, nodes, *percent = name.split("/")
        if kind in names and (kind == "engine" or percent[0] == "90"):
            series.setdefault(f"{names[kind]}, {percent[0]} % full", []).append((int(nodes), row["items_per_second"]))
    text = curves("Placements a second on one core, mixed pods", "nodes", "placements a second", series)
    path = os.path.join(ROOT, "build", "bench", "placement.svg")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)


def journal(options, figures):
    with Scratch(options) as scratch:
        flat = run_json([options.program("journal_bench"), scratch, str(options.seconds(6))])
    figures.add_all({name: value for name, value in flat.items() if not name.endswith(("_recovered", "_measured"))})
    for name, value in flat.items():
        if name.endswith("_recovered"):
            figures.note_outcome(f"{name[:-len('_batches_recovered')]}: {value} batches read back after reopening")


def codec(options, figures):
    for row in google_benchmark(options, "codec_bench"):
        if row.get("error_occurred"):
            raise BenchError(f"{row['name']}: {row['error_message']}")
        figures.add(f"{row['name']}_ns_per_pod", 1e9 / row["items_per_second"])
        if "bytes_per_pod" in row:
            figures.note_outcome(f"{row['name']}: {row['bytes_per_pod']:.1f} bytes a pod")


def core(options, figures):
    nodes, pods = options.count(5_000, 100), options.count(1_000_000, 10_000)
    flat = run_json([options.program("core_bench"), str(nodes), str(pods)])
    figures.add_all({name: value for name, value in flat.items() if not name.endswith("_with_bench_pods_per_s")})
    figures.note_outcome(f"{pods} array pods, {pods} single jobs and {pods // 10} one by one: all ended")


def services(options, figures):
    counts = (options.count(10_000, 50), 20, options.count(5_000, 100))
    flat = run_json([options.program("services_bench"), *map(str, counts)])
    figures.add_all({name: value for name, value in flat.items() if name not in ("services", "replicas", "nodes")})
    figures.note_outcome("{} services of {} replicas on {} nodes: all ready, after a loss and after a rollout, too".format(*counts))


def state(options, figures):
    nodes, pods = options.count(1_000_000, 1_000), options.count(1_000_000, 10_000)
    with Scratch(options) as scratch:
        flat = run_json([options.program("state_bench"), scratch, str(options.seconds(10)), str(nodes), str(pods)],
                        limit_s=900)
    figures.add_all({name: value for name, value in flat.items() if name not in ("nodes", "pods")})
    figures.note_outcome(f"{nodes} nodes and {pods} running pods, written as a snapshot and all there after a restart")
