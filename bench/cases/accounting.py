"""The accounting's database: a year's jobs written as the server writes them, and what people ask of them."""

import os
import sys

from harness import ROOT, Scratch, run_json

sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))
import postgres  # noqa: E402

LIMIT_S = 3600


def run(options, figures):
    jobs = options.jobs or options.count(1_000_000, 3_000)
    rounds = options.count(200, 5)
    with Scratch(options) as scratch:
        flat = run_json([options.program("accounting_bench"), scratch, str(jobs), str(rounds)], LIMIT_S)
    counted = flat.pop("jobs_counted")
    figures.add_all(flat)
    figures.note_outcome(f"SQLite: {counted:.0f} jobs written, and as many counted by the hour")
    if not postgres.programs():
        figures.note_outcome("PostgreSQL: skipped, it is not here")
        return
    server = postgres.Postgres(durable=True)
    try:
        server.start()
        flat = run_json([options.program("accounting_bench"), server.uri, str(jobs // 10), str(rounds)], LIMIT_S)
    finally:
        server.close()
    counted = flat.pop("jobs_counted")
    figures.add_all({name: value for name, value in flat.items() if not name.startswith("record_")}, "postgresql_")
    figures.note_outcome(f"PostgreSQL: {counted:.0f} jobs written, and as many counted by the hour")
