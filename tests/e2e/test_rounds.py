"""Fifty rounds of kill -9 at random moments under load: nothing that was acknowledged is lost, and nothing runs twice.

Clients submit arrays and cancel some, without a pause. Each round kills the server, an agent, or everything, at once and
without warning, and starts it again. In the end every acknowledgement is held against the server's word and against what
the pods themselves wrote (see ledger.py). BERTH_E2E_SEED replays the choices, BERTH_E2E_ROUNDS sets how many.
"""

import os
import random
import subprocess
import threading
import time
import unittest

import harness
import ledger

ROUNDS = int(os.environ.get("BERTH_E2E_ROUNDS", "50"))
AGENTS = 2


class Client(threading.Thread):
    """Submits, and cancels now and then, until told to stop; keeps what was acknowledged."""

    def __init__(self, cluster, seed, path):
        super().__init__()
        self.cluster, self.random, self.ledger = cluster, random.Random(seed), path
        self.stopping = threading.Event()
        self.acknowledged, self.refusals = [], []

    def run(self):
        while not self.stopping.is_set():
            size = self.random.choice((1, 3, 8, 20, 60))
            self.submit(size)
            if self.acknowledged and self.random.random() < 0.15:
                self.cancel(self.random.choice(self.acknowledged[-3:]))
            time.sleep(self.random.uniform(0, 0.15))

    def submit(self, size):
        nap = self.random.choice(("0", "0.02", "0.2", "1"))
        done = self.berth("submit", "--array", f"0-{size - 1}", "--cpus", "0.1", "--mem", "16M", "--env", f"LEDGER={self.ledger}",
                          "--env", f"NAP={nap}", "--", "sh", "-c", ledger.SCRIPT)
        if done is not None:
            self.acknowledged.append(ledger.Acknowledged(harness.find_id(done), size))

    def cancel(self, ack):
        ack.cancelled = True  # without an answer it may have happened, or not
        self.berth("cancel", ack.job)

    def berth(self, *words):
        """What the command printed, or None if it was not acknowledged."""
        try:
            done = self.cluster.run(*words, check=False, timeout=20)
        except subprocess.TimeoutExpired:
            return None
        if done.returncode == 0:
            return done.stdout
        self.refusals.append(done.stderr.strip())
        return None


def acknowledged(clients):
    return sum(len(client.acknowledged) for client in clients)


class Rounds(unittest.TestCase):
    def test_whatever_is_killed_nothing_acknowledged_is_lost_and_nothing_runs_twice(self):
        seed = int(os.environ.get("BERTH_E2E_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"seed {seed} (BERTH_E2E_SEED={seed} replays)", flush=True)
        chance = random.Random(seed)
        cluster = harness.Cluster(AGENTS, cpus=2, server=["--node-lost-after", "300s"])
        self.addCleanup(cluster.close)
        book = cluster.path("ledger")
        open(book, "w", encoding="utf-8").close()
        os.chmod(book, 0o666)
        clients = [Client(cluster, chance.random(), book) for _ in range(2)]
        for client in clients:
            client.start()
        try:
            for _ in range(ROUNDS):
                before = acknowledged(clients)
                harness.wait_until(lambda: "something is acknowledged in every round\n" + cluster.logs_of_daemons(),
                                   lambda: acknowledged(clients) > before, every=0.01)
                self.round(cluster, chance)
        finally:
            for client in clients:
                client.stopping.set()
            for client in clients:
                client.join()
        acks = [ack for client in clients for ack in client.acknowledged]
        found = self.settle_and_audit(cluster, acks, book)
        pods = sum(ack.size for ack in acks)
        print(f"{ROUNDS} rounds, {len(acks)} jobs and {pods} pods acknowledged, "
              f"{sum(len(c.refusals) for c in clients)} requests refused while something was down", flush=True)
        self.assertEqual(found, [], f"seed {seed}\n" + "\n".join(found[:40]) + "\n" + cluster.logs_of_daemons())

    def round(self, cluster, chance):
        agents = list(cluster.agents.values())
        victims = chance.choice(([cluster.server], [chance.choice(agents)], agents, [cluster.server, *agents],
                                 [cluster.server, chance.choice(agents)]))
        time.sleep(chance.uniform(0, 0.7))
        for victim in victims:
            self.assertTrue(victim.alive(), f"{victim.name} ended by itself:\n{victim.tail()}")
            victim.process.kill()
        for victim in victims:
            victim.process.wait()
        time.sleep(chance.uniform(0, 0.2))
        for victim in chance.sample(victims, len(victims)):
            victim.start()

    def settle_and_audit(self, cluster, acks, book):
        cluster.wait_server()
        cluster.wait_nodes(AGENTS)
        harness.wait_until(lambda: f"no pod waits or runs: {cluster.json('status', '-o', 'json')}\n{cluster.logs_of_daemons()}",
                           lambda: self.idle(cluster), 240)
        jobs = [row["id"] for row in cluster.json("ls", "--all", "-o", "json")]
        pods = {job: cluster.pods(job) for job in jobs}
        outputs = {}
        for ack in acks[::5]:
            for pod in pods.get(ack.job, ())[:2]:
                if pod["state"] != "cancelled":
                    outputs[ack.job, pod["index"]] = cluster.run("logs", f"{ack.job}[{pod['index']}]").stdout
        return ledger.audit(acks, pods, ledger.read(book), outputs)

    @staticmethod
    def idle(cluster):
        status = cluster.json("status", "-o", "json")
        return status["pods_pending"] == 0 and status["pods_live"] == 0


if __name__ == "__main__":
    unittest.main()
