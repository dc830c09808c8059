#!/usr/bin/env bash
# Makes the container image from binaries and Debian packages, and starts what is in it.
# Usage: image.sh [packages DIR]; the second form only fetches the packages.
# Options by environment: IMAGE (caravanserai:dev), BIN (target/release), STRIP=1 to leave out the
# symbols of the programs, PACKAGES (a directory that has the packages; fetched otherwise).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
image=${IMAGE:-caravanserai:dev}
bin=${BIN:-$root/target/release}
start_timeout_s=60

# fetch DIR: the packages whose files go into the image.
fetch() {
    rm -rf "$1.part"
    mkdir -p "$1.part"
    # As root, apt reads as a user of its own, who may not look into the directory, and says so.
    local command=(apt-get download -q -o APT::Sandbox::User=root libc6 libgcc-s1 ca-certificates tzdata)
    # The first try fails where the lists of packages are old, or not there.
    (cd "$1.part" && { "${command[@]}" >/dev/null 2>&1 || { apt-get update -qq && "${command[@]}" >/dev/null; }; })
    mv -T "$1.part" "$1"
}

case "$#:${1:-}" in
0:) ;;
2:packages)
    fetch "$2"
    exit
    ;;
*)
    echo "usage: image.sh [packages DIR]" >&2
    exit 2
    ;;
esac

work=$(mktemp -d)
container=
volume=
clean_up() {
    [ -z "$container" ] || docker rm -f "$container" >/dev/null 2>&1 || true
    [ -z "$volume" ] || docker volume rm "$volume" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

context=$work/context
rootfs=$context/rootfs
mkdir -p "$rootfs/usr/bin" "$rootfs/etc/ssl/certs" "$rootfs/tmp" "$rootfs/var/lib" "$rootfs/run"
chmod 1777 "$rootfs/tmp"
# The store is for its owner alone; whose it is, the Dockerfile says.
install -d -m 700 "$context/data"
# The layout of Debian 12: /lib is a link into /usr.
mkdir -p "$rootfs/usr/lib" "$rootfs/usr/lib64"
ln -s usr/lib "$rootfs/lib"
ln -s usr/lib64 "$rootfs/lib64"

packages=${PACKAGES:-}
if [ -z "$packages" ]; then
    packages=$work/packages
    fetch "$packages"
elif [ ! -d "$packages" ]; then
    echo "There is no directory $packages: make it with \`deploy/image.sh packages DIR\`." >&2
    exit 1
fi
for package in "$packages"/*.deb; do
    dpkg-deb -x "$package" "$work/unpacked"
    # What a program needs at run time; no documentation, no scripts.
    for part in lib lib64 usr/lib usr/lib64; do
        [ ! -d "$work/unpacked/$part" ] || cp -a "$work/unpacked/$part/." "$rootfs/usr/${part##*/}/"
    done
    for part in usr/share/ca-certificates usr/share/zoneinfo; do
        [ ! -d "$work/unpacked/$part" ] || { mkdir -p "$rootfs/$part"; cp -a "$work/unpacked/$part/." "$rootfs/$part/"; }
    done
    rm -rf "$work/unpacked"
done
cat "$rootfs"/usr/share/ca-certificates/mozilla/*.crt > "$rootfs/etc/ssl/certs/ca-certificates.crt"
rm -rf "$rootfs/usr/share/ca-certificates" "$rootfs"/usr/lib/*/gconv "$rootfs/usr/share/zoneinfo/right"
printf 'root:x:0:0::/:\ncaravanserai:x:65532:65532::/var/lib/caravanserai:\n' > "$rootfs/etc/passwd"
printf 'root:x:0:\ncaravanserai:x:65532:\n' > "$rootfs/etc/group"
printf 'hosts: files dns\n' > "$rootfs/etc/nsswitch.conf"
for program in cara-server cara-agent caractrl; do
    install -m 755 ${STRIP:+-s} "$bin/$program" "$rootfs/usr/bin/$program"
done
docker build -q -f "$root/deploy/Dockerfile" -t "$image" "$context" >/dev/null
rm -rf "$context"

# The image must be able to run what is in it.
docker run --rm "$image" --version
docker run --rm --entrypoint /usr/bin/cara-agent "$image" --version
docker run --rm --entrypoint /usr/bin/caractrl "$image" --version

# As the user of the image, on a volume that is new: the server gets ready, and ends in order. The
# API is reached from outside its container only with TLS.
volume=$(docker volume create)
container=$(docker create -v "$volume:/var/lib/caravanserai" -p 127.0.0.1::8080 "$image" \
    --api-listen 0.0.0.0:8080 --api-tls internal)
docker start "$container" >/dev/null
address=$(docker port "$container" 8080/tcp | head -n 1)
failed() {
    echo "The server of the image $1. Its last lines:" >&2
    docker logs --tail 20 "$container" >&2
    exit 1
}
SECONDS=0
until curl -fsk --max-time 5 "https://$address/api/readyz" >/dev/null 2>&1; do
    [ "$(docker inspect -f '{{.State.Running}}' "$container")" = true ] || failed "ended"
    [ "$SECONDS" -lt "$start_timeout_s" ] || failed "is not ready"
    sleep 0.1
done
docker stop -t 20 "$container" >/dev/null
[ "$(docker inspect -f '{{.State.ExitCode}}' "$container")" = 0 ] || failed "did not end in order"
echo "The server gets ready on a new volume as the user of the image"
docker image inspect -f "$image: {{.Size}} bytes" "$image"
