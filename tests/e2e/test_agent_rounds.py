"""Rounds of kill -9 of the agent or of a pod's shim, at random moments of the lives of processes and containers:
no pod is lost or runs twice, and no process, mount, control group or directory is left, counted.

BERTH_E2E_SEED replays the choices, BERTH_E2E_AGENT_ROUNDS sets how many (default 200, a minute).
"""

import os
import random
import signal
import time
import unittest

import harness
import image
import ledger
import leftovers

ROUNDS = int(os.environ.get("BERTH_E2E_AGENT_ROUNDS", "200"))
LIVE = 6  # pods that there are to be at any moment, about
SHIM_DIED = "the pod's shim died"


@harness.needs_root
class AgentRounds(unittest.TestCase):
    def setUp(self):
        self.cluster = harness.Cluster(1, cpus=2, server=["--node-lost-after", "600s"])
        self.addCleanup(self.cluster.close)
        self.book = self.cluster.path("ledger")
        open(self.book, "w", encoding="utf-8").close()
        os.chmod(self.book, 0o666)
        self.image = "" if image.missing() else image.make(self.cluster.path("busybox"))
        self.acknowledged = []

    def submit(self, chance):
        """Some pods of each kind: as a container the ledger is mounted into it."""
        words = ["--cpus", "0.1", "--mem", "32M", "--env", f"NAP={chance.choice(('0', '0.1', '0.4', '1'))}"]
        kind = chance.choice(("process", "container")) if self.image else "process"
        size = chance.choice((1, 2, 3))
        if kind == "container":
            words += ["--image", self.image, "--mount", f"type=bind,src={self.book},dst=/ledger", "--mount",
                      "type=scratch,dst=/scratch", "--env", "LEDGER=/ledger"]
        else:
            words += ["--env", f"LEDGER={self.book}"]
        job = self.cluster.submit(*words, "--array", f"0-{size - 1}", "--", "sh", "-c", ledger.SCRIPT)
        self.acknowledged.append(ledger.Acknowledged(job, size))

    def shims(self):
        """The shims of this cluster that live."""
        found = []
        for process in leftovers.processes(self.cluster.directory):
            try:
                with open(f"/proc/{process}/comm", encoding="utf-8") as file:
                    if file.read().strip() == "berth-shim":
                        found.append(process)
            except OSError:
                pass
        return found

    def live(self):
        status = self.cluster.json("status", "-o", "json")
        return status["pods_pending"] + status["pods_live"]

    def test_whoever_is_killed_nothing_is_lost_doubled_or_left(self):
        seed = int(os.environ.get("BERTH_E2E_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"seed {seed} (BERTH_E2E_SEED={seed} replays)", flush=True)
        chance = random.Random(seed)
        agent = self.cluster.agents[1]
        killed = {"agent": 0, "shim": 0}
        for _ in range(ROUNDS):
            while self.live() < LIVE:
                self.submit(chance)
            time.sleep(chance.uniform(0, 0.4))
            shims = self.shims() if chance.random() < 0.5 else []
            if shims:
                try:
                    os.kill(chance.choice(shims), signal.SIGKILL)
                    killed["shim"] += 1
                except ProcessLookupError:
                    pass
                continue
            self.assertTrue(agent.alive(), f"the agent ended by itself:\n{agent.tail()}")
            agent.kill()
            killed["agent"] += 1
            time.sleep(chance.uniform(0, 0.2))
            agent.start()
        harness.wait_until(lambda: f"all have ended\n{self.cluster.logs_of_daemons()}", lambda: self.live() == 0, 240)
        found = self.audit()
        print(f"{ROUNDS} rounds: {killed['agent']} agents and {killed['shim']} shims killed, "
              f"{sum(ack.size for ack in self.acknowledged)} pods", flush=True)
        self.assertEqual(found, [], f"seed {seed}\n" + "\n".join(found[:40]) + "\n" + self.cluster.logs_of_daemons())
        self.assertGreater(min(killed.values()), ROUNDS // 10)

    def audit(self):
        pods_of = {ack.job: self.cluster.pods(ack.job) for ack in self.acknowledged}
        ran = ledger.read(self.book)
        # Who loses his shim fails, and has run once or not at all.
        found = []
        for job, pods in pods_of.items():
            for pod in [pod for pod in pods if SHIM_DIED in (pod["message"] or "")]:
                times = sum(ran.pop((job, pod["index"], attempt), 0) for attempt in range(1, 20))
                if times > 1:
                    found.append(f"{job}[{pod['index']}] lost its shim and ran {times} times")
        kept = {job: [pod for pod in pods if SHIM_DIED not in (pod["message"] or "")] for job, pods in pods_of.items()}
        for ack in self.acknowledged:
            if len(pods_of[ack.job]) != ack.size:
                found.append(f"job {ack.job} has {len(pods_of[ack.job])} pods of {ack.size}")
        return found + ledger.audit([], kept, ran) + self.left()

    def left(self):
        """Whatever is there that an agent without pods does not have, once it had the time to clear up."""
        daemons = {self.cluster.server.process.pid, self.cluster.agents[1].process.pid}
        instance = leftovers.instances(self.cluster.directory)

        def now():
            found = [f"process {p}" for p in leftovers.processes(self.cluster.directory) if p not in daemons]
            found += [f"mount {point}" for point in leftovers.mounts(self.cluster.directory)]
            found += [f"control group {g}" for g in leftovers.groups(instance) if os.path.basename(g) not in instance]
            for name in ("pods", "bundles"):
                found += [f"{name}/{entry}" for entry in os.listdir(self.cluster.path("agent1", name))]
            found += [f"images/{entry}" for entry in os.listdir(self.cluster.path("agent1", "images"))
                      if not entry.startswith("sha256-")]
            return found
        deadline = time.monotonic() + 60
        while now() and time.monotonic() < deadline:
            time.sleep(0.2)
        return now()


if __name__ == "__main__":
    unittest.main()
