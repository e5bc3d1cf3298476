"""Postgres: a database server of its own, on a socket in a directory of its own, as a user that is not root."""

import glob
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

PATIENCE_S = 60


def programs():
    """The directory of PostgreSQL's programs, "" where there is none."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"), key=lambda path: int(path.split("/")[4]))
    if found:
        return os.path.dirname(found[-1])
    there = shutil.which("postgres")
    return os.path.dirname(os.path.realpath(there)) if there else ""


needs_postgres = unittest.skipUnless(programs(), "needs PostgreSQL (package postgresql)")


class Postgres:
    def __init__(self, durable=False):
        self.durable = durable
        self.directory = tempfile.mkdtemp(prefix="berth-pg-")
        user = next((name for name in ("postgres", "nobody") if os.geteuid() == 0 and self.is_user(name)), None)
        self.prefix = ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--init-groups"] if user else []
        if user:
            shutil.chown(self.directory, user)
        self.process = None
        self.log = os.path.join(self.directory, "log")
        self.data = os.path.join(self.directory, "data")
        self.command("initdb", "-D", self.data, "-A", "trust", "-U", "berth", "-E", "UTF8", "--no-sync", "--no-instructions")

    @staticmethod
    def is_user(name):
        try:
            return bool(pwd.getpwnam(name))
        except KeyError:
            return False

    @property
    def uri(self):
        return f"postgresql://berth@/postgres?host={self.directory}"

    def command(self, name, *words):
        done = subprocess.run(self.prefix + [os.path.join(programs(), name), *words], capture_output=True, text=True, check=False,
                              cwd="/", timeout=120, env={"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"})
        if done.returncode != 0:
            raise AssertionError(f"{name}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.prefix + [os.path.join(programs(), "postgres"), "-D", self.data, "-k", self.directory,
                               "-c", "listen_addresses=", "-c", f"fsync={'on' if self.durable else 'off'}", "-c", "max_connections=20"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True)
        deadline = time.monotonic() + PATIENCE_S
        while self.ask("SELECT 1", check=False) != "1":
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(self.log, encoding="utf-8", errors="replace") as log:
                    raise AssertionError("PostgreSQL does not answer: " + log.read()[-1000:])
            time.sleep(0.05)

    def ask(self, query, check=True):
        """The answer as text, a line a row."""
        done = subprocess.run([os.path.join(programs(), "psql"), "-X", "-A", "-t", "-q", "-c", query, self.uri], text=True,
                              capture_output=True, check=False, timeout=60)
        if check and done.returncode != 0:
            raise AssertionError(f"{query}: {done.stderr}")
        return done.stdout.strip()

    def stop(self, number=None):
        """At once, with whatever was under way undone."""
        if self.process is None:
            return
        self.process.send_signal(number or signal.SIGINT)
        self.process.wait(timeout=60)
        self.process = None

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)
