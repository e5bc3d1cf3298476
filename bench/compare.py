#!/usr/bin/python3
"""Compares results of one bench from before and after a change, and says which figures are worse, better, or not told apart.

./dev bench compare BEFORE… --with AFTER…

Each is a file that a bench wrote (build/bench/NAME.json, kept elsewhere), or a directory of them: several runs of the
same bench. The median of the runs counts. A figure is called worse or better if it changed by more than --limit percent and
by more than the noise: with three runs or more on both sides their ranges must not overlap; with fewer, a change must
be over twice the limit. In between it is unclear: run more. Exit code 1 if a figure is worse, 2 for what cannot be compared."""

import argparse
import json
import os
import statistics
import sys

HIGHER = ("_per_s", "_allocated_at_100_percent")
LOWER = ("_s", "_ms", "_us", "_ns", "_b", "_bytes", "_kib", "_mib", "_gib")
ENOUGH = 3  # runs


class CompareError(Exception):
    """One line for the user."""


def direction(name):
    """1: more is better, -1: less is better, 0: neither can be said of the name."""
    if name.endswith(HIGHER):
        return 1
    return -1 if name.endswith(LOWER) else 0


def load(paths):
    """Name of a figure -> its values, one a run."""
    files = []
    for path in paths:
        if os.path.isdir(path):
            inside = sorted(os.path.join(path, name) for name in os.listdir(path) if name.endswith(".json"))
            if not inside:
                raise CompareError(f"'{path}' holds no results (*.json)")
            files += inside
        else:
            files.append(path)
    figures = {}
    for path in files:
        try:
            with open(path, encoding="utf-8") as source:
                flat = json.load(source)
        except (OSError, ValueError) as error:
            raise CompareError(f"'{path}' cannot be read: {error}") from None
        numbers = isinstance(flat, dict) and all(isinstance(value, (int, float)) for value in flat.values())
        if not numbers:
            raise CompareError(f"'{path}' is no result of a bench: a flat object of names and numbers is wanted")
        for name, value in flat.items():
            figures.setdefault(name, []).append(float(value))
    return figures


def judge(name, before, after, limit):
    """The change of the median in percent, and a word."""
    old, new = statistics.median(before), statistics.median(after)
    if old == 0:
        return None, "same" if new == 0 else "no base"
    change = 100 * (new - old) / abs(old)
    wanted = direction(name)
    if wanted == 0:
        return change, "no verdict"
    if abs(change) <= limit:
        return change, "same"
    if min(len(before), len(after)) >= ENOUGH:
        apart = min(after) > max(before) or max(after) < min(before)
    else:
        apart = abs(change) > 2 * limit
    if not apart:
        return change, "unclear"
    return change, "better" if change * wanted > 0 else "worse"


def compare(before, after, limit):
    """Rows of name, medians, change, word; figures that only one side has come last."""
    rows = []
    for name in before:
        if name in after and name != "load_average_before":
            change, word = judge(name, before[name], after[name], limit)
            rows.append((name, statistics.median(before[name]), statistics.median(after[name]), change, word))
    rows += [(name, None, None, None, "only before") for name in before if name not in after]
    rows += [(name, None, None, None, "only after") for name in after if name not in before]
    return rows


def main(words=None):
    parser = argparse.ArgumentParser(prog="bench compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", nargs="+", metavar="BEFORE")
    parser.add_argument("--with", dest="after", nargs="+", required=True, metavar="AFTER")
    parser.add_argument("--limit", type=float, default=25, metavar="PERCENT", help="a smaller change is none (default 25)")
    arguments = parser.parse_args(words)
    try:
        if not 0 < arguments.limit <= 1000:
            raise CompareError(f"--limit {arguments.limit:g} is not accepted; accepted: more than 0, at most 1000 percent")
        rows = compare(load(arguments.before), load(arguments.after), arguments.limit)
        if not any(row[1] is not None for row in rows):
            raise CompareError("the two have no figure in common: are they of the same bench?")
    except CompareError as error:
        print(f"bench compare: {error}", file=sys.stderr)
        return 2
    width = max(len(row[0]) for row in rows)
    for name, old, new, change, word in rows:
        if old is None:
            print(f"  {name:<{width}}  {word}")
            continue
        print(f"  {name:<{width}}  {old:>16,.3f}  {new:>16,.3f}  {'' if change is None else f'{change:+.1f} %':>10}  {word}")
    words_of = [row[4] for row in rows]
    print(", ".join(f"{words_of.count(word)} {word}" for word in ("worse", "better", "same", "unclear") if word in words_of)
          or "no verdict on any")
    return 1 if "worse" in words_of else 0


if __name__ == "__main__":
    sys.exit(main())
