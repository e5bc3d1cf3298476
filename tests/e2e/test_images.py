"""Images by reference: a registry with TLS and a password, archives, directories; pulled once, kept, removed."""

import os
import shutil
import tempfile
import time
import unittest

import harness  # first: it finds the one below
import image
import registry
from harness import Cluster, wait_until


PODS = int(os.environ.get("BERTH_E2E_IMAGE_PODS", "200"))  # that want one image at once


def missing():
    if not harness.is_root():
        return "containers need root"
    return image.missing() or registry.missing()


class WithRegistry(unittest.TestCase):
    AGENT = []

    @classmethod
    def setUpClass(cls):
        if missing():
            raise unittest.SkipTest(missing())
        cls.directory = tempfile.mkdtemp(prefix="berth-e2e-registry-")
        os.chmod(cls.directory, 0o755)
        cls.addClassCleanup(shutil.rmtree, cls.directory, True)
        cls.layout = os.path.join(cls.directory, "busybox")
        image.make(cls.layout)
        cls.registry = registry.Registry(os.path.join(cls.directory, "registry")).start()
        cls.addClassCleanup(cls.registry.stop)
        cls.name = cls.registry.push(f"oci:{cls.layout}:latest", "team/small:v1")
        cls.auth = cls.registry.credentials(os.path.join(cls.directory, "auth.json"))
        cls.cluster = Cluster(1, cpus=2, agent=["--registry-ca", cls.registry.path("ca"), "--image-retry", "8s", *cls.AGENT])
        cls.addClassCleanup(cls.cluster.close)

    def images(self):
        return {row["digest"]: row for row in self.cluster.json("image", "ls", "-o", "json")}

    def fails(self, *words, user=None):
        """Runs a job that must fail before it starts; its one line."""
        job = self.cluster.submit(*words, user=user)
        self.cluster.wait(job)
        pod = self.cluster.pods(job)[0]
        self.assertEqual((pod["state"], pod["exit_code"]), ("failed", None), pod)
        self.assertEqual(len(pod["message"].splitlines()), 1, pod)
        return pod["message"]

    def output(self, *words, user=None):
        job = self.cluster.submit(*words, user=user)
        self.cluster.wait(job)
        pod = self.cluster.pods(job)[0]
        self.assertEqual(pod["state"], "succeeded", f"{pod}\n{self.cluster.logs_of_daemons()}")
        return self.cluster.run("logs", job, user=user).stdout


