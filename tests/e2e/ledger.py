"""The books of a crash test: what was acknowledged, what the server says in the end, and what really ran.

Each pod appends one line "JOB INDEX ATTEMPT" to a file before it does anything else, and prints `begin` and `end` around
its work. audit() compares the three and returns every discrepancy as a line; an empty list is the proof.
"""

import collections
import dataclasses


@dataclasses.dataclass
class Acknowledged:
    job: int
    size: int                # elements 0 … size-1
    cancelled: bool = False  # somebody asked to cancel it: its pods may be cancelled, or have ended before


def exit_code_of(index):
    """What element `index` of every job in the test exits with."""
    return 3 if index % 7 == 3 else 0


SCRIPT = ('echo "$BERTH_JOB_ID $BERTH_ARRAY_INDEX $BERTH_ATTEMPT" >> "$LEDGER"; echo "begin $BERTH_ARRAY_INDEX"; sleep "$NAP"; '
          'echo "end $BERTH_ARRAY_INDEX"; [ $((BERTH_ARRAY_INDEX % 7)) -ne 3 ] || exit 3')


def output_of(index):
    return f"begin {index}\nend {index}\n"


def read(path):
    """(job, index, attempt) -> how often it ran."""
    with open(path, encoding="utf-8") as file:
        return collections.Counter(tuple(int(word) for word in line.split()) for line in file)


def audit(acknowledged, pods_of, ran, outputs=None):
    """acknowledged: [Acknowledged]; pods_of: {job: [pod rows as `show --pods -o json` has them]} of every job that exists;
    ran: read(); outputs: {(job, index): text} of those that were read."""
    found = []
    for ack in acknowledged:
        if ack.job not in pods_of:
            found.append(f"job {ack.job} was acknowledged and is lost")
        elif len(pods_of[ack.job]) != ack.size:
            found.append(f"job {ack.job} has {len(pods_of[ack.job])} pods of {ack.size}")
    may_be_cancelled = {ack.job for ack in acknowledged if ack.cancelled}
    known = {ack.job for ack in acknowledged}
    runs = collections.Counter()
    for (job, index, attempt), times in ran.items():
        runs[job, index] += times
        if times > 1:
            found.append(f"{job}[{index}] attempt {attempt} ran {times} times")
        if job not in pods_of:
            found.append(f"{job}[{index}] ran, but the server knows no such job")
    for job, pods in pods_of.items():
        for pod in pods:
            found += audit_pod(job, pod, runs, job in may_be_cancelled or job not in known)
    for (job, index), text in (outputs or {}).items():
        if text != output_of(index):
            found.append(f"{job}[{index}] wrote {text!r} instead of {output_of(index)!r}")
    return found


def audit_pod(job, pod, runs, may_be_cancelled):
    name, state, times = f"{job}[{pod['index']}]", pod["state"], runs[job, pod["index"]]
    if state == "cancelled" and may_be_cancelled:
        return [f"{name} was cancelled and ran {times} times"] if times > 1 else []
    wanted = exit_code_of(pod["index"])
    found = []
    if state != ("failed" if wanted else "succeeded"):
        found.append(f"{name} is {state} ({pod.get('message') or 'no reason'})")
    elif pod["exit_code"] != wanted:
        found.append(f"{name} has exit code {pod['exit_code']} instead of {wanted}")
    if times != 1:
        found.append(f"{name} ran {times} times")
    return found
