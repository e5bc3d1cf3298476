"""Several servers with one journal in etcd: whoever is killed, paused or cut off, nothing acknowledged is lost or doubled,
and what runs goes on."""

import collections
import os
import signal
import time
import unittest

import etcd
import harness
from etcd import HaCluster, Submitters, needs_etcd
from harness import wait_until


@needs_etcd
class HighAvailability(unittest.TestCase):
    def cluster(self, members=1, **options):
        self.etcd = etcd.Etcd(members)
        self.addCleanup(self.etcd.close)
        cluster = HaCluster(self.etcd, **options)
        self.addCleanup(cluster.close)
        return cluster

    def assert_books(self, cluster, submitters):
        """Every acknowledged job is there once, and no name is there twice."""
        rows = cluster.json("ls", "--all", "-o", "json")
        ids = collections.Counter(row["id"] for row in rows)
        names = collections.Counter(row["name"] for row in rows)
        lost = [(job, name) for _, job, name in submitters.acknowledged if ids[job] != 1 or names[name] != 1]
        self.assertEqual(lost, [], f"of {len(submitters.acknowledged)}")
        self.assertEqual([name for name, times in names.items() if times > 1], [])

    def long_pod(self, cluster):
        """A pod that runs until its gate is opened, and writes a line when it begins."""
        gate, book = cluster.path("gate"), cluster.path("book")
        job = cluster.submit("--name", "long", "--cpus", "0.1", "--", "sh", "-c",
                             f"echo x >> {book}; while [ ! -e {gate} ]; do sleep 0.1; done; exit 4")
        cluster.wait_state(job, "running")

        def finish():
            with open(gate, "w", encoding="utf-8"):
                pass
            cluster.wait(job)
            pod = cluster.pods(job)[0]
            self.assertEqual((pod["state"], pod["exit_code"], pod["attempt"]), ("failed", 4, 1))
            with open(book, encoding="utf-8") as file:
                self.assertEqual(file.read(), "x\n", "it ran once")
        return job, finish

    def measure_takeover(self, submitters, since):
        """From the kill to the first job that a server acknowledged that was not there before."""
        submitters.wait_more(8)
        first = min(at for at, _, _ in submitters.acknowledged if at > since + 0.2)
        print(f"takeover: a job was acknowledged {first - since:.2f} s after the leader was killed", flush=True)
        return first - since

    def test_the_leader_is_killed_under_load_and_a_standby_takes_over(self):
        cluster = self.cluster(servers=3)
        job, finish = self.long_pod(cluster)
        submitters = Submitters(cluster)
        self.addCleanup(submitters.stop)
        for _ in range(2):
            submitters.wait_more()
            old = cluster.wait_leader()
            since = time.monotonic()
            cluster.servers[old].kill()
            took = self.measure_takeover(submitters, since)
            self.assertLess(took, 40, "generous, for a loaded machine")
            self.assertNotEqual(cluster.wait_leader(), old)
            cluster.servers[old].start()
            wait_until("the killed server stands by", lambda n=old: (cluster.status(n) or {}).get("standby"))
        submitters.stop()
        cluster.wait_nodes(1)
        self.assertEqual(cluster.job(job)["state"], "running")
        finish()
        self.assert_books(cluster, submitters)
        for _, each, _ in submitters.acknowledged:
            cluster.wait(each)

    def test_a_paused_leader_steps_down_when_it_goes_on(self):
        cluster = self.cluster(servers=2)
        _, finish = self.long_pod(cluster)
        old = cluster.wait_leader()
        new = 3 - old
        submitters = Submitters(cluster)
        self.addCleanup(submitters.stop)
        submitters.wait_more()
        term = cluster.status(old)["term"]
        cluster.servers[old].send(signal.SIGSTOP)
        wait_until("the other one leads", lambda: (cluster.status(new) or {}).get("standby") is False)
        self.assertGreater(cluster.status(new)["term"], term)
        submitters.wait_more()
        cluster.servers[old].send(signal.SIGCONT)
        wait_until(lambda: "the old one stands by\n" + cluster.logs_of_daemons(),
                   lambda: (cluster.status(old) or {}).get("standby"))
        self.assertEqual(cluster.status(old)["leader"], cluster.addresses[new])
        submitters.wait_more()
        submitters.stop()
        cluster.wait_nodes(1)
        finish()
        self.assert_books(cluster, submitters)

    def test_without_a_majority_of_etcd_nothing_is_acknowledged_and_all_goes_on_after_it(self):
        cluster = self.cluster(members=3, servers=2)
        _, finish = self.long_pod(cluster)
        leader = cluster.wait_leader()
        before = cluster.submit("--", "true")
        for member in self.etcd.members[1:]:
            member.kill()

        # What the server has taken waits for etcd; what comes later is refused.
        waiting = cluster.popen("--server", cluster.path(f"s{leader}"), "submit", "--name", "during", "--", "true")
        self.addCleanup(waiting.kill)
        heard = []

        def refused():
            done = cluster.run("--server", cluster.path(f"s{leader}"), "ls", check=False)
            heard.append(done.stderr)
            return done.returncode != 0 and "store" in done.stderr and done.stderr
        said = wait_until(lambda: f"a clear refusal: {heard[-3:]}\n" + cluster.logs_of_daemons(), refused)
        self.assertEqual(len(said.strip().splitlines()), 1, said)
        time.sleep(1)
        self.assertIsNone(waiting.poll(), "acknowledged without a majority, or given up")
        for member in self.etcd.members[1:]:
            member.start()

        def taken():
            done = cluster.run("submit", "--name", "after", "--", "true", check=False)
            return done.returncode == 0 and harness.find_id(done.stdout)
        after = wait_until(lambda: "jobs are taken again\n" + cluster.logs_of_daemons(), taken)
        self.assertGreater(after, before)
        self.assertTrue(all(server.alive() for server in cluster.servers.values()), "nobody had to be restarted")
        cluster.wait_nodes(1)
        self.assertEqual(waiting.communicate(timeout=harness.PATIENCE_S)[1], "")
        self.assertEqual([row["name"] for row in cluster.json("ls", "--all", "-o", "json")].count("during"), 1)
        cluster.wait(before, after)
        finish()

    def test_a_member_of_etcd_that_is_killed_or_paused_stops_nobody(self):
        cluster = self.cluster(members=3, servers=2)
        submitters = Submitters(cluster)
        self.addCleanup(submitters.stop)
        for number, stop in enumerate((signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL)):
            member = self.etcd.members[number]
            submitters.wait_more()
            member.send(stop)
            submitters.wait_more()
            if stop == signal.SIGKILL:
                member.process.wait()
                member.start()
            else:
                member.send(signal.SIGCONT)
            submitters.wait_more()
        submitters.stop()
        self.assert_books(cluster, submitters)

    def test_a_leader_that_stops_gives_the_lead_away_and_the_last_one_comes_back(self):
        cluster = self.cluster(servers=2)
        job, finish = self.long_pod(cluster)
        old = cluster.wait_leader()
        since = time.monotonic()
        self.assertEqual(cluster.servers[old].end(), 0, cluster.servers[old].tail())
        new = cluster.wait_leader()
        print(f"handover: another server led {time.monotonic() - since:.2f} s after the leader was told to stop", flush=True)
        self.assertNotEqual(new, old)
        self.assertEqual(cluster.job(job)["state"], "running")
        cluster.servers[new].kill()
        done = cluster.run("ls", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("none of the servers", done.stderr)
        cluster.servers[new].start()
        cluster.wait_leader()
        cluster.wait_nodes(1)
        finish()

    def test_a_fresh_standby_catches_up_and_says_how_far_it_is(self):
        cluster = self.cluster(servers=1, lease_ms=5000)
        for _ in range(3):
            cluster.submit("--array", "1-50", "--hold", "--", "true")
        cluster.add_server(2)

        def caught_up():
            status = cluster.status(2)
            rows = {row["address"]: row for row in status["servers"]} if status else {}
            mine = rows.get(cluster.addresses[2])
            return mine and status["standby"] and mine["lag"] == 0 and len(rows) == 2 and status
        status = wait_until(lambda: "the standby has caught up\n" + cluster.logs_of_daemons(), caught_up)
        self.assertEqual(status["leader"], cluster.addresses[1])
        self.assertGreater(status["journal_index"], 0)
        text = cluster.run("server", "status").stdout
        for piece in ("leader", "standby", "lease 5s", cluster.addresses[2]):
            self.assertIn(piece, text)
        jobs = cluster.json("ls", "-o", "json")
        cluster.servers[1].kill()
        cluster.wait_leader()
        self.assertEqual([row["id"] for row in cluster.json("ls", "-o", "json")], [row["id"] for row in jobs])

    def test_over_tls_agents_and_users_go_where_the_leader_is(self):
        cluster = self.cluster(servers=2, tls=True)
        job, finish = self.long_pod(cluster)
        old = cluster.wait_leader()
        token = harness.find_token(cluster.run("token", "create", "--for-user", "root").stdout)
        standby_first = ",".join([cluster.addresses[3 - old], cluster.addresses[old]])
        cluster.run("login", standby_first, "--token", token)
        remote = {"BERTH_SERVER": standby_first}
        self.assertEqual(cluster.run("ls", "-o", "json", env=remote).returncode, 0)
        alone = cluster.run("ls", env={"BERTH_SERVER": cluster.addresses[3 - old]})
        self.assertIn("long", alone.stdout, "a standby alone says where the leader is")
        cluster.servers[old].kill()
        cluster.wait_leader()
        wait_until("the job is seen through the other server",
                   lambda: "long" in cluster.run("ls", env=remote, check=False).stdout)
        cluster.wait_nodes(1)
        self.assertEqual(cluster.job(job)["state"], "running")
        cluster.add_agent(2, token=harness.find_token(cluster.run("token", "create").stdout))
        cluster.wait_nodes(2)
        finish()

    def test_a_server_without_the_authority_of_the_cluster_says_what_to_do(self):
        cluster = self.cluster(servers=1, agents=0)
        command = ["server", "--data", cluster.path("other"), "--socket", cluster.path("o"), "--listen", "none", "--store",
                   self.etcd.url]
        done = cluster.run(*command, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("copy that directory from a server of the cluster", done.stderr)
        self.assertFalse(os.path.exists(cluster.path("other", "authority")), "none was made")

    def test_etcd_with_tls_and_users(self):
        self.etcd = etcd.SecureEtcd()
        self.addCleanup(self.etcd.close)
        cluster = HaCluster(self.etcd, servers=2)
        self.addCleanup(cluster.close)
        _, finish = self.long_pod(cluster)
        old = cluster.wait_leader()
        cluster.servers[old].kill()
        wait_until("the other one leads", lambda: (cluster.status(3 - old) or {}).get("standby") is False)
        cluster.wait_nodes(1)
        finish()
        # A member that starts again has forgotten who had signed in.
        self.etcd.members[0].kill()
        self.etcd.members[0].start()

        def taken():
            done = cluster.run("submit", "--", "true", check=False)
            return done.returncode == 0 and harness.find_id(done.stdout)
        cluster.wait(wait_until(lambda: "jobs are taken again\n" + cluster.logs_of_daemons(), taken))
        with open(cluster.path(f"server{old}.log"), encoding="utf-8") as log:
            self.assertNotIn(self.etcd.PASSWORD, log.read())

        # A wrong password, no password, another authority, no TLS: one line each, and none of them says the password.
        def refused(url, *pieces):
            done = cluster.run("server", "--data", cluster.path("x"), "--socket", cluster.path("x.sock"), "--listen", "none",
                               "--accounting", "none", "--store", url, check=False)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
            for piece in pieces:
                self.assertIn(piece, done.stderr)
            self.assertNotIn(self.etcd.PASSWORD, done.stderr)
        with open(self.etcd.path("wrong"), "w", encoding="utf-8") as file:
            file.write("wrong")
        refused(self.etcd.url.replace("/password", "/wrong"), "etcd")
        refused(f"etcd://{self.etcd.hosts[0]}/e2e?ca={self.etcd.path('ca.crt')}", "etcd")
        refused(self.etcd.url.replace("/e2e?", "/other?"), "etcd")  # no right to these keys

    def test_etcd_that_wants_certificates(self):
        self.etcd = etcd.SecureEtcd(client_certificates=True)
        self.addCleanup(self.etcd.close)
        cluster = HaCluster(self.etcd, servers=1)
        self.addCleanup(cluster.close)
        cluster.wait(cluster.submit("--", "true"))
        # Who shows none waits for an etcd that talks to him, and says so.
        without = harness.Daemon("without", [harness.BERTH, "server", "--data", cluster.path("x"), "--socket",
                                             cluster.path("x.sock"), "--listen", "none", "--store",
                                             self.etcd.url.split("&cert", maxsplit=1)[0]], cluster.path("x.log"), cluster.environment)
        without.start()
        self.addCleanup(without.kill)
        wait_until(lambda: "it says that etcd cannot be reached:\n" + without.tail(), lambda: "etcd at" in without.tail())

    def test_bad_urls_are_refused_in_one_line(self):
        cluster = harness.Cluster(0, start=False)
        self.addCleanup(cluster.close)
        for url, piece in (("etcd://", "HOST:PORT"), ("etcd://a:1?colour=blue", "unknown setting 'colour'"),
                           ("redis://a:1", "etcd://"), ("etcd://joe@a:1", "password")):
            done = cluster.run("server", "--data", cluster.path("d"), "--store", url, check=False)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
            self.assertIn(piece, done.stderr)
        done = cluster.run("server", "--data", cluster.path("d"), "--store", "etcd://a:1", "--lease-ms", "3", check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("500", done.stderr)


if __name__ == "__main__":
    unittest.main()