class Registries(WithRegistry):
    def setUp(self):
        self.cluster.run("image", "prune")

    def test_many_pods_pull_one_image_once(self):
        before = self.registry.requests("GET /v2/team/small/blobs/")
        job = self.cluster.submit("--image", self.name, "--registry-auth", self.auth, "--array", f"1-{PODS}", "--cpus", "0.02",
                                  "--mem", "16M", "--", "true")
        self.assertEqual(self.cluster.wait(job, seconds=600).returncode, 0, self.cluster.logs_of_daemons())
        self.assertEqual(sum(pod["state"] == "succeeded" for pod in self.cluster.pods(job)), PODS)
        blobs = self.registry.requests("GET /v2/team/small/blobs/") - before
        self.assertLessEqual(blobs, 3)  # a layer and a configuration, each once
        self.assertGreaterEqual(blobs, 2)
        row, = self.images().values()
        self.assertIn(self.name, row["names"])
        self.assertGreater(row["bytes"], 1 << 20)

    def test_what_the_node_has_needs_no_registry_until_it_is_asked_for_always(self):
        self.output("--image", self.name, "--registry-auth", self.auth, "--", "true")
        before = self.registry.requests("GET /v2/")
        self.assertEqual(self.output("--image", self.name, "--registry-auth", self.auth, "--", "echo", "again"), "again\n")
        self.assertEqual(self.registry.requests("GET /v2/"), before)
        self.output("--image", self.name, "--registry-auth", self.auth, "--pull", "always", "--", "true")
        self.assertGreater(self.registry.requests("GET /v2/"), before)

    def test_a_name_that_has_moved_is_followed_by_always_and_by_its_digest_never(self):
        name = self.registry.push(f"oci:{self.layout}:latest", "team/moves:v1")
        self.output("--image", name, "--registry-auth", self.auth, "--", "true")
        old = next(iter(self.images()))
        other = os.path.join(self.directory, "other")
        shutil.copytree(self.layout, other)
        image.run("umoci", "config", "--image", f"{other}:latest", "--config.env", "FROM_IMAGE=another")
        self.registry.push(f"oci:{other}:latest", "team/moves:v1")
        told = ("--registry-auth", self.auth, "--", "sh", "-c", "echo $FROM_IMAGE")
        self.assertEqual(self.output("--image", name, *told), "yes\n")
        self.assertEqual(self.output("--image", name, "--pull", "always", *told), "another\n")
        self.assertEqual(self.output("--image", name, *told), "another\n")
        pinned = name.rsplit(":", 1)[0] + "@" + old
        self.assertEqual(self.output("--image", pinned, *told), "yes\n")
        self.assertEqual(len(self.images()), 2)

    def test_never_takes_only_what_the_node_has(self):
        said = self.fails("--image", self.name, "--pull", "never", "--", "true")
        self.assertIn("is not on the node, and its pull policy is never", said)

    def test_without_a_password_it_is_refused_and_with_the_users_own_it_is_not(self):
        said = self.fails("--image", self.name, "--", "true", user="nobody")
        self.assertIn("does not let this user have", said)
        mine = self.registry.credentials(os.path.join(self.directory, "nobody.json"), owner=65534)
        self.assertEqual(self.output("--image", self.name, "--registry-auth", mine, "--", "echo", "in", user="nobody"), "in\n")
        # The image is here now, by that user's password: who has none still may not have it.
        said = self.fails("--image", self.name, "--", "true", user="daemon")
        self.assertIn("does not let this user have", said)
        said = self.fails("--image", self.name, "--registry-auth", mine, "--", "true", user="daemon")  # not his to read
        self.assertIn("does not let this user have", said)
        self.assertEqual(self.output("--image", self.name, "--", "echo", "again", user="nobody"), "again\n")

    def test_an_image_that_the_registry_lacks_is_named(self):
        said = self.fails("--image", f"{self.registry.address}/team/none:v9", "--registry-auth", self.auth, "--", "true")
        self.assertEqual(said, f"the registry {self.registry.address} has no image "
                               f"'docker://{self.registry.address}/team/none:v9'")

    def test_an_image_for_another_architecture_is_refused(self):
        foreign = os.path.join(self.directory, "foreign")
        registry.foreign(self.layout, foreign)
        name = self.registry.push(f"oci:{foreign}:latest", "team/foreign:v1")
        self.assertIn("architecture", self.fails("--image", name, "--registry-auth", self.auth, "--", "true"))
        self.assertEqual(self.images(), {})

    def test_a_registry_that_is_away_is_tried_again_and_then_the_pod_fails(self):
        port = registry.free_port()
        said = self.fails("--image", f"docker://127.0.0.1:{port}/team/small:v1", "--", "true")
        self.assertIn(f"the registry 127.0.0.1:{port} cannot be reached", said)
        late = registry.Registry(os.path.join(self.directory, "late"), password=False, port=port)
        job = self.cluster.submit("--image", f"docker://127.0.0.1:{port}/team/small:v1", "--", "true")
        time.sleep(1)
        shutil.copy(late.path("ca", "ca.crt"), self.registry.path("ca", "late.crt"))
        late.start()
        self.addCleanup(late.stop)
        self.cluster.wait(job)  # unknown to it, but reached
        self.assertIn("has no image", self.cluster.pods(job)[0]["message"])

    def test_a_certificate_of_nobodys_is_not_trusted(self):
        stranger = registry.Registry(os.path.join(self.directory, "stranger"), password=False).start()
        self.addCleanup(stranger.stop)
        said = self.fails("--image", f"docker://{stranger.address}/team/small:v1", "--", "true")
        self.assertIn(f"the certificate of the registry {stranger.address} is not trusted", said)

    def test_a_pull_does_not_hold_up_the_agent(self):
        port = registry.free_port()  # nobody there: it is tried again and again
        stuck = self.cluster.submit("--image", f"docker://127.0.0.1:{port}/a/b:c", "--cpus", "0.1", "--", "true")
        quick = self.cluster.submit("--cpus", "0.1", "--", "echo", "through")
        self.assertEqual(self.cluster.wait(quick).returncode, 0)
        self.cluster.run("cancel", stuck)
        self.cluster.wait_state(stuck, "cancelled")


