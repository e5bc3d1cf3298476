"""RealSlurm: Debian's slurmctld, slurmds and munged on the loopback, in a directory of their own, with ports of their own.

It needs root (slurmd starts jobs as their users) and the packages slurmctld, slurmd, slurm-client and munge; their
services need not run, and no file of /etc is read. A test has it with few nodes, the bench with settings for many short
jobs (HIGH_THROUGHPUT, after Slurm's own guide for them).
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PROGRAMS = {"munged": "/usr/sbin/munged", "slurmctld": "/usr/sbin/slurmctld", "slurmd": "/usr/sbin/slurmd"}
COMMANDS = ("sbatch", "srun", "salloc", "squeue", "scancel", "sinfo", "scontrol", "sacct", "sprio", "sshare", "sacctmgr", "sstat",
            "sattach", "sbcast", "sdiag", "sreport", "strigger")
QUEUE = "initial"  # as long a name as Berth's "default", which Slurm does not take for a partition
START_LIMIT_S = 240

HIGH_THROUGHPUT = """
MaxJobCount=200000
MaxArraySize=200001
MinJobAge=10
SlurmctldDebug=error
SlurmdDebug=error
SchedulerParameters=default_queue_depth=10000,sched_min_interval=0,batch_sched_delay=0,sched_max_job_start=0,bf_interval=30,bf_continue
"""

CONFIGURATION = """
ClusterName=berth
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
CredType=cred/munge
SlurmctldPort={port}
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
ReturnToService=2
SchedulerType=sched/backfill
PropagateResourceLimits=NONE
EnforcePartLimits=ALL
FirstJobId={first_job}
{more}
"""


class MissingSlurm(Exception):
    """What there is not, in one line."""


def check_available():
    if os.geteuid() != 0:
        raise MissingSlurm("real Slurm needs root")
    missing = [path for path in (*PROGRAMS.values(), "/usr/bin/sbatch") if not os.path.exists(path)]
    if missing:
        raise MissingSlurm(f"real Slurm is not installed: no {', '.join(missing)} (./dev deps)")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RealSlurm:
    def __init__(self, nodes=2, cpus=4, mem_mib=4096, more="", first_job=101):
        check_available()
        self.directory = tempfile.mkdtemp(prefix="real-slurm-")
        os.chmod(self.directory, 0o755)
        self.host = socket.gethostname().split(".")[0]
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.processes = []
        self.environment = {"SLURM_CONF": self.path("slurm.conf")}
        try:
            self.write_files(cpus, mem_mib, more, first_job)
            self.start()
        except BaseException:
            self.close()
            raise

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def write_files(self, cpus, mem_mib, more, first_job):
        with open(self.path("munge.key"), "wb") as out:
            out.write(os.urandom(1024))
        os.chmod(self.path("munge.key"), 0o600)
        text = CONFIGURATION.format(host=self.host, directory=self.directory, port=free_port(), first_job=first_job, more=more)
        for name in self.nodes:
            text += (f"NodeName={name} NodeHostname={self.host} NodeAddr=127.0.0.1 Port={free_port()} CPUs={cpus} Boards=1 Sockets=1 "
                     f"CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory={mem_mib} State=UNKNOWN\n")
            os.mkdir(self.path("spool-" + name))
        text += f"PartitionName={QUEUE} Nodes=ALL Default=YES MaxTime=INFINITE State=UP\n"
        with open(self.path("slurm.conf"), "w", encoding="utf-8") as out:
            out.write(text)
        with open(self.path("cgroup.conf"), "w", encoding="utf-8") as out:
            out.write("CgroupPlugin=cgroup/v1\n")  # no plugin uses it: whatever the machine has, this one starts
        os.mkdir(self.path("state"))
        os.mkdir(self.path("bin"))
        for command in COMMANDS:  # in a directory of their own: /usr/bin may hold other programs of these names, too
            os.symlink(os.path.join("/usr/bin", command), self.path("bin", command))

    def spawn(self, name, *words):
        log = open(self.path(name + ".out"), "ab")
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **self.environment}
        child = subprocess.Popen([PROGRAMS[words[0]], *words[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 env=environment, start_new_session=True)
        log.close()
        self.processes.append((name, child))
        return child

    def start(self):
        self.spawn("munged", "munged", "--foreground", "--socket=" + self.path("munge.socket"), "--key-file=" + self.path("munge.key"),
                   "--pid-file=" + self.path("munged.pid"), "--log-file=" + self.path("munged.log"),
                   "--seed-file=" + self.path("munged.seed"))
        self.wait("munged listens", lambda: os.path.exists(self.path("munge.socket")))
        self.start_controller()
        for name in self.nodes:
            self.spawn("slurmd-" + name, "slurmd", "-D", "-N", name, "-f", self.path("slurm.conf"))
        self.wait_idle()

    def start_controller(self):
        child = self.spawn("slurmctld", "slurmctld", "-D", "-f", self.path("slurm.conf"))
        self.wait("slurmctld answers", lambda: self.call("scontrol", "ping").returncode == 0)
        return child

    def controller(self):
        return [child for name, child in self.processes if name == "slurmctld"][-1]

    def wait_idle(self):
        self.wait("nodes are idle", lambda: self.call("sinfo", "-h", "-o", "%T %D").stdout == f"idle {len(self.nodes)}\n")

    def call(self, command, *words):
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **self.environment}
        return subprocess.run([self.path("bin", command), *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False, timeout=240, env=environment, cwd=self.directory)

    def wait(self, what, ready):
        deadline = time.monotonic() + START_LIMIT_S
        while not ready():
            for name, child in self.processes:
                if child.poll() is not None:
                    raise RuntimeError(f"{name} ended with {child.returncode}: {self.tail(name)}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"after {START_LIMIT_S} s still not: {what}\n" + self.tail("slurmctld"))
            time.sleep(0.1)

    def tail(self, name):
        try:
            with open(self.path(name + ".out"), encoding="utf-8", errors="replace") as source:
                return source.read()[-2000:]
        except OSError:
            return ""

    def close(self):
        for _, child in reversed(self.processes):
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for _, child in self.processes:
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.end_steps()
        shutil.rmtree(self.directory, ignore_errors=True)

    def end_steps(self):
        """slurmstepd outlives its slurmd. Ours have this directory's configuration in their environment."""
        mark = ("SLURM_CONF=" + self.path("slurm.conf")).encode()
        for _ in range(50):
            found = False
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open(f"/proc/{pid}/environ", "rb") as source:
                        ours = mark in source.read().split(b"\0")
                    if ours and int(pid) != os.getpid():
                        os.kill(int(pid), signal.SIGKILL)
                        found = True
                except OSError:
                    continue
            if not found:
                return
            time.sleep(0.1)
