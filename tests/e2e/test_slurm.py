"""Slurm's commands, as scripts and programs use them, on a real server and agent."""

import os
import re
import subprocess
import time

import harness
import test_history
from harness import ClusterTest, wait_until

COMMANDS = ("sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol", "sacct", "sdiag", "sreport", "sstat")


class Slurm(ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 2}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.links = cls.cluster.path("bin")
        cls.cluster.run("slurm", "install-links", cls.links)
        cls.work = cls.cluster.path("work")
        os.makedirs(cls.work, exist_ok=True)
        os.chmod(cls.work, 0o777)

    def call(self, *words, stdin="", check=True, env=None):
        environment = dict(self.cluster.environment, PATH=self.links + ":" + os.environ["PATH"], **(env or {}))
        done = subprocess.run([str(word) for word in words], input=stdin, capture_output=True, text=True, check=False,
                              timeout=60, cwd=self.work, env=environment)
        if check:
            self.assertEqual(done.returncode, 0, f"{words}: {done.stderr}")
        return done

    def script(self, name, text):
        path = os.path.join(self.work, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return path

    def read(self, name):
        with open(os.path.join(self.work, name), encoding="utf-8") as source:
            return source.read()

    def sbatch(self, *words, **more):
        return int(self.call("sbatch", "--parsable", *words, **more).stdout)

    def ended(self, job):
        def state():
            text = self.call("sacct", "-X", "-n", "-P", "-j", job, "-o", "State").stdout.strip()
            return text if text and text.split()[0] not in ("PENDING", "RUNNING", "CONFIGURING") else None
        return wait_until(f"job {job} to end", state)

    # ---- sbatch ----
    def test_a_script_with_options_of_its_own_and_arguments(self):
        self.script("job.sh", """#!/bin/bash
#SBATCH -J inside --comment='two words'   # a comment
#SBATCH --output=%x-%j.txt
#SBATCH -t 5 -c 2
echo "$SLURM_JOB_ID $SLURM_JOB_NAME $SLURM_CPUS_PER_TASK $SLURM_JOB_PARTITION"
echo "$@"
#SBATCH -J too-late
echo "$0" | grep -c script
""")
        done = self.call("sbatch", "job.sh", "a b", "--c")
        self.assertRegex(done.stdout, r"^Submitted batch job \d+\n$")
        job = int(done.stdout.split()[-1])
        self.assertEqual(self.ended(job), "COMPLETED")
        self.assertEqual(self.read(f"inside-{job}.txt"), f"{job} inside 2 default\na b --c\n1\n")
        record = self.call("scontrol", "show", "job", job).stdout
        for text in (f"JobId={job} JobName=inside", "JobState=COMPLETED", "TimeLimit=00:05:00", "Comment=two words", "NumCPUs=2",
                     f"StdOut={self.work}/inside-{job}.txt", f"Command={self.work}/job.sh", "ExitCode=0:0"):
            self.assertIn(text, record)
        self.assertEqual(self.call("scontrol", "write", "batch_script", job, "-").stdout, self.read("job.sh"))

    def test_precedence_is_command_line_then_environment_then_script(self):
        script = "#!/bin/sh\n#SBATCH -J script --comment=script -A script\ntrue\n"
        env = {"SBATCH_JOB_NAME": "variable", "SBATCH_ACCOUNT": "variable"}
        job = self.sbatch("-J", "line", "-H", stdin=script, env=env)
        record = self.call("scontrol", "show", "job", job).stdout
        self.assertIn("JobName=line", record)
        self.assertIn("Account=variable", record)
        self.assertIn("Comment=script", record)
        self.call("scancel", job)

    def test_wrap_and_the_default_files(self):
        job = self.sbatch("--wrap", "echo out; echo err >&2; exit 3")
        self.assertEqual(self.ended(job), "FAILED")
        self.assertEqual(self.read(f"slurm-{job}.out"), "out\nerr\n")
        self.assertEqual(self.call("sacct", "-n", "-P", "-X", "-j", job, "-o", "jobname,exitcode").stdout, "wrap|3:0\n")

    def test_wait_exits_with_the_jobs_code(self):
        done = self.call("sbatch", "--wait", "--wrap", "exit 7", check=False)
        self.assertEqual(done.returncode, 7)

    def test_an_array(self):
        job = self.sbatch("--array=1-5:2%1", "-o", "array-%A_%2a", "--wrap",
                          'echo "$SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT $SLURM_ARRAY_TASK_MIN '
                          '$SLURM_ARRAY_TASK_MAX $SLURM_ARRAY_TASK_STEP"; sleep 0.3')
        wait_until("the array", lambda: self.call("squeue", "-h", "-j", job).stdout == "")
        for index in (1, 3, 5):
            self.assertEqual(self.read(f"array-{job}_0{index}"), f"{job} {index} 3 1 5 2\n")
        rows = self.call("sacct", "-n", "-P", "-X", "-j", job, "-o", "jobid,state").stdout
        self.assertEqual(rows, "".join(f"{job}_{index}|COMPLETED\n" for index in (1, 3, 5)))

    def test_dependencies_hold_and_release(self):
        first = self.sbatch("-H", "--wrap", "true")
        second = self.sbatch("-d", f"afterok:{first}", "--wrap", "true")
        third = self.sbatch("-d", f"afternotok:{first}", "--wrap", "true")
        rows = self.call("squeue", "-h", "-o", "%i %t %r", "-j", f"{first},{second}").stdout.splitlines()
        self.assertEqual(sorted(rows), sorted([f"{first} PD JobHeldUser", f"{second} PD Dependency"]))
        self.call("scontrol", "release", first)
        self.assertEqual(self.ended(second), "COMPLETED")
        self.assertEqual(self.call("squeue", "-h", "-o", "%r", "-j", third).stdout, "DependencyNeverSatisfied\n")
        self.call("scancel", third)
        self.assertRegex(self.ended(third), r"^CANCELLED by \d+$")

    def test_elements_wait_for_those_of_another_array(self):
        first = self.sbatch("--array=1-3", "-o", "none", "--wrap", "test $SLURM_ARRAY_TASK_ID -ne 2")
        second = self.sbatch("--array=1-3", "-d", f"aftercorr:{first}", "-o", "none", "--wrap", "true")
        one = self.sbatch("-d", f"afternotok:{first}_2", "-o", "none", "--wrap", "true")
        self.assertEqual(self.ended(one), "COMPLETED")
        states = lambda: self.call("sacct", "-X", "-n", "-P", "-j", second, "-o", "jobid,state").stdout.splitlines()
        wait_until("the others to end", lambda: [row for row in states() if "COMPLETED" in row] ==
                   [f"{second}_1|COMPLETED", f"{second}_3|COMPLETED"])
        self.assertEqual(self.call("squeue", "-h", "-r", "-j", second, "-o", "%i %t %r").stdout,
                         f"{second}_2 PD DependencyNeverSatisfied\n")
        self.assertIn(f"Dependency=aftercorr:{first}_*(failed)", self.call("scontrol", "show", "job", second).stdout)
        self.call("scancel", second)
        for words, text in ((["--array=3-4", "-d", f"aftercorr:{first}"], f"element 4 would wait for one that job {first} does not have"),
                            (["-d", f"aftercorr:{first}"], "only an array has elements"),
                            (["-d", f"afterok:{first}_9"], f"job {first} has no element 9")):
            done = self.call("sbatch", *words, "--wrap", "true", check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(text, done.stderr)
            self.assertIn("Batch job submission failed: Job dependency problem", done.stderr)

    def test_a_deadline_ends_what_waits_and_what_runs(self):
        runs = self.sbatch("-c", "2", "--deadline", "now+4", "-o", "none", "--wrap", "sleep 100")
        waits = self.sbatch("-t", "1", "--deadline", "now+62", "-o", "none", "--wrap", "true")
        record = self.call("scontrol", "show", "job", waits).stdout
        self.assertRegex(record, r"EndTime=Unknown Deadline=20\d\d-")
        self.assertRegex(self.call("squeue", "-h", "-j", waits, "-O", "Deadline").stdout, r"^20\d\d-\S+ *$")
        self.assertEqual(self.ended(waits), "DEADLINE")
        self.assertIn("JobState=DEADLINE Reason=DeadLine", self.call("scontrol", "show", "job", waits).stdout)
        self.assertEqual(self.call("sacct", "-X", "-n", "-P", "-j", waits, "-s", "DL", "-o", "jobid").stdout, f"{waits}\n")
        self.assertEqual(self.ended(runs), "TIMEOUT")
        for words, text in ((["--deadline", "someday"], "Invalid --deadline specification"),
                            (["--begin", "now+2hours", "--deadline", "now+1hour"], "Incompatible begin and deadline"),
                            (["-t", "10", "--deadline", "now+60"], "Requested time limit is invalid"),
                            (["-t", "10", "--time-min", "20"], "Invalid time-min specification"),
                            (["--time-min", "soon"], "Invalid --time-min specification")):
            done = self.call("sbatch", *words, "--wrap", "true", check=False)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertIn(text, done.stderr)

    def test_less_time_lets_a_job_start_beside_a_promise(self):
        runs = self.sbatch("-t", "5", "-o", "none", "--wrap", "sleep 100")
        promised = self.sbatch("-t", "5", "-c", "2", "-o", "none", "--wrap", "true")
        whole = self.sbatch("-t", "10", "-o", "none", "--wrap", "sleep 100")
        less = self.sbatch("-t", "10", "--time-min", "2", "-o", "less.txt", "--wrap", "sleep 100")
        wait_until("it to run", lambda: self.call("squeue", "-h", "-j", less, "-o", "%t").stdout == "R\n")
        self.assertEqual(self.call("squeue", "-h", "-t", "PD", "-j", f"{promised},{whole}", "-o", "%i").stdout.split(),
                         [str(promised), str(whole)])
        record = self.call("scontrol", "show", "job", less).stdout
        self.assertRegex(record, r"TimeLimit=00:04:\d\d TimeMin=00:02:00\n")
        self.assertRegex(self.call("squeue", "-h", "-j", less, "-O", "TimeLimit:|,MinTime:|").stdout, r"^4:\d\d\|2:00\|$")
        shown = self.cluster.json("show", less, "-o", "json")
        self.assertEqual((shown["time_min_ms"], shown["time_limit_ms"]), (120000, 600000))
        self.assertLess(shown["time_given_ms"], 300000)
        self.assertIn("time given: ", self.cluster.run("show", less).stdout)
        self.call("scancel", runs, promised, whole, less)

    def test_a_time_limit_and_a_warning_before_it(self):
        self.script("warned.sh", """#!/bin/bash
#SBATCH --signal=B:USR1@1 -t 0:03
trap 'echo warned' USR1
sleep 30 & wait; echo after; sleep 30 & wait
""")
        job = self.sbatch("warned.sh")
        self.assertEqual(self.ended(job), "TIMEOUT")
        self.assertEqual(self.read(f"slurm-{job}.out").splitlines()[:2], ["warned", "after"])

    def test_a_warning_without_b_is_for_the_steps(self):
        self.script("steps-warned.sh", """#!/bin/bash
#SBATCH --signal=USR1@20 -t 0:25
trap 'echo the shell heard it' USR1
srun -n1 bash -c 'trap "echo the step heard it; exit 0" USR1; sleep 60 & wait'
echo "code $?"
""")
        job = self.sbatch("-o", "steps-warned.txt", "steps-warned.sh")
        self.assertEqual(self.ended(job), "COMPLETED")
        self.assertEqual(self.read("steps-warned.txt"), "the step heard it\ncode 0\n")

    def test_tasks_of_several_programs(self):
        self.script("programs", "# tasks and what they run\n0 sh -c 'echo \"first %t\"'\n1-2 echo rest %t %o\n")
        done = self.call("srun", "-n2", "--multi-prog", "programs")
        self.assertEqual(sorted(done.stdout.splitlines()), ["first 0", "rest 1 0"])
        job = self.sbatch("-n2", "-o", "programs.txt", "--wrap", "srun -l --multi-prog programs | sort")
        self.assertEqual(self.ended(job), "COMPLETED")
        self.assertEqual(self.read("programs.txt"), "0: first 0\n1: rest 1 0\n")
        done = self.call("srun", "-n2", "--multi-prog", "nowhere", check=False)
        self.assertEqual((done.returncode, done.stderr), (1, "srun: error: Could not open multi_prog config file nowhere\n"))

    def test_what_the_server_and_the_accounting_know(self):
        job = self.sbatch("-o", "none", "--wrap", "sleep 2")
        text = self.call("sdiag").stdout
        self.assertRegex(text, r"Jobs pending:   \d+\nJobs running:   \d+\n")
        self.ended(job)
        whole = ("cluster", "utilization", "start=now-2hour", "end=now")
        row = wait_until("it is in the books", lambda: [line for line in self.call("sreport", "-nP", "-t", "Seconds", *whole).stdout.splitlines()
                                                       if int(line.split("|")[1]) > 0])
        name, used, idle, reported = row[0].split("|")
        self.assertEqual(name, "berth")
        self.assertAlmostEqual(int(used) + int(idle), int(reported), delta=1)
        self.assertIn(f"|{os.environ.get('USER', 'root')}|", self.call("sreport", "-nP", "user", "top", *whole[2:]).stdout)
        self.assertIn("Usage reported in CPU Minutes", self.call("sreport", "cluster", "utilization").stdout)
        done = self.call("sreport", "job", "sizes", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("knows cluster Utilization", done.stderr)

    def test_what_steps_use_while_they_run(self):
        path = self.script("eats.py", "import time\nheld = bytearray(64 << 20)\nend = time.process_time() + 1\n"
                           "while time.process_time() < end: pass\nprint('done', flush=True)\ntime.sleep(100)\n")
        job = self.sbatch("-o", "eats.txt", "--wrap", f"exec python3 {path}")
        wait_until("it to have used a second",
                   lambda: os.path.exists(os.path.join(self.work, "eats.txt")) and "done" in self.read("eats.txt"))
        rows = self.call("sstat", "-n", "-P", "-j", job, "-o", "jobid,ntasks,maxrss,avecpu,maxrssnode,nodelist,tresusageintot").stdout
        step, tasks, peak, cpu, node, nodes, both = rows.strip().split("|")
        self.assertEqual((step, tasks, node, nodes), (f"{job}.batch", "1", "n1", "n1"))
        self.assertRegex(both, r"^cpu=00:00:0[1-9],fs/disk=\d+,mem=\d+K$")
        self.assertTrue(peak.endswith("K"))
        self.assertGreater(int(peak[:-1]), 64 << 10)
        self.assertRegex(cpu, r"^00:0[1-9]\.\d{3}$")
        self.assertEqual(self.call("sstat", "-n", "-P", "-o", "jobid", f"{job}.batch").stdout, f"{job}.batch\n")
        lines = self.call("sstat", "-j", job).stdout.splitlines()
        self.assertEqual(len(lines), 3)
        self.assertTrue(lines[0].startswith("JobID         MaxVMSize"))
        self.call("scancel", job)
        self.ended(job)
        for words, code, text in ((["-j", job], 0, f"No steps running for job {job}"), (["-j", "99999"], 0, "couldn't get steps for job 99999"),
                                  (["-j", f"{job}.batch"], 0, f"StepId={job}.batch not found running."),
                                  (["-j", "x"], 1, "Bad job/step specified: x"), ([], 1, "You didn't give me any jobs"),
                                  (["-j", job, "-o", "nope"], 1, 'Invalid field requested: "nope"'), (["-i", "-j", job], 1, "pidformat")):
            done = self.call("sstat", *words, check=False)
            self.assertEqual(done.returncode, code, words)
            self.assertIn(text, done.stderr)

    def test_scontrol_by_the_line(self):
        done = self.call("scontrol", stdin="show hostnames n[1-2]\nnonsense\n\nquit\n", check=False)
        self.assertEqual(done.stdout, "scontrol: n1\nn2\nscontrol: scontrol: scontrol: ")
        self.assertEqual((done.returncode, done.stderr), (1, "invalid keyword: nonsense\n"))

    def test_export_none_and_single_variables(self):
        job = self.sbatch("--export=NONE", "--wrap", 'echo "<$COLOUR>"', env={"COLOUR": "red"})
        other = self.sbatch("--export=COLOUR,SIZE=7", "--wrap", 'echo "<$COLOUR$SIZE>"', env={"COLOUR": "red"})
        self.ended(job), self.ended(other)
        self.assertEqual(self.read(f"slurm-{job}.out"), "<>\n")
        self.assertEqual(self.read(f"slurm-{other}.out"), "<red7>\n")

    def test_bad_input_is_refused_in_slurms_words(self):
        self.script("plain", "echo no interpreter\n")
        for words, text in ((("sbatch", "plain"), "This does not look like a batch script"),
                            (("sbatch", "nowhere.sh"), "Unable to open file nowhere.sh"),
                            (("sbatch", "--wrap", "x", "-p", "nope"), "Batch job submission failed: Invalid partition name specified"),
                            (("sbatch", "--wrap", "x", "-t", "soon"), "Invalid --time specification"),
                            (("sbatch", "--wrap", "x", "-c", "500"), "Batch job submission failed: More processors requested than permitted\n"),
                            (("sbatch", "--wrap", "x", "-d", "afterok:999999"), "Job dependency problem"),
                            (("sbatch", "--wrap", "x", "--nodes=4"), "Batch job submission failed: More processors requested than permitted\n"),
                            (("sbatch", "--wrap", "x", "--mem=1T"), "Batch job submission failed: Requested node configuration is not available\n"),
                            (("sbatch", "--wrap", "x", "-w", "nope"), "Batch job submission failed: Invalid node name specified\n"),
                            (("sbatch", "--wrap", "x", "-C", "nope"), "Batch job submission failed: Invalid feature specification\n"),
                            (("sbatch", "--wrap", "x", "-S", "2"), "not supported by Berth"),
                            (("sbatch", "--wrap", "x", "--no-such"), "sbatch: unrecognized option '--no-such'\nTry \"sbatch --help\""),
                            (("scancel", "abc"), "Invalid job id abc"),
                            (("squeue", "-j", "999999"), "slurm_load_jobs error: Invalid job id specified"),
                            (("scontrol", "show", "job", "999999"), "slurm_load_jobs error: Invalid job id specified"),
                            (("sacct", "-o", "nonsense"), "Invalid field requested")):
            done = self.call(*words, check=False)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertIn(text, done.stderr, words)

    # ---- listings ----
    def test_squeue_shows_what_waits_and_runs(self):
        running = self.sbatch("-c", 2, "-J", "long", "--wrap", "sleep 60")
        wait_until("it runs", lambda: self.call("squeue", "-h", "-j", running, "-o", "%t").stdout == "R\n")
        waiting = self.sbatch("-c", 2, "-J", "next", "--array=0-9", "--wrap", "true")
        lines = self.call("squeue").stdout.splitlines()
        self.assertEqual(lines[0], "             JOBID PARTITION     NAME     USER ST       TIME  NODES NODELIST(REASON)")
        self.assertTrue(any(re.search(rf"^ +{waiting}_\[0-9\] +default +next .* PD +0:00 +1 \(Resources\)$", line) for line in lines),
                        lines)
        self.assertEqual(len(self.call("squeue", "-h", "-r", "-j", waiting).stdout.splitlines()), 10)
        self.assertEqual(self.call("squeue", "-h", "--name", "long", "-O", "JobID:|,State:|,NumCPUs:.6").stdout,
                         f"{running}|RUNNING|     2\n")
        self.assertEqual(self.call("squeue", "-h", "-t", "R", "-o", "%i", "-n", "next").stdout, "")
        self.call("scancel", f"{waiting}_[0-3]")
        self.assertIn(f"{waiting}_[4-9]", self.call("squeue", "-h", "-o", "%i", "-j", waiting).stdout)
        self.call("scancel", "-n", "next")
        self.call("scancel", "--me", "-t", "RUNNING")
        self.assertRegex(self.ended(running), "^CANCELLED")

    def test_sinfo_and_records_of_nodes_and_partitions(self):
        node = self.cluster.node_name(1)
        lines = self.call("sinfo").stdout.splitlines()
        self.assertEqual(lines[0], "PARTITION AVAIL  TIMELIMIT  NODES  STATE NODELIST")
        self.assertRegex(lines[1], rf"^default\* +up +infinite +1 +(idle|mix|alloc) {node}$")
        self.assertEqual(self.call("sinfo", "-h", "-o", "%P %c %D").stdout, "default* 2 1\n")
        self.assertRegex(self.call("sinfo", "-aho", "%F/%C").stdout, r"^\d/\d/0/1/\d/\d/0/2\n$")
        record = self.call("scontrol", "show", "node", node).stdout
        self.assertIn(f"NodeName={node} ", record)
        self.assertIn("CPUTot=2", record)
        one = self.call("scontrol", "show", "part", "-o").stdout
        self.assertRegex(one, r"^PartitionName=default .*Default=YES .*TotalCPUs=2 ")
        for token in one.split():
            self.assertRegex(token, r"^\w+=.+")
        self.call("scontrol", "update", f"NodeName={node}", "State=drain", "Reason=new disks")
        self.assertIn("new disks", self.call("sinfo", "-R").stdout)
        self.call("scontrol", "update", f"NodeName={node}", "State=resume")

    def test_hostnames(self):
        self.assertEqual(self.call("scontrol", "show", "hostnames", "n[1-3,07],m").stdout, "n1\nn2\nn3\nn07\nm\n")
        self.assertEqual(self.call("scontrol", "show", "hostlist", "n3,n1,n2,m").stdout, "n[1-3],m\n")

    def test_versions_and_ping(self):
        for command in COMMANDS:
            self.assertEqual(self.call(command, "--version").stdout, "slurm 22.05.8\n")
            self.assertIn("Usage: " + command, self.call(command, "--help").stdout)
        self.assertIn("is UP", self.call("scontrol", "ping").stdout)

    def test_update_of_a_job_that_waits(self):
        job = self.sbatch("-H", "--wrap", "true")
        self.call("scontrol", "update", f"JobId={job}", "TimeLimit=1-2", "Comment=changed", "JobName=other", "Nice=7")
        record = self.call("scontrol", "show", "job", "-o", job).stdout
        for text in ("TimeLimit=1-02:00:00", "Comment=changed", "JobName=other", "Nice=7"):
            self.assertIn(text, record)
        self.call("scancel", job)

    def test_a_job_is_requeued(self):
        job = self.sbatch("--wrap", "sleep 300")
        done = self.call("scontrol", "requeue", 999999, check=False)
        self.assertEqual((done.returncode, done.stderr), (1, "Invalid job id specified for job 999999\n"))
        wait_until("it runs", lambda: self.call("squeue", "-h", "-j", job, "-o", "%t").stdout == "R\n")
        self.call("scontrol", "requeuehold", job)
        wait_until("it is held", lambda: self.call("squeue", "-h", "-j", job, "-o", "%t %r").stdout == "PD JobHeldUser\n")
        done = self.call("scontrol", "requeue", job, check=False)
        self.assertEqual((done.returncode, done.stderr), (1, f"Job is pending execution for job {job}\n"))
        self.assertEqual(self.call("scontrol", "-Q", "requeue", job, check=False).stderr, "")
        self.call("scancel", job)

    def test_a_step_and_filters_do_not_end_the_job(self):
        job = self.sbatch("--wrap", "sleep 300")
        done = self.call("scancel", "-u", "root", f"{job}.0", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"({job}.0)", done.stderr)
        self.assertNotEqual(self.call("squeue", "-h", "-j", job).stdout, "")
        self.call("scancel", job)

    def test_a_queue_has_a_tier_and_says_who_makes_room(self):
        self.cluster.run("queue", "add", "night", "--tier", "3", "--preempt", "requeue")
        self.assertEqual(self.call("sinfo", "-h", "-p", "night", "-o", "%M %p").stdout, "REQUEUE 3\n")
        record = self.call("scontrol", "show", "partition=night").stdout
        self.assertIn("PreemptMode=REQUEUE", record)
        self.assertIn("PriorityTier=3 ", record)
        self.call("sacctmgr", "-i", "add", "qos", "soft", "PreemptMode=cancel")
        listed = lambda: self.call("sacctmgr", "-nP", "list", "qos", "soft", "format=PreemptMode").stdout  # noqa: E731
        self.assertEqual(listed(), "cancel\n")
        self.call("sacctmgr", "-i", "modify", "qos", "soft", "set", "PreemptMode=cluster")
        self.assertEqual(listed(), "cluster\n")
        for word in ("PreemptMode=suspend", "Preempt=soft"):
            done = self.call("sacctmgr", "-i", "modify", "qos", "soft", "set", word, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("not supported by Berth", done.stderr)
        self.call("sacctmgr", "-i", "delete", "qos", "soft")
        self.cluster.run("queue", "rm", "night")

    def test_updates_of_nodes_do_what_they_say_or_are_refused(self):
        node = self.call("sinfo", "-ho", "%n").stdout.strip()
        for words, said in ((("State=down", "Reason=x"), "State=down is not supported"),
                            (("State=drain", "Reason=x", "Weight=3"), "not supported by Berth: weight")):
            done = self.call("scontrol", "update", f"NodeName={node}", *words, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(said, done.stderr)
        self.assertIn("Node N1X not found", self.call("scontrol", "show", "node=N1X", check=False).stdout)
        self.assertIn("MinJobAge               = 300 sec", self.call("scontrol", "show", "config").stdout)

    def test_the_page_lists_the_options_as_they_are(self):
        page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "slurm-options.md")
        with open(page, encoding="utf-8") as source:
            self.assertIn(self.cluster.run("slurm", "options").stdout.strip(), source.read(),
                          "docs/slurm-options.md is to end with what `berth slurm options` prints")

    # ---- srun ----
    def test_srun_by_itself(self):
        done = self.call("srun", "-n2", "-l", "sh", "-c", "echo hello; exit $SLURM_PROCID", check=False)
        self.assertEqual(sorted(done.stdout.splitlines()), ["0: hello", "1: hello"])
        self.assertEqual(done.returncode, 1)
        self.assertIn("task 1: Exited with exit code 1", done.stderr)
        self.assertEqual(self.call("srun", "hostname").stdout, os.uname().nodename + "\n")

    def test_srun_inside_of_a_job(self):
        self.script("steps.sh", """#!/bin/bash
#SBATCH -n 2
srun -l sh -c 'echo "$SLURM_PROCID of $SLURM_NTASKS"' | sort
srun -n1 --cpu-bind=q echo one
echo in | srun -n1 cat
srun -K sh -c 'if [ $SLURM_PROCID = 1 ]; then exit 5; fi; sleep 60'
echo "code $?"
srun -n1 -t 0:01 sleep 60
echo "code $?"
""")
        job = self.sbatch("-o", "steps.txt", "steps.sh")
        self.assertEqual(self.ended(job), "COMPLETED")
        lines = self.read("steps.txt").splitlines()
        self.assertEqual(lines[:4], ["0: 0 of 2", "1: 1 of 2", "one", "in"])
        self.assertTrue(any("task 1: Exited with exit code 5" in line for line in lines), lines)
        self.assertIn("task 0: Terminated", "\n".join(lines))
        self.assertEqual([line for line in lines if line.startswith("code ")], ["code 143", "code 143"])
        self.assertIn("srun: error: the step has reached its time limit", lines)


class Forgotten(test_history.Accounted):
    SETTINGS = "keep_ended_jobs: 1s\n"

    def test_sacct_knows_what_the_state_has_forgotten(self):
        links = os.path.join(self.files, "bin")
        self.cluster.run("slurm", "install-links", links)

        def call(*words):
            done = harness.subprocess.run([os.path.join(links, words[0]), *[str(word) for word in words[1:]]], check=True, timeout=60,
                                          capture_output=True, text=True, cwd="/tmp", env=self.cluster.environment)
            return done.stdout

        one = call("sbatch", "--parsable", "-o", "none", "-J", "one", "--wrap", "exit 3").strip()
        array = call("sbatch", "--parsable", "-o", "none", "--array=4-5", "--wrap", "true").strip()
        wait_until("they have ended and are forgotten",
                   lambda: len(self.ids()) == 2 and self.cluster.json("ls", "--all", "-o", "json") == [])
        lines = [f"{one}|FAILED|3:0", f"{array}_4|COMPLETED|0:0", f"{array}_5|COMPLETED|0:0"]
        asked = ("sacct", "-X", "-n", "-P", "-o", "JobID,State,ExitCode")
        self.assertEqual(call(*asked).splitlines(), lines)
        self.assertEqual(call(*asked, "-j", f"{array}_5,{one}").splitlines(), [lines[0], lines[2]])
        self.assertEqual(call(*asked, "-s", "F", "-S", "now-1hour").splitlines(), lines[:1])
        self.assertEqual(call(*asked, "-S", "now").splitlines(), [])
        self.assertEqual(call("sacct", "-n", "-P", "-j", one, "-o", "JobID,JobName").splitlines(), [f"{one}|one", f"{one}.batch|batch"])
        self.assertEqual(call(*asked, "-j", 9999).splitlines(), [])


if __name__ == "__main__":
    import unittest
    unittest.main()
