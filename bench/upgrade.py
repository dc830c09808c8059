"""Replaces the server under a constant load with open WebSockets, and counts what fails.

Usage: upgrade.py PROGRAMS. PROGRAMS is the directory of cara-server, upgrade-load and ws-bench. Options by environment:
RATE (2000 requests/s), SECONDS_EACH (30), UPGRADES (2, spread evenly), SOCKETS (50), ANEW_EVERY (20: every so many requests
one comes on a connection of its own). Everything is on loopback; servers share the first core, load and upstreams the
second. Exit code 1 when anything failed.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import peers
from peers import HOST, LOAD_CORE, PORTS

RATE = os.environ.get("RATE", "2000")
SECONDS = int(os.environ.get("SECONDS_EACH", 30))
UPGRADES = int(os.environ.get("UPGRADES", 2))
SOCKETS = int(os.environ.get("SOCKETS", 50))
ANEW_EVERY = os.environ.get("ANEW_EVERY", "20")
# How long anything may take that should take a second.
PATIENCE_S = 60


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Upgrade:
    """One server that takes the place of another."""

    def __init__(self, world, before, number):
        self.before, self.name = before, f"cara-{number}"
        self.begun = time.monotonic()
        self.took = self.lived = None
        world.server(self.name, "--take-over", "--log-level", "info")
        self.process, self.log = world.processes[self.name], world.work / f"{self.name}.log"

    def look(self):
        """Notes what has happened since the last look."""
        now = time.monotonic() - self.begun
        if self.took is None and "took over from the server that ran before" in self.log.read_text():
            self.took = now
            say(f"{self.name} serves after {now:.2f} s")
        if self.lived is None and self.before.poll() is not None:
            self.lived = now
            say(f"the server before {self.name} has ended after {now:.2f} s, code {self.before.returncode}")
        if self.process.poll() is not None and self.took is None:
            raise SystemExit(f"{self.name} ended: {self.log.read_text()[-2000:]}")


def follow(world, load):
    """Replaces servers while the load lasts, and waits until the last of the old ones has ended."""
    start, upgrades, before = time.monotonic(), [], world.processes["cara"]
    limit = SECONDS + PATIENCE_S
    while time.monotonic() < start + limit:
        due = SECONDS * (len(upgrades) + 1) / (UPGRADES + 1)
        if len(upgrades) < UPGRADES and time.monotonic() > start + due:
            upgrades.append(Upgrade(world, before, len(upgrades) + 1))
            before = upgrades[-1].process
        for upgrade in upgrades:
            upgrade.look()
        is_over = len(upgrades) == UPGRADES and all(upgrade.lived is not None for upgrade in upgrades)
        if load.poll() is not None and (is_over or load.returncode):
            break
        time.sleep(0.01)
    return upgrades


def milliseconds(of):
    shown = lambda value: "-" if value is None else f"{value:.1f}"
    return f"{shown(of['p50'])} | {shown(of['p99'])} | {shown(of['max'])}"


def report(result, upgrades):
    print(f"\n{result['requests']:,} requests at {result['rate']:,.0f}/s in {SECONDS} s, {UPGRADES} upgrades, {SOCKETS} WebSockets\n")
    print("| | count | failed | p50 ms | p99 ms | slowest ms |\n|---|---|---|---|---|---|")
    for way in result["ways"]:
        print(f"| {way['way']} | {way['requests']:,} | {sum(way['failed'].values())} | {milliseconds(way['ms'])} |")
    print(f"| all requests | {result['requests']:,} | {result['failed']} | {milliseconds(result['ms'])} |")
    closed = sum(result["sockets_closed"].values())
    print(f"| messages of WebSockets | {result['messages']:,} | {closed} closed | {milliseconds(result['messages_ms'])} |")
    print(f"| the load itself was late by | | | {milliseconds(result['behind_ms'])} |")
    print("\n| upgrade | new process serves after s | old process ended after s, with code |\n|---|---|---|")
    shown = lambda value: "never" if value is None else f"{value:.2f}"
    for number, upgrade in enumerate(upgrades, 1):
        print(f"| {number} | {shown(upgrade.took)} | {shown(upgrade.lived)}, {upgrade.before.returncode} |")
    for way in result["ways"]:
        for cause, count in way["failed"].items():
            print(f"\n{way['way']}: {count} failed: {cause}")
    for how, count in result["sockets_closed"].items():
        print(f"\n{count} WebSockets were closed: {how}")
    ended = [upgrade.before.returncode for upgrade in upgrades]
    return not result["failed"] and not closed and ended == [0] * UPGRADES


def main():
    programs = pathlib.Path(sys.argv[1]).resolve()
    plain, tls = PORTS["cara"]
    with tempfile.TemporaryDirectory() as work:
        os.chmod(work, 0o755)
        world = peers.Peers(programs, work)
        try:
            world.certificate()
            world.upstreams()
            world.gateway()
            for url in (f"http://127.0.0.1:{plain}/1k", f"https://127.0.0.1:{tls}/1k"):
                world.wait_for("cara", url)
            command = [programs / "upgrade-load", f"127.0.0.1:{plain}", f"127.0.0.1:{tls}", HOST, world.work / "cert.pem",
                       RATE, str(SECONDS), str(SOCKETS), ANEW_EVERY]
            say(f"{RATE} requests/s for {SECONDS} s")
            load = subprocess.Popen(["taskset", "-c", LOAD_CORE, *command], stdout=subprocess.PIPE, text=True)
            try:
                upgrades = follow(world, load)
                out, _ = load.communicate(timeout=PATIENCE_S)
            finally:
                load.kill()
                load.wait()
            if load.returncode:
                raise SystemExit(f"the load ended with code {load.returncode}")
            holds = report(json.loads(out), upgrades)
        finally:
            world.stop()
    sys.exit(0 if holds else 1)


main()
