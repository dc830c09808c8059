"""Measures the gateway with many hosts, through its API, as users and agents would.

Usage: routes.py BIN_DIR COUNT [HOSTS_EACH]: COUNT hosts in projects of HOSTS_EACH (1), in rules of at most
HOSTS_OF_RULE (50). Prints memory; requests/s against a gateway with one route, in ROUNDS (11, at least 2) of SECONDS (3)
each; the time from a route's write to its first answer; and what failed, and which connections and WebSockets were
closed, during CHANGES (1,000) writes. Exits with 1 when anything failed.

The gateway has one core, all else the other. A write is what a user does (a rule's header is replaced by PUT) or what
an agent does (a report moves an endpoint away and back), in turn.
"""
import base64
import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import peers
from peers import HOST, LOAD_CORE, PORTS, PROXY_CORE, SOCKETS, UPSTREAM

PLAIN = PORTS["cara"][0]
# The gateway with one route: the same program, idle while the other is measured.
ONE_PLAIN, ONE_API = 18806, "127.0.0.1:18811"
CHANGES = int(os.environ.get("CHANGES", "1000"))
SECONDS = int(os.environ.get("SECONDS", "3"))
ROUNDS = int(os.environ.get("ROUNDS", "11"))
# Hosts that one rule names: 64 at most.
HOSTS_OF_RULE = int(os.environ.get("HOSTS_OF_RULE", "50"))
KEPT, WEBSOCKETS = 8, 50


class Api:
    """Calls on a connection that stays open, one for each thread."""

    def __init__(self, address):
        self.address, self.local = address, threading.local()

    def call(self, method, path, body=None):
        if not hasattr(self.local, "connection"):
            self.local.connection = http.client.HTTPConnection(self.address, timeout=120)
        data = None if body is None else json.dumps(body)
        self.local.connection.request(method, path, data, {"content-type": "application/json"})
        answer = self.local.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {text[:2000]}")
        return json.loads(text or b"null")


def project(name, rules, services):
    return {"metadata": {"name": name},
            "spec": {"services": [{"name": s, "image": "x"} for s in services], "ingress": rules}}


def said(name, epoch, generation, services):
    """What an agent says about a project that runs."""
    states = [{"name": s, "state": "Running", "ready": True,
               "endpoints": [{"port": port, "address": address, "ready": True}]} for s, (port, address) in services.items()]
    return {"project": name, "epoch": epoch, "generation": generation, "outcome": {"outcome": "Running"}, "services": states}


def report(api, reports):
    api.call("POST", "/api/v1/nodes/bench/reports", {"reports": reports})


class Beat(threading.Thread):
    """Signs of life of the node, without which nothing would be placed for long; notes why they ended."""

    def __init__(self, apis):
        super().__init__(daemon=True)
        self.apis, self.done, self.error = apis, threading.Event(), None

    def run(self):
        try:
            while not self.done.wait(5):
                for api in self.apis:
                    api.call("POST", "/api/v1/nodes/bench/heartbeat")
        except (Exception, SystemExit) as error:  # Told by main(): a thread's own exit ends nothing.
            self.error = error


def make(api, hosts, each):
    """Projects with all hosts, said to run; how many."""
    services = {"web": (80, UPSTREAM)}
    documents = {}
    for first in range(0, len(hosts), each):
        mine = hosts[first:first + each]
        rules = [{**peers.ingress(f"web-{at}", mine[at], "web", 80), "hosts": mine[at + 1:at + HOSTS_OF_RULE]}
                 for at in range(0, len(mine), HOSTS_OF_RULE)]
        documents[f"p{first}"] = project(f"p{first}", rules, services)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda document: api.call("POST", "/api/v1/projects", document), documents.values()))
    waiting = set(documents)
    while waiting:
        items = api.call("GET", "/api/v1/projects?phase=Scheduled")["items"]
        bound = [(p["metadata"]["name"], p["status"]["bindingEpoch"]) for p in items if p["status"].get("bindingEpoch")]
        bound = [pair for pair in bound if pair[0] in waiting]
        for first in range(0, len(bound), 200):
            report(api, [said(name, epoch, 1, services) for name, epoch in bound[first:first + 200]])
        waiting -= {name for name, _ in bound}
        if not bound:
            time.sleep(0.2)
    return len(documents)


def rate(port, script):
    """Requests/s and how many were not answered with 200."""
    text = subprocess.run(["taskset", "-c", LOAD_CORE, "wrk", "-t1", "-c64", f"-d{SECONDS}s", "-s", script, f"http://127.0.0.1:{port}/1k"],
                          capture_output=True, text=True, check=True).stdout
    bad = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    bad += sum(int(n) for line in re.findall(r"Socket errors: (.*)", text) for n in re.findall(r"\d+", line))
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)), bad


