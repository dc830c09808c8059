"""Measures what the scheduler does: lost nodes, deletions, rollouts under load, what it costs at rest.

Usage: operations.py PROGRAMS [PART ...], as root. PROGRAMS is the directory of cara-server and cara-agent; parts are
delete, rollout, idle, loss and loss-default (takes four minutes); all when none is named. Two machines are made for it:
see world.py. Prints a table of measured values beside their goals; exit code 1 when one is missed. Options by
environment: TRIES (7 deletions; at most 3 losses of each sort), PROJECTS (50), RATE (500), SECONDS_EACH (60),
ROLL_EVERY (5: seconds between versions), HOLD_S (0: how long the idle programs stay after they were measured, to look at them by other means).
"""
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import time

from world import GATEWAY, Machine, Server, archive, wait

here = pathlib.Path(__file__).resolve().parent
tries = int(os.environ.get("TRIES", 7))
projects = int(os.environ.get("PROJECTS", 50))
rate = int(os.environ.get("RATE", 500))
seconds = int(os.environ.get("SECONDS_EACH", 60))
roll_every_s = float(os.environ.get("ROLL_EVERY", 5))

WEB, NGINX = "cara-bench/web:2", "cara-bench/nginx:1"
FAST_AGENT = ("--heartbeat-interval", "500ms")
FAST_SERVER = (*FAST_AGENT, "--node-timeout", "2s", "--reschedule-grace", "2s")
QUIET_S = 30
NGINX_CONF = """daemon off; user root; worker_processes 1; pid /run/nginx.pid; error_log stderr;
events { worker_connections 1024; }
http { access_log off; server { listen 8080; root /www; } }
"""
rows = []


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def row(what, measured, goal, holds):
    rows.append(f"| {what} | {measured} | {goal} | {'yes' if holds else '**no**'} |")
    say(f"{what}: {measured} (goal {goal})")
    return holds


def spread(values, unit="s", digits=2):
    return f"{statistics.median(values):.{digits}f} {unit}, slowest {max(values):.{digits}f} {unit} of {len(values)}"


def document(name, image=WEB, services=("web",), **env):
    """A project whose first service is reached under `NAME.test`."""
    variables = [{"name": key, "value": value} for key, value in env.items()]
    return {"metadata": {"name": name}, "spec": {
        "services": [{"name": service, "image": image, "env": variables} for service in services],
        "ingress": [{"name": "web", "host": f"{name}.test", "target": {"service": services[0], "port": 8080}}]}}


def create(server, name, **more):
    server.must("POST", "/api/v1/projects", document(name, **more))


def remove(server, *names, limit_s=60):
    """Deletes projects and waits until they are gone; how long that took."""
    start = time.monotonic()
    for name in names:
        server.must("DELETE", f"/api/v1/projects/{name}")
    for name in names:
        wait(limit_s, f"{name} is gone", lambda: server.ask("GET", f"/api/v1/projects/{name}")[0] == 404, 0.01)
    return time.monotonic() - start


class World:
    """A server with agents on some machines, as long as one part takes."""

    def __init__(self, programs, machines, server_flags=(), agent_flags=()):
        self.programs, self.machines, self.agent_flags = programs, machines, agent_flags
        self.server = Server(programs, machines, *server_flags)

    def __enter__(self):
        try:
            for machine in self.machines:
                machine.start_agent(self.programs, self.server, *self.agent_flags)
            for machine in self.machines:
                self.server.node_ready(machine)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for machine in self.machines:
            machine.mend()
            if machine.agent:
                machine.agent.end()
        self.server.end()


def measure_delete(programs, machines):
    times = []
    with World(programs, machines[:1]) as world:
        for turn in range(tries + 1):
            create(world.server, "twice", services=("web", "other"))
            world.server.running("twice")
            spent = remove(world.server, "twice")
            # The first turn warms up.
            if turn:
                times.append(spent)
            left = machines[0].docker("ps", "-aq", "--filter", "label=cara.project=twice").split()
            assert not left, "containers are left"
    return row("delete of a project with two services, until 404", spread(times), "below 2 s", max(times) < 2)


