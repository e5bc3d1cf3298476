"""Slurm's jobs over several nodes: batch scripts, their steps, allocations, and MPI programs that start through them."""

import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

from harness import ClusterTest, wait_until


class OverNodes(ClusterTest):
    """Three nodes of two cpus, which joined in the order of their names."""

    OPTIONS = {"agents": 0, "cpus": 2}
    SWITCHES = ""
    AGENTS = {1: (), 2: (), 3: ()}  # their options

    @classmethod
    def setUpClass(cls):
        if cls.SWITCHES:
            with tempfile.NamedTemporaryFile("w", suffix=".conf", delete=False) as file:
                file.write(cls.SWITCHES)
            cls.addClassCleanup(os.unlink, file.name)
            cls.OPTIONS = dict(cls.OPTIONS, server=["--switches", file.name])
        super().setUpClass()
        for number, options in cls.AGENTS.items():
            cls.cluster.add_agent(number, *options)
            cls.cluster.wait_nodes(number)
        cls.set_up()

    @classmethod
    def set_up(cls):
        cls.links = cls.cluster.path("bin")
        cls.cluster.run("slurm", "install-links", cls.links)
        cls.work = cls.cluster.path("work")
        os.makedirs(cls.work, exist_ok=True)
        os.chmod(cls.work, 0o777)

    def environment(self):
        return dict(self.cluster.environment, PATH=self.links + ":" + os.environ["PATH"])

    def call(self, *words, stdin="", check=True, env=None):
        done = subprocess.run([str(word) for word in words], input=stdin, capture_output=True, text=True, check=False,
                              timeout=90, cwd=self.work, env=dict(self.environment(), **(env or {})))
        if check:
            self.assertEqual(done.returncode, 0, f"{words}: {done.stdout}{done.stderr}")
        return done

    def batch(self, text, *options):
        """Runs a script to its end; its output."""
        path = os.path.join(self.work, "script.sh")
        with open(path, "w", encoding="utf-8") as out:
            out.write("#!/bin/bash\n" + text)
        done = self.call("sbatch", "--parsable", "--wait", "-o", "out-%j.txt", *options, path, check=False)
        with open(os.path.join(self.work, f"out-{done.stdout.strip()}.txt"), encoding="utf-8") as source:
            return done.returncode, source.read()