class Background(threading.Thread):
    """Constant requests on kept connections while routes change; counts what fails and what is closed, and notes what
    ended it before its time."""

    def __init__(self, hosts):
        super().__init__(daemon=True)
        self.hosts, self.done, self.sent, self.failed, self.closed = hosts, threading.Event(), 0, [], 0
        self.error = None

    def run(self):
        try:
            self.ask()
        except Exception as error:
            self.error = error

    def ask(self):
        kept = [http.client.HTTPConnection("127.0.0.1", PLAIN, timeout=10) for _ in range(KEPT)]
        for connection in kept:
            connection.connect()
        while not self.done.is_set():
            connection = kept[self.sent % KEPT]
            try:
                connection.request("GET", "/1k", headers={"Host": self.hosts[self.sent % len(self.hosts)]})
                answer = connection.getresponse()
                if answer.status != 200 or len(answer.read()) != 1024:
                    self.failed.append(str(answer.status))
                is_closed = connection.sock is None
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
                connection.close()
                is_closed = True
            if is_closed:
                self.closed += 1
                connection.connect()
            self.sent += 1
            time.sleep(0.002)


class WebSocket:
    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", PLAIN), timeout=10)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(f"GET /ws HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            some = self.socket.recv(4096)
            if not some:
                break
            head += some
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise SystemExit(f"no WebSocket: {head[:200]}")

    def is_alive(self):
        """Whether a message comes back."""
        text, mask = b"still there", b"\1\2\3\4"
        try:
            self.socket.sendall(bytes([0x81, 0x80 | len(text)]) + mask + bytes(c ^ mask[i % 4] for i, c in enumerate(text)))
            answer = b""
            while len(answer) < 2 + len(text):
                some = self.socket.recv(100)
                if not some:
                    return False
                answer += some
            return answer[2:] == text
        except OSError:
            return False


