"""Etcd: one or three real members on the loopback, in a directory of their own, and servers that share a journal there."""

import base64
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.request

import harness
from harness import wait_until

ETCD = shutil.which("etcd")
ETCDCTL = shutil.which("etcdctl")
# Long, for a machine that is busy with other tests; the product's own is 1500.
LEASE_MS = int(os.environ.get("BERTH_E2E_LEASE_MS", "5000"))
needs_etcd = unittest.skipUnless(ETCD, "needs etcd (package etcd-server)")


class Etcd:
    scheme = "http"

    def __init__(self, members=1, options=()):
        self.directory = tempfile.mkdtemp(prefix="berth-etcd-")
        options = [*options, *self.prepare()]
        ports = [(harness.free_port(), harness.free_port()) for _ in range(members)]
        self.hosts = [f"127.0.0.1:{client}" for client, _ in ports]
        names = [f"e{number}" for number in range(1, members + 1)]
        peers = ",".join(f"{name}=http://127.0.0.1:{peer}" for name, (_, peer) in zip(names, ports))
        self.members = []
        for name, (client, peer) in zip(names, ports):
            command = [ETCD, "--name", name, "--data-dir", os.path.join(self.directory, name),
                       "--listen-client-urls", f"{self.scheme}://127.0.0.1:{client}",
                       "--advertise-client-urls", f"{self.scheme}://127.0.0.1:{client}",
                       "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                       "--initial-cluster", peers, "--initial-cluster-token", os.path.basename(self.directory), *options]
            self.members.append(harness.Daemon(name, command, os.path.join(self.directory, name + ".log"),
                                               {"PATH": "/usr/bin:/bin"}))
        for member in self.members:
            member.start()

    def prepare(self):
        """What there must be before the first member starts; the options that it makes."""
        return []

    @property
    def url(self):
        return "etcd://" + ",".join(self.hosts) + "/e2e"

    def path(self, name):
        return os.path.join(self.directory, name)

    def close(self):
        for member in self.members:
            member.send(signal.SIGCONT)
            if member.alive():
                member.process.kill()
                member.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class SecureEtcd(Etcd):
    """One member that speaks TLS and knows users; `client_certificates`: it wants one from everybody."""

    scheme = "https"
    USER, PASSWORD = "berth", "a password with : and @"

    def __init__(self, client_certificates=False):
        self.client_certificates = client_certificates
        super().__init__(1)
        wait_until("etcd answers", lambda: self.ask("maintenance/status", {}, check=False))
        if not client_certificates:
            self.make_users()

    def prepare(self):
        def openssl(*words):
            subprocess.run(["openssl", *words], check=True, capture_output=True)
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/O=etcd test", "-keyout",
                self.path("ca.key"), "-out", self.path("ca.crt"))
        for name in ("server", "client"):
            openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/O={name}", "-keyout", self.path(name + ".key"), "-out",
                    self.path(name + ".csr"))
            with open(self.path("extensions"), "w", encoding="utf-8") as file:
                file.write("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n")
            openssl("x509", "-req", "-in", self.path(name + ".csr"), "-CA", self.path("ca.crt"), "-CAkey", self.path("ca.key"),
                    "-CAcreateserial", "-days", "2", "-extfile", self.path("extensions"), "-out", self.path(name + ".crt"))
        with open(self.path("password"), "w", encoding="utf-8") as file:
            file.write(self.PASSWORD + "\n")
        options = ["--cert-file", self.path("server.crt"), "--key-file", self.path("server.key")]
        if self.client_certificates:
            options += ["--client-cert-auth", "--trusted-ca-file", self.path("ca.crt")]
        return options

    def ask(self, what, body, check=True):
        """By etcd's JSON gateway: this is not what is tested."""
        context = ssl.create_default_context(cafile=self.path("ca.crt"))
        context.load_cert_chain(self.path("client.crt"), self.path("client.key"))
        request = urllib.request.Request(f"https://{self.hosts[0]}/v3/{what}", json.dumps(body).encode())
        try:
            with urllib.request.urlopen(request, context=context, timeout=10) as answer:
                return json.load(answer)
        except OSError:
            if check:
                raise
            return None

    def make_users(self):
        """root, and one who may only touch what is below the cluster's prefix."""
        def encoded(text):
            return base64.b64encode(text.encode()).decode()
        self.ask("auth/user/add", {"name": "root", "password": "root"})
        self.ask("auth/role/add", {"name": "root"})
        self.ask("auth/user/grant", {"user": "root", "role": "root"})
        self.ask("auth/user/add", {"name": self.USER, "password": self.PASSWORD})
        self.ask("auth/role/add", {"name": "cluster"})
        self.ask("auth/role/grant", {"name": "cluster", "perm": {"permType": "READWRITE", "key": encoded("e2e/"),
                                                                 "range_end": encoded("e2e0")}})
        self.ask("auth/user/grant", {"user": self.USER, "role": "cluster"})
        self.ask("auth/enable", {})

    @property
    def url(self):
        settings = f"ca={self.path('ca.crt')}"
        if self.client_certificates:
            return f"etcd://{self.hosts[0]}/e2e?{settings}&cert={self.path('client.crt')}&key={self.path('client.key')}"
        return f"etcd://{self.USER}@{self.hosts[0]}/e2e?{settings}&password-file={self.path('password')}"


