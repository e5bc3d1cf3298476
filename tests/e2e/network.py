"""Network: a bridge and network namespaces with one address each, so that every agent has a machine's network of its own."""

import os
import shutil
import subprocess


def missing():
    """Why namespaces cannot be made here, as one line; "" if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "iproute2 is not installed"
    name = f"berth-probe-{os.getpid()}"
    probe = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        return "the kernel forbids network namespaces: " + probe.stderr.strip()
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return ""


class Network:
    """Namespaces 1 … count, each with a veth into one bridge. Names and the subnet come from the process id, so that runs
    beside each other do not collide. close() removes all of it, also after a start that failed half-way."""

    def __init__(self, count):
        self.tag = f"{os.getpid() % 100000:05d}"
        self.subnet = f"10.{100 + os.getpid() // 250 % 28}.{os.getpid() % 250}"  # outside of 10.128.0.0/9, where pods and services are
        self.bridge = f"bb{self.tag}"
        self.address = f"{self.subnet}.1"  # of this side, where the server listens
        self.namespaces = [f"berth-{self.tag}-{i}" for i in range(1, count + 1)]
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _make(self):
        _ip("link", "add", self.bridge, "type", "bridge")
        _ip("addr", "add", f"{self.address}/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")
        for i, namespace in enumerate(self.namespaces, 1):
            outer, inner = f"bo{self.tag}{i}", f"bi{self.tag}{i}"
            _ip("netns", "add", namespace)
            _ip("link", "add", outer, "type", "veth", "peer", "name", inner)
            _ip("link", "set", inner, "netns", namespace)
            _ip("link", "set", outer, "master", self.bridge)
            _ip("link", "set", outer, "up")
            _ip("-n", namespace, "addr", "add", f"{self.subnet}.{i + 1}/24", "dev", inner)
            _ip("-n", namespace, "link", "set", inner, "up")
            _ip("-n", namespace, "link", "set", "lo", "up")

    def inside(self, number):
        """The words before a command that make it run in namespace `number` (1 is the first)."""
        return ["ip", "netns", "exec", self.namespaces[number - 1]]

    def set_link(self, number, up):
        _ip("link", "set", f"bo{self.tag}{number}", "up" if up else "down")

    def close(self):
        for i, namespace in enumerate(self.namespaces, 1):
            subprocess.run(["ip", "link", "del", f"bo{self.tag}{i}"], capture_output=True, check=False)
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", self.bridge], capture_output=True, check=False)


def _ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
