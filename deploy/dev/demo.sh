#!/usr/bin/env bash
# The main job on this machine: start a server with an agent, deploy an example, fetch it by its
# hostname. Stays until Ctrl-C, then removes everything. ONCE=1: check and stop.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
bin=$root/target/debug
data=$root/.demo
api=127.0.0.1:8080
http=127.0.0.1:8000
https=127.0.0.1:8443
url=http://hello.dev.localhost:8000/
export CARA_SERVER=http://$api
# A name of its own, so that the clean-up finds what the demo made and nothing else.
node=demo

for address in "$api" "$http" "$https"; do
    if (exec 3<>"/dev/tcp/${address%:*}/${address#*:}") 2>/dev/null; then
        echo "Something listens on $address already; the demo needs that port." >&2
        exit 1
    fi
done

"$root/deploy/dev/images.sh" demo
rm -rf "$data"
mkdir -p "$data"
# In a session of its own: Ctrl-C is for this script, which needs the server to clean up.
setsid "$bin/cara-server" --data-dir "$data" --api-listen "$api" --http-listen "$http" --https-listen "$https" \
    --with-agent --node-name "$node" --files-dir "$data/files" \
    --access-log "$data/access.log" 2>"$data/server.log" &
server=$!

stop() {
    status=$?
    trap - EXIT
    # Every step is tried, whatever became of those before.
    set +e
    # A second Ctrl-C must not cut the clean-up off; every step of it has an end.
    trap '' INT TERM HUP PIPE
    if [ "$status" -ne 0 ] && [ -s "$data/server.log" ]; then
        echo "The server's last lines:" >&2
        tail -20 "$data/server.log" >&2
    fi
    for project in $("$bin/caractrl" get projects -o json 2>/dev/null | sed -n 's/^ *"name": "\([a-z0-9-]*\)",*$/\1/p'); do
        timeout 30 "$bin/caractrl" delete project "$project" --yes >/dev/null 2>&1 || true
    done
    for _ in $(seq 150); do
        [ -n "$(docker ps -aq --filter "label=cara.node=$node")" ] || break
        sleep 0.1
    done
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    mine="label=cara.node=$node"
    docker ps -aq --filter "$mine" | xargs -r docker rm -fv >/dev/null 2>&1 || true
    docker network ls -q --filter "$mine" | xargs -r docker network rm >/dev/null 2>&1 || true
    docker volume ls -q --filter "$mine" | xargs -r docker volume rm -f >/dev/null 2>&1 || true
    ! mountpoint -q "$data/files/$node" || umount "$data/files/$node" || true
    rm -rf "$data"
    exit "$status"
}
trap stop EXIT
trap 'exit 0' INT TERM
# The terminal was closed, or nobody reads any more, as with `make demo | head`.
trap 'exit 1' HUP PIPE

for _ in $(seq 100); do
    "$bin/caractrl" get nodes 2>/dev/null | grep -q "^$node  *Ready" && break
    kill -0 "$server" 2>/dev/null || exit 1
    sleep 0.1
done

echo "\$ caractrl apply -f deploy/examples/hello.yaml --wait"
"$bin/caractrl" apply -f "$root/deploy/examples/hello.yaml" --wait --timeout 60s
echo "\$ curl $url"
page=$(curl -fsS --max-time 10 --retry 10 --retry-delay 1 --retry-all-errors --resolve "hello.dev.localhost:8000:127.0.0.1" "$url")
echo "$page"
case "$page" in *"Hello from Caravanserai"*) ;; *) echo "That is not the page of the example." >&2; exit 1 ;; esac
echo "\$ caractrl get projects -o wide"
"$bin/caractrl" get projects -o wide

echo "\$ caractrl ca print > cara.crt; curl --cacert cara.crt https://hello.dev.localhost:8443/"
"$bin/caractrl" ca print >"$data/cara.crt"
curl -fsS --max-time 10 --cacert "$data/cara.crt" --resolve "hello.dev.localhost:8443:127.0.0.1" \
    https://hello.dev.localhost:8443/ | grep -o '<h1>[^<]*'

if [ "${ONCE:-}" = 1 ]; then
    echo "The demo works."
    exit 0
fi
cat <<TEXT

Open $url in a browser (browsers resolve *.localhost by themselves). https://hello.dev.localhost:8443/
is the same page with a certificate of the server's own authority: caractrl ca install --browsers-of "\$HOME" makes
browsers trust it.
In another terminal: export PATH=$bin:\$PATH, then try
  caractrl get projects        caractrl describe project hello
  caractrl logs hello/clock    caractrl get nodes -o wide
The server's log is in $data/server.log. Ctrl-C removes all projects, yours too, and all else but the
two demo images.
TEXT
wait "$server"
