#!/usr/bin/env bash
# Makes the container image from release binaries and Debian packages.
# Options by environment: IMAGE (caravanserai:dev), BIN (target/release).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
image=${IMAGE:-caravanserai:dev}
bin=${BIN:-$root/target/release}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rootfs=$work/rootfs

mkdir -p "$rootfs/usr/bin" "$rootfs/etc/ssl/certs" "$rootfs/tmp" "$rootfs/var/lib/caravanserai" "$rootfs/run"
chmod 1777 "$rootfs/tmp"
chown 65532:65532 "$rootfs/var/lib/caravanserai"
# The layout of Debian 12: /lib is a link into /usr.
mkdir -p "$rootfs/usr/lib" "$rootfs/usr/lib64"
ln -s usr/lib "$rootfs/lib"
ln -s usr/lib64 "$rootfs/lib64"

cd "$work"
apt-get download -q libc6 libgcc-s1 ca-certificates tzdata >/dev/null
for package in *.deb; do
    mkdir unpacked
    dpkg-deb -x "$package" unpacked
    # What a program needs at run time; no documentation, no scripts.
    for part in lib lib64 usr/lib usr/lib64; do
        [ ! -d "unpacked/$part" ] || cp -a "unpacked/$part/." "$rootfs/usr/${part##*/}/"
    done
    for part in usr/share/ca-certificates usr/share/zoneinfo; do
        [ ! -d "unpacked/$part" ] || { mkdir -p "$rootfs/$part"; cp -a "unpacked/$part/." "$rootfs/$part/"; }
    done
    rm -rf unpacked
done
cat "$rootfs"/usr/share/ca-certificates/mozilla/*.crt > "$rootfs/etc/ssl/certs/ca-certificates.crt"
rm -rf "$rootfs/usr/share/ca-certificates" "$rootfs"/usr/lib/*/gconv "$rootfs/usr/share/zoneinfo/right"
printf 'root:x:0:0::/:\ncaravanserai:x:65532:65532::/var/lib/caravanserai:\n' > "$rootfs/etc/passwd"
printf 'root:x:0:\ncaravanserai:x:65532:\n' > "$rootfs/etc/group"
printf 'hosts: files dns\n' > "$rootfs/etc/nsswitch.conf"
for program in cara-server cara-agent caractrl; do
    install -m 755 "$bin/$program" "$rootfs/usr/bin/$program"
done
docker build -q -f "$root/deploy/Dockerfile" -t "$image" "$work" >/dev/null
# The image must be able to run what is in it.
docker run --rm "$image" --version
docker run --rm --entrypoint /usr/bin/cara-agent "$image" --version
docker run --rm --entrypoint /usr/bin/caractrl "$image" --version
docker image inspect -f "$image: {{.Size}} bytes" "$image"
