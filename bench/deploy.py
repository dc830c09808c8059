"""Times `caractrl apply` and `docker run`, each until the first 200, in turn.

Usage: deploy.py TRIES CARACTRL MANIFEST GATEWAY HOST IMAGE. Prints `kind seconds` lines;
`started` is the time from the container's start to the first 200 through the gateway.
"""
import datetime
import http.client
import json
import subprocess
import sys
import time

tries, caractrl, manifest, gateway, host, image = sys.argv[1:]
LIMIT_S = 60


def poll(address, header):
    """Waits for the first 200 with a new connection every 5 ms."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(address, timeout=2)
        try:
            connection.request("GET", "/", headers={"Host": header})
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.005)
    sys.exit(f"{address} did not answer within {LIMIT_S} s")


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


for turn in range(int(tries) + 1):
    start = time.monotonic()
    run("docker", "run", "-d", "--name", "cara-bench", image)
    ip = json.loads(run("docker", "inspect", "cara-bench"))[0]["NetworkSettings"]["IPAddress"]
    poll(f"{ip}:8080", host)
    docker = time.monotonic() - start
    run("docker", "rm", "-f", "cara-bench")

    start = time.monotonic()
    run(caractrl, "apply", "-f", manifest)
    poll(gateway, host)
    apply = time.monotonic() - start
    answered = datetime.datetime.now(datetime.timezone.utc)
    state = json.loads(run("docker", "inspect", "bench-web"))[0]["State"]
    started = datetime.datetime.fromisoformat(state["StartedAt"][:26] + "+00:00")
    run(caractrl, "delete", "project", "bench", "--wait")
    # The first turn warms up.
    if turn:
        print("docker", docker)
        print("apply", apply)
        print("started", (answered - started).total_seconds())
