#!/usr/bin/env bash
# Measures (a) the gateway beside a minimal pingora proxy, nginx and Caddy, and (b) the way from
# apply to the first answer beside `docker run`. Everything on loopback, interleaved in one run;
# results are ratios. Options by environment: ROUNDS (5), SECONDS_EACH (5), TRIES (7).
set -euo pipefail
export PATH=$PATH:/usr/sbin:/sbin
root=$(cd "$(dirname "$0")/.." && pwd)
bin=$root/target/release
work=$(mktemp -d)
rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-5}
tries=${TRIES:-7}
pids=()

stop() {
    status=$?
    trap - EXIT INT TERM
    docker rm -f cara-bench >/dev/null 2>&1 || true
    [ -z "${pid_min:-}" ] || kill -KILL "$pid_min" 2>/dev/null || true
    [ "${#pids[@]}" -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$work"
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT TERM

# The upstream answers 1 KiB; it and the load share the second core, each proxy has the first.
upstream=127.0.0.1:18800
head -c 1024 /dev/zero | tr '\0' x > "$work/1k"
cat > "$work/upstream.conf" <<C
daemon off; user root; worker_processes 1; pid $work/upstream.pid; error_log stderr crit;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000; server { listen $upstream; root $work; location / { try_files /1k =404; } } }
C
cat > "$work/nginx.conf" <<C
daemon off; user root; worker_processes 1; pid $work/nginx.pid; error_log stderr crit;
events { worker_connections 4096; }
http { access_log off; keepalive_requests 1000000000;
  upstream u { server $upstream; keepalive 256; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:18802; location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host \$host; } } }
C
cat > "$work/Caddyfile" <<C
{
  admin off
  auto_https off
}
:18803 {
  reverse_proxy $upstream
}
C

start() { # start CORE NAME COMMAND ...
    local core=$1 name=$2
    shift 2
    taskset -c "$core" "$@" >"$work/$name.out" 2>"$work/$name.err" &
    pids+=($!)
    eval "pid_$name=$!"
}
start 1 upstream nginx -c "$work/upstream.conf"
start 0 min "$bin/pingora-min" 127.0.0.1:18801 "$upstream"
start 0 nginx nginx -c "$work/nginx.conf"
XDG_DATA_HOME=$work XDG_CONFIG_HOME=$work start 0 caddy caddy run --config "$work/Caddyfile" --adapter caddyfile
# The gateway as it is shipped: access log, metrics and all, to a file.
start 0 cara "$bin/cara-server" --data-dir "$work/data" --api-listen 127.0.0.1:18810 --http-listen 127.0.0.1:18804 \
    --access-log "$work/access.log" --log-level warn

wait_for() { # wait_for COMMAND ...
    for _ in $(seq 300); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done
    echo "not ready: $*" >&2
    return 1
}
api=http://127.0.0.1:18810
wait_for curl -fs "$api/api/readyz"
# A node and a project by the API that agents use: no container is needed to reach the upstream.
curl -fsS -o /dev/null "$api/api/v1/nodes" -d '{"metadata":{"name":"bench"}}'
curl -fsS "$api/api/v1/nodes/bench/heartbeat" -X POST
curl -fsS -o /dev/null "$api/api/v1/projects" -d '{"metadata":{"name":"bench"},"spec":{"services":[{"name":"web","image":"x"}],"ingress":[{"name":"web","host":"bench.test","target":{"service":"web","port":80}}]}}'
epoch=
for _ in $(seq 100); do
    epoch=$(curl -fsS "$api/api/v1/projects/bench" | python3 -c 'import json,sys; print(json.load(sys.stdin)["status"].get("bindingEpoch",""))')
    [ -n "$epoch" ] && break
    sleep 0.1
done
curl -fsS -o /dev/null "$api/api/v1/nodes/bench/reports" -d '{"reports":[{"project":"bench","epoch":'"$epoch"',"generation":1,"outcome":{"outcome":"Running"},"services":[{"name":"web","state":"Running","ready":true,"endpoints":[{"port":80,"address":"'"$upstream"'","ready":true}]}]}]}'
ports="min:18801 nginx:18802 caddy:18803 cara:18804"
for entry in $ports; do wait_for curl -fs -H 'host: bench.test' "http://127.0.0.1:${entry#*:}/"; done

# ticks PID: processor time of a process and its children so far, in clock ticks.
ticks() { python3 - "$1" <<'P'
import os, sys
def one(pid):
    f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return int(f[11]) + int(f[12])
def tree(pid):
    kids = open(f"/proc/{pid}/task/{pid}/children").read().split()
    return one(pid) + sum(tree(k) for k in kids)
print(tree(sys.argv[1]))
P
}

: > "$work/results"
for round in $(seq 0 "$rounds"); do
    for entry in $ports; do
        name=${entry%:*} port=${entry#*:}
        pid=pid_$name
        before=$(ticks "${!pid}")
        taskset -c 1 wrk -t1 -c64 -d"${seconds}s" --latency -H 'Host: bench.test' "http://127.0.0.1:$port/" > "$work/wrk"
        after=$(ticks "${!pid}")
        # The first round warms up.
        [ "$round" -eq 0 ] || python3 - "$name" "$round" "$((after - before))" "$work/wrk" >> "$work/results" <<'P'
import os, re, sys
name, round, ticks, path = sys.argv[1:]
text = open(path).read()
unit = {"us": 1e-3, "ms": 1.0, "s": 1e3}
def latency(p):
    value, u = re.search(rf"{p}%\s+([\d.]+)(us|ms|s)", text).groups()
    return float(value) * unit[u]
requests = int(re.search(r"(\d+) requests in", text).group(1))
rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))
bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
cpu = int(ticks) / os.sysconf("SC_CLK_TCK") / requests * 100_000
print(name, round, rate, latency(50), latency(99), cpu, bad.group(1) if bad else 0)
P
    done
done

rss=$(awk '/VmRSS/{print $2}' "/proc/$pid_cara/status")
# The minimal proxy would take five minutes to end by itself.
kill -KILL "$pid_min"
wait "$pid_min" 2>/dev/null || true
for name in nginx caddy cara; do pid=pid_$name; kill "${!pid}" 2>/dev/null || true; done

# (b) apply -> first 200 against docker run -> first 200, the same image, in turn.
"$root/deploy/dev/images.sh" demo 2>/dev/null
"$bin/cara-server" --data-dir "$work/deploy" --api-listen 127.0.0.1:18820 --http-listen 127.0.0.1:18821 --with-agent \
    --node-name bench --access-log off --log-level cara_controlplane=info,warn --log-format json 2>"$work/deploy.err" &
pids+=($!)
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

python3 "$root/bench/report.py" "$work/results" "$work/deploys" "$rss" "$idle"
