"""Programs that drive Slurm, on a real server and agent: Snakemake and GNU parallel, where they are installed."""

import os
import shutil
import subprocess
import unittest

from harness import ClusterTest

SNAKEFILE = """
rule all:
    input: expand("out/{i}.txt", i=range(4)), "out/flaky.txt"
rule one:
    output: "out/{i}.txt"
    resources: mem_mb=1000, runtime=5
    shell: "echo {wildcards.i} > {output}"
rule flaky:
    output: "out/flaky.txt"
    resources: mem_mb=1000, runtime=5
    shell: "if [ -e tried ]; then echo ok > {output}; else touch tried; exit 3; fi"
"""


class Clients(ClusterTest):
    OPTIONS = {"agents": 1, "cpus": 2}

    def setUp(self):
        links = self.cluster.path("bin")
        self.cluster.run("slurm", "install-links", links)
        self.work = self.cluster.path("work-" + self.id().rsplit(".", 1)[-1])
        os.makedirs(self.work)
        # The distribution's programs, and its Python for those that are written in it.
        self.environment = dict(self.cluster.environment, PATH=f"{links}:/usr/bin:/bin", USER="root")

    def call(self, *words, timeout=300):
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=timeout, cwd=self.work,
                              env=self.environment, stdin=subprocess.DEVNULL)

    @unittest.skipUnless(os.path.exists("/usr/bin/snakemake"), "snakemake is not installed")
    def test_a_snakemake_workflow_with_a_rule_that_fails_once(self):
        with open(os.path.join(self.work, "Snakefile"), "w", encoding="utf-8") as out:
            out.write(SNAKEFILE)
        done = self.call("/usr/bin/snakemake", "-j", "4", "--retries", "1", "--cluster",
                         "sbatch --parsable -c {threads} --mem {resources.mem_mb} -t {resources.runtime}",
                         "--cluster-cancel", "scancel")
        self.assertEqual(done.returncode, 0, done.stderr)
        for i in range(4):
            with open(os.path.join(self.work, f"out/{i}.txt"), encoding="utf-8") as source:
                self.assertEqual(source.read(), f"{i}\n")
        with open(os.path.join(self.work, "out/flaky.txt"), encoding="utf-8") as source:
            self.assertEqual(source.read(), "ok\n")
        states = self.call("sacct", "-X", "-n", "-P", "-a", "-o", "State").stdout.split()
        self.assertEqual(sorted(states), ["COMPLETED"] * 5 + ["FAILED"])

    @unittest.skipUnless(shutil.which("parallel", path="/usr/bin"), "GNU parallel is not installed")
    def test_gnu_parallel_around_srun(self):
        done = self.call("/usr/bin/parallel", "--will-cite", "-j", "4", "-k", "srun", "-n1", "-Q", "echo", "task", "{}", ":::",
                         *map(str, range(12)))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, "".join(f"task {i}\n" for i in range(12)))


if __name__ == "__main__":
    unittest.main()
