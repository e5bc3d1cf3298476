"""A container registry for tests: Debian's docker-registry on a free port, with TLS and a password; what it needs is made
here and goes with it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time

USER, PASSWORD = "alice", "secret"
PROGRAMS = ("docker-registry", "htpasswd", "openssl", "skopeo", "umoci")

CONFIG = """
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {0}/data}}
http:
  addr: {1}
  tls: {{certificate: {0}/server.crt, key: {0}/server.key}}
{2}
"""
AUTH = "auth:\n  htpasswd: {{realm: test, path: {0}/htpasswd}}\n"


def missing():
    """Why there can be no registry here; "" if there can."""
    lacking = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"needs {', '.join(lacking)}" if lacking else ""


def run(*words, **more):
    done = subprocess.run(list(words), capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Registry:
    def __init__(self, directory, password=True, port=None):
        self.directory, self.password = directory, password
        os.makedirs(os.path.join(directory, "ca"), exist_ok=True)
        os.chmod(directory, 0o755)
        self.address = f"127.0.0.1:{port or free_port()}"
        self.process = None
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", self.path("server.key"),
            "-out", self.path("server.crt"))
        shutil.copy(self.path("server.crt"), self.path("ca", "ca.crt"))
        with open(self.path("htpasswd"), "w", encoding="utf-8") as file:
            file.write(run("htpasswd", "-Bbn", USER, PASSWORD))
        with open(self.path("config.yml"), "w", encoding="utf-8") as file:
            file.write(CONFIG.format(directory, self.address, AUTH.format(directory) if password else ""))

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def start(self):
        with open(self.path("log"), "ab") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", self.path("config.yml")], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        host, port = self.address.split(":")
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
                return self
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    with open(self.path("log"), encoding="utf-8", errors="replace") as file:
                        raise AssertionError("the registry does not run:\n" + file.read()) from None
                time.sleep(0.05)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def push(self, source, name):
        """Puts an image (as skopeo names it) there, and returns what berth calls it."""
        credentials = ["--dest-creds", f"{USER}:{PASSWORD}"] if self.password else []
        run("skopeo", "--insecure-policy", "copy", "--quiet", "--dest-cert-dir", self.path("ca"), *credentials, source,
            f"docker://{self.address}/{name}")
        return f"docker://{self.address}/{name}"

    def credentials(self, path, owner=None):
        """A file of credentials as `docker login` leaves it."""
        run("skopeo", "login", "--authfile", path, "--cert-dir", self.path("ca"), "-u", USER, "-p", PASSWORD, self.address)
        os.chmod(path, 0o600)
        if owner is not None:
            os.chown(path, owner, owner)
        return path

    def requests(self, what):
        """How many of the registry's files of that kind were asked for (needs log level info)."""
        with open(self.path("log"), encoding="utf-8", errors="replace") as file:
            return sum(what in line for line in file)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def foreign(layout, target):
    """A copy of a layout with one image that says it is for another architecture."""
    shutil.copytree(layout, target)
    import hashlib

    def blob(digest):
        return os.path.join(target, "blobs", *digest.split(":"))

    def put(value):
        text = json.dumps(value).encode()
        digest = "sha256:" + hashlib.sha256(text).hexdigest()
        with open(blob(digest), "wb") as file:
            file.write(text)
        return digest, len(text)

    def get(digest):
        with open(blob(digest), encoding="utf-8") as file:
            return json.load(file)

    with open(os.path.join(target, "index.json"), encoding="utf-8") as file:
        index = json.load(file)
    descriptor = index["manifests"][0]
    manifest = get(descriptor["digest"])
    config = get(manifest["config"]["digest"])
    config["architecture"] = "s390x"
    manifest["config"]["digest"], manifest["config"]["size"] = put(config)
    descriptor["digest"], descriptor["size"] = put(manifest)
    descriptor.pop("platform", None)
    with open(os.path.join(target, "index.json"), "w", encoding="utf-8") as file:
        json.dump(index, file)
