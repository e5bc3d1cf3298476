"""A service's whole life with a client that never stops: three agents in network namespaces, pods with addresses of their
own, a port published on every node. Nothing that is done on purpose may cost the client one request."""

import http.client
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import unittest

import harness
import network
from harness import needs_root, wait_until

LOST_AFTER = ("--node-lost-after", "2s", "--heartbeat", "300ms")
PORT = 18080

# Answers with its version and its pod; asked to end, it finishes what it has begun.
WEB = """
import http.server, os, signal, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        bad = os.environ.get("BAD") and self.path == "/healthz"
        body = (os.environ["VERSION"] + " " + os.environ.get("HOSTNAME", "?") + "\\n").encode()
        self.send_response(500 if bad else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
server = http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Handler)
server.daemon_threads = False
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
print("pid", os.getpid(), flush=True)
server.serve_forever()
"""


def missing():
    why = network.missing()
    for program, package in (("nft", "nftables"), ("dnsmasq", "dnsmasq-base")):
        if not why and shutil.which(program) is None and not os.path.exists(f"/usr/sbin/{program}"):
            why = f"{package} is not installed"
    if not why and not os.path.exists("/usr/lib/cni/bridge"):
        why = "containernetworking-plugins is not installed"
    return why


class Client(threading.Thread):
    """Asks one node after the other, as long as it lives; keeps what was answered and what was not."""

    def __init__(self, addresses):
        super().__init__(daemon=True)
        self.addresses, self.stopped = list(addresses), threading.Event()
        self.answers, self.failures = [], []

    def run(self):
        number = 0
        while not self.stopped.is_set():
            address = self.addresses[number % len(self.addresses)]
            number += 1
            try:
                connection = http.client.HTTPConnection(address, PORT, timeout=10)
                connection.request("GET", "/")
                reply = connection.getresponse()
                text = reply.read().decode()
                connection.close()
                if reply.status != 200:
                    raise OSError(f"status {reply.status}")
                self.answers.append((time.monotonic(), text.split()[0]))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append((time.monotonic(), address, repr(error)))
            time.sleep(0.01)

    def since(self, when):
        return {version for at, version in self.answers if at >= when}


@needs_root
@unittest.skipIf(missing(), missing())
class Story(unittest.TestCase):
    def setUp(self):
        self.network = network.Network(3)
        self.cluster = harness.Cluster(3, network=self.network, cpus=2, server=LOST_AFTER)
        self.addCleanup(self.cluster.close)
        self.directory = tempfile.mkdtemp(prefix="berth-story-")
        self.addCleanup(shutil.rmtree, self.directory, True)
        os.chmod(self.directory, 0o755)
        self.program = os.path.join(self.directory, "web.py")
        with open(self.program, "w", encoding="utf-8") as file:
            file.write(WEB)

    def service(self, *words, **more):
        return self.cluster.run("service", *words, timeout=120, **more)

    def tasks(self):
        return [t for t in self.cluster.json("service", "ps", "web", "-o", "json") if t["state"] == "running" and t["ready"]]

    def no_failures(self, client, what):
        time.sleep(1)
        self.assertEqual(client.failures, [], f"{what} cost requests ({len(client.answers)} were answered)")

    def test_it(self):
        self.service("create", "web", "--replicas", 3, "--network", "pods", "--publish", f"{PORT}:8000", "--cpus", "0.1",
                     "--health", "http:8000/healthz,every=300ms,timeout=3s", "--update-order", "start-first",
                     "--update-monitor", "500ms", "--rollback-monitor", "500ms", "--update-ready-within", "20s",
                     "--update-failure-action", "rollback", "--env", "VERSION=v1", "--", sys.executable, self.program)
        self.assertEqual({task["node"] for task in self.tasks()}, {"n1", "n2", "n3"})
        addresses = [f"{self.network.subnet}.{i + 1}" for i in (1, 2, 3)]
        def answers(address):
            try:
                connection = http.client.HTTPConnection(address, PORT, timeout=10)
                connection.request("GET", "/")
                return connection.getresponse().status == 200
            except OSError:
                return False
        # All nodes hear of it well within a second; the client begins when they have.
        wait_until("every node answers", lambda: all(answers(address) for address in addresses), seconds=10)
        client = Client(addresses)
        client.start()
        self.addCleanup(client.stopped.set)
        wait_until("the client is answered", lambda: len(client.answers) > 50)
        self.assertEqual(client.failures, [])

        self.service("scale", "web=6")
        self.service("scale", "web=3")
        self.no_failures(client, "scaling")

        began = time.monotonic()
        self.service("update", "web", "--env", "VERSION=v2")
        done = time.monotonic()
        self.no_failures(client, "the rolling update")
        self.assertEqual(client.since(done + 0.7), {"v2"})
        print(f"a rolling update of 3 replicas took {done - began:.1f} s, and no request")

        self.cluster.run("drain", "n2", "--wait", timeout=120)
        self.no_failures(client, "the drain")
        self.assertNotIn("n2", {task["node"] for task in self.tasks()})
        self.cluster.run("resume", "n2")

        bad = self.service("update", "web", "--env", "VERSION=v3", "--env", "BAD=1", "--update-ready-within", "4s", check=False)
        self.assertEqual(bad.returncode, 1, bad.stderr)
        self.assertIn("rolled back to revision", bad.stderr)
        self.no_failures(client, "the rollback")
        self.assertEqual(client.since(done + 0.7), {"v2"})

        # One crashes: it is replaced at once.
        victim = self.tasks()[0]
        pid = int(self.cluster.run("logs", victim["job"]).stdout.split()[1])
        os.kill(pid, signal.SIGKILL)
        crashed = time.monotonic()
        wait_until("three are ready again", lambda: len(self.tasks()) == 3 and victim["job"] not in {t["job"] for t in self.tasks()})
        print(f"a killed replica was replaced, and ready, after {time.monotonic() - crashed:.2f} s")

        # A node dies, with all that it runs: clients of the others are served by what is left, and then by three again.
        node = self.tasks()[0]["node"]
        number = int(node[1:])
        client.addresses = [address for i, address in enumerate(addresses, 1) if i != number]
        self.network.set_link(number, False)
        cut = time.monotonic()
        wait_until("three are ready elsewhere", lambda: len([t for t in self.tasks() if t["node"] != node]) == 3)
        print(f"a lost node's replicas were ready elsewhere after {time.monotonic() - cut:.2f} s, 2 s of them to declare it lost")
        time.sleep(1)
        after = time.monotonic()
        time.sleep(2)
        self.assertEqual([f for f in client.failures if f[0] > after], [])
        # It comes back: what it still ran is stopped, nothing runs twice.
        self.network.set_link(number, True)
        wait_until("it is back", lambda: self.cluster.nodes()[node]["connected"])
        wait_until("nothing runs twice", lambda: sum(n["pods"] for n in self.cluster.nodes().values()) == 3)
        self.assertEqual(len(self.tasks()), 3)
        print(f"{len(client.answers)} requests were answered, {len(client.failures)} failed, all of these after the crash and the loss")


if __name__ == "__main__":
    unittest.main()
