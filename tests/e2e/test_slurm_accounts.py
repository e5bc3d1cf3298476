"""Slurm's side of accounts, qualities of service and priorities: sacctmgr, sprio, sshare, and -A and -q of jobs."""

import os
import re
import subprocess

import harness
from harness import Cluster, ClusterTest, wait_until

ANA, BEN = "nobody", "games"  # two users that every Debian has
COMMANDS = ("sprio", "sshare", "sacctmgr")


class SlurmCluster:
    """The commands of Slurm on a cluster, for root and for others."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.links = cluster.path("bin")
        cluster.run("slurm", "install-links", self.links)
        self.work = cluster.path("work")
        os.makedirs(self.work, exist_ok=True)
        os.chmod(self.work, 0o777)

    def call(self, *words, user=None, stdin="", check=True, env=None):
        environment = dict(self.cluster.environment, PATH=self.links + ":" + os.environ["PATH"], **(env or {}))
        command = (harness.as_user(user) if user else []) + [str(word) for word in words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60, cwd=self.work,
                              env=environment)
        if check and done.returncode != 0:
            raise AssertionError(f"{words}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def sbatch(self, *words, **more):
        return int(self.call("sbatch", "--parsable", *words, **more).stdout)

    def rows(self, *words, **more):
        """Lines of a command that prints '|' between columns, as lists."""
        return [line.split("|") for line in self.call(*words, **more).stdout.splitlines()]

    def dump(self, name):
        self.call("sacctmgr", "dump", "berth", f"file={name}")
        with open(os.path.join(self.work, name), encoding="utf-8") as source:
            return source.read()


@harness.needs_root
class SlurmAccounts(ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 2, "server": ["--fair-share", "2d"]}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.slurm = SlurmCluster(cls.cluster)
        cls.call, cls.sbatch, cls.rows = cls.slurm.call, cls.slurm.sbatch, cls.slurm.rows
        run = cls.call
        done = run("sacctmgr", "-i", "add", "account", "science", "Fairshare=3", "Description='all of it'")
        assert done.stdout.startswith(" Adding Account(s)\n  science\n Settings\n  Description     = all of it\n"), done.stdout
        run("sacctmgr", "-i", "add", "account", "physics,biology", "Parent=science", "GrpTRES=cpu=64,mem=1T,gres/gpu=8", "MaxWall=2-0")
        run("sacctmgr", "-i", "create", "user", ANA, "Account=physics,biology", "DefaultAccount=physics")
        run("sacctmgr", "-i", "add", "user", BEN, "Account=biology", "Fairshare=5")
        run("sacctmgr", "-i", "add", "qos", "high", "Priority=5", "UsageFactor=1.5", "Flags=DenyOnLimit", "MaxTRES=cpu=1")

    def tearDown(self):
        self.call("scancel", "-t", "PENDING,RUNNING")
        wait_until("nothing is left", lambda: self.call("squeue", "-h").stdout == "")

    def state(self, job):
        return self.call("squeue", "-h", "-j", job, "-o", "%t %r").stdout.strip()

    def test_versions_and_help(self):
        for command in COMMANDS:
            self.assertEqual(self.call(command, "--version").stdout, "slurm 22.05.8\n")
            self.assertIn("Usage: " + command, self.call(command, "--help").stdout)

    # ---- jobs ----
    def test_jobs_are_charged_to_accounts_and_have_qualities(self):
        job = self.sbatch("-A", "biology", "-q", "high", "-o", "qos.txt", "--wrap", 'echo "$SLURM_JOB_ACCOUNT $SLURM_JOB_QOS"', user=ANA)
        wait_until("it ends", lambda: self.call("squeue", "-h", "-j", job, "-o", "%i").stdout == "")
        with open(os.path.join(self.slurm.work, "qos.txt"), encoding="utf-8") as source:
            self.assertEqual(source.read(), "biology high\n")
        self.assertEqual(self.rows("sacct", "-n", "-P", "-X", "-j", job, "-o", "account,qos"), [["biology", "high"]])
        self.assertEqual(self.call("sacct", "-n", "-P", "-X", "-j", job, "-q", "normal", "-o", "jobid").stdout, "")
        # The default account; a quality from the environment; and both changed afterwards.
        job = self.sbatch("-H", "--wrap", "true", user=ANA, env={"SBATCH_QOS": "high"})
        other = self.sbatch("-H", "--wrap", "true", user=ANA)
        self.assertEqual(self.call("squeue", "-h", "-j", job, "-O", "Account:|,QOS:|").stdout, "physics|high|\n")
        self.assertEqual(self.call("squeue", "-h", "-q", "high", "-o", "%i %q").stdout, f"{job} high\n")
        self.assertEqual(self.call("squeue", "-h", "-q", "normal,high", "-S", "i", "-o", "%i %q").stdout, f"{job} high\n{other} normal\n")
        self.call("scontrol", "update", f"JobId={job}", "Account=biology", "QOS=normal", user=ANA)
        record = self.call("scontrol", "show", "job", job).stdout
        self.assertIn("Priority=0 Nice=0 Account=biology QOS=normal\n", record)
        self.call("scontrol", "update", f"JobId={other}", "QOS=high", user=ANA)
        self.call("scancel", "-q", "high")
        self.assertEqual(self.call("squeue", "-h", "-o", "%i").stdout, f"{job}\n")
        # srun and salloc read variables of their own.
        self.assertIn("Invalid qos specification", self.call("srun", "true", user=ANA, check=False, env={"SLURM_QOS": "nope"}).stderr)
        self.assertIn("Invalid qos specification", self.call("salloc", "true", user=ANA, check=False, env={"SALLOC_QOS": "nope"}).stderr)

    def test_a_job_that_names_no_account_is_told_that_of_its_user(self):
        for words, account in (((), "physics"), (("-A", "biology"), "biology")):
            job = self.sbatch(*words, "-o", "/tmp/berth-account-%j.txt", "--mem", "16M", "--wrap", "echo $SLURM_JOB_ACCOUNT", user=ANA)
            path = f"/tmp/berth-account-{job}.txt"
            self.addCleanup(lambda path=path: os.path.exists(path) and os.unlink(path))

            def written(path=path):
                if not os.path.exists(path):
                    return ""
                with open(path, encoding="utf-8") as source:
                    return source.read()

            self.assertEqual(wait_until("it wrote", written), account + "\n")

    def test_what_is_not_allowed_is_refused_in_slurms_words(self):
        account = "Invalid account or account/partition combination specified"
        policy = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
        for words, text in ((("-A", "art"), account), (("-A", "science"), account), (("-q", "nope"), "Invalid qos specification"),
                            (("-q", "high", "-c", "2"), policy)):
            done = self.call("sbatch", *words, "--wrap", "true", user=ANA, check=False)
            why, said = done.stderr.splitlines()  # the first one in the server's words
            self.assertEqual((done.returncode, done.stdout, said), (1, "", "sbatch: error: Batch job submission failed: " + text))
            self.assertRegex(why, "^sbatch: error: .*(art|science|nope|high)")
        self.assertEqual(self.call("squeue", "-h").stdout, "")

    def test_limits_make_jobs_wait_or_be_refused(self):
        sleep = ("--mem", "16M", "--wrap", "sleep 60")
        self.call("sacctmgr", "-i", "modify", "user", "where", f"name={BEN}", "account=biology", "set", "MaxJobs=1", "MaxSubmitJobs=2")
        self.addCleanup(self.call, "sacctmgr", "-i", "modify", "user", BEN, "set", "MaxJobs=-1", "MaxSubmitJobs=-1")
        first = self.sbatch(*sleep, user=BEN)
        wait_until("it runs", lambda: self.state(first) == "R None")
        second = self.sbatch(*sleep, user=BEN)
        wait_until("the limit is the reason", lambda: self.state(second) == "PD AssociationJobLimit")
        self.assertEqual(self.call("squeue", "-h", "-j", second, "-o", "%R").stdout, "(AssociationJobLimit)\n")
        done = self.call("sbatch", *sleep, user=BEN, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("at most 2 jobs that wait or run", done.stderr.splitlines()[0])
        self.assertIn("Job violates accounting/QOS policy", done.stderr.splitlines()[1])
        self.call("scancel", first)
        wait_until("the next one runs", lambda: self.state(second) == "R None")
        # A quality's limit of each user.
        self.call("sacctmgr", "-i", "add", "qos", "single", "MaxJobsPerUser=1")
        third = self.sbatch("-q", "single", *sleep, user=ANA)
        wait_until("it runs", lambda: self.state(third) == "R None")
        fourth = self.sbatch("-q", "single", *sleep, user=ANA)
        wait_until("the quality is the reason", lambda: self.state(fourth) == "PD QOSJobLimit")
        # What is over a limit of one job waits without DenyOnLimit.
        self.call("sacctmgr", "-i", "modify", "qos", "single", "set", "MaxTRES=cpu=1", "MaxJobsPerUser=-1")
        wide = self.sbatch("-q", "single", "-c", "2", *sleep, user=ANA)
        wait_until("it waits", lambda: self.state(wide) == "PD QOSResourceLimit")
        done = self.call("sacctmgr", "-i", "delete", "qos", "single", check=False)
        self.assertIn("still has jobs", done.stderr)
        self.assertEqual(done.returncode, 1)
        self.call("scancel", "-q", "single")
        wait_until("they are gone", lambda: self.call("squeue", "-h", "-q", "single").stdout == "")
        self.assertEqual(self.call("sacctmgr", "-i", "delete", "qos", "single").stdout, " Deleting QOS(s)...\n  single\n")

    # ---- sprio and sshare ----
    def test_sprio_prints_sums(self):
        holder = self.sbatch("-c", "2", "--wrap", "sleep 60")
        wait_until("it runs", lambda: self.state(holder) == "R None")
        jobs = [self.sbatch("--wrap", "true", user=ANA), self.sbatch("-q", "high", "--wrap", "true", user=BEN),
                self.sbatch("--nice=3", "-t", "1", "--wrap", "true", user=ANA)]
        held = self.sbatch("-H", "--wrap", "true", user=ANA)
        wait_until("they stand in the queue", lambda: len(self.call("sprio", "-h").stdout.splitlines()) == 3)
        names, *lines = self.call("sprio", "-l").stdout.splitlines()
        self.assertEqual(names.split(), "JOBID PARTITION USER PRIORITY SITE AGE ASSOC FAIRSHARE JOBSIZE PARTITION QOS NICE TRES".split())
        rows = {int(line.split()[0]): line.split() for line in lines}
        self.assertEqual(sorted(rows), jobs)
        self.assertNotIn(held, rows)
        for job, row in rows.items():
            priority, site, age, assoc, share, size, queue, qos, nice = map(int, row[3:12])
            self.assertEqual(priority, site + age + assoc + share + size + queue + qos - nice, row)
            self.assertEqual((qos, nice), (5 * 10**9 if job == jobs[1] else 0, 3 * 10**9 if job == jobs[2] else 0))
            self.assertLessEqual(size, 0)  # what its user's jobs took before tells what it is expected to take
            self.assertTrue(0 < share <= 2 * 86400, row)
        # By place as Berth has it, the same as scontrol's, and no less of a sum in the short form.
        order = self.call("sprio", "-h", "-S", "-y", "-o", "%i").stdout.split()
        self.assertEqual(list(map(int, order)), [jobs[1], jobs[0], jobs[2]])
        listed = sorted(self.cluster.json("priority", "-o", "json"), key=lambda row: -row["priority"])
        self.assertEqual([row["job"] for row in listed if row["job"] != held], [jobs[1], jobs[0], jobs[2]])
        short = self.call("sprio", "-h", "-j", jobs[2]).stdout.split()
        self.assertEqual(int(short[2]), sum(map(int, short[3:-1])) - int(short[-1]))

        def agree():  # unless use was counted anew between the two
            shown = int(re.search(r"Priority=(-?\d+)", self.call("scontrol", "show", "job", jobs[1]).stdout).group(1))
            return abs(shown - int(self.call("sprio", "-h", "-j", jobs[1], "-o", "%Y").stdout)) < 60
        wait_until("scontrol has the same priority", agree)
        self.assertEqual(self.call("sprio", "-w", "-h", "-o", "%A %F %J %P %Q %N").stdout, "1 172800 1 1000000000 1000000000 1000000000\n")
        norm = self.call("sprio", "-n", "-h", "-j", jobs[1], "-o", "%q %p %u %r").stdout.split()
        self.assertEqual(norm, ["5.0000000", "0.0000000", BEN, "default"])
        # Whose and where; others' are not shown to everybody.
        self.assertEqual(self.call("sprio", "-h", "-u", BEN, "-o", "%i").stdout, f"{jobs[1]}\n")
        self.assertEqual(self.call("sprio", "-h", "-o", "%i", user=BEN).stdout, f"{jobs[1]}\n")
        self.assertEqual(self.call("sprio", "-h", "-p", "other").stdout, "")
        self.assertEqual(self.call("sprio", "-j", held).stdout, "Unable to find jobs matching user/id(s) specified\n")
        self.assertNotEqual(self.call("sprio", "-S", "nonsense", check=False).returncode, 0)

    def test_sshare_prints_the_tree(self):
        used = self.sbatch("-c", "2", "--wrap", "sleep 1.5", user=ANA)
        wait_until("it ends", lambda: self.call("squeue", "-h", "-j", used).stdout == "")
        lines = self.call("sshare", "-a").stdout.splitlines()
        self.assertEqual(lines[0].split(), "Account User RawShares NormShares RawUsage EffectvUsage FairShare".split())
        # Where root has had jobs, he stands right below the top.
        self.assertEqual([line[:20].rstrip() for line in lines[2:] if not line.startswith(" root")],
                         ["root", " science", "  biology", "   biology", "   biology", "  physics", "   physics"])
        names = "Account,User,RawShares,NormShares,RawUsage,EffectvUsage,FairShare,LevelFS"
        rows = {(r[0].strip(), r[1]): r for r in self.rows("sshare", "-a", "-n", "-P", "-o", names)}
        self.assertEqual([rows["science", ""][2], rows["biology", BEN][2]], ["3", "5"])
        self.assertAlmostEqual(float(rows["biology", BEN][3]), 5 / 6, places=5)
        # What is right below one account has all of its shares and all of its use.
        for below in ((("biology", ANA), ("biology", BEN)), (("biology", ""), ("physics", ""))):
            self.assertAlmostEqual(sum(float(rows[key][3]) for key in below), 1, places=5)
        self.assertAlmostEqual(float(rows["biology", ""][5]) + float(rows["physics", ""][5]), 1, places=5)
        self.assertGreaterEqual(int(rows["physics", ANA][4]), 2)
        self.assertEqual(rows["physics", ""][6], "")
        self.assertTrue(all(0 < float(rows[key][6]) <= 1 for key in rows if key[1]), rows)
        self.assertLess(float(rows["physics", ANA][6]), float(rows["biology", BEN][6]))
        for key in rows:
            if key[0] != "root":
                used, share = float(rows[key][5]), float(rows[key][3])
                self.assertEqual(rows[key][7] == "inf", used == 0, rows[key])
                if used:
                    self.assertAlmostEqual(float(rows[key][7]), share / used, places=3)
        # Whose: mine and their accounts, those that are named, users alone.
        own = self.rows("sshare", "-n", "-P", "-o", "Account,User", user=BEN)
        self.assertEqual(own, [["root", ""], [" science", ""], ["  biology", ""], ["   biology", BEN]])
        self.assertEqual(self.rows("sshare", "-U", "-n", "-P", "-o", "Account%256,User", user=BEN), [["   biology", BEN]])
        self.assertEqual(self.rows("sshare", "-a", "-A", "physics", "-n", "-P", "-o", "A,User"), [["  physics", ""], ["   physics", ANA]])
        self.assertEqual(self.call("sshare", "-m", "-p", "-u", BEN, "-U").stdout.splitlines()[0],
                         "Account|User|Partition|RawShares|NormShares|RawUsage|EffectvUsage|FairShare|")
        self.assert_one_line(self.call("sshare", "-o", "ID", check=False), 1, "Invalid field requested: ID")

    # ---- sacctmgr ----
    def test_lists(self):
        rows = self.rows("sacctmgr", "-n", "-P", "show", "assoc", "tree", "format=account,user,share,grptres,maxwall,parentname")
        self.assertEqual(rows[:4], [["root", "", "1", "", "", ""], [" science", "", "3", "", "", "root"],
                                    ["  biology", "", "1", "cpu=64,mem=1024G,gres/gpu=8", "2-00:00:00", "science"],
                                    ["   biology", BEN, "5", "", "", ""]])
        self.assertEqual(self.rows("sacctmgr", "-nP", "show", "users", "withassoc", "format=account,qos", "where", f"user={ANA}", "cluster="),
                         [["biology", "high,normal"], ["physics", "high,normal"]])
        self.assertEqual(self.call("sacctmgr", "-n", "-s", "list", "user", BEN, "format=account%20").stdout, f"{'biology':>20} \n")
        self.assertEqual(self.rows("sacctmgr", "-nP", "list", "user", "format=user,defaultaccount"), [[BEN, "biology"], [ANA, "physics"]])
        self.assertEqual(self.rows("sacctmgr", "-nP", "list", "qos", "format=name,priority,usagefactor,flags,maxtres"),
                         [["normal", "0", "1.000000", "", ""], ["high", "5", "1.500000", "DenyOnLimit", "cpu=1"]])
        self.assertIn(["science", "all of it", ""], self.rows("sacctmgr", "-nP", "list", "account"))
        self.assertEqual(self.rows("sacctmgr", "-nP", "list", "cluster", "format=cluster"), [["berth"]])
        self.assertEqual(self.call("sacctmgr", "-nP", "list", "assoc", "cluster=other").stdout, "")
        for kind in ("assoc", "qos", "account", "user"):
            title, dashes = self.call("sacctmgr", "list", kind).stdout.splitlines()[:2]
            self.assertEqual(len(title), len(dashes))

    def test_changes_are_asked_for_and_reported(self):
        call = self.call
        question = "Would you like to commit changes? (You have 30 seconds to decide)\n(N/y): "
        for answer in ("", "n\n", "\n"):
            done = call("sacctmgr", "add", "account", "art", stdin=answer)
            self.assertTrue(done.stdout.endswith(question + " Changes Discarded\n"), done.stdout)
        self.assertNotIn(["art"], self.rows("sacctmgr", "-nP", "list", "account", "format=account"))
        self.assertTrue(call("sacctmgr", "add", "account", "art", stdin="perhaps\ny\n").stdout.endswith("Y or N please\n(N/y): "))
        self.assertIn(["art"], self.rows("sacctmgr", "-nP", "list", "account", "format=account"))
        done = call("sacctmgr", "-i", "add", "account", "art", check=False)
        self.assertEqual((done.returncode, done.stdout), (1, " Nothing new added.\n"))
        self.assertEqual(call("sacctmgr", "-i", "modify", "account", "art", "set", "Fairshare=7", "Parent=science", "Description=x").stdout,
                         " Modified accounts...\n  art\n Modified account associations...\n  C = berth      A = art        of root\n")
        self.assertEqual(self.rows("sacctmgr", "-nP", "list", "assoc", "account=art", "format=share,parentname"), [["7", "science"]])
        call("sacctmgr", "-i", "-Q", "add", "user", BEN, "account=art", "GrpTRES=cpu=2,mem=4G")
        call("sacctmgr", "-i", "modify", "user", BEN, "account=art", "set", "GrpTRES=cpu=-1", "DefaultAccount=art")
        self.assertEqual(self.rows("sacctmgr", "-nP", "list", "user", BEN, "-s", "account=art", "format=defaultaccount,account"), [["art", "art"]])
        self.assertEqual(self.rows("sacctmgr", "-nP", "list", "assoc", "account=art", f"user={BEN}", "format=grptres"), [["mem=4G"]])
        done = call("sacctmgr", "-i", "delete", "account", "art", check=False)
        self.assertIn("is the default of user", done.stderr)
        call("sacctmgr", "-i", "modify", "user", BEN, "set", "DefaultAccount=biology")
        self.assertEqual(call("sacctmgr", "-i", "delete", "account", "where", "name=art").stdout, " Deleting accounts...\n  art\n")
        done = call("sacctmgr", "-i", "delete", "user", BEN, "account=art", check=False)
        self.assertEqual((done.returncode, done.stdout), (1, "  Nothing deleted\n"))

    def test_bad_input_says_so_in_a_line_and_changes_nothing(self):
        before = self.slurm.dump("before"), self.call("sacctmgr", "-P", "list", "qos").stdout
        bad = (("add user x Account=physics GrpWall=3", "GrpWall is not supported by Berth"), ("add user x Account=physics Foo=3", "Unknown option: Foo"),
               ("add user x Account=nowhere", "'nowhere' doesn't exist"), ("add user x", "Need name of acct"), ("add account", "Need name of account"),
               ("add account a MaxJobs=3", "MaxJobs of an account"), ("add account a Parent=nowhere", "'nowhere' doesn't exist"),
               ("add account a GrpTRES=node=3", "GrpTRES=node"), ("add account a,b/c", "Bad account name: b/c"), ("add account a GrpTRES=cpu=x", "Bad GrpTRES"),
               ("add account a Fairshare=parent", "Bad Fairshare value"), ("add account a Cluster=other", "'other' doesn't exist"),
               ("add account a AdminLevel=Operator", "AdminLevel is not supported"), ("add qos a Flags=NoReserve", "Flags=NoReserve"),
               ("add qos a Priority=many", "Bad Priority"), ("add qos a UsageFactor=1.23456", "Bad UsageFactor"), ("add qos a Preempt=high", "tiers say"),
               ("modify user nobody set QOS+=high", "QOS is not supported"), ("modify user nobody set DefaultAccount=science", "is not in account"),
               ("modify account physics", "anything to set"), ("modify account physics set Parent=physics", "below itself"),
               ("modify user where nonsense=3 set Fairshare=2", "Unknown condition: nonsense"), ("delete account", "No conditions"),
               ("delete account science", "has account"), ("add cluster x", "there is one"), ("list events", "not supported"), ("list assoc foo=1", "Unknown condition: foo"),
               ("list qos format=nope", "Unknown field nope"), ("load nowhere.cfg", "Unable to read"), ("archive dump", "not supported by Berth"),
               ("list user --json", "--json is not supported"), ("-r add account a", "readonly"))
        for line, text in bad:
            with self.subTest(line):
                done = self.call("sacctmgr", "-i", "-Q", *line.split(), check=False)
                self.assert_one_line(done, 1, text)
        done = self.call("sacctmgr", "-i", "-Q", "add", "account", "mine", user=ANA, check=False)
        self.assert_one_line(done, 1, "only an administrator")
        self.assertEqual((self.slurm.dump("after"), self.call("sacctmgr", "-P", "list", "qos").stdout), before)

    def test_a_dump_loads_on_another_server(self):
        call = self.call
        call("sacctmgr", "-i", "-Q", "add", "account", "odd", "Parent=physics", "Description=it's 5: #1 \\ more", "GrpJobs=0", "GrpTRES=cpu=0.5",
             "MaxTRES=cpu=4,mem=100M,node=2", "GrpSubmit=9")
        self.addCleanup(call, "sacctmgr", "-i", "delete", "account", "odd")
        call("sacctmgr", "-i", "-Q", "modify", "user", ANA, "account=biology", "set", "MaxJobs=2", "MaxWall=0:30")
        self.addCleanup(call, "sacctmgr", "-i", "modify", "user", ANA, "account=biology", "set", "MaxJobs=-1", "MaxWall=-1")
        text = self.slurm.dump("dump.cfg")
        self.assertIn("Cluster - 'berth':Fairshare=1\nParent - 'root'\nAccount - 'science':Description='all of it':Fairshare=3\n", text)
        self.assertIn(f"User - '{ANA}':DefaultAccount='physics':Fairshare=1:MaxJobs=2:MaxWallDurationPerJob='00:00:30'\n", text)
        self.assertEqual(call("sacctmgr", "-i", "load", "dump.cfg").stdout, " Nothing new added.\n")
        other = Cluster(agents=0)
        self.addCleanup(other.close)
        fresh = SlurmCluster(other)
        path = os.path.join(self.slurm.work, "dump.cfg")
        done = fresh.call("sacctmgr", "-i", "load", f"file={path}")
        self.assertIn(" Adding Account(s)\n  A = science    of root\n", done.stdout)
        self.assertEqual(fresh.dump("again.cfg"), text)
        rows = ("sacctmgr", "-P", "list", "assoc", "format=account,user,share,grpjobs,grpsubmit,grptres,maxjobs,maxsubmit,maxtres,maxwall,parentname")
        self.assertEqual(fresh.rows(*rows), self.rows(*rows))
        self.assertEqual(fresh.call("sacctmgr", "-i", "load", path).stdout, " Nothing new added.\n")

    def test_files_of_slurms_own_and_bad_ones(self):
        other = Cluster(agents=0)
        self.addCleanup(other.close)
        fresh = SlurmCluster(other)

        def load(text):
            with open(os.path.join(fresh.work, "file"), "w", encoding="utf-8") as out:
                out.write(text)
            return fresh.call("sacctmgr", "-i", "load", "file=file", check=False)
        head = "# of another cluster\nCluster - 'snow':Fairshare=1:QOS='normal'\nParent - 'root'\n"
        root = "User - 'root':DefaultAccount='root':AdminLevel='Administrator':Fairshare=1\n"
        empty = fresh.dump("empty")
        for text, says in ((head + "Account - 'a':GrpWall=3\n", "line 4: GrpWall"), (head + "Account - 'a':\\\nMaxJobs=3\n", "line 4: MaxJobs of an account"),
                           (head + "Account - 'a'\nParent - 'b'\n", "line 5: parent account 'b'"), ("Parent - 'root'\n", "line 1: a Cluster"),
                           (head + "Account - 'a'\nAccount - 'a'\n", "line 5: account 'a' is there twice"), (head + "Account - 'a\n", "line 4: a quote"),
                           (head + "Account - 'a'\nParent - 'a'\nUser - 'x':DefaultAccount='b'\n", "line 6: user 'x' is not in account 'b'"),
                           (head + "Account - 'a'\nParent - 'a'\nUser - 'x':AdminLevel='Operator'\n", "line 6: AdminLevel"),
                           (head + "Account - 'a'\nParent - 'a'\nUser - 'x':Coordinator='a'\n", "line 6: Coordinator"),
                           (head + "Account - 'a':QOS='fast'\n", "line 4: QOS"), (head + "Project - 'a'\n", "line 4: not one of"), ("", "no Cluster"),
                           (head + "Account - 'a':Foo\n", "End your option with an '=' sign")):
            with self.subTest(says):
                self.assert_one_line(load(text), 1, says)
        self.assertEqual(fresh.dump("still"), empty)
        done = load(head + root + "Account - 'a':Description='A':Organization='lab':Fairshare=9:GrpTRES=cpu=4\nParent - 'a'\n"
                    f"User - '{ANA}':DefaultAccount='a':Fairshare=2:MaxSubmitJobs=4\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, " Organization is not kept by Berth\n")
        self.assertEqual(fresh.rows("sacctmgr", "-nP", "list", "assoc", "format=account,user,share,grptres,maxsubmit"),
                         [["root", "", "1", "", ""], ["a", "", "9", "cpu=4", ""], ["a", ANA, "2", "", "4"]])


if __name__ == "__main__":
    import unittest
    unittest.main()
