"""What a server tells of itself: /metrics against what its commands say, /healthz, Prometheus itself, and the trace."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import unittest
import urllib.parse
import urllib.request

import etcd
import harness
from harness import Cluster, ClusterTest, wait_until

PACKAGE = "prometheus is not installed (Debian's package of that name; some 320 MB, so ./dev deps leaves it out)"
SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


def parse(page):
    """The samples as {(name, frozenset of labels): number}, and the metrics' types."""
    samples, types = {}, {}
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            types[name] = kind
        if line.startswith("#"):
            continue
        name, labels, value = SAMPLE.match(line).groups()
        samples[name, frozenset(LABEL.findall(labels or ""))] = float(value)
    return samples, types


class Endpoint:
    def __init__(self, port):
        self.port = port
        self.options = ("--metrics", f"127.0.0.1:{port}")

    def ask(self, path, method="GET", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.getheaders())
        finally:
            connection.close()

    def samples(self):
        status, page, _ = self.ask("/metrics")
        if status != 200:
            raise AssertionError(f"{status}: {page}")
        return parse(page)[0]

    def value(self, name, **labels):
        """One sample; 0 for the outcome of a request that has not happened."""
        return self.samples().get((name, frozenset(labels.items())), 0)


class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.http = Endpoint(harness.free_port())
        cls.cluster = Cluster(agents=1, cpus=2, server=cls.http.options)
        cls.addClassCleanup(cls.cluster.close)

    def fresh(self):
        """Past what the core told for the page before: its figures are up to a second old."""
        time.sleep(1.1)
        return self.http.samples()

    def test_the_page_agrees_with_what_commands_say(self):
        before = self.fresh()
        flag = self.cluster.path("go")
        held = self.cluster.submit("--array", "1-12", "--cpus", "0.5", "--", "sh", "-c", f"until [ -e {flag} ]; do sleep 0.05; done")
        failing = self.cluster.submit("--array", "1-3", "--cpus", "2", "--", "false")
        unwanted = self.cluster.submit("--array", "1-5", "--cpus", "2", "--", "true")
        self.cluster.run("cancel", unwanted)
        refused = self.cluster.run("submit", "--queue", "nowhere", "--", "true", check=False)
        self.assertNotEqual(refused.returncode, 0)
        wait_until("four pods run", lambda: self.cluster.job(held)["counts"].get("running") == 4)

        page = self.fresh()
        status = self.cluster.json("status", "-o", "json")
        server = self.cluster.json("server", "status", "-o", "json")
        rows = self.cluster.json("ls", "--all", "-o", "json")

        def get(name, **labels):
            return page[name, frozenset(labels.items())]

        def of_state(state):
            return sum(row["counts"].get(state, 0) for row in rows)
        self.assertEqual(get("berth_pods", state="pending"), status["pods_pending"])
        self.assertEqual(get("berth_pods", state="bound") + get("berth_pods", state="running"), status["pods_live"])
        for state in ("pending", "bound", "running"):
            self.assertEqual(get("berth_pods", state=state), of_state(state), state)
        self.assertEqual(get("berth_queue_pods", queue="default"), of_state("pending"))
        self.assertEqual(get("berth_pods", state="running"), 4)
        self.assertEqual(get("berth_jobs", state="active") + get("berth_jobs", state="ended"), status["jobs"])
        self.assertEqual(get("berth_nodes", state="up", connected="yes"), status["nodes_connected"])
        self.assertEqual(get("berth_journal_index"), server["journal_index"])
        self.assertEqual(get("berth_leader"), 1)
        self.assertEqual(get("berth_sessions", peer="agent"), 1)
        self.assertEqual(get("berth_suspended"), 0)

        with open(flag, "w", encoding="utf-8"):
            pass
        self.cluster.wait(held, failing)
        page = self.fresh()
        rows = self.cluster.json("ls", "--all", "-o", "json")

        def grown(name, **labels):
            key = name, frozenset(labels.items())
            return page[key] - before.get(key, 0)
        mine = [row for row in rows if row["id"] in (held, failing, unwanted)]
        self.assertEqual(grown("berth_pods_ended_total", outcome="succeeded"), sum(r["counts"].get("succeeded", 0) for r in mine))
        self.assertEqual(grown("berth_pods_ended_total", outcome="succeeded"), 12)
        self.assertEqual(grown("berth_pods_ended_total", outcome="failed"), 3)
        self.assertEqual(grown("berth_pods_ended_total", outcome="cancelled"), 5)
        self.assertEqual(grown("berth_jobs_submitted_total"), 3)
        self.assertEqual(grown("berth_pods_submitted_total"), 20)
        self.assertEqual(grown("berth_pods_bound_total"), 15)
        self.assertEqual(grown("berth_requests_total", kind="submit", outcome="ok"), 3)
        refusals = [(key, value - before.get(key, 0)) for key, value in page.items()
                    if key[0] == "berth_requests_total" and ("kind", "submit") in key[1] and ("outcome", "ok") not in key[1]]
        self.assertEqual(sum(value for _, value in refusals), 1, refusals)
        self.assertEqual(grown("berth_requests_total", kind="cancel", outcome="ok"), 1)
        for stage in ("submit_to_bind", "bind_to_start", "submit_to_start", "start_to_end"):
            self.assertEqual(grown(f"berth_{stage}_seconds_count"), 15, stage)
        self.assertEqual(page["berth_pods", frozenset({("state", "pending")})], 0)
        self.assertEqual(page["berth_pods", frozenset({("state", "running")})], 0)
        # What goes through the journal is counted once by each that sees it.
        self.assertGreater(grown("berth_journal_events_total"), 15)
        self.assertEqual(grown("berth_journal_batches_total"), grown("berth_journal_index"))
        self.assertGreaterEqual(grown("berth_journal_append_seconds_count"), 1)
        self.assertEqual(grown("berth_journal_append_seconds_count"), grown("berth_journal_sync_seconds_count"))
        self.assertGreaterEqual(grown("berth_journal_append_seconds_sum"), grown("berth_journal_sync_seconds_sum"))
        self.assertGreater(grown("berth_core_turn_seconds_count"), 15)
        for peer in ("client", "agent"):
            self.assertGreater(grown("berth_received_bytes_total", peer=peer), 100)
            self.assertGreater(grown("berth_sent_bytes_total", peer=peer), 100)
        self.assertGreater(page["process_resident_memory_bytes", frozenset()], 1 << 20)
        self.assertGreater(page["process_open_fds", frozenset()], 8)

    def test_histograms_are_cumulative_and_types_are_told(self):
        samples, types = parse(self.http.ask("/metrics")[1])
        self.assertEqual(types["berth_pods"], "gauge")
        histograms = [name for name, kind in types.items() if kind == "histogram"]
        self.assertIn("berth_core_turn_seconds", histograms)
        for name in histograms:
            buckets = sorted((float(dict(labels)["le"]), value) for (n, labels), value in samples.items() if n == name + "_bucket")
            self.assertEqual([value for _, value in buckets], sorted(value for _, value in buckets), name)
            self.assertEqual(buckets[-1], (float("inf"), samples[name + "_count", frozenset()]), name)

    def test_restarted_it_counts_pods_that_are_there(self):
        flag = self.cluster.path("go2")
        job = self.cluster.submit("--array", "1-3", "--cpus", "1", "--", "sh", "-c", f"until [ -e {flag} ]; do sleep 0.05; done")
        wait_until("two pods run", lambda: self.cluster.job(job)["counts"].get("running") == 2)
        self.cluster.server.kill()
        self.cluster.start_server()
        page = self.fresh()
        self.assertEqual(page["berth_pods", frozenset({("state", "running")})], 2)
        self.assertEqual(page["berth_pods", frozenset({("state", "pending")})], 1)
        self.assertEqual(page["berth_jobs_submitted_total", frozenset()], 0)
        with open(flag, "w", encoding="utf-8"):
            pass
        self.cluster.wait(job)

    def test_services_and_their_replicas_are_counted(self):
        self.cluster.run("service", "create", "two", "--replicas", "2", "--cpus", "0.1", "--", "sleep", "600")
        self.addCleanup(lambda: self.cluster.run("service", "rm", "two", check=False))
        wait_until("both are ready", lambda: self.http.value("berth_service_replicas", state="ready") == 2)
        row, = self.cluster.json("service", "ls", "-o", "json")
        self.assertEqual(row["ready"], 2)
        self.assertEqual(self.http.value("berth_service_replicas", state="wanted"), 2)
        self.assertEqual(self.http.value("berth_service_replicas", state="running"), 2)
        self.assertEqual(self.http.value("berth_services"), 1)
        self.cluster.run("service", "rm", "two")
        wait_until("it is gone", lambda: self.http.value("berth_services") == 0)
        self.assertEqual(self.http.value("berth_service_replicas", state="wanted"), 0)

    def test_only_what_is_there_is_answered(self):
        self.assertEqual(self.http.ask("/healthz")[:2], (200, "ok\n"))
        self.assertEqual(self.http.ask("/metrics?x=1")[0], 200)
        self.assertIn("version=0.0.4", self.http.ask("/metrics")[2]["Content-Type"])
        self.assertEqual(self.http.ask("/")[0], 404)
        self.assertEqual(self.http.ask("/metrics/more")[0], 404)
        status, _, headers = self.http.ask("/metrics", "POST")
        self.assertEqual((status, headers["Allow"]), (405, "GET"))
        self.assertEqual(self.http.ask("/healthz", "DELETE")[0], 405)
        self.assertEqual(self.http.ask("/metrics", headers={"X": "y" * 20000})[0], 431)
        with socket.create_connection(("127.0.0.1", self.http.port), timeout=30) as raw:
            raw.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
            self.assertTrue(raw.recv(100).startswith(b"HTTP/1.1 400"))

    def test_a_connection_may_ask_again(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.http.port, timeout=30)
        for _ in range(3):
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            self.assertEqual((answer.status, answer.read()), (200, b"ok\n"))
        connection.close()

    def test_who_does_not_read_or_does_not_ask_holds_nobody_up(self):
        lazy = []
        try:
            for number in range(100):
                one = socket.create_connection(("127.0.0.1", self.http.port), timeout=30)
                lazy.append(one)
                if number % 2 == 0:
                    one.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50)  # and never reads
                else:
                    one.sendall(b"GET /metr")  # and never ends
            self.assertEqual(self.http.ask("/healthz")[:2], (200, "ok\n"))
            self.assertEqual(self.cluster.run("status").returncode, 0)
            self.assertLess(self.http.value("process_open_fds"), 80, "no more than its 32 connections are kept")
        finally:
            for one in lazy:
                one.close()

    @unittest.skipUnless(shutil.which("promtool"), PACKAGE)
    def test_promtool_finds_nothing_to_mend(self):
        page = self.http.ask("/metrics")[1]
        done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    @unittest.skipUnless(shutil.which("prometheus"), PACKAGE)
    def test_prometheus_scrapes_it(self):
        job = self.cluster.submit("--array", "1-4", "--", "true")
        self.cluster.wait(job)
        port = harness.free_port()
        where = self.cluster.path("prometheus")
        os.mkdir(where)
        config = os.path.join(where, "prometheus.yml")
        with open(config, "w", encoding="utf-8") as file:
            file.write("scrape_configs:\n- job_name: berth\n  scrape_interval: 1s\n  scrape_timeout: 1s\n"
                       f"  static_configs: [{{targets: ['127.0.0.1:{self.http.port}']}}]\n")
        log = os.path.join(where, "log")
        with open(log, "wb") as out:
            prometheus = subprocess.Popen(["prometheus", f"--config.file={config}", f"--storage.tsdb.path={where}/data",
                                           f"--web.listen-address=127.0.0.1:{port}"],
                                          stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=where)
        try:
            def query(expression):
                url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expression})
                try:
                    with urllib.request.urlopen(url, timeout=10) as answer:
                        result = json.load(answer)["data"]["result"]
                except OSError:
                    if prometheus.poll() is not None:
                        with open(log, encoding="utf-8") as file:
                            raise AssertionError("prometheus ended:\n" + file.read()) from None
                    return None
                return float(result[0]["value"][1]) if result else None
            wait_until("prometheus has scraped it", lambda: query('up{job="berth"}') == 1)
            ended = self.http.value("berth_pods_ended_total", outcome="succeeded")
            wait_until("it has the ended pods", lambda: query('berth_pods_ended_total{outcome="succeeded"}') == ended)
            self.assertEqual(query('sum(berth_nodes{connected="yes"})'), 1)
            # A rate wants two scrapes; a quantile wants buckets that make sense.
            wait_until("two scrapes make a rate", lambda: query("rate(berth_metrics_pages_total[30s])"))
            median = query("histogram_quantile(0.5, berth_submit_to_start_seconds_bucket)")
            self.assertGreater(median, 0.0001)
            self.assertLess(median, 300)
        finally:
            prometheus.terminate()
            prometheus.wait(timeout=30)


