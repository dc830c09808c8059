#!/usr/bin/env bash
# Installs what a job needs and this machine lacks. Usage: setup.sh demo|test|bench|deny|fuzz|h2spec
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

packages=()
# want COMMAND PACKAGE: the package, unless the command is there.
want() { command -v "$1" >/dev/null 2>&1 || PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1 || packages+=("$2"); }
# want_file PATH PACKAGE: the package, unless the file is there.
want_file() { [ -e "$1" ] || packages+=("$2"); }

install_packages() {
    [ "${#packages[@]}" -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "Missing: ${packages[*]}. Install them, or run this as root on Debian." >&2
        exit 1
    fi
    echo "Installing ${packages[*]}" >&2
    apt-get update -qq
    # Services of the packages must not start: what is needed is started by hand, and stopped.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

build_tools() {
    want cc gcc
    want make make
    want cmake cmake
    command -v cargo >/dev/null 2>&1 || { echo "Rust is missing: install it with rustup (rustup.rs)." >&2; exit 1; }
}

docker_engine() {
    want dockerd docker.io
    want docker docker.io
    want iptables iptables
    want_file /bin/busybox busybox-static
}

# Its versions are the newest that Debian's Go builds; its modules are pinned in go.sum.
h2spec() {
    [ -x "$root/target/tools/h2spec" ] || (cd "$root/deploy/dev/h2spec" && mkdir -p "$root/target/tools" &&
        go build -buildvcs=false -o "$root/target/tools/h2spec" github.com/summerwind/h2spec/cmd/h2spec)
}

case "${1:-}" in
demo)
    build_tools; docker_engine; want curl curl; install_packages ;;
test)
    build_tools; docker_engine
    want ip iproute2; want nsenter util-linux; want nft nftables; want faketime faketime; want curl curl; want systemd-analyze systemd; want promtool prometheus
    want nginx nginx-light; want docker-registry docker-registry; want docker-compose docker-compose
    want pebble pebble; want named bind9; want openssl openssl
    want chromium chromium; want certutil libnss3-tools
    want_file /usr/lib/postgresql/15/bin/postgres postgresql-15
    want go golang-go
    install_packages
    h2spec
    # What the container image is made of, so that tests need no network.
    [ -d "$root/target/tools/packages" ] || "$root/deploy/image.sh" packages "$root/target/tools/packages" ;;
bench)
    build_tools; docker_engine
    want nginx nginx-light; want haproxy haproxy; want caddy caddy; want wrk wrk; want h2load nghttp2-client; want openssl openssl; want curl curl; want taskset util-linux; want python3 python3
    want ip iproute2; want nsenter util-linux; want nft nftables
    install_packages ;;
deny)
    if ! PATH="$root/target/tools/bin:$PATH" command -v cargo-deny >/dev/null 2>&1; then
        cargo install --quiet --locked --root "$root/target/tools" cargo-deny
    fi ;;
h2spec)
    build_tools; want go golang-go; install_packages
    h2spec ;;
fuzz)
    build_tools; want g++ g++; install_packages
    if ! PATH="$root/target/tools/bin:$PATH" command -v cargo-fuzz >/dev/null 2>&1; then
        cargo install --quiet --locked --root "$root/target/tools" cargo-fuzz
    fi ;;
*)
    echo "usage: setup.sh demo|test|bench|deny|fuzz|h2spec" >&2; exit 2 ;;
esac
