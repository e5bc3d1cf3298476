"""The same command lines on real Slurm and on Berth: what differs in output, errors and exit code.

cases.txt has the command lines, one a line, in sections that each begin with "== NAME", with an empty queue, and share jobs:

    COMMAND LINE            is run by sh on both sides; output, errors and exit code are compared
    NAME = COMMAND LINE     the same; its output, without the newline, is $NAME from here on (ids are masked by that)
    fields: COMMAND LINE    of Name=value output every name is compared by itself
    variables: COMMAND LINE lines of NAME=value: those that Slurm's side or Berth's calls SLURM… and the like
    options: COMMAND LINE   the long options of a help text that Slurm's names and Berth's does not
    columns: COMMAND LINE   the words of the output, in any order
    sorted: COMMAND LINE    lines in any order
    quiet: COMMAND LINE     is run, not compared
    wait: JOB STATE…        until squeue shows the job in one of these compact states, on both sides
    file: NAME              the indented lines below are written to it

{queue} is the partition; `batch FILE OPTIONS…` is sbatch with its output in FILE, until the job has ended, and that output. A difference has a name: "output", "errors" or "code", or in the modes above the names that differ.
docs/slurm.md lists those that are left, and why.
"""

import os
import re
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE_S = 240
MODES = ("fields", "variables", "options", "columns", "sorted", "quiet", "wait", "file")
# What is never equal, even between two real Slurms: only whether it is there is compared.
VOLATILE = {"CPULoad", "FreeMem", "Port", "NodeAddr", "NodeHostName", "OS", "RunTime", "Priority", "AllocNode:Sid", "SLURM_CONF", "SLURM_TASK_PID",
            "SLURM_JOB_ID", "SLURM_JOBID", "SLURM_ARRAY_JOB_ID", "SLURM_STEP_LAUNCHER_PORT", "SLURM_SRUN_COMM_PORT",
            "SLURM_SRUN_COMM_HOST", "SLURM_LAUNCH_NODE_IPADDR", "SLURM_WORKING_CLUSTER"}
VARIABLES = re.compile(r"^(SLURM|SBATCH|SALLOC|SRUN|ENVIRONMENT$|HOSTNAME$|TMPDIR$|CUDA_VISIBLE|GPU_DEVICE|MPI)")


class Step:
    def __init__(self, section, mode, text, name=""):
        self.section, self.mode, self.text, self.name = section, mode, text, name

    @property
    def key(self):
        return (self.mode + ": " if self.mode != "text" else "") + self.text


# A job with its output in FILE, and that file once it has left the queue: quicker than sbatch --wait, which looks every some seconds.
BATCH = """#!/bin/sh
file=$1; shift
id=$(sbatch --parsable -o "$file" "$@") || exit
while [ -n "$(squeue -h -j "$id" 2>/dev/null)" ]; do sleep 0.05; done
cat "$file"
"""


class BadCases(Exception):
    pass


def read_cases(path=os.path.join(HERE, "cases.txt")):
    steps, section, body = [], "", None
    with open(path, encoding="utf-8") as source:
        for number, line in enumerate(source, 1):
            line = line.rstrip("\n")
            if body is not None and (line.startswith("    ") or not line):
                body.append(line[4:])
                continue
            body = None
            if not line or line.startswith("#"):
                continue
            if line.startswith("== "):
                section = line[3:]
                continue
            mode, _, rest = line.partition(": ")
            named = re.match(r"^([a-z]\w*) = (.*)$", line)
            if mode == "file":
                body = []
                steps.append(Step(section, "file", rest, body))
            elif mode in MODES:
                steps.append(Step(section, mode, rest))
            elif named:
                steps.append(Step(section, "text", named[2], named[1]))
            else:
                steps.append(Step(section, "text", line))
            if not section:
                raise BadCases(f"cases.txt:{number}: no section yet")
    keys = [step.key for step in steps if step.mode not in ("quiet", "wait", "file")]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise BadCases(f"cases.txt: twice, so that a difference has no name of its own: {twice} (put '# 2' behind one)")
    return steps


