"""What a cluster in a directory of its own may leave on the machine, found and removed: processes, mounts, control groups.

Everything such a cluster starts names its directory in the command line, the environment or the working directory, or is
in a control group named after one of its agents' instance files. Nothing else is ever touched.
"""

import os
import shutil
import signal
import subprocess
import time


def processes(directory):
    """Ids of all processes that belong to a cluster in the directory, but this one."""
    wanted, found = directory.encode(), set()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and _names(entry, wanted):
            found.add(int(entry))
    for group in groups(instances(directory)):
        try:
            with open(os.path.join(group, "cgroup.procs"), encoding="utf-8") as file:
                found.update(int(line) for line in file)
        except OSError:
            continue  # it is gone, or a threaded one
    return sorted(found - {os.getpid()})


def _names(process, wanted):
    try:
        for name in ("cmdline", "environ"):
            with open(f"/proc/{process}/{name}", "rb") as file:
                if wanted in file.read():
                    return True
        return wanted in os.fsencode(os.readlink(f"/proc/{process}/cwd"))
    except OSError:
        return False  # it ended, or is not ours to look at


def mounts(directory):
    """Mount points below the directory, the deepest first."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split()[4] for line in file]
    return sorted((point for point in points if point.startswith(directory + "/")), reverse=True)


def instances(directory):
    """The instances of the agents that keep their data below the directory."""
    found = set()
    for place, subdirectories, files in os.walk(directory):
        if "instance" in files and "pods" in subdirectories:
            with open(os.path.join(place, "instance"), encoding="utf-8") as file:
                found.add(file.read().strip()[:8])  # so much of it names the groups
        if place.count("/") - directory.count("/") >= 2:
            subdirectories.clear()
    return found - {""}


def groups(names):
    """Directories of the control groups of these instances, the deepest first."""
    found = []
    for place, subdirectories, _ in os.walk("/sys/fs/cgroup") if names else ():
        if os.path.basename(place) == "berth":
            for name in names.intersection(subdirectories):
                found += [inner for inner, _, _ in os.walk(os.path.join(place, name))]
    return sorted(set(found), key=len, reverse=True)


def networks(names):
    """What pod networks of these instances left: their files, and the mounts of network namespaces."""
    found = [os.path.join("/run/berth", name) for name in names if os.path.isdir(os.path.join("/run/berth", name))]
    if names and os.path.isdir("/run/netns"):
        found += [os.path.join("/run/netns", entry) for entry in os.listdir("/run/netns")
                  if entry.startswith("berth-") and entry.split("-")[1] in names]
    return sorted(found)


def _remove_networks(names):
    for path in networks(names):
        if path.startswith("/run/netns/"):
            subprocess.run(["umount", "-l", path], capture_output=True, check=False)
            os.unlink(path)
        else:
            shutil.rmtree(path, ignore_errors=True)
    # Of agents in the network namespace that we are in; with another one, all in it goes.
    for name in names:
        if os.path.isdir(f"/sys/class/net/berth{name}"):
            subprocess.run(["nft", "delete", "table", "ip", f"berth_{name}"], capture_output=True, check=False)
            for device in (f"berth{name}", f"bvx{name}"):
                subprocess.run(["ip", "link", "del", device], capture_output=True, check=False)


def remove(directory):
    """Ends, unmounts and removes all of it, and the directory. What could not be removed comes back as lines."""
    names = instances(directory)
    for _ in range(100):  # a process may start another while we look
        left = processes(directory)
        if not left:
            break
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except OSError:
                pass
        time.sleep(0.05)
    for point in mounts(directory):
        subprocess.run(["umount", "-l", point], capture_output=True, check=False)
    for _ in range(20):  # a group can be removed only some moments after its last process
        for group in groups(names):
            try:
                os.rmdir(group)
            except OSError:
                pass
        if not groups(names):
            break
        time.sleep(0.05)
    _remove_networks(names)
    shutil.rmtree(directory, ignore_errors=True)
    found = [f"process {process}" for process in processes(directory)]
    found += [f"mount {point}" for point in mounts(directory)]
    found += [f"control group {group}" for group in groups(names)]
    found += [f"network {path}" for path in networks(names)]
    return found + ([f"directory {directory}"] if os.path.exists(directory) else [])
