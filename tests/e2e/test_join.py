"""Joining over TLS: tokens that are right, wrong, expired, revoked and rotated; certificates that outlive the token."""

import os
import signal
import time
import unittest

import harness
from harness import Cluster, wait_until


class Join(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(0, tls=True)
        cls.addClassCleanup(cls.cluster.close)
        cls.next_number = 0

    def number(self):
        type(self).next_number += 1
        return self.next_number

    def refused(self, token):
        """An agent with this token ends, says one line, and is no node; returns what it said."""
        number = self.number()
        agent = self.cluster.add_agent(number, token=token)
        self.addCleanup(self.cluster.agents.pop, number)
        self.addCleanup(agent.kill)
        code = agent.process.wait(timeout=30)
        self.assertIn(code, (1, 2), agent.tail())
        self.assertNotIn(f"n{number}", self.cluster.nodes())
        said = [line for line in agent.tail().splitlines() if line.startswith("berth: ")]
        self.assertEqual(len(said), 1, agent.tail())
        return said[0]

    def join(self, token=None):
        number = self.number()
        self.cluster.add_agent(number, token=token)
        wait_until(lambda: f"n{number} joins: {self.cluster.agents[number].tail()}",
                   lambda: self.cluster.nodes().get(f"n{number}", {}).get("connected"))
        return number

    def test_a_joined_node_runs_pods_and_its_logs_come_back(self):
        self.join()
        job = self.cluster.submit("--", "echo", "over TLS")
        self.cluster.wait(job)
        self.assertEqual(self.cluster.run("logs", job).stdout, "over TLS\n")

    def test_it_returns_with_its_certificate_and_without_the_token(self):
        token = self.cluster.token()
        number = self.join(token)
        self.cluster.run("token", "revoke", token.split("-")[2])
        agent = self.cluster.agents[number]
        agent.kill()
        wait_until("it is missed", lambda: not self.cluster.nodes()[f"n{number}"]["connected"])
        at = agent.command.index("--token")
        del agent.command[at:at + 2]
        agent.start()
        wait_until(lambda: "it is back: " + agent.tail(), lambda: self.cluster.nodes()[f"n{number}"]["connected"])

    def test_a_wrong_secret_is_refused_and_not_echoed(self):
        token = self.cluster.token()
        wrong = token[:-4] + ("0000" if not token.endswith("0000") else "1111")
        said = self.refused(wrong)
        self.assertIn("token", said)
        self.assertNotIn(wrong.split("-")[3], said)

    def test_a_token_of_another_authority_is_refused_before_anything_is_sent(self):
        parts = self.cluster.token().split("-")
        parts[1] = "0" * 64
        self.assertIn("not the one this token was made for", self.refused("-".join(parts)))

    def test_an_expired_token_is_refused(self):
        token = self.cluster.token("--expires", "1s")
        time.sleep(1.2)
        self.assertIn("expired", self.refused(token))

    def test_a_revoked_token_is_refused(self):
        token = self.cluster.token()
        self.assertIn(token.split("-")[2], self.cluster.run("token", "list").stdout)
        self.cluster.run("token", "revoke", token.split("-")[2])
        self.assertNotIn(token.split("-")[2], self.cluster.run("token", "list").stdout)
        self.assertIn("token", self.refused(token))

    def test_rotation_makes_a_new_token_and_ends_the_others(self):
        old = self.cluster.token()
        new = harness.find_token(self.cluster.run("token", "rotate").stdout)
        self.assertIn("token", self.refused(old))
        self.join(new)

    def test_text_that_is_no_token_is_refused(self):
        self.assertIn("token", self.refused("hello"))

    def test_the_list_shows_no_secret(self):
        token = self.cluster.token()
        self.assertNotIn(token.split("-")[3], self.cluster.run("token", "list").stdout)

    def test_keys_are_readable_by_their_owner_alone(self):
        self.join()
        found = 0
        for directory, _, files in os.walk(self.cluster.directory):
            for name in files:
                if name.endswith(".key"):
                    found += 1
                    self.assertEqual(os.stat(os.path.join(directory, name)).st_mode & 0o077, 0, name)
        self.assertGreaterEqual(found, 3)

    def test_two_nodes_cannot_have_one_name(self):
        number = self.join()
        command = list(self.cluster.agents[number].command)
        command[command.index("--data") + 1] = self.cluster.path("impostor")
        command[command.index("--token") + 1] = self.cluster.token()
        impostor = harness.Daemon("impostor", command, self.cluster.path("impostor.log"), self.cluster.environment)
        impostor.start()
        self.addCleanup(impostor.kill)
        wait_until(lambda: "the impostor is told: " + impostor.tail(), lambda: f"n{number}" in impostor.tail(), seconds=20)
        self.assertTrue(self.cluster.nodes()[f"n{number}"]["connected"])
        self.assertTrue(self.cluster.agents[number].alive())


class FirstStart(unittest.TestCase):
    def test_it_prints_the_line_that_joins_a_node_and_later_starts_do_not(self):
        cluster = Cluster(0, tls=True)
        self.addCleanup(cluster.close)
        line = rf"berth agent --join {cluster.listen} --token berth1-[0-9a-f]{{64}}-\w+-\w+"
        self.assertRegex(cluster.server.tail(100), line)
        cluster.add_agent(1, token=harness.find_token(cluster.server.tail(100)))
        cluster.wait_nodes(1)
        cluster.server.kill()
        os.truncate(cluster.server.log, 0)
        cluster.start_server()
        self.assertNotIn("--token", cluster.server.tail(100))


class RemoteUser(unittest.TestCase):
    def test_a_user_logs_in_with_a_token_and_submits_over_tls(self):
        cluster = Cluster(1, tls=True)
        self.addCleanup(cluster.close)
        token = cluster.token("--for-user", "nobody")
        home = cluster.path("remote")
        os.mkdir(home)
        remote = {"BERTH_SERVER": cluster.listen, "HOME": home}
        cluster.run("login", cluster.listen, "--token", token, env=remote)
        job = harness.find_id(cluster.run("submit", "--", "id", "-un", env=remote).stdout)
        self.assertEqual(cluster.run("wait", job, env=remote).returncode, 0)
        self.assertEqual(cluster.run("logs", job, env=remote).stdout, "nobody\n" if harness.is_root() else "")
        self.assertEqual(cluster.job(job)["user"], "nobody")
        denied = cluster.run("drain", "n1", env=remote, check=False)
        self.assertEqual(denied.returncode, 1)

    def test_without_a_certificate_a_remote_client_is_refused(self):
        cluster = Cluster(0, tls=True)
        self.addCleanup(cluster.close)
        done = cluster.run("ls", env={"BERTH_SERVER": cluster.listen, "HOME": cluster.path()}, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("login", done.stderr)
        self.assertEqual(cluster.server.end(signal.SIGTERM), 0)


if __name__ == "__main__":
    unittest.main()