@etcd.needs_etcd
class Standby(unittest.TestCase):
    def test_tells_that_it_stands_by_and_then_that_it_leads(self):
        store = etcd.Etcd()
        self.addCleanup(store.close)
        cluster = etcd.HaCluster(store, servers=2)
        self.addCleanup(cluster.close)
        old = cluster.wait_leader()
        other = cluster.servers[3 - old]
        http_ = Endpoint(harness.free_port())
        other.end()
        other.command += http_.options
        other.start()

        def page():
            try:
                return http_.samples()
            except OSError:
                return {}
        none = frozenset()
        wait_until("it stands by", lambda: page().get(("berth_journal_index", none), 0) > 0)
        self.assertEqual(page()["berth_leader", none], 0)
        self.assertEqual(http_.ask("/healthz")[:2], (200, "ok\n"))
        self.assertFalse([name for name, _ in page() if name.startswith("berth_pods")])
        cluster.servers[old].kill()
        wait_until("it leads", lambda: page().get(("berth_leader", none)) == 1)
        cluster.wait(cluster.submit("--", "true"))
        time.sleep(1.1)
        now = page()
        self.assertEqual(now["berth_pods_ended_total", frozenset({("outcome", "succeeded")})], 1)
        self.assertGreater(now["berth_journal_append_seconds_count", none], 0)
        self.assertEqual(now["berth_journal_sync_seconds_count", none], 0)
        self.assertEqual(http_.ask("/healthz")[:2], (200, "ok\n"))