class Nodes(OverNodes):
    SWITCHES = "SwitchName=s1 Nodes=n[1-2]\nSwitchName=s2 Nodes=n3\nSwitchName=top Switches=s[1-2]\n"
    AGENTS = {1: (), 2: (), 3: ("--feature", "big")}

    def wait_idle(self):
        wait_until("all nodes are idle", lambda: self.call("sinfo", "-ho", "%t").stdout == "idle\n")

    # ---- batch jobs -------------------------------------------------------------------------------------------------
    def test_the_script_runs_once_and_knows_its_nodes(self):
        code, out = self.batch('echo "$SLURM_JOB_NODELIST|$SLURM_NNODES|$SLURM_NTASKS|$SLURM_TASKS_PER_NODE|'
                               '$SLURM_JOB_CPUS_PER_NODE|$SLURM_NODEID|$SLURMD_NODENAME|$SLURM_CPUS_ON_NODE"\n'
                               'scontrol show hostnames | tr "\\n" " "\n', "-N", "3", "--ntasks-per-node", "2")
        self.assertEqual(code, 0, out)
        lines = out.splitlines()
        self.assertEqual(lines[0], "n[1-3]|3|6|2(x3)|2(x3)|0|n1|2")
        self.assertEqual(lines[1].split(), ["n1", "n2", "n3"])

    def test_tasks_that_do_not_fit_one_node_get_more(self):
        code, out = self.batch('echo "$SLURM_NNODES $SLURM_TASKS_PER_NODE"; srun hostname | wc -l', "-n", "3")
        self.assertEqual(code, 0, out)
        self.assertEqual(out.split(), ["2", "2,1", "3"])
        code, out = self.batch('echo "$SLURM_NNODES"', "-n", "2")
        self.assertEqual(out.split(), ["1"])

    def test_its_end_is_that_of_the_script(self):
        code, _ = self.batch("exit 7", "-N", "2")
        self.assertEqual(code, 7)
        code, _ = self.batch("srun sh -c 'exit $((SLURM_PROCID * 3))'", "-N", "3")
        self.assertEqual(code, 6)

    def test_more_nodes_than_there_are(self):
        done = self.call("sbatch", "-N", "4", "--wrap", "true", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Requested node configuration is not available", done.stderr)

    # ---- steps ------------------------------------------------------------------------------------------------------
    def test_a_step_has_a_task_for_each_and_they_know_who_they_are(self):
        text = ("srun -l sh -c 'echo $SLURM_PROCID $SLURM_LOCALID $SLURM_NODEID $SLURMD_NODENAME $SLURM_NTASKS "
                "$SLURM_STEP_ID $SLURM_JOB_ID $SLURM_GTIDS' | sort -n\n"
                "srun -n2 sh -c 'echo step $SLURM_STEP_ID $SLURMD_NODENAME' | sort\n")
        code, out = self.batch(text, "-N", "3", "-n", "6")
        self.assertEqual(code, 0, out)
        lines = out.splitlines()
        job = lines[0].split()[7]
        expected = [f"{i}: {i} {i % 2} {i // 2} n{i // 2 + 1} 6 0 {job} {i // 2 * 2},{i // 2 * 2 + 1}" for i in range(6)]
        self.assertEqual(lines[:6], expected)
        self.assertEqual(lines[6:], ["step 1 n1", "step 1 n2"])

    def test_steps_where_they_are_asked_for(self):
        text = ("srun -N1 -n1 -w n3 hostname >/dev/null && srun -N1 -n2 -w n3 sh -c 'echo $SLURMD_NODENAME'\n"
                "srun -N1 -n1 -r 1 sh -c 'echo $SLURMD_NODENAME'\n"
                "srun -n6 -m cyclic -l sh -c 'echo $SLURMD_NODENAME' | sort -n | cut -d' ' -f2 | tr '\\n' ' '\n")
        code, out = self.batch(text, "-N", "3", "-n", "6")
        self.assertEqual(code, 0, out)
        self.assertEqual(out.split(), ["n3", "n3", "n2", "n1", "n2", "n3", "n1", "n2", "n3"])

    def test_steps_run_side_by_side_with_exact_and_one_after_the_other_without(self):
        # Each step looks for the other one: for long where it should come, for a moment where it should not.
        text = ("for i in 1 2; do srun -N2 -n2 {} sh -c 'me='$i'-$SLURM_PROCID; other=$((3 - '$i'))-$SLURM_PROCID\n"
                "touch $0-$me; found=alone\n"
                "for try in $(seq $1); do if [ -e $0-$other ]; then found=met; break; fi; sleep 0.1; done\n"
                "echo $found; sleep 0.3; rm -f $0-$me' here-$SLURM_JOB_ID {tries} & done; wait\n")
        code, out = self.batch(text.replace("{}", "--exact").replace("{tries}", "600"), "-N", "2", "-n", "4")
        self.assertEqual((code, out.split()), (0, ["met"] * 4))
        code, out = self.batch(text.replace("{}", "").replace("{tries}", "10"), "-N", "2", "-n", "4")
        self.assertEqual((code, out.split()), (0, ["alone"] * 4))

    def test_a_step_has_the_tasks_of_its_job_however_many_nodes_it_is_given(self):
        text = ("srun -N2 echo x | wc -l\nsrun -N2 --ntasks-per-node 1 echo x | wc -l\nsrun -N2 -n3 echo x | wc -l\n"
                "srun -N1 true 2>&1\n")
        code, out = self.batch(text, "-N", "2", "-n", "4")
        self.assertEqual(code, 1)
        self.assertEqual(out.splitlines()[:3], ["4", "2", "3"])
        self.assertIn("more cpus or nodes than it has", out.splitlines()[3])
        self.assertRegex(out.splitlines()[4], r"^srun: error: Unable to create step for job \d+: Requested node configuration is not available$")
        code, out = self.batch("srun -N2 echo x | wc -l; srun -w n[1,3] echo y | wc -l", "-N", "3")
        self.assertEqual((code, out.split()), (0, ["2", "2"]))

    def test_what_a_step_cannot_have_is_refused_by_name(self):
        for words, said in (("-G 1", "--gpus is not supported"), ("--gpus-per-task 1", "--gpus-per-task is not supported"),
                            ("-C big", "--constraint is not supported"), ("-W 5", "--wait is not supported"),
                            ("-o out-%n", "%n in"), ("-o 1", "Output of task 1")):
            code, out = self.batch(f"srun {words} true 2>&1", "-N", "2")
            self.assertEqual(code, 1, words)
            self.assertIn(said, out)
            self.assertEqual(len(out.splitlines()), 1, out)
        code, out = self.batch("srun -v --mem 1M --gres gpu:1 --hint nomultithread hostname 2>&1", "-N", "2")
        self.assertEqual(code, 0, out)
        for name in ("mem", "gres", "hint"):
            self.assertIn(f"--{name} has no effect", out)

    def test_output_goes_to_files_of_tasks(self):
        code, out = self.batch("srun -n2 -o task-%j-%s-%t.txt sh -c 'echo $SLURM_PROCID'; ls task-$SLURM_JOB_ID-*",
                               "-N", "2")
        self.assertEqual(code, 0, out)
        self.assertEqual([re.sub(r"-\d+-", "-J-", name, count=1) for name in out.split()],
                         ["task-J-0-0.txt", "task-J-0-1.txt"])

    def test_a_step_that_asks_for_too_much_is_refused(self):
        code, out = self.batch("srun -n9 true 2>&1; srun -N3 true 2>&1; srun -w n9 true 2>&1; true", "-N", "2", "-n", "4")
        self.assertEqual(code, 0)
        self.assertEqual(len(re.findall("Unable to create step for job", out)), 3, out)

    def test_cancelling_the_job_ends_its_steps(self):
        path = os.path.join(self.work, "long.sh")
        with open(path, "w", encoding="utf-8") as out:
            out.write("#!/bin/bash\nsrun sh -c 'echo $$ > pid-$SLURM_PROCID; exec sleep 1000'\n")
        job = self.call("sbatch", "--parsable", "-N", "2", path).stdout.strip()
        pids = [os.path.join(self.work, f"pid-{rank}") for rank in (0, 1)]
        wait_until("both tasks run", lambda: all(os.path.exists(p) and os.path.getsize(p) for p in pids))
        numbers = []
        for path in pids:
            with open(path, encoding="utf-8") as source:
                numbers.append(int(source.read()))
        self.call("scancel", job)
        wait_until("the tasks are gone", lambda: not any(os.path.exists(f"/proc/{n}") for n in numbers))
        for path in pids:
            os.unlink(path)

    def test_a_step_is_listed_and_cancelled_by_itself(self):
        path = os.path.join(self.work, "two.sh")
        with open(path, "w", encoding="utf-8") as out:
            out.write("#!/bin/bash\nsrun -J sleeper sleep 1000\necho went on with $?\n")
        job = self.call("sbatch", "--parsable", "-N2", "-o", "two.txt", path).stdout.strip()
        listed = wait_until("the step runs", lambda: [
            line.split() for line in self.call("squeue", "-s", "-h", "-j", job).stdout.splitlines() if "sleeper" in line])
        self.assertEqual(listed[0][0], f"{job}.0")
        self.assertEqual(listed[0][-1], "n[1-2]")
        done = self.call("scancel", f"{job}.7", check=False)
        self.assertIn(f"job step id {job}.7", done.stderr)
        self.call("scancel", f"{job}.0")
        self.cluster.wait(job)
        with open(os.path.join(self.work, "two.txt"), encoding="utf-8") as source:
            self.assertRegex(source.read(), r"went on with [1-9]")
        self.assertEqual(self.call("sacct", "-X", "-n", "-P", "-j", job, "-o", "State").stdout.strip(), "COMPLETED")

    def test_sstat_tells_of_steps_and_their_tasks(self):
        path = os.path.join(self.work, "stat.sh")
        with open(path, "w", encoding="utf-8") as out:
            out.write("#!/bin/bash\nsrun -J sleeper sleep 1000\n")
        job = self.call("sbatch", "--parsable", "-N2", "-o", "none", path).stdout.strip()
        wait_until("the step runs", lambda: f"{job}.0" in self.call("squeue", "-s", "-h", "-j", job).stdout)
        stat = lambda *words: self.call("sstat", "-n", "-P", "-o", "jobid,ntasks,nodelist", *words).stdout
        wait_until("both tasks run", lambda: stat("-j", job) == f"{job}.0|2|n[1-2]\n")
        self.assertEqual(stat("-a", "-j", job), f"{job}.batch|1|n1\n{job}.0|2|n[1-2]\n")
        self.assertEqual(stat("-j", f"{job}.batch"), f"{job}.batch|1|n1\n")
        self.call("scancel", job)
        self.cluster.wait(job)

    # ---- srun and salloc of their own -------------------------------------------------------------------------------
    def test_srun_over_nodes(self):
        done = self.call("srun", "-N2", "-n4", "-l", "sh", "-c", "echo $SLURMD_NODENAME")
        self.assertEqual(sorted(done.stdout.splitlines()), ["0: n1", "1: n1", "2: n2", "3: n2"])
        done = self.call("srun", "-N3", "sh", "-c", "test $SLURM_PROCID != 1 && sleep 0.5 && echo on", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout.split(), ["on", "on"])

    def test_salloc_gives_places_for_steps(self):
        script = "echo $SLURM_JOB_ID $SLURM_NNODES $SLURM_JOB_NODELIST $SLURM_TASKS_PER_NODE; srun hostname | wc -l; exit 5"
        done = self.call("salloc", "-N2", "-n4", "sh", "-c", script, check=False)
        self.assertEqual(done.returncode, 5, done.stderr)
        words = done.stdout.split()
        self.assertEqual(words[1:], ["2", "n[1-2]", "2(x2)", "4"], done.stderr)
        self.assertIn(f"Granted job allocation {words[0]}", done.stderr)
        self.assertIn(f"Relinquishing job allocation {words[0]}", done.stderr)
        wait_until("it is gone", lambda: self.call("squeue", "-h", "-j", words[0], check=False).stdout.strip() == "")

    def test_salloc_of_one_and_srun_with_the_job_named(self):
        self.call("salloc", "--no-shell", "-n1", "-J", "kept")
        job = self.call("squeue", "-h", "-n", "kept", "-o", "%i").stdout.strip()
        done = self.call("srun", "--jobid", job, "-n1", "sh", "-c", "echo $SLURM_JOB_ID $SLURM_STEP_ID")
        self.assertEqual(done.stdout.split(), [job, "0"])
        self.call("scancel", job)

    def test_a_step_from_outside_has_the_nodes_of_its_job(self):
        self.call("salloc", "--no-shell", "-N2", "-J", "two")
        job = self.call("squeue", "-h", "-n", "two", "-o", "%i").stdout.strip()
        task = ("sh", "-c", "echo $SLURMD_NODENAME")
        self.assertEqual(sorted(self.call("srun", "--jobid", job, *task).stdout.split()), ["n1", "n2"])
        # From another job's shell, too: what that one has says nothing of this one.
        env = {"SLURM_JOB_ID": "999999", "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "1"}
        self.assertEqual(sorted(self.call("srun", "--jobid", job, *task, env=env).stdout.split()), ["n1", "n2"])
        self.call("scancel", job)

    def test_sallocs_command_is_as_if_it_were_run_without(self):
        done = self.call("salloc", "-n1", "sh", "-c", "kill -PIPE $$; echo survived", check=False)
        self.assertEqual((done.returncode, done.stdout), (141, ""))
        done = self.call("salloc", "-n1", "no-such-command", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn('salloc: error: _fork_command: Unable to find command "no-such-command"', done.stderr)
        self.assertIn("Relinquishing job allocation", done.stderr)

    def test_salloc_waits_for_its_turn(self):
        first = self.call("sbatch", "--parsable", "-N3", "-n6", "--wrap", "sleep 2").stdout.strip()
        wait_until("it runs", lambda: self.call("squeue", "-h", "-j", first, "-o", "%T").stdout.strip() == "RUNNING")
        done = self.call("salloc", "-N3", "true")
        self.assertIn("queued and waiting for resources", done.stderr)
        self.assertIn("has been allocated resources", done.stderr)

    def test_sacct_lists_the_steps(self):
        path = os.path.join(self.work, "steps.sh")
        with open(path, "w", encoding="utf-8") as out:
            out.write("#!/bin/bash\nsrun -J first true\nsrun -n2 -J second sh -c 'exit 3'\nexit 0\n")
        job = self.call("sbatch", "--parsable", "--wait", "-N3", path).stdout.strip()
        lines = self.call("sacct", "-n", "-P", "-j", job, "-o", "JobID,JobName,State,ExitCode,NTasks").stdout.split()
        self.assertEqual(lines, [f"{job}|steps.sh|COMPLETED|0:0|", f"{job}.batch|batch|COMPLETED|0:0|1",
                                 f"{job}.0|first|COMPLETED|0:0|3", f"{job}.1|second|FAILED|3:0|2"])
        self.assertEqual(len(self.call("sacct", "-X", "-n", "-P", "-j", job).stdout.splitlines()), 1)

    def test_listings_tell_what_was_asked_for(self):
        self.cluster.run("licence", "set", "tool", "2")
        job = self.call("sbatch", "--parsable", "-H", "-N2", "-n4", "-c1", "--mem=64M", "--contiguous", "-L", "tool:2", "-x", "n3",
                        "--wrap", "true").stdout.strip()
        self.addCleanup(self.call, "scancel", job)
        self.assertEqual(self.call("squeue", "-h", "-j", job, "-o", "%D|%f|%x|%n|%W|%O|%Z|%o|%E|%s|%z").stdout,
                         f"2|(null)|n3||tool:2|1|{self.work}|(null)|(null)||*:*:*\n")
        record = self.call("scontrol", "show", "job", job).stdout
        for text in ("NumNodes=2-2 NumCPUs=4 NumTasks=4 CPUs/Task=1 ", "TRES=cpu=4,mem=128M,node=2,billing=4",
                     "Contiguous=1 Licenses=tool:2 ", "ReqNodeList=(null) ExcNodeList=n3"):
            self.assertIn(text, record)
        self.assertEqual(self.call("sacct", "-X", "-n", "-P", "-j", job, "-o", "ReqTRES,NNodes").stdout,
                         "billing=4,cpu=4,mem=128M,node=2|2\n")

    def test_the_memory_that_a_job_took_is_told(self):
        job = self.call("sbatch", "--parsable", "--wait", "-N2", "--wrap",
                        "python3 -c 'import time; x = bytearray(1 << 26); time.sleep(2)'").stdout.strip()
        text = self.call("sacct", "-n", "-P", "-j", job, "-o", "JobID,MaxRSS").stdout.splitlines()
        self.assertEqual(text[0], f"{job}|")
        peak = self.cluster.pods(int(job))[0]["mem_peak_mib"]  # not measured everywhere
        self.assertEqual(text[1], f"{job}.batch|" + (f"{peak * 1024}K" if peak else ""))

    def test_partitions_are_what_the_queues_are(self):
        self.cluster.run("queue", "add", "two", "--nodes", "node in (n1,n3)", "--max-nodes", "1", "--accounts", "a,b",
                         "--default-time", "5m", "--state", "down")
        shown = self.call("scontrol", "show", "partition", "two").stdout
        for text in ("Nodes=n[1,3]", "State=DOWN", "MaxNodes=1", "AllowAccounts=a,b", "DefaultTime=00:05:00", "TotalNodes=2"):
            self.assertIn(text, shown)
        self.assertEqual(self.call("sinfo", "-h", "-p", "two", "-o", "%R %a %D %N %L").stdout.split(),
                         ["two", "down", "2", "n[1,3]", "5:00"])
        self.assertNotIn("two", self.call("scontrol", "show", "node", "n2").stdout)
        job = self.call("sbatch", "--parsable", "-p", "two", "-A", "a", "--wrap", "true").stdout.strip()
        self.assertEqual(self.call("squeue", "-h", "-j", job, "-o", "%r").stdout.strip(), "PartitionDown")
        self.cluster.run("queue", "set", "two", "--state", "up")
        self.cluster.wait(job)
        self.cluster.run("queue", "rm", "two")

    # ---- what nodes have --------------------------------------------------------------------------------------------
    def test_gres_licences_and_switches_are_asked_for(self):
        self.cluster.run("licence", "set", "ansys", "2")
        self.call("sbatch", "-L", "ansys:1", "--wrap", "true", "--wait")
        self.assertEqual(self.call("sbatch", "-L", "nope", "--wrap", "true", check=False).returncode, 1)
        shown = self.call("scontrol", "show", "licenses").stdout
        self.assertIn("LicenseName=ansys", shown)
        self.assertIn("Total=2 Used=0 Free=2", shown)
        self.assertEqual(self.call("sbatch", "-L", "ansys:3", "--wrap", "true", check=False).returncode, 1)
        self.assertEqual(self.call("sbatch", "--gres=fpga:1", "--wrap", "true", check=False).returncode, 1)
        self.call("sbatch", "--tmp", "1M", "--wrap", "true", "--wait")
        self.assertEqual(self.call("sbatch", "--tmp", "99999T", "--wrap", "true", check=False).returncode, 1)
        self.assertEqual(self.call("sbatch", "--hint=frob", "--wrap", "true", check=False).returncode, 1)

    def test_nodes_that_do_not_lie_as_they_are_asked_for_are_not_taken(self):
        self.wait_idle()
        self.addCleanup(self.call, "scancel", "--me", check=False)

        def take_the_one_between():
            job = self.call("sbatch", "--parsable", "-w", "n2", "-n2", "--wrap", "sleep 300").stdout.strip()
            wait_until("it runs", lambda: self.call("squeue", "-h", "-j", job, "-o", "%T").stdout == "RUNNING\n")
            return job

        between = take_the_one_between()
        code, out = self.batch("echo $SLURM_JOB_NODELIST", "-N2")
        self.assertEqual((code, out), (0, "n[1,3]\n"))
        for wish, nodes in (("--contiguous", ("n[1-2]", "n[2-3]")), ("--switches=1", ("n[1-2]",))):
            between = between or take_the_one_between()
            job = self.call("sbatch", "--parsable", "-N2", wish, "-o", "lie.txt", "--wrap",
                            "echo $SLURM_JOB_NODELIST").stdout.strip()
            time.sleep(1)
            self.assertEqual(self.call("squeue", "-h", "-j", job, "-o", "%T").stdout, "PENDING\n", wish)
            self.call("scancel", between)
            between = None
            self.cluster.wait(job)
            with open(os.path.join(self.work, "lie.txt"), encoding="utf-8") as source:
                self.assertIn(source.read().strip(), nodes, wish)

    # ---- listings ---------------------------------------------------------------------------------------------------
    def test_sinfo_has_a_line_for_what_looks_the_same_in_its_columns(self):
        self.wait_idle()
        shown = lambda *words: self.call("sinfo", "-h", *words).stdout  # noqa: E731
        self.assertEqual(shown("-o", "\x1e%c\x1f%n\x1f%f"),
                         "\x1e2\x1fn1\x1f(null)\n\x1e2\x1fn2\x1f(null)\n\x1e2\x1fn3\x1fbig\n")
        self.assertEqual(shown("-o", "%f %D %N"), "(null) 2 n[1-2]\nbig 1 n3\n")
        self.assertEqual(shown("-o", "%P %c %D %N"), "default* 2 3 n[1-3]\n")
        titles, *lines = self.call("sinfo", "-o", "%all").stdout.splitlines()
        self.assertEqual([line.count("|") for line in lines], [titles.count("|")] * 3)
        self.call("scontrol", "update", "NodeName=n2", "State=drain", "Reason=new disks")
        self.cluster.run("queue", "add", "part", "--nodes", "node in (n1,n2)")
        self.cluster.run("queue", "add", "none", "--nodes", "node in (n9)")
        try:
            self.assertEqual(shown("-o", "%t %N"), "drain n2\nidle n[1,3]\n")
            # A node that is in two queues is one node.
            self.assertEqual(shown("-ao", "%F/%C"), "0/2/1/3/0/4/2/6\n")
            self.assertEqual(shown("-o", "%R %F"), "default 0/2/1/3\nnone 0/0/0/0\npart 0/1/1/2\n")
            self.assertEqual(shown("-s", "-p", "part").split(), ["part", "up", "infinite", "0/1/1/2", "n[1-2]"])
            self.assertEqual(shown("-o", "%n %f"), "n2 (null)\nn1 (null)\nn3 big\n")
            self.assertEqual(shown("-N", "-o", "%N %R").splitlines(),
                             ["n1 default", "n1 part", "n2 default", "n2 part", "n3 default"])
            self.assertIn("new disks", shown("-R"))
        finally:
            self.cluster.run("queue", "rm", "part")
            self.cluster.run("queue", "rm", "none")
            self.call("scontrol", "update", "NodeName=n2", "State=resume")

    def test_a_test_alone_names_the_partition(self):
        for words in (("srun", "--test-only", "true"), ("sbatch", "--test-only", "--wrap", "true")):
            done = self.call(*words)
            self.assertEqual(re.findall(r"partition (\S+)", done.stderr), ["default"])

    # ---- a job on one node ------------------------------------------------------------------------------------------
    def test_steps_of_a_job_on_one_node_mind_their_options(self):
        text = ("export COLOUR=red; srun -n1 --export=NONE sh -c 'echo none $COLOUR $SLURM_JOB_NAME'\n"
                "srun -n1 --export=COLOUR,SIZE=7 sh -c 'echo some $COLOUR$SIZE$SHADE ${SLURMD_NODENAME:+there}'\n"
                "srun -N1 echo x | wc -l\n"
                "srun -o one-%2t-%n-%s.txt sh -c 'echo $SLURM_PROCID'; cat one-00-0-0.txt one-01-0-0.txt\n"
                "srun -o all.txt sh -c 'echo $SLURM_PROCID'; srun -o all.txt sh -c 'echo $SLURM_PROCID'; sort all.txt\n"
                "srun -l -o 1 echo y\n"
                "SLURM_LABELIO=1 SLURM_STDOUTMODE=0 srun echo z\n"
                "for words in '-w n9' '-w n[1-3]' '-x '$SLURMD_NODENAME '-r 1' '-C big' '-N2 -n2'; do\n"
                "  srun $words true 2>&1; echo code $?; done\n")
        code, out = self.batch(text, "-n", "2", "-J", "named", "--export=ALL,SHADE=dark")
        self.assertEqual(code, 0, out)
        lines = out.splitlines()
        self.assertEqual(lines[:9], ["none named", "some red7 there", "2", "0", "1", "0", "1", "1: y", "0: z"])
        refused = lines[9:]
        self.assertEqual(refused[1::2], ["code 1"] * 6, out)
        for line in refused[0:8:2] + refused[10::2]:
            self.assertIn("Unable to create step for job", line)
        self.assertIn("--constraint is not supported", refused[8])

    def test_options_from_variables(self):
        for words, env, said in ((("salloc", "true"), {"SALLOC_PARTITION": "nope"}, "Invalid partition"),
                                 (("srun", "true"), {"SLURM_PARTITION": "nope"}, "Invalid partition"),
                                 (("sbatch", "--wrap", "true"), {"SBATCH_HINT": "frob"}, "unrecognized --hint"),
                                 (("sbatch", "--wrap", "true"), {"SBATCH_THREADS_PER_CORE": "x"}, "--threads-per-core"),
                                 (("salloc", "true"), {"SALLOC_RESERVATION": "r"}, "SALLOC_RESERVATION: --reservation is not"),
                                 (("srun", "true"), {"SLURM_EPILOG": "/e"}, "SLURM_EPILOG: --epilog is not supported")):
            done = self.call(*words, check=False, env=env)
            self.assertEqual(done.returncode, 1, words)
            self.assertIn(said, done.stderr)
        done = self.call("srun", "-p", "default", "sh", "-c", "echo $SLURM_NTASKS", check=False,
                         env={"SLURM_PARTITION": "nope", "SLURM_NTASKS": "2", "SLURM_LABELIO": "1"})
        self.assertEqual(sorted(done.stdout.splitlines()), ["0: 2", "1: 2"], done.stderr)


PROGRAM = """
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char** argv) {
  int rank = 0, size = 0, sum = 0;
  MPI_Init(&argc, &argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  printf("%d of %d sum %d\\n", rank, size, sum);
  MPI_Finalize();
  return argc > 1 && rank == size - 1 ? atoi(argv[1]) : 0;
}
"""


class Mpi(OverNodes):
    """Programs of Debian's Open MPI and MPICH: their launchers start what they need on each node with srun."""

    def program(self, compiler):
        if not shutil.which(compiler):
            self.skipTest(f"no {compiler} here")
        with open(os.path.join(self.work, "program.c"), "w", encoding="utf-8") as out:
            out.write(PROGRAM)
        path = os.path.join(self.work, compiler + ".program")
        subprocess.run([compiler, "-o", path, os.path.join(self.work, "program.c")], check=True, timeout=120)
        return path

    def runs(self, launcher, program):
        code, out = self.batch(f"{launcher} {program} | sort -n\n", "-N", "3", "-n", "6")
        self.assertEqual(code, 0, out)
        self.assertEqual(out.splitlines(), [f"{i} of 6 sum 15" for i in range(6)], out)
        code, out = self.batch(f"{launcher} {program} 3\n", "-N", "3", "-n", "6")
        self.assertEqual(code, 3, out)

    def test_open_mpi(self):
        # The three nodes are one machine, whose shared memory they must not take for one node's.
        self.runs("mpirun.openmpi --allow-run-as-root --mca btl tcp,self --mca btl_tcp_if_include lo --mca oob_tcp_if_include lo", self.program("mpicc.openmpi"))

    def test_mpich(self):
        self.runs("mpirun.mpich -iface lo", self.program("mpicc.mpich"))


if __name__ == "__main__":
    unittest.main()
