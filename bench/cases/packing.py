"""How much of a cluster's GPUs each policy allocates, on a production cluster's nodes and pods, beside published figures."""

import csv
import gzip
import os
import shutil

from harness import BenchError, BenchSkip, Scratch, data_directory, run_json

POLICIES = {  # ours -> the published name
    "random": "01-Random",
    "dot-product": "02-DotProd",
    "gpu-clustering": "03-GpuClustering",
    "gpu-packing": "04-GpuPacking",
    "best-fit": "05-BestFit",
    "fgd": "06-FGD",
    "fragmentation": None,
    "engine": None,  # the same in the server's engine, which learns what comes
}


def published(path):
    """(workload, policy, arrived percent) -> mean allocated percent, over 10 seeds."""
    with open(path, encoding="utf-8") as source:
        return {(row["workload"], row["policy"], int(row["arrived_pct_of_cluster_gpu"])): float(row["mean"])
                for row in csv.DictReader(source) if row["metric"] == "gpu_alloc_pct"}


def run(options, figures):
    data = data_directory("openb")
    if data is None:
        raise BenchSkip("packing needs the openb trace: in ../shared/data, or where BERTH_DATA says")
    means = published(os.path.join(data, "published_summary.csv"))
    seeds = options.count(10, 1)
    with Scratch(options) as scratch:
        for workload in ("default",) if options.short else ("default", "multigpu50"):
            name = f"openb_pod_list_{workload}"
            pods = os.path.join(scratch, name + ".csv")
            with gzip.open(os.path.join(data, name + ".csv.gz")) as source, open(pods, "wb") as target:
                shutil.copyfileobj(source, target)
            flat = run_json([options.program("packing_bench"), os.path.join(data, "openb_node_list_gpu_node.csv"), pods,
                             str(seeds), *POLICIES])
            figures.add_all(flat, workload + "_")
            figures.note_outcome(f"{workload}, {seeds} seed(s): % of the GPUs allocated at 100 % (130 %) arrived")
            for policy, known in POLICIES.items():
                key = policy.replace("-", "_")
                mine = [flat[f"{key}_allocated_at_{arrived}_percent"] for arrived in (100, 130)]
                line = f"  {policy:<15} {mine[0]:6.2f} ({mine[1]:6.2f})"
                if known is not None:
                    theirs = [means[name, known, arrived] for arrived in (100, 130)]
                    line += f"   published {theirs[0]:6.2f} ({theirs[1]:6.2f})"
                figures.note_outcome(line)
            if flat["fragmentation_allocated_at_100_percent"] <= flat["fgd_allocated_at_100_percent"]:
                raise BenchError(f"{workload}: fragmentation allocates no more than fgd")
