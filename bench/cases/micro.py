"""Rooms by themselves: placement, journal, codec, core."""

from harness import BenchError, Scratch, google_benchmark, run_json


def placement(options, figures):
    pattern = "/(100|1000)$" if options.short else "."
    rows = {row["name"]: row for row in google_benchmark(options, "placement_bench", pattern)}
    for name, row in rows.items():
        kind, nodes = name.split("/")
        if kind == "engine_equal":
            figures.add(f"equal_pods_{nodes}_nodes_pods_per_s", row["items_per_second"])
            continue
        figures.add(f"{kind}_{nodes}_nodes_ns", row["real_time"])
        if kind == "plain_loop":
            mine = rows[f"engine/{nodes}"]
            if mine["hash"] != row["hash"]:
                raise BenchError(f"the engine and the plain loop chose different nodes of {nodes}")
            figures.add(f"plain_loop_over_engine_{nodes}_nodes_ratio", row["real_time"] / mine["real_time"])
            figures.note_outcome(f"{nodes} nodes: both chose the same ones, hash {int(row['hash']):012x}")


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