class HaCluster(harness.Cluster):
    """Servers that share a journal in etcd, on Unix sockets or (tls) on ports; commands and agents know all of them."""

    def __init__(self, etcd, servers=2, agents=1, *, tls=False, lease_ms=LEASE_MS, server=(), agent=(), cpus=2):
        super().__init__(0, tls=False, cpus=cpus, agent=agent, start=False)
        self.etcd, self.servers, self.tls = etcd, {}, tls
        self.server_options = ["--lease-ms", str(lease_ms), "--heartbeat", "500ms", "--accounting", "none", *server]
        try:
            self.addresses = {}
            for number in range(1, servers + 1):
                self.make_address(number)
            for number in range(1, servers + 1):
                self.add_server(number)
                self.wait_leader()
            for number in range(1, agents + 1):
                self.add_agent(number)
            self.wait_nodes(agents)
        except BaseException:
            self.close()
            raise

    def make_address(self, number):
        self.addresses[number] = f"127.0.0.1:{harness.free_port()}" if self.tls else self.path(f"s{number}")
        self.environment["BERTH_SERVER"] = ",".join(self.path(f"s{each}") for each in self.addresses)
        self.socket = self.listen = ",".join(self.addresses.values())  # what agents join

    def add_server(self, number):
        if number not in self.addresses:
            self.make_address(number)
        data = self.path(f"server{number}")
        first = self.path("server1", "authority")
        if number != 1 and os.path.isdir(first) and not os.path.isdir(os.path.join(data, "authority")):
            shutil.copytree(first, os.path.join(data, "authority"))
        command = [harness.BERTH, "server", "--data", data, "--socket", self.path(f"s{number}"), "--store", self.etcd.url,
                   "--listen", self.addresses[number] if self.tls else "none", *self.server_options]
        self.servers[number] = harness.Daemon(f"server {number}", command, self.path(f"server{number}.log"), self.environment)
        self.servers[number].start()

    def status(self, number=None):
        """What `server status` says of one server, or of the first that answers; None where it does not."""
        words = ["--server", self.path(f"s{number}")] if number else []
        done = self.run(*words, "server", "status", "-o", "json", check=False)
        return json.loads(done.stdout) if done.returncode == 0 else None

    def leader(self):
        """The number of the server that leads and serves, or None."""
        for number, server in self.servers.items():
            if not server.alive():
                continue
            done = self.run("--server", self.path(f"s{number}"), "server", "status", "-o", "json", check=False, timeout=20)
            if done.returncode == 0 and not json.loads(done.stdout)["standby"]:
                return number
        return None

    def wait_leader(self):
        return wait_until(lambda: "a server leads\n" + self.logs_of_daemons(), self.leader)

    def logs_of_daemons(self, lines=15):
        daemons = [*self.servers.values(), *self.agents.values()]
        return "".join(f"[{daemon.name}]\n{daemon.tail(lines)}" for daemon in daemons)

    def close(self):
        for server in getattr(self, "servers", {}).values():
            server.send(signal.SIGCONT)
            if server.alive():
                server.process.kill()
                server.process.wait()
        super().close()


class Submitters:
    """Threads that submit small jobs until they are stopped, and note what was acknowledged and when."""

    def __init__(self, cluster, threads=2, script="exit 0"):
        self.cluster, self.script = cluster, script
        self.acknowledged, self.refused, self.lock, self.stopping = [], [], threading.Lock(), False
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(threads)]
        for thread in self.threads:
            thread.start()

    def work(self, number):
        count = 0
        while not self.stopping:
            count += 1
            name = f"t{number}-{count}"
            done = self.cluster.run("submit", "--name", name, "--", "sh", "-c", self.script, check=False, timeout=120)
            with self.lock:
                if done.returncode == 0:
                    self.acknowledged.append((time.monotonic(), harness.find_id(done.stdout), name))
                else:
                    self.refused.append(done.stderr.strip())

    def count(self):
        with self.lock:
            return len(self.acknowledged)

    def wait_more(self, more=5):
        target = self.count() + more
        wait_until(lambda: f"{more} more jobs are taken: {self.refused[-3:]}\n" + self.cluster.logs_of_daemons(),
                   lambda: self.count() >= target)

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()


def run_ctl(etcd, *words):
    return subprocess.run([ETCDCTL, "--endpoints", ",".join(etcd.hosts), *words], capture_output=True, text=True, check=True,
                          timeout=60, env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"}).stdout
