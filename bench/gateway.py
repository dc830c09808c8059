"""Measures the gateway beside a minimal pingora proxy, nginx, HAProxy and Caddy.

Usage: gateway.py BIN_DIR [ROW ...]. Options by environment: ROUNDS (5), SECONDS_EACH (4).
Everything is on loopback; each proxy has the first core, load and upstreams share the second.
Proxies take turns within each round, so ratios hold when the machine's speed drifts.
"""
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

import peers
from peers import HOST, LOAD_CORE, PORTS, TITLES

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS_EACH", "4"))
CONNECTIONS = 64


def run(*command):
    done = subprocess.run(["taskset", "-c", LOAD_CORE, *map(str, command)], capture_output=True, text=True,
                          timeout=SECONDS + 60)
    if done.returncode != 0:
        raise SystemExit(f"{command} failed: {done.stderr[-1000:]}")
    return done.stdout


def wrk(url, *more, path="/1k", connections=CONNECTIONS):
    """Requests, requests/s, p50 and p99 in ms, errors."""
    text = run("wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "-H", f"Host: {HOST}", *more, url + path)
    unit = {"us": 1e-3, "ms": 1.0, "s": 1e3}

    def latency(percent):
        value, name = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", text).groups()
        return float(value) * unit[name]

    errors = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    for kinds in re.findall(r"Socket errors: (.*)", text):
        errors += sum(int(n) for n in re.findall(r"\d+", kinds))
    count = int(re.search(r"(\d+) requests in", text).group(1))
    return count, float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1)), latency(50), latency(99), errors


def h2load(url, *more):
    with tempfile.NamedTemporaryFile() as log:
        text = run("h2load", f"-c{CONNECTIONS}", "-t1", f"-D{SECONDS}", f"--log-file={log.name}",
                   f"--connect-to={url.split('//')[1]}", *more, f"{url.split(':')[0]}://{HOST}/1k")
        times = sorted(int(line.split("\t")[2]) / 1000 for line in open(log.name))
    count = int(re.search(r"(\d+) succeeded", text).group(1))
    rate = float(re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", text).group(1))
    failed = int(re.search(r"(\d+) failed", text).group(1))
    statuses = re.search(r"status codes: (\d+) 2xx", text)
    failed += max(0, count - int(statuses.group(1)))
    return count, rate, times[len(times) // 2], times[len(times) * 99 // 100], failed


def handshakes(world, address, kind):
    """Connections for one request each, by four clients at once."""
    count, rate, p50, p99, failed = run(world.bin / "tls-bench", address, HOST, world.work / "cert.pem", kind, 4, SECONDS).split()
    return int(count), float(rate), float(p50), float(p99), int(failed)


def sockets(world, address):
    count, rate, p50, p99 = run(world.bin / "ws-bench", "load", address, HOST, 64, SECONDS).split()
    return int(count), float(rate), float(p50), float(p99), 0


ROWS = {
    "h1": ("HTTP/1.1, keep-alive", "requests", lambda w, p, t: wrk(f"http://127.0.0.1:{p}")),
    "low": ("HTTP/1.1 at 2,000 requests/s", "requests", lambda w, p, t: h2load(f"http://127.0.0.1:{p}", "--h1", "--rps=31.25")),
    "tls": ("TLS 1.3, HTTP/1.1, keep-alive", "requests", lambda w, p, t: wrk(f"https://127.0.0.1:{t}")),
    "h2": ("TLS 1.3, HTTP/2, one stream a connection", "requests", lambda w, p, t: h2load(f"https://127.0.0.1:{t}", "-m1")),
    "new": ("TLS 1.3, a new connection each", "handshakes", lambda w, p, t: handshakes(w, f"127.0.0.1:{t}", "new")),
    "resumed": ("TLS 1.3, a resumed connection each", "handshakes", lambda w, p, t: handshakes(w, f"127.0.0.1:{t}", "resumed")),
    "ws": ("WebSocket, 64 bytes there and back", "messages", lambda w, p, t: sockets(w, f"127.0.0.1:{p}")),
    "1m": ("HTTP/1.1, 1 MiB downloads", "requests", lambda w, p, t: wrk(f"http://127.0.0.1:{p}", path="/1m", connections=16)),
}


def measure(world, wanted):
    results = {}
    for row in wanted:
        _, _, load = ROWS[row]
        # The first round warms up.
        for round_ in range(ROUNDS + 1):
            for name, (plain, tls) in PORTS.items():
                before = peers.ticks(world.pid(name))
                count, rate, p50, p99, errors = load(world, plain, tls)
                cpu = (peers.ticks(world.pid(name)) - before) / max(count, 1) * 100_000
                if round_ > 0:
                    figures = (rate, p50, p99, cpu, errors, peers.rss_mib(world.pid(name)))
                    results.setdefault(row, {}).setdefault(name, []).append(figures)
    return results


def report(results):
    middle = statistics.median
    for row, by_name in results.items():
        title, unit, _ = ROWS[row]
        ours = by_name["cara"]
        print(f"\n### {title}\n")
        print(f"| proxy | {unit}/s | p50 ms | p99 ms | CPU s per 100,000 | RSS MiB | errors | ours: {unit}/s | ours: CPU |")
        print("|---|---|---|---|---|---|---|---|---|")
        for name, rounds in by_name.items():
            column = [middle(r[i] for r in rounds) for i in range(4)]
            rate = middle(o[0] / r[0] for o, r in zip(ours, rounds))
            cpu = middle(o[3] / r[3] for o, r in zip(ours, rounds))
            print(f"| {TITLES[name]} | {column[0]:,.0f} | {column[1]:.2f} | {column[2]:.2f} | {column[3]:.2f} "
                  f"| {max(r[5] for r in rounds):.0f} | {sum(r[4] for r in rounds)} | {rate:.2f} | {cpu:.2f} |")


def main():
    bin_dir = pathlib.Path(sys.argv[1]).resolve()
    wanted = sys.argv[2:] or list(ROWS)
    with tempfile.TemporaryDirectory() as work:
        # nginx's workers give up root's rights.
        os.chmod(work, 0o755)
        world = peers.Peers(bin_dir, work)
        try:
            world.start_all()
            report(measure(world, wanted))
        finally:
            world.stop()


main()
