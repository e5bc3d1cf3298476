"""Job logs through the production scheduler under a virtual clock: waits and slowdowns by policy, and jobs simulated a second."""

import os
import statistics

from harness import BenchError, BenchSkip, data_directory, run_json

LOGS = ("KTH-SP2", "CTC-SP2", "SDSC-BLUE")
POLICIES = ("easy", "default")
# An independent simulator's EASY schedules: Gaussier et al., SC'15.
PUBLISHED = {"KTH-SP2": (6836.9, 92.58), "CTC-SP2": (14272.6, 49.57), "SDSC-BLUE": (7690.8, 36.52)}


def run(options, figures):
    data = data_directory("swf")
    if data is None:
        raise BenchSkip("sim needs the job logs: in ../shared/data/swf, or where BERTH_DATA says")
    for log in LOGS[:1] if options.short else LOGS:
        path = os.path.join(data, f"{log}.easy_backfill.user_estimates.swf.gz")
        words = [word for policy in POLICIES for word in ("--policy", policy)]
        rounds = [run_json([options.berth, "sim", path, *words, "--by", "user", "--json"])
                  for _ in range(options.count(5, 1))]
        easy, mine = rounds[0]
        name = log.lower().replace("-", "_")
        for one in (easy, mine):
            speeds = [r["jobs_per_s"] for results in rounds for r in results if r["policy"] == one["policy"]]
            prefix = f"{name}_{one['policy']}"
            figures.add(f"{prefix}_simulated_jobs_per_s", statistics.median(speeds))
            figures.add(f"{prefix}_mean_wait_s", one["mean_wait_s"])
            figures.add(f"{prefix}_max_wait_s", one["max_wait_s"])
            figures.add(f"{prefix}_mean_slowdown_ratio", one["mean_slowdown"])
        same = 100 * easy["starts_as_in_log"] / easy["starts_in_log"]
        figures.add(f"{name}_easy_same_start_percent", same)
        before = {row["user"]: row for row in easy["by_user"]}
        worse = [(row["mean_wait_s"] - before[row["user"]]["mean_wait_s"]) / 3600 for row in mine["by_user"]]
        figures.add(f"{name}_user_worse_off_most_h", max(worse))
        figures.add(f"{name}_users_worse_off_percent", 100 * sum(hours > 0 for hours in worse) / len(worse))
        wait, slowdown = PUBLISHED[log]
        figures.note_outcome(f"{log}: easy {easy['mean_wait_s']:.0f} s, slowdown {easy['mean_slowdown']:.2f} "
                             f"(published {wait:.0f} s, {slowdown:.2f}; {same:.2f} % start in the same second); "
                             f"default {mine['mean_wait_s']:.0f} s, {mine['mean_slowdown']:.2f}")
        if abs(easy["mean_wait_s"] / wait - 1) > 0.01 or abs(easy["mean_slowdown"] / slowdown - 1) > 0.01:
            raise BenchError(f"{log}: easy is more than 1 % off the published schedule")
