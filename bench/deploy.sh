#!/usr/bin/env bash
# Measures the way from `apply` to the first answer beside `docker run`, the same image in turn, and what
# a server with an agent needs at rest. Options by environment: TRIES (7).
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
root=$(cd "$(dirname "$0")/.." && pwd)
bin=$root/target/release
work=$(mktemp -d)
tries=${TRIES:-7}
pid_deploy=

stop() {
    status=$?
    trap - EXIT INT TERM
    docker rm -f cara-bench >/dev/null 2>&1 || true
    [ -z "$pid_deploy" ] || { kill "$pid_deploy" && wait "$pid_deploy"; } 2>/dev/null || true
    rm -rf "$work"
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM

wait_for() { # wait_for COMMAND ...
    for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done
    echo "not ready: $*" >&2
    return 1
}

"$root/deploy/dev/images.sh" demo 2>/dev/null
"$bin/cara-server" --data-dir "$work/deploy" --api-listen 127.0.0.1:18820 --http-listen 127.0.0.1:18821 --with-agent \
    --node-name bench --access-log off --log-level cara_controlplane=info,warn --log-format json 2>"$work/deploy.err" &
pid_deploy=$!
export CARA_SERVER=http://127.0.0.1:18820
wait_for curl -fs "$CARA_SERVER/api/readyz"
wait_for sh -c "'$bin/caractrl' get nodes | grep -q Ready"
sleep 2
idle=$(awk '/VmRSS/{print $2}' "/proc/$pid_deploy/status")
cat > "$work/project.yaml" <<C
kind: Project
metadata: {name: bench}
spec:
  services: [{name: web, image: "cara-bench/web:1"}]
  ingress: [{name: web, host: bench.test, target: {service: web, port: 8080}}]
C
docker image inspect cara-bench/web:1 >/dev/null 2>&1 || {
    mkdir -p "$work/image/bin" "$work/image/www"
    cp /bin/busybox "$work/image/bin/busybox"
    ln -s busybox "$work/image/bin/httpd"
    echo hello > "$work/image/www/index.html"
    tar -C "$work/image" -c . | docker import --change 'CMD ["/bin/httpd", "-f", "-p", "8080", "-h", "/www"]' - cara-bench/web:1 >/dev/null
}
python3 "$root/bench/deploy.py" "$tries" "$bin/caractrl" "$work/project.yaml" 127.0.0.1:18821 bench.test cara-bench/web:1 > "$work/deploys"

python3 - "$work/deploys" "$idle" <<'P'
import statistics
import sys
times = {"docker": [], "apply": [], "started": []}
for line in open(sys.argv[1]):
    kind, seconds = line.split()
    times[kind].append(float(seconds))
pairs = [a / d for a, d in zip(times["apply"], times["docker"])]
print(f"Cached image, {len(pairs)} pairs (medians): apply -> 200 in {statistics.median(times['apply']):.3f} s, "
      f"docker run -> 200 in {statistics.median(times['docker']):.3f} s, ratio {statistics.median(pairs):.2f}; "
      f"slowest apply {max(times['apply']):.3f} s")
print(f"Container started -> 200 through the gateway: {1000 * statistics.median(times['started']):.0f} ms, "
      f"slowest {1000 * max(times['started']):.0f} ms")
print(f"Resident memory of a server with agent, idle: {int(sys.argv[2]) / 1024:.0f} MiB")
P
