"""Measures the gateway with many hosts, through its API, as users and agents would.

Usage: routes.py BIN_DIR COUNT [HOSTS_EACH]: COUNT hosts in projects of HOSTS_EACH (1). Prints memory, the time from a
route's write to its first answer, requests/s against one host, and what failed meanwhile.
"""
import http.client
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import peers
from peers import HOST, LOAD_CORE, PORTS, UPSTREAM

PLAIN = PORTS["cara"][0]
CHANGES = int(os.environ.get("CHANGES", "1000"))


def rate(lua=None):
    script = ["-s", lua] if lua else ["-H", f"Host: {HOST}"]
    text = subprocess.run(["taskset", "-c", LOAD_CORE, "wrk", "-t1", "-c64", "-d5s", *script, f"http://127.0.0.1:{PLAIN}/1k"],
                          capture_output=True, text=True, check=True).stdout
    bad = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    return float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)), bad


class Background(threading.Thread):
    """Constant requests on kept connections while routes change; counts what fails."""

    def __init__(self, hosts):
        super().__init__(daemon=True)
        self.hosts, self.done, self.sent, self.failed = hosts, threading.Event(), 0, []

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", PLAIN, timeout=10)
        while not self.done.is_set():
            try:
                connection.request("GET", "/1k", headers={"Host": self.hosts[self.sent % len(self.hosts)]})
                answer = connection.getresponse()
                if answer.status != 200 or len(answer.read()) != 1024:
                    self.failed.append(str(answer.status))
            except (OSError, http.client.HTTPException) as error:
                # A connection that was closed counts as failed too.
                self.failed.append(repr(error))
                connection.close()
            self.sent += 1
            time.sleep(0.001)


def first_answer(host, wanted):
    """Seconds until a request for the host is answered as wanted, and the last other status."""
    begin = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", PLAIN, timeout=10)
    while True:
        connection.request("GET", "/1k", headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        if answer.status == wanted:
            return time.perf_counter() - begin
        if time.perf_counter() - begin > 10:
            raise SystemExit(f"{host}: {answer.status} instead of {wanted}")


def main():
    bin_dir, count = pathlib.Path(sys.argv[1]).resolve(), int(sys.argv[2])
    each = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    with tempfile.TemporaryDirectory() as work:
        os.chmod(work, 0o755)
        world = peers.Peers(bin_dir, work)
        try:
            world.certificate()
            world.upstreams()
            world.gateway()
            one, _ = rate()
            small = peers.rss_mib(world.pid("cara"))
            hosts = [f"h{n}.bench.test" for n in range(count)]
            begin = time.monotonic()
            for first in range(0, count, each):
                some = hosts[first:first + each]
                rule = {**peers.ingress("web", some[0], "web", 80), "hosts": some[1:]}
                peers.deploy(f"p{first}", [rule], {"web": (80, UPSTREAM)})
            made = time.monotonic() - begin
            first_answer(hosts[-1], 200)
            large = peers.rss_mib(world.pid("cara"))
            lua = pathlib.Path(work) / "random.lua"
            lua.write_text(f'request = function() return wrk.format("GET", nil, {{["Host"]="h" .. math.random(0, {count - 1}) .. ".bench.test"}}) end')
            # One host and all in turn: the machine's speed drifts.
            pairs = [(rate()[0], rate(lua)) for _ in range(5)]
            background = Background(hosts[:200])
            background.start()
            # A report changes where a route leads; what is timed is the way from the report's answer to the
            # first request that is served by it, on a connection that is open already.
            name, services = "bench", {"web": (80, UPSTREAM), "sockets": (81, peers.SOCKETS)}
            epoch = peers.call("GET", f"/api/v1/projects/{name}")["status"]["bindingEpoch"]
            times = []
            for change in range(CHANGES):
                shown = {"web": (80, UPSTREAM), "sockets": (81, peers.SOCKETS)} if change % 2 else {"web": (79, UPSTREAM), "sockets": (81, peers.SOCKETS)}
                peers.report(name, epoch, 1, shown)
                times.append(first_answer(HOST, 200 if change % 2 else 503) * 1000)
            background.done.set()
            background.join(30)
            times.sort()
            print(f"{count:,} hosts in {count // each:,} projects, made in {made:.0f} s")
            print(f"resident memory: {small:.0f} MiB with one, {large:.0f} MiB with all, {peers.rss_mib(world.pid('cara')):.0f} MiB after {CHANGES:,} changes")
            print(f"requests/s: {one:,.0f} with one route; then {statistics.median(a for a, _ in pairs):,.0f} to one host and "
                  f"{statistics.median(b[0] for _, b in pairs):,.0f} to all at random (ratio {statistics.median(b[0] / a for a, b in pairs):.3f}, "
                  f"{sum(b[1] for _, b in pairs)} failed)")
            print(f"route change -> served, after the write was answered: median {statistics.median(times):.2f} ms, "
                  f"p99 {times[len(times) * 99 // 100]:.2f} ms, slowest {times[-1]:.2f} ms")
            print(f"meanwhile {background.sent:,} requests on a kept connection, {len(background.failed)} failed {background.failed[:3]}")
        finally:
            world.stop()


main()