class Commands(WithRegistry):
    def test_pull_ls_rm_and_prune(self):
        said = self.cluster.run("image", "pull", self.name, "--registry-auth", self.auth).stdout
        self.assertIn(f"n1: has {self.name}", said)
        self.assertIn(self.name, self.cluster.run("image", "ls").stdout)
        row, = self.images().values()
        self.assertEqual((row["state"], row["pods"], row["node"]), ("ready", 0, "n1"))
        said = self.cluster.run("image", "rm", self.name, user="nobody", check=False)
        self.assertNotEqual(said.returncode, 0)
        self.assertIn("only an administrator may remove images", said.stderr)
        job = self.cluster.submit("--image", self.name, "--", "sleep", "60")
        self.cluster.wait_state(job, "running")
        said = self.cluster.run("image", "rm", self.name, check=False)
        self.assertIn("the image is used by 1 pod", said.stderr)
        self.assertIn("0 images removed", self.cluster.run("image", "prune").stdout)
        # Not even an agent that was killed meanwhile removes it.
        self.cluster.agents[1].kill()
        self.cluster.agents[1].start()
        self.cluster.wait_nodes(1)
        self.assertIn("0 images removed", self.cluster.run("image", "prune").stdout)
        self.cluster.run("cancel", job)
        self.cluster.wait_state(job, "cancelled")
        wait_until("the image is free", lambda: next(iter(self.images().values()))["pods"] == 0)
        self.assertIn(f"n1: removed {self.name}", self.cluster.run("image", "rm", self.name).stdout)
        self.assertEqual(self.images(), {})
        wait_until("it is gone from the disk", lambda: self.left() == [])

    def left(self):
        return os.listdir(self.cluster.path("agent1", "images"))

    def test_bad_requests_are_one_line(self):
        for words, piece in ((["pull", "nonsense"], "is not an image"), (["ls", "--node", "n9"], "there is no node 'n9'"),
                             (["ls", "--queue", "none"], "there is no queue 'none'"), (["rm", "oci:/a:b"], "there is no image"),
                             (["pull", "rootfs:/tmp"], "nothing to pull")):
            done = self.cluster.run("image", *words, check=False)
            self.assertNotEqual(done.returncode, 0, words)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
            self.assertIn(piece, done.stderr)

    def test_a_half_pulled_image_goes_when_the_agent_starts_again(self):
        images = self.cluster.path("agent1", "images")
        self.cluster.agents[1].kill()
        os.makedirs(os.path.join(images, "stage.1.1", "bundle"))
        os.makedirs(os.path.join(images, "sha256-" + "0" * 64, "rootfs"))  # no note beside it: not whole
        self.cluster.agents[1].start()
        self.cluster.wait_nodes(1)
        wait_until("it is gone", lambda: not any(name.startswith("stage.1.") or name.endswith("0" * 64)
                                                 for name in os.listdir(images)))


class OtherSources(WithRegistry):
    def test_a_docker_archive(self):
        archive = os.path.join(self.directory, "small.tar")
        registry.run("skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{self.layout}:latest",
                     f"docker-archive:{archive}:small:v1")
        os.chmod(archive, 0o644)
        told = ("--image", f"docker-archive:{archive}", "--", "sh", "-c", "echo $FROM_IMAGE")
        self.assertEqual(self.output(*told, user="nobody"), "yes\n")
        self.assertEqual(self.output(*told, user="nobody"), "yes\n")
        os.chmod(archive, 0o600)
        self.assertIn("Permission denied", self.fails(*told, user="nobody"))

    def test_a_root_file_system(self):
        root = os.path.join(self.directory, "root")
        os.makedirs(os.path.join(root, "bin"), exist_ok=True)
        shutil.copy(image.BUSYBOX, os.path.join(root, "bin", "busybox"))
        for applet in ("sh", "echo", "touch"):
            os.symlink("busybox", os.path.join(root, "bin", applet))
        self.assertEqual(self.output("--image", f"rootfs:{root}", "--", "/bin/sh", "-c", "/bin/echo in; > /new"), "in\n")
        self.assertFalse(os.path.exists(os.path.join(root, "new")))
        os.chmod(root, 0o700)
        said = self.fails("--image", f"rootfs:{root}/bin", "--", "/sh", user="nobody")
        self.assertIn("Permission denied", said)


class Insecure(WithRegistry):
    def test_a_registry_may_be_trusted_without_a_certificate(self):
        stranger = registry.Registry(os.path.join(self.directory, "stranger"), password=False).start()
        self.addCleanup(stranger.stop)
        name = stranger.push(f"oci:{self.layout}:latest", "small:v1")
        self.cluster.add_agent(2, "--insecure-registry", stranger.address)
        self.cluster.wait_nodes(2)
        self.assertEqual(self.output("--image", name, "--nodelist", "n2", "--", "echo", "in"), "in\n")


class Space(WithRegistry):
    AGENT = ["--image-space", "3M"]

    def test_the_longest_unused_goes_when_there_is_too_much(self):
        names = []
        for number in range(3):
            other = os.path.join(self.directory, f"n{number}")
            shutil.copytree(self.layout, other)
            image.run("umoci", "config", "--image", f"{other}:latest", "--config.env", f"NUMBER={number}")
            names.append(self.registry.push(f"oci:{other}:latest", f"team/n{number}:v1"))
            self.output("--image", names[-1], "--registry-auth", self.auth, "--", "true")
        left = [name for row in self.images().values() for name in row["names"]]
        self.assertNotIn(names[0], left)
        self.assertIn(names[2], left)


if __name__ == "__main__":
    unittest.main()
