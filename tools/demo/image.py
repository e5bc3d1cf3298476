"""Makes a small OCI image without any network: a static busybox and the few files a container expects."""

import os
import shutil
import subprocess

BUSYBOX = "/bin/busybox"
APPLETS = ("sh", "ash", "echo", "cat", "sleep", "true", "false", "id", "env", "ls", "mkdir", "rm", "test", "seq", "expr", "awk", "dd",
           "head", "tail", "wc", "hostname", "pwd", "kill", "date", "touch", "sort", "grep", "sed", "stat", "sha256sum", "usleep")


def missing():
    """What this machine lacks to make and run an image, as one line; "" if nothing."""
    if not os.path.exists(BUSYBOX):
        return "busybox-static is not installed"
    for program in ("umoci", "skopeo"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if shutil.which("runc") is None and shutil.which("crun") is None:
        return "neither runc nor crun is installed"
    return ""


def make(directory, tag="latest"):
    """Makes the OCI layout `directory` with one image, and returns its name for --image ("DIR:TAG")."""
    name = f"{directory}:{tag}"
    bundle = directory + ".bundle"
    run("umoci", "init", "--layout", directory)
    run("umoci", "new", "--image", name)
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    run("umoci", "unpack", *rootless, "--image", name, bundle)
    root = os.path.join(bundle, "rootfs")
    for path in ("bin", "etc", "tmp", "proc", "sys", "dev"):
        os.makedirs(os.path.join(root, path), exist_ok=True)
    os.chmod(os.path.join(root, "tmp"), 0o1777)
    shutil.copy(BUSYBOX, os.path.join(root, "bin", "busybox"))
    for applet in APPLETS:
        os.symlink("busybox", os.path.join(root, "bin", applet))
    with open(os.path.join(root, "etc", "passwd"), "w", encoding="utf-8") as file:
        file.write("root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n")
    run("umoci", "repack", "--image", name, bundle)
    run("umoci", "config", "--image", name, "--config.env", "PATH=/bin", "--config.env", "FROM_IMAGE=yes",
        "--config.cmd", "/bin/sh")
    shutil.rmtree(bundle)
    for place, _, files in os.walk(directory):  # any user may run it
        os.chmod(place, 0o755)
        for file in files:
            os.chmod(os.path.join(place, file), 0o644)
    return name


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stdout.strip()}")
