"""Runs a bundle COUNT times with the bare runtime and prints, as a JSON list, the milliseconds from before the runtime's start
to the time that the container wrote. To be run in a mount namespace of its own.
    bare_runtime.py RUNTIME BUNDLE COUNT DIRECTORY"""

import json
import os
import subprocess
import sys
import time

UNIFIED = "/sys/fs/cgroup/unified"


def main():
    runtime, bundle, count, directory = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    if os.path.ismount(UNIFIED):
        subprocess.run(["umount", UNIFIED], check=True)
    times = []
    for i in range(count + 1):
        path = os.path.join(directory, f"bare.{i}")
        with open(path, "wb") as output:
            before = time.time()
            subprocess.run([runtime, "run", "--bundle", bundle, f"berth-bench-{os.getpid()}-{i}"], stdout=output, check=True)
        with open(path, encoding="utf-8") as source:
            times.append((float(source.read()) - before) * 1000)
        time.sleep(0.05)
    print(json.dumps(times[1:]))  # the first one warmed the caches


if __name__ == "__main__":
    main()