def measure_rollout(programs, machines):
    with World(programs, machines[:1]) as world:
        create(world.server, "rolling", image=NGINX, VERSION="0")
        world.server.running("rolling")
        wait(10, "the page is there", lambda: world.server.page("rolling.test") == 200)
        load = subprocess.Popen([sys.executable, here / "load.py", str(GATEWAY), "rolling.test", str(rate), str(seconds)],
                                stdout=subprocess.PIPE, text=True)
        try:
            start, version = time.monotonic(), 0
            while load.poll() is None and time.monotonic() < start + 2 * seconds + 60:
                time.sleep(max(0, start + (version + 1) * roll_every_s - time.monotonic()))
                if time.monotonic() < start + seconds - 1:
                    version += 1
                    world.server.must("PUT", "/api/v1/projects/rolling", document("rolling", image=NGINX, VERSION=str(version)))
                else:
                    break
            result = json.loads(load.communicate(timeout=60)[0])
        finally:
            load.kill()
            load.wait()
        say(json.dumps(result))
        remove(world.server, "rolling")
    failed = sum(result["failed"].values())
    versions = len(result["bodies"])
    what = f"rollout of a new version every {roll_every_s:g} s under {rate} requests/s for {seconds} s"
    measured = (f"{failed} of {result['requests']:,} requests failed; {versions} of {version + 1} versions answered; "
                f"p50 {result['p50_ms']} ms, p99 {result['p99_ms']} ms, slowest {result['max_ms']} ms")
    return row(what, measured, "0 failed", failed == 0 and versions > version // 2)


def measure_idle(programs, machines):
    names = [f"idle-{number}" for number in range(projects)]
    with World(programs, machines[:1]) as world:
        for name in names:
            create(world.server, name)
        for name in names:
            world.server.running(name, 300)
        say(f"{projects} projects run; {QUIET_S} s of quiet")
        time.sleep(QUIET_S)
        both = {"server": world.server.process, "agent": machines[0].agent}
        before, start = {name: process.cpu_s() for name, process in both.items()}, time.monotonic()
        time.sleep(seconds)
        spent = time.monotonic() - start
        cpu = {name: 100 * (process.cpu_s() - before[name]) / spent for name, process in both.items()}
        rss = {name: process.rss_mib() for name, process in both.items()}
        if hold := int(os.environ.get("HOLD_S", 0)):
            say(f"holding for {hold} s: " + ", ".join(f"{name} {process.pid}" for name, process in both.items()))
            time.sleep(hold)
        remove(world.server, *names, limit_s=300)
    running = f"{projects} running projects"
    return all([
        row(f"resident memory of the agent, {running}", f"{rss['agent']:.1f} MiB", "below 40 MB", rss["agent"] * 1.048576 < 40),
        row(f"resident memory of the server, {running}", f"{rss['server']:.1f} MiB", "-", True),
        row(f"processor time of the idle agent, {running}, {seconds} s", f"{cpu['agent']:.2f} % of a core", "below 1 %", cpu["agent"] < 1),
        row(f"processor time of the idle server, {running}, {seconds} s", f"{cpu['server']:.2f} % of a core", "below 1 %", cpu["server"] < 1),
    ])


def lose(world, how, limit_s):
    """Takes the machine away that runs the project; how long until another one answers."""
    server = world.server
    lost = next(machine for machine in world.machines if machine.name == server.running("lost")["nodeRef"])
    wait(10, "the page is there", lambda: server.page("lost.test") == 200)
    start = time.monotonic()
    (lost.kill if how == "kill" else lost.cut)()
    wait(limit_s, "the page is there again", lambda: server.page("lost.test") == 200, 0.02)
    spent = time.monotonic() - start
    now = server.must("GET", "/api/v1/projects/lost")["status"]["nodeRef"]
    assert now != lost.name, f"still on {now}"
    return lost, spent


def measure_loss(programs, machines):
    times = {"kill": [], "cut": []}
    with World(programs, machines, FAST_SERVER, FAST_AGENT) as world:
        create(world.server, "lost")
        for _ in range(min(tries, 3)):
            for how in times:
                lost, spent = lose(world, how, 60)
                say(f"{how}: {spent:.2f} s")
                times[how].append(spent)
                if how == "kill":
                    lost.start_engine()
                    lost.start_agent(programs, world.server, *FAST_AGENT)
                else:
                    lost.mend()
                world.server.node_ready(lost)
                wait(60, "the old copy is gone", lambda: not lost.docker("ps", "-aq", "--filter", "label=cara.project").split())
        remove(world.server, "lost")
    settings = "timeout 2 s, grace 2 s"
    return all([
        row(f"node killed -> the page comes from the other one, {settings}", spread(times["kill"]), "below 8 s", max(times["kill"]) < 8),
        row(f"node cut off -> the page comes from the other one, {settings}", spread(times["cut"]), "below 8 s", max(times["cut"]) < 8),
    ])


def measure_loss_default(programs, machines):
    with World(programs, machines) as world:
        create(world.server, "lost")
        lost, spent = lose(world, "cut", 300)
        lost.mend()
        world.server.node_ready(lost)
        remove(world.server, "lost")
    return row("node cut off -> the page comes from the other one, default settings", f"{spent:.1f} s", "within 210 s", spent <= 210)


def main():
    programs, wanted = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    parts = {"delete": measure_delete, "rollout": measure_rollout, "idle": measure_idle,
             "loss": measure_loss, "loss-default": measure_loss_default}
    if unknown := [part for part in wanted if part not in parts]:
        sys.exit(f"unknown parts: {unknown}; there are {list(parts)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machines, holds = [], []
    try:
        web = archive([]), ["sh", "-c", 'trap "exit 0" TERM; httpd -f -p 8080 -h /www & wait']
        files = {"nginx.conf": NGINX_CONF, "var/log/nginx/keep": "", "var/lib/nginx/keep": "", 
                 "etc/passwd": "root:x:0:0::/:/bin/sh\n", "etc/group": "root:x:0:\n"}
        nginx = archive(["/usr/sbin/nginx"], files), ["sh", "-c", "echo $VERSION > /www/index.html; exec nginx -c /nginx.conf"]
        for number in (1, 2):
            machines.append(Machine(number))
            machines[-1].start_engine()
            machines[-1].import_image(WEB, *web)
            machines[-1].import_image(NGINX, *nginx)
        for part in wanted or parts:
            say(part)
            holds.append(parts[part](programs, machines))
    finally:
        for machine in machines:
            machine.end()
    print("| what | measured | goal | holds |\n|---|---|---|---|")
    print("\n".join(rows))
    sys.exit(0 if all(holds) else 1)


main()
