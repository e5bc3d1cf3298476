"""Garbage on the sockets: the server closes, or answers with an error, and goes on serving everybody else."""

import os
import random
import signal
import socket
import struct
import unittest

import harness
from harness import Cluster


class Garbage(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(1, tls=True)
        cls.addClassCleanup(cls.cluster.close)

    def setUp(self):
        self.seed = int(os.environ.get("BERTH_E2E_SEED") or random.SystemRandom().randrange(1 << 32))
        print(f"seed {self.seed}", flush=True)
        self.random = random.Random(self.seed)
        self.pid = self.cluster.server.process.pid

    def tearDown(self):
        self.assertTrue(self.cluster.server.alive(), f"seed {self.seed}\n" + self.cluster.server.tail())
        self.assertEqual(self.pid, self.cluster.server.process.pid)
        job = self.cluster.submit("--", "true")
        self.assertEqual(self.cluster.wait(job).returncode, 0)

    def unix(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(self.cluster.socket)
        return connection

    def tcp(self):
        host, port = self.cluster.listen.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=10)

    def send(self, connection, data):
        """Sends, says that no more will come, and reads until the server closes."""
        answer = b""
        with connection:
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while True:
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    answer += piece
            except (BrokenPipeError, ConnectionResetError):
                pass
        return answer

    def test_random_bytes_are_answered_by_a_close(self):
        for _ in range(100):
            data = self.random.randbytes(self.random.randrange(1, 2000))
            self.send(self.unix(), data)
            self.send(self.tcp(), data)

    def test_frames_of_random_bytes_are_answered_by_a_close(self):
        for _ in range(100):
            body = self.random.randbytes(self.random.randrange(0, 500))
            self.send(self.unix(), struct.pack("<I", len(body)) + body)

    def test_a_frame_that_claims_to_be_huge_is_cut_off_without_its_memory(self):
        before = resident_kib(self.pid)
        for length in (0xFFFFFFFF, 0x7FFFFFFF, (32 << 20) + 1):
            self.send(self.unix(), struct.pack("<I", length) + b"x" * 1000)
        self.assertLess(resident_kib(self.pid) - before, 64 << 10)

    def test_a_frame_that_never_ends_does_not_hold_the_others_up(self):
        waiting = [self.unix() for _ in range(50)]
        for connection in waiting:
            connection.sendall(struct.pack("<I", 1000) + b"half")
        self.cluster.run("ls")
        for connection in waiting:
            connection.close()

    def test_a_conversation_that_is_bent_in_one_place_breaks_nothing(self):
        said = self.record(("submit", "--array", "1-3", "--name", "bent", "--", "true"))
        self.assertGreater(len(said), 50)
        for _ in range(200):
            bent = bytearray(said)
            for _ in range(self.random.choice((1, 1, 2, 8))):
                bent[self.random.randrange(len(bent))] = self.random.randrange(256)
            self.send(self.unix(), bytes(bent))
        for _ in range(50):
            self.send(self.unix(), said[:self.random.randrange(len(said))])

    def record(self, words):
        """What the command line sends for these words, overheard by a socket between it and the server."""
        path = self.cluster.path(f"between{self.random.randrange(1 << 30)}")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(1)
            client = self.cluster.popen("--server", path, *words)
            near, _ = listener.accept()
            said = b""
            with near, self.unix() as far:
                near.settimeout(0.3)
                far.settimeout(0.3)
                while client.poll() is None:
                    said += pump(near, far)
                    pump(far, near)
            client.communicate()
            self.assertEqual(client.returncode, 0)
        return said

    def test_the_server_still_stops_cleanly_with_connections_open(self):
        cluster = Cluster(0)
        self.addCleanup(cluster.close)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(cluster.socket)
            self.assertEqual(cluster.server.end(signal.SIGTERM), 0)


def pump(source, sink):
    try:
        data = source.recv(65536)
        if data:
            sink.sendall(data)
        return data
    except (socket.timeout, OSError):
        return b""


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


if __name__ == "__main__":
    unittest.main()
