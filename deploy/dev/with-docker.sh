#!/usr/bin/env bash
# Runs a command with a Docker Engine: the one that runs, or one of its own that is stopped
# afterwards. Usage: with-docker.sh COMMAND [ARG ...]
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin

if docker info >/dev/null 2>&1; then
    exec "$@"
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "The Docker Engine does not answer. Start it, or run this as root." >&2
    exit 1
fi

log=$(mktemp /tmp/dockerd.XXXXXX.log)
# In a session of its own: Ctrl-C is for the command, which may need the engine to clean up.
setsid dockerd >"$log" 2>&1 &
dockerd=$!
stop() {
    kill "$dockerd" 2>/dev/null || true
    wait "$dockerd" 2>/dev/null || true
    rm -f "$log"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for _ in $(seq 300); do
    docker info >/dev/null 2>&1 && break
    kill -0 "$dockerd" 2>/dev/null || { echo "dockerd ended:" >&2; tail -20 "$log" >&2; exit 1; }
    sleep 0.1
done
docker info >/dev/null
"$@"
