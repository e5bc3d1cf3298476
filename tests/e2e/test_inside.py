"""What a container finds inside: mounts, limits, a name, a filter; and what it cannot reach."""

import os
import unittest

import test_containers



class Inside(test_containers.WithImage):
    def setUp(self):
        self.mine = self.cluster.path("of-nobody")
        os.makedirs(self.mine, exist_ok=True)
        os.chown(self.mine, 65534, 65534)
        os.chmod(self.mine, 0o700)

    def refused(self, *words, user=None):
        pod = self.ended(*words, user=user)[1]
        self.assertEqual(pod["state"], "failed", pod)
        self.assertEqual(len(pod["message"].splitlines()), 1, pod)
        return pod["message"]

    def test_a_bind_mount_is_written_to_as_the_user(self):
        self.output("--mount", f"type=bind,src={self.mine},dst=/data", "--", "sh", "-c", "echo kept > /data/file", user="nobody")
        path = os.path.join(self.mine, "file")
        with open(path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "kept\n")
        self.assertEqual(os.stat(path).st_uid, 65534)

    def test_a_read_only_bind_mount_cannot_be_written_to(self):
        said = self.output("--mount", f"type=bind,src={self.mine},dst=/data,ro", "--", "sh", "-c",
                           "touch /data/x 2>/dev/null && echo written || echo refused", user="nobody")
        self.assertEqual(said, "refused\n")

    def test_what_the_user_cannot_reach_he_cannot_mount(self):
        hidden = self.cluster.path("hidden", "below")
        os.makedirs(hidden, exist_ok=True)
        os.chmod(self.cluster.path("hidden"), 0o700)
        said = self.refused("--mount", f"type=bind,src={hidden},dst=/data", "--", "true", user="nobody")
        self.assertIn(f"cannot mount '{hidden}': Permission denied", said)
        link = os.path.join(self.mine, "link")
        if not os.path.islink(link):
            os.symlink(hidden, link)
        said = self.refused("--mount", f"type=bind,src={link},dst=/data", "--", "true", user="nobody")
        self.assertIn("Permission denied", said)

    def test_devices_and_set_user_id_programs_are_of_no_effect(self):
        node = os.path.join(self.mine, "disk")
        if not os.path.exists(node):
            os.mknod(node, 0o666 | 0o060000, os.makedev(7, 0))
        said = self.output("--mount", f"type=bind,src={self.mine},dst=/data", "--", "sh", "-c",
                           "head -c 1 /data/disk >/dev/null 2>&1 && echo read || echo refused; grep /data /proc/self/mounts",
                           user="nobody")
        self.assertTrue(said.startswith("refused\n"), said)
        self.assertIn("nosuid,nodev", said)

    def test_a_file_is_mounted_over_a_file(self):
        path = os.path.join(self.mine, "passwd")
        with open(path, "w", encoding="utf-8") as file:
            file.write("mine:x:0:0::/:/bin/sh\n")
        os.chmod(path, 0o644)
        said = self.output("--mount", f"type=bind,src={path},dst=/etc/passwd,ro", "--", "cat", "/etc/passwd", user="nobody")
        self.assertEqual(said, "mine:x:0:0::/:/bin/sh\n")

    def test_tmpfs_has_its_size(self):
        said = self.output("--mem", "64M", "--tmpfs", "/scratch:size=1M", "--", "sh", "-c",
                           "dd if=/dev/zero of=/scratch/x bs=1024 count=2048 2>/dev/null; stat -c %s /scratch/x", user="nobody")
        self.assertEqual(said, f"{1 << 20}\n")

    def test_scratch_goes_with_the_pod(self):
        said = self.output("--mount", "type=scratch,dst=/scratch", "--", "sh", "-c", "echo x > /scratch/x; ls /scratch",
                           user="nobody")
        self.assertEqual(said, "x\n")
        left = [name for place, _, files in os.walk(self.cluster.path("agent1", "bundles")) for name in files if name == "x"]
        self.assertEqual(left, [])
        self.assertEqual(self.output("--mount", "type=scratch,dst=/scratch", "--", "ls", "/scratch", user="nobody"), "")

    def test_a_read_only_root(self):
        said = self.output("--read-only", "--tmpfs", "/tmp", "--", "sh", "-c",
                           "touch /x 2>/dev/null && echo written || echo refused; touch /tmp/x && echo there")
        self.assertEqual(said, "refused\nthere\n")

    def test_hostname_and_limits(self):
        said = self.output("--hostname", "lab-7", "--ulimit", "nofile=123:456", "--ulimit", "core=0", "--", "sh", "-c",
                           "hostname; ulimit -n; ulimit -Hn; ulimit -c", user="nobody")
        self.assertEqual(said, "lab-7\n123\n456\n0\n")

    def test_a_process_has_limits_as_well(self):
        job = self.cluster.submit("--ulimit", "nofile=99:100", "--", "sh", "-c", "ulimit -n; ulimit -Hn")
        self.cluster.wait(job)
        self.assertEqual(self.cluster.run("logs", job).stdout, "99\n100\n")

    def test_a_user_cannot_go_above_the_nodes_hard_limits(self):
        said = self.refused("--ulimit", "nofile=unlimited", "--", "true", user="nobody")
        self.assertIn("the limit nofile may be at most", said)

    def test_a_filter_keeps_system_calls_away_unless_it_is_switched_off(self):
        self.assertIn("Seccomp:\t2", self.output("--", "grep", "Seccomp:", "/proc/self/status"))
        self.assertIn("Seccomp:\t0", self.output("--seccomp", "unconfined", "--", "grep", "Seccomp:", "/proc/self/status"))

    def test_only_containers_have_mounts(self):
        done = self.cluster.run("submit", "--read-only", "--", "true", check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIn("only a container has that", done.stderr)


class InsideRunc(Inside):
    RUNTIME = "runc"


if __name__ == "__main__":
    unittest.main()