class Side:
    """One of the two: where its commands are, what their environment is, and the ids it gave."""

    def __init__(self, name, links, work, environment, queue):
        self.name, self.links, self.work, self.queue = name, links, work, queue
        self.environment = {"LANG": "C.UTF-8", "HOME": work, "USER": "root", "LOGNAME": "root", "SHELL": "/bin/sh",
                            "PATH": f"{links}:{work}:/usr/sbin:/usr/bin:/sbin:/bin", **environment}
        self.names = {}
        self.write("batch", BATCH.splitlines())
        os.chmod(os.path.join(work, "batch"), 0o755)

    def run(self, text, seconds=PATIENCE_S):
        try:
            done = subprocess.run(["/bin/sh", "-c", text.replace("{queue}", self.queue)], stdin=subprocess.DEVNULL, capture_output=True,
                                  text=True, errors="replace", check=False, timeout=seconds, cwd=self.work,
                                  env={**self.environment, **self.names})
        except subprocess.TimeoutExpired:
            return "", f"no end after {seconds} s", -1
        return done.stdout, done.stderr, done.returncode

    def write(self, name, lines):
        with open(os.path.join(self.work, name), "w", encoding="utf-8") as out:
            out.write("\n".join(lines).rstrip("\n").replace("{queue}", self.queue) + "\n")

    def wait(self, text):
        job, *states = text.split()
        deadline, seen = time.monotonic() + PATIENCE_S, ""
        while time.monotonic() < deadline:
            seen, errors, code = self.run(f"squeue -h -r -t all -j {job} -o %t")
            if code == 0 and seen and set(seen.split()) <= set(states):
                return
            time.sleep(0.05)
        raise AssertionError(f"{self.name}: {job} is not in {states} but in {seen.split()} {errors}")

    def clear(self):
        """An empty queue: a section does not wait for another's jobs."""
        deadline = time.monotonic() + PATIENCE_S
        while self.run("scancel -Q -u root; squeue -h")[0] and time.monotonic() < deadline:
            time.sleep(0.2)

    def mask(self, text):
        """Ids, times, directories, names of queues: what cannot be equal."""
        text = text.replace(self.work, "WORK").replace(self.queue, "QUEUE")
        for name, value in self.names.items():
            if value.isdigit():
                text = re.sub(rf"(?<![\d.]){value}(?!\d|\.\d)", "{" + name + "}", text)
        text = re.sub(r"\b([Jj]ob|allocation) \d+|\bStepId=\d+", lambda match: re.sub(r"\d+", "ID", match[0]), text)
        text = re.sub(r"\bslurm-wlm (?=\d)", "slurm ", text)  # as Debian calls it
        text = text.replace("salloc: Job allocation ID has been revoked.\n", "")  # said or not, as it happens
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "TIME", text)
        text = re.sub(r"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}", "DATE", text)
        return re.sub(r"\b0:0\d\b", "0:0x", text)  # how long it runs


def fields_of(text):
    """Name=value of a record in Slurm's layout, where values may hold blanks."""
    found = {}
    for match in re.finditer(r"(?:(?<=\s)|^)([A-Za-z][\w/:&]*)=(.*?)(?=\s+[A-Za-z][\w/:&]*=|\s*$)", text, re.M):
        found.setdefault(match[1], []).append(match[2].strip())
    return found


def variables_of(text):
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, _, value in pairs if VARIABLES.match(name)}


def lines_of(text):
    return [line for line in text.splitlines() if line]


def differing(left, right):
    return {name for name in left.keys() | right.keys()
            if (name in left) != (name in right) or (name not in VOLATILE and left.get(name) != right.get(name))}


def compare(step, real, berth):
    """The names of what differs, of two (output, errors, code), masked."""
    if step.mode == "fields":
        names = differing(fields_of(real[0]), fields_of(berth[0]))
    elif step.mode == "variables":
        names = differing(variables_of(real[0]), variables_of(berth[0]))
    elif step.mode == "options":
        left, right = (set(re.findall(r"--[A-Za-z][\w-]*", side[0] + side[1])) for side in (real, berth))
        names = {name for name in left if not any(other.startswith(name) for other in right)}  # what Slurm's help does not name, it may take all the same
    elif step.mode == "columns":
        names = set(real[0].split()) ^ set(berth[0].split())
    elif step.mode == "sorted":
        names = {"output"} if sorted(real[0].splitlines()) != sorted(berth[0].splitlines()) else set()
    else:
        names = {"output"} if real[0] != berth[0] else set()
    if step.mode != "options" and lines_of(real[1]) != lines_of(berth[1]):
        names.add("errors")
    if real[2] != berth[2]:
        names.add("code")
    return names


def run_cases(steps, real, berth, report):
    """Runs them on both; {key: names of what differs}. `report` is told of each difference."""
    found, section = {}, ""
    for step in steps:
        if step.section != section:
            section = step.section
            for side in (real, berth):
                side.clear()
        if step.mode == "file":
            for side in (real, berth):
                side.write(step.text, step.name)
        elif step.mode == "wait":
            for side in (real, berth):
                side.wait(expand(step.text, side.names))
        else:
            results = []
            for side in (real, berth):
                result = side.run(step.text)
                if step.name:
                    side.names[step.name] = result[0].strip()
                results.append((side.mask(result[0]), side.mask(result[1]), result[2]))
            if step.mode == "quiet":
                continue
            names = compare(step, *results)
            found[step.key] = names
            if names:
                report(step, names, *results)
    return found


def expand(text, names):
    return re.sub(r"\$(\w+)", lambda match: names.get(match[1], ""), text)


def listed_differences(path):
    """From the table in docs/slurm.md: {command line: names}."""
    with open(path, encoding="utf-8") as source:
        text = source.read()
    listed = {}
    begun = text.split("## Compared with real Slurm", 1)
    if len(begun) < 2:
        return listed
    for line in begun[1].splitlines():
        cells = [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", line)]
        if len(cells) < 5 or not cells[1].startswith("`"):
            continue
        listed.setdefault(cells[1].strip("`"), set()).update(name.strip(" `") for name in cells[2].split(","))
    return listed