class Observer:
    """Asks on one open connection until an answer is as wanted."""

    def __init__(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", PLAIN, timeout=10)

    def until(self, is_wanted, host=HOST):
        deadline = time.perf_counter() + 30
        while True:
            self.connection.request("GET", "/1k", headers={"Host": host})
            answer = self.connection.getresponse()
            answer.read()
            if is_wanted(answer):
                return
            if time.perf_counter() > deadline:
                raise SystemExit(f"{host}: still {answer.status} {answer.headers}")


def change(api, background):
    """CHANGES writes; for each kind, milliseconds until a write was answered, and until it was served."""
    services = {"web": (80, UPSTREAM), "sockets": (81, SOCKETS)}
    away = {**services, "web": (79, UPSTREAM)}
    rules = [peers.ingress("web", HOST, "web", 80), peers.ingress("sockets", HOST, "sockets", 81, "/ws")]
    epoch = api.call("GET", "/api/v1/projects/bench")["status"]["bindingEpoch"]
    observer, times = Observer(), {"report": [], "PUT": []}
    for number in range(CHANGES):
        if number % 4 > 1:
            mark = str(number)
            rules[0]["responseHeaders"] = {"set": {"x-change": mark}}
            kind, is_wanted = "PUT", lambda answer: answer.headers["x-change"] == mark
            begin = time.perf_counter()
            api.call("PUT", "/api/v1/projects/bench", project("bench", rules, services))
        else:
            now, status = (services, 200) if number % 4 else (away, 503)
            kind, is_wanted = "report", lambda answer: answer.status == status
            generation = api.call("GET", "/api/v1/projects/bench")["metadata"]["generation"]
            begin = time.perf_counter()
            report(api, [said("bench", epoch, generation, now)])
        answered = time.perf_counter()
        observer.until(is_wanted)
        times[kind].append(((answered - begin) * 1000, (time.perf_counter() - begin) * 1000))
        if background.failed[100:]:
            break
    return times


def shown(values):
    values = sorted(values)
    return f"median {statistics.median(values):.2f}, p99 {values[len(values) * 99 // 100]:.2f}, slowest {values[-1]:.2f}"


def start_one(world):
    """A gateway with one route, beside the other."""
    world.start("one", PROXY_CORE, world.bin / "cara-server", "--data-dir", world.work / "one", "--api-listen", ONE_API,
                "--http-listen", f"127.0.0.1:{ONE_PLAIN}", "--access-log", world.work / "one.access.log", "--log-level", "warn")
    world.wait_for("one", f"http://{ONE_API}/api/readyz")
    api = Api(ONE_API)
    api.call("POST", "/api/v1/nodes", {"metadata": {"name": "bench"}})
    api.call("POST", "/api/v1/nodes/bench/heartbeat")
    make(api, ["h0.bench.test"], 1)
    return api


def compare(world, first, every):
    """Rounds of three measurements with the same load and work: a gateway with one route, one host of all, and all
    hosts at random. In turn, and each time in another order, since the machine's speed drifts."""
    rounds, plan = [], [("one", "one", ONE_PLAIN, first), ("same", "cara", PLAIN, first), ("every", "cara", PLAIN, every)]
    for _ in range(ROUNDS):
        plan = plan[1:] + plan[:1]
        rounds.append({})
        for name, program, port, load in plan:
            before = peers.ticks(world.pid(program))
            each, bad = rate(port, load)
            used = peers.ticks(world.pid(program)) - before
            rounds[-1][name] = {"rate": each, "bad": bad, "cpu": used / max(each * SECONDS, 1) * 100_000}
    return rounds


def told(rounds, name, other):
    """The medians of a measurement, and of its ratios to another one in the same round, with the middle half of these."""
    text = f"{statistics.median(r[name]['rate'] for r in rounds):,.0f} ({statistics.median(r[name]['cpu'] for r in rounds):.2f} CPU s for 100,000"
    if name != other:
        for what in ("rate", "cpu"):
            low, middle, high = statistics.quantiles([r[name][what] / (r[other][what] or 1) for r in rounds], n=4)
            text += f", ratio of the {what} {middle:.3f} [{low:.3f} to {high:.3f}]"
    return text + ")"


def script(work, name, count, host):
    """A load on a host; the same draw and the same work for any."""
    path = pathlib.Path(work) / f"{name}.lua"
    path.write_text("request = function() local n = math.random(0, %d); "
                    "return wrk.format('GET', nil, {['Host']='h' .. %s .. '.bench.test'}) end" % (count - 1, host))
    return path


def main():
    bin_dir, count = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2])
    each = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    signs = None
    with tempfile.TemporaryDirectory() as work:
        os.chmod(work, 0o755)
        world = peers.Peers(bin_dir, work)
        try:
            world.certificate()
            world.upstreams()
            world.gateway()
            one, api = start_one(world), Api(peers.API.removeprefix("http://"))
            signs = Beat([one, api])
            signs.start()
            resident = [peers.rss_mib(world.pid("cara"))]
            hosts = [f"h{n}.bench.test" for n in range(count)]
            begin = time.monotonic()
            projects = make(api, hosts, each)
            made = time.monotonic() - begin
            for host in (hosts[0], hosts[-1]):
                Observer().until(lambda answer: answer.status == 200, host)
            # What the observer was answered may have been the last of a burst of writes.
            time.sleep(2)
            resident.append(peers.rss_mib(world.pid("cara")))
            print(f"{count:,} hosts in {projects:,} projects, made in {made:.0f} s", flush=True)
            rounds = compare(world, script(work, "first", count, "0"), script(work, "every", count, "n"))
            failed = sum(row["bad"] for each_round in rounds for row in each_round.values())
            print(f"requests/s: {told(rounds, 'one', 'one')} with one route; {told(rounds, 'same', 'one')} to one host of all; "
                  f"{told(rounds, 'every', 'one')} to all hosts at random; {failed} failed", flush=True)
            sockets = [WebSocket() for _ in range(WEBSOCKETS)]
            background = Background(hosts[:200])
            background.start()
            times = change(api, background)
            background.done.set()
            background.join(30)
            if background.is_alive() or background.error or not background.sent or signs.error:
                raise SystemExit(f"not measured: {background.sent} requests to other hosts, which ended with {background.error!r}; "
                                 f"signs of life ended with {signs.error!r}")
            lost = sum(not s.is_alive() for s in sockets)
            resident.append(peers.rss_mib(world.pid("cara")))
            for kind, pairs in times.items():
                print(f"{len(pairs):,} changes by {kind}, ms: answered {shown(a for a, _ in pairs)}; served {shown(b for _, b in pairs)}; "
                      f"served after the answer {shown(b - a for a, b in pairs)}")
            print(f"meanwhile {background.sent:,} requests to other hosts on {KEPT} connections: {len(background.failed)} failed "
                  f"{background.failed[:3]}, {background.closed} connections closed; {lost} of {WEBSOCKETS} WebSockets lost")
            print(f"resident memory, MiB: {resident[0]:.0f} with one host, {resident[1]:.0f} with all, {resident[2]:.0f} after the changes")
            sys.exit(bool(failed or lost or background.failed or background.closed))
        finally:
            if signs:
                signs.done.set()
            world.stop()


main()
