"""Says where a request's time goes, by instruments that a busy machine does not disturb.

Usage: profile.py BIN_DIR instructions|syscalls|time [NAME ...]. Names: nginx, min (pingora alone),
cara. One after the other, 1 KiB with keep-alive, over plain HTTP/1.1 or what PROTOCOL says: h1, tls
(HTTP/1.1 over TLS), h2 (HTTP/2 over TLS, one stream a connection).

instructions: of user space, by callgrind; then the dearest functions. It counts each byte of a copy by `rep movsb` as one.
syscalls: by strace, 64 connections.
time: processor time at a fixed RATE (15000) and at full load, interleaved, as ratios to the first.
"""
import collections
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import peers
from peers import HOST, LOAD_CORE, PORTS, PROXY_CORE, UPSTREAM

REQUESTS = 2_000
ROUNDS = int(os.environ.get("ROUNDS", "5"))
RATE = int(os.environ.get("RATE", "15000"))
PROTOCOL = os.environ.get("PROTOCOL", "h1")
URL, FLAG = {
    "h1": ("http://127.0.0.1:{}/1k", "--h1"),
    "tls": ("https://127.0.0.1:{}/1k", "--h1"),
    "h2": ("https://127.0.0.1:{}/1k", "-m1"),
}[PROTOCOL]
NAMES = ["nginx", "min", "cara"]


class Profiled(peers.Peers):
    """Starts proxies by name, each perhaps under another program."""

    wrapper = ()

    def start(self, name, core, *command, env=None):
        wrapper = self.wrapper if core == PROXY_CORE else ()
        super().start(name, core, *wrapper, *command, env=env)

    def proxy(self, name):
        port = PORTS[name][PROTOCOL != "h1"]
        if name == "cara":
            self.gateway()
        elif name == "nginx":
            plain, tls = PORTS[name]
            text = peers.NGINX
            for key, value in {"work": self.work, "plain": plain, "tls": tls, "upstream": UPSTREAM, "sockets": peers.SOCKETS}.items():
                text = text.replace(f"@{key}@", str(value))
            (self.work / "nginx.conf").write_text(text)
            self.start(name, PROXY_CORE, "nginx", "-c", self.work / "nginx.conf", "-g", "master_process off;")
        else:
            plain, tls = PORTS[name]
            self.start(name, PROXY_CORE, self.bin / "pingora-min", f"127.0.0.1:{plain}", UPSTREAM,
                       f"127.0.0.1:{tls}", self.work / "cert.pem", self.work / "key.pem", peers.SOCKETS)
        self.wait_for(name, URL.format(port))
        return port

    def end(self, name):
        process = self.processes.pop(name)
        process.kill()
        process.wait()


def load(port, connections, *more):
    """Requests that were answered, all of them with success."""
    command = ["taskset", "-c", LOAD_CORE, "h2load", FLAG, f"-c{connections}", "-t1", *map(str, more),
               "-H", f":authority: {HOST}", URL.format(port)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    done, good = re.search(r"(\d+) done, (\d+) succeeded", text).groups()
    if done != good or done == "0":
        raise SystemExit(f"requests failed: {text}")
    return int(done)


def self_costs(path):
    """Instructions by function, without what it calls."""
    names, costs, function, is_call = {}, collections.Counter(), None, False
    for line in open(path, errors="replace"):
        named = re.match(r"(c?fn)=\((\d+)\)(?: (.*))?$", line.rstrip("\n"))
        if named:
            kind, key, name = named.groups()
            if name:
                names[key] = re.sub(r"::h[0-9a-f]{16}$|'\d+$", "", name)
            if kind == "fn":
                function = names[key]
        elif line.startswith("calls="):
            is_call = True
        elif line[:1] in "+-*0123456789" and line.strip():
            if not is_call:
                costs[function] += int(line.split()[1])
            is_call = False
    return costs


def instructions(world, name):
    out = world.work / f"callgrind-{name}"
    world.wrapper = ("valgrind", "--tool=callgrind", f"--callgrind-out-file={out}")
    port = world.proxy(name)
    pid = str(world.pid(name))
    load(port, 8, "-n", REQUESTS // 2)
    subprocess.run(["callgrind_control", "-z", pid], check=True, capture_output=True)
    load(port, 8, "-n", REQUESTS)
    subprocess.run(["callgrind_control", "-d", pid], check=True, capture_output=True)
    dump = pathlib.Path(f"{out}.1")
    while not dump.exists() or "totals:" not in dump.read_text(errors="replace"):
        time.sleep(0.1)
    costs = self_costs(dump)
    print(f"\n{name}: {sum(costs.values()) / REQUESTS:,.0f} instructions per request")
    for function, cost in costs.most_common(12):
        print(f"  {cost / REQUESTS:8,.0f}  {function[:110]}")


def syscalls(world, name):
    port = world.proxy(name)
    count = 10 * REQUESTS
    load(port, 64, "-n", REQUESTS)
    out = world.work / "strace"
    tracer = subprocess.Popen(["strace", "-f", "-c", "-o", out, "-p", str(world.pid(name))], stderr=subprocess.DEVNULL)
    time.sleep(1)
    load(port, 64, "-n", count)
    tracer.send_signal(signal.SIGINT)
    tracer.wait()
    calls = {}
    for line in out.read_text().splitlines():
        fields = line.split()
        if re.match(r"\s*[\d.]+\s+[\d.]+\s", line) and fields[-1] != "total":
            calls[fields[-1]] = int(fields[3]) / count
    shown = ", ".join(f"{call} {n:.2f}" for call, n in sorted(calls.items(), key=lambda c: -c[1]) if n >= 0.005)
    print(f"{name}: {sum(calls.values()):.2f} per request: {shown}")


def used(pid):
    """Processor time of all threads, in microseconds."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000


def times(world, names):
    ports = {name: world.proxy(name) for name in names}
    for title, more in ((f"{RATE} requests/s", (f"--rps={RATE / 64}",)), ("full load", ())):
        rounds = {name: [] for name in names}
        for round_ in range(ROUNDS + 1):
            for name, port in ports.items():
                before = used(world.pid(name))
                count = load(port, 64, "-D2", *more)
                # The first round warms up.
                if round_ > 0:
                    rounds[name].append((used(world.pid(name)) - before) / count)
        first = rounds[names[0]]
        print(f"\n{title}: microseconds per request, ratio to {names[0]} (medians of {ROUNDS} rounds)")
        for name, figures in rounds.items():
            ratio = statistics.median(a / b for a, b in zip(figures, first))
            print(f"  {name:6} {statistics.median(figures):7.2f}  {ratio:.2f}")


def main():
    bin_dir, what, *names = sys.argv[1:]
    names = names or NAMES
    with tempfile.TemporaryDirectory() as work:
        os.chmod(work, 0o755)
        world = Profiled(pathlib.Path(bin_dir).resolve(), work)
        try:
            world.certificate()
            world.upstreams()
            if what == "time":
                return times(world, names)
            for name in names:
                {"instructions": instructions, "syscalls": syscalls}[what](world, name)
                world.end(name)
        finally:
            world.stop()


main()