class BadAddresses(ClusterTest):
    OPTIONS = {"agents": 0}

    def server(self, *options):
        return self.cluster.run("server", "--data", self.cluster.path("other"), "--socket", self.cluster.path("o"), "--listen", "none",
                                *options, check=False)

    def test_are_refused_in_one_line(self):
        for address in ("9117", "/run/x", "127.0.0.1:x", "127.0.0.1:99999"):
            self.assert_one_line(self.server("--metrics", address), 2, "--metrics", address, "HOST:PORT")
        config = self.cluster.path("bad.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write("metrics: nonsense\n")
        self.assert_one_line(self.server("--config", config), 2, "bad.yaml:1", "metrics", "nonsense", "HOST:PORT")

    def test_the_file_may_say_it_and_the_command_line_wins(self):
        http_ = Endpoint(harness.free_port())
        cluster = Cluster(agents=0, start=False)
        self.addCleanup(cluster.close)
        config = cluster.path("server.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"metrics: 127.0.0.1:{http_.port}\n")
        cluster.server.command += ["--config", config]
        cluster.start_server()
        self.assertEqual(http_.ask("/healthz")[:2], (200, "ok\n"))
        cluster.server.end()
        cluster.server.command += ["--metrics", "none"]
        cluster.start_server()
        with self.assertRaises(ConnectionRefusedError):
            http_.ask("/healthz")

    def test_one_that_is_taken_stops_the_start(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            where = f"127.0.0.1:{taken.getsockname()[1]}"
            done = self.server("--metrics", where)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(f"cannot listen for metrics on {where}: Address already in use", done.stderr)

    def test_a_trace_that_cannot_be_written_stops_the_start(self):
        done = self.server("--trace", self.cluster.path("none", "trace"))
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("cannot write the trace to", done.stderr)


def load_trace(path):
    """What a viewer makes of it: the closing bracket may be missing, and of the last line a part."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if not text.endswith("]\n"):
        text = text[:text.rindex(",\n")] + "]"
    return json.loads(text)


class Trace(unittest.TestCase):
    def test_shows_the_stages_of_a_submission_in_their_order(self):
        path = None
        cluster = Cluster(agents=0, start=False)
        self.addCleanup(cluster.close)
        path = cluster.path("trace.json")
        cluster.server.command += ["--trace", path]
        cluster.start_server()
        cluster.add_agent(1)
        cluster.wait_nodes(1)
        for _ in range(3):
            cluster.wait(cluster.submit("--array", "1-4", "--", "true"))
        cluster.server.end()
        with open(path, encoding="utf-8") as file:
            events = json.load(file)  # stopped, it is whole
        self.check_nesting(events)
        submissions = [e for e in events if e["name"] == "frame" and e["args"]["kind"] == "submit"]
        self.assertEqual(len(submissions), 3)
        for frame in submissions:
            self.check_way(events, frame)
        reports = [e for e in events if e["name"] == "agent frame" and e["args"]["kind"] == "report"]
        self.assertGreaterEqual(len(reports), 3)
        for frame in reports:
            self.check_way(events, frame)

    def check_nesting(self, events):
        """Spans of a thread lie beside or within each other; append has its two parts."""
        by_thread = {}
        for event in events:
            if event["ph"] == "X":
                by_thread.setdefault(event["tid"], []).append(event)
        self.assertEqual(len(by_thread), 3)
        parents = {}
        for spans in by_thread.values():
            spans.sort(key=lambda e: (e["ts"], -e["dur"]))
            stack = []
            for span in spans:
                # Times have three decimals: what ends where the next begins may seem to end a thousandth later.
                while stack and stack[-1]["ts"] + stack[-1]["dur"] <= span["ts"] + 0.002:
                    stack.pop()
                if stack:
                    self.assertLessEqual(span["ts"] + span["dur"], stack[-1]["ts"] + stack[-1]["dur"] + 0.002, (span, stack[-1]))
                parents.setdefault(span["name"], set()).add(stack[-1]["name"] if stack else None)
                stack.append(span)
        self.assertEqual(parents["write"], {"append"})
        self.assertEqual(parents["fdatasync"], {"append"})
        for name in ("frame", "turn", "append", "effects", "send"):
            self.assertEqual(parents[name], {None}, name)

    def check_way(self, events, frame):
        def spans(name, fits):
            return [e for e in events if e["name"] == name and e["ph"] == "X" and fits(e["args"])]

        def end(event):
            return event["ts"] + event["dur"] + 0.002
        number = frame["args"]["command"]
        self.assertGreater(number, 0)
        queued, = (e for e in events if e["name"] == "queued" and e["ph"] == "b" and e["id"] == number)
        taken, = (e for e in events if e["name"] == "queued" and e["ph"] == "e" and e["id"] == number)
        turn, = spans("turn", lambda a: a["first_command"] <= number <= a["last_command"])
        batch = turn["args"]["batch"]
        self.assertLessEqual(frame["ts"], queued["ts"])
        self.assertLessEqual(queued["ts"], taken["ts"])
        self.assertLessEqual(taken["ts"], turn["ts"])
        if batch == 0:
            return  # it changed nothing
        append, = spans("append", lambda a: a["first_batch"] <= batch <= a["last_batch"])
        self.assertLessEqual(end(turn) - 0.004, append["ts"])
        write, = (e for e in events if e["name"] == "write" and append["ts"] <= e["ts"] < end(append))
        sync, = (e for e in events if e["name"] == "fdatasync" and append["ts"] <= e["ts"] < end(append))
        self.assertLessEqual(end(write) - 0.004, sync["ts"])
        effects = min(spans("effects", lambda a: a["last_batch"] >= batch), key=lambda e: e["ts"])
        self.assertLessEqual(end(append) - 0.004, effects["ts"])
        send = min(spans("send", lambda a: a["last_batch"] >= batch), key=lambda e: e["ts"])
        self.assertLessEqual(effects["ts"], send["ts"])

    def test_of_a_killed_server_can_be_read(self):
        cluster = Cluster(agents=0, start=False)
        self.addCleanup(cluster.close)
        path = cluster.path("trace.json")
        cluster.server.command += ["--trace", path]
        cluster.start_server()
        for _ in range(20):
            cluster.submit("--hold", "--", "true")
        time.sleep(1.2)  # what is not full is written twice a second
        cluster.server.end(signal.SIGKILL)
        events = load_trace(path)
        self.assertEqual(len([e for e in events if e["name"] == "frame" and e["args"]["kind"] == "submit"]), 20)
        self.check_nesting(events)


if __name__ == "__main__":
    unittest.main()
