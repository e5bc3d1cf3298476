"""Container pods from a local OCI image, made here without a network: what is inside, who runs, limits, crashes."""

import unittest

import harness  # first: it finds the two below
import image
import leftovers
from harness import Cluster, wait_until



def missing():
    return "containers need root" if not harness.is_root() else image.missing()


class WithImage(unittest.TestCase):
    RUNTIME = "auto"

    @classmethod
    def setUpClass(cls):
        if missing():
            raise unittest.SkipTest(missing())
        cls.cluster = Cluster(1, cpus=2, agent=["--runtime", cls.RUNTIME])
        cls.addClassCleanup(cls.cluster.close)
        cls.image = image.make(cls.cluster.path("busybox"))

    def ended(self, *words, user=None):
        job = self.cluster.submit("--image", self.image, *words, user=user)
        self.cluster.wait(job)
        return job, self.cluster.pods(job)[0]

    def output(self, *words, user=None):
        job, pod = self.ended(*words, user=user)
        self.assertEqual(pod["state"], "succeeded", pod)
        return self.cluster.run("logs", job, user=user).stdout


class Containers(WithImage):
    def test_it_sees_the_image_and_not_the_machine(self):
        said = self.output("--", "sh", "-c", "echo $FROM_IMAGE; ls /; ls /proc | grep -c '^[0-9]'")
        lines = said.split()
        self.assertEqual(lines[0], "yes")
        self.assertIn("bin", lines)
        self.assertNotIn("home", lines)
        self.assertLess(int(lines[-1]), 8)

    def test_an_array_of_containers_runs_every_element_once(self):
        job = self.cluster.submit("--image", self.image, "--array", "1-20", "--cpus", "0.25", "--mem", "32M", "--", "sh", "-c",
                                  "expr $BERTH_ARRAY_INDEX '*' $BERTH_ARRAY_INDEX")
        self.assertEqual(self.cluster.wait(job, seconds=120).returncode, 0)
        for index in (1, 7, 20):
            self.assertEqual(self.cluster.run("logs", f"{job}[{index}]").stdout, f"{index * index}\n")

    def test_environment_and_working_directory_are_as_asked(self):
        said = self.output("--env", "COLOUR=green", "--cwd", "/tmp", "--", "sh", "-c", "echo $COLOUR; pwd")
        self.assertEqual(said, "green\n/tmp\n")

    def test_an_exit_code_comes_through(self):
        pod = self.ended("--", "sh", "-c", "exit 3")[1]
        self.assertEqual((pod["state"], pod["exit_code"]), ("failed", 3))

    def test_a_program_that_the_image_lacks_is_named(self):
        pod = self.ended("--", "/usr/bin/python3")[1]
        self.assertEqual(pod["state"], "failed")
        self.assertIn("python3", pod["message"])

    def test_over_the_memory_limit_is_out_of_memory(self):
        pod = self.ended("--mem", "32M", "--", "sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done")[1]
        self.assertEqual(pod["state"], "out-of-memory", pod)

    def test_over_the_time_limit_is_timed_out(self):
        pod = self.ended("--time", "1s", "--grace", "300ms", "--", "sleep", "60")[1]
        self.assertEqual(pod["state"], "timed-out")

    def test_it_runs_as_the_user_who_submitted(self):
        self.assertEqual(self.output("--", "id", "-u", user="nobody"), "65534\n")

    def test_what_it_writes_is_gone_with_it(self):
        self.output("--", "sh", "-c", "echo x > /tmp/left")
        self.assertEqual(self.output("--", "ls", "/tmp"), "")

    def test_an_image_that_is_not_there_is_named(self):
        done = self.cluster.run("run", "--image", "/nowhere/image:latest", "--", "true", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("/nowhere/image", done.stderr)

    def test_a_tag_that_is_not_there_is_named(self):
        done = self.cluster.run("run", "--image", self.cluster.path("busybox") + ":v9", "--", "true", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("v9", done.stderr)

    def test_no_mount_is_left_on_the_host(self):
        self.output("--", "true")
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            self.assertNotIn(self.cluster.directory, file.read())


class ContainersAndCrashes(unittest.TestCase):
    def setUp(self):
        if missing():
            self.skipTest(missing())
        self.cluster = Cluster(1, cpus=2)
        self.addCleanup(self.cluster.close)
        self.image = image.make(self.cluster.path("busybox"))

    def test_a_container_outlives_kill_9_of_agent_and_server_and_its_true_end_is_known(self):
        job = self.cluster.submit("--image", self.image, "--", "sh", "-c", "echo begin; sleep 3; echo end; exit 5")
        self.cluster.wait_state(job, "running")
        for daemon in (self.cluster.server, self.cluster.agents[1]):
            daemon.process.kill()
            daemon.process.wait()
        for daemon in (self.cluster.server, self.cluster.agents[1]):
            daemon.start()
        self.cluster.wait_server()
        self.cluster.wait(job)
        pod = self.cluster.pods(job)[0]
        self.assertEqual((pod["state"], pod["exit_code"], pod["attempt"]), ("failed", 5, 1))
        self.assertEqual(self.cluster.run("logs", job).stdout, "begin\nend\n")

    def test_a_cancelled_container_leaves_no_process(self):
        job = self.cluster.submit("--image", self.image, "--grace", "300ms", "--", "sh", "-c", "trap '' TERM; sleep 300 & wait; sleep 300")
        self.cluster.wait_state(job, "running")
        self.cluster.run("cancel", job)
        self.cluster.wait_state(job, "cancelled")
        daemons = {d.process.pid for d in (self.cluster.server, self.cluster.agents[1])}
        wait_until("nothing of it is left", lambda: set(leftovers.processes(self.cluster.directory)) <= daemons)


class Runc(WithImage):
    RUNTIME = "runc"

    def test_runc_runs_a_container(self):
        self.assertEqual(self.output("--", "echo", "hello"), "hello\n")


class Crun(WithImage):
    RUNTIME = "crun"

    def test_crun_runs_a_container(self):
        self.assertEqual(self.output("--", "echo", "hello"), "hello\n")


if __name__ == "__main__":
    unittest.main()
