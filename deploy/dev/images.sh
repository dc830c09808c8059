#!/usr/bin/env bash
# Makes container images from what this machine has; no image registry is needed.
# Usage: images.sh demo|test. An image that exists is left as it is, but for that of the tests'
# own program.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

missing() { ! docker image inspect "$1" >/dev/null 2>&1; }

# missing_of IMAGE SOURCE: there is none, or it was made from another one.
missing_of() { [ "$(docker image inspect --format '{{.Config.Labels.source}}' "$1" 2>/dev/null)" != "$2" ]; }

# new_root: an empty root file system with busybox, in $work/root.
new_root() {
    rm -rf "$work/root"
    mkdir -p "$work/root"/{bin,etc,proc,dev,run,tmp,var,www}
    chmod 1777 "$work/root/tmp"
    add /bin/busybox
    /bin/busybox --list | while read -r applet; do
        [ "$applet" = busybox ] || ln -sf busybox "$work/root/bin/$applet"
    done
    printf 'root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\npostgres:x:70:70:postgres:/tmp:/bin/sh\nwww-data:x:33:33:www-data:/www:/bin/sh\n' > "$work/root/etc/passwd"
    printf 'root:x:0:\nnogroup:x:65534:\npostgres:x:70:\nwww-data:x:33:\n' > "$work/root/etc/group"
}

# add FILE ...: programs with the libraries that they need, at the same paths.
add() {
    local file library
    for file in "$@"; do
        mkdir -p "$work/root$(dirname "$file")"
        cp -L "$file" "$work/root$file"
        { ldd "$file" 2>/dev/null | grep -o '/[^ ]*' || true; } | sort -u | while read -r library; do
            mkdir -p "$work/root$(dirname "$library")"
            [ -e "$work/root$library" ] || cp -L "$library" "$work/root$library"
        done
    done
}

# import IMAGE [--change ...]: the root file system as an image.
import() {
    local image=$1
    shift
    tar -C "$work/root" -c . | docker import "$@" - "$image" >/dev/null
    echo "made image $image" >&2
}

demo_images() {
    if missing cara-demo/web:1; then
        new_root
        # As the first process of a container httpd would not hear SIGTERM.
        import cara-demo/web:1 --change 'CMD ["sh", "-c", "trap \"exit 0\" TERM; httpd -f -p 8080 -h /www & wait"]'
    fi
    local source
    source=$(cksum <"$root/deploy/examples/clock.sh" | tr ' ' -)
    if missing_of cara-demo/clock:1 "$source"; then
        new_root
        cp "$root/deploy/examples/clock.sh" "$work/root/clock.sh"
        import cara-demo/clock:1 --change 'CMD ["sh", "/clock.sh"]' --change "LABEL source=$source"
    fi
}

test_images() {
    # Runs the shell script in the variable RUN: one image for every behaviour.
    if missing cara-test/shell:1; then
        new_root
        import cara-test/shell:1 --change 'CMD ["sh", "-c", "eval \"$RUN\""]'
    fi
    # A server for WebSocket, events, echo and slow answers.
    # Made anew each time, since it changes with the sources.
    local old
    old=$(docker image inspect --format '{{.Id}}' cara-test/app:1 2>/dev/null || true)
    new_root
    add "$root/target/debug/test-app"
    mv "$work/root$root/target/debug/test-app" "$work/root/test-app"
    rm -rf "$work/root${root%%/target*}/target"
    import cara-test/app:1 --change 'CMD ["/test-app"]'
    [ -z "$old" ] || docker rmi "$old" >/dev/null 2>&1 || true
    if missing nginx:alpine; then
        new_root
        mkdir -p "$work/root"/var/{log/nginx,lib/nginx} "$work/root/etc/nginx"
        add /usr/sbin/nginx
        printf 'daemon off;\nuser root;\nerror_log stderr;\npid /run/nginx.pid;\nevents {}\nhttp {\n  access_log off;\n  server { listen 80; root /www; }\n}\n' > "$work/root/etc/nginx/nginx.conf"
        echo '<h1>Welcome to nginx!</h1>' > "$work/root/www/index.html"
        import nginx:alpine --change 'CMD ["/usr/sbin/nginx"]'
    fi
    if missing cara-test/postgres:15; then
        new_root
        local home=/usr/lib/postgresql/15
        mkdir -p "$work/root$home" "$work/root/usr/share/postgresql" "$work/root/var/run/postgresql" "$work/root/usr/share/zoneinfo"
        cp -a "$home/." "$work/root$home/"
        cp -a /usr/share/postgresql/15 "$work/root/usr/share/postgresql/"
        cp -a /usr/share/zoneinfo/Etc "$work/root/usr/share/zoneinfo/" 2>/dev/null || true
        add "$home"/bin/postgres "$home"/bin/initdb "$home"/bin/psql "$home"/bin/pg_isready
        chmod 777 "$work/root/var/run/postgresql"
        import cara-test/postgres:15 --change "ENV PATH=$home/bin:/bin" --change 'CMD ["sh", "-c", "eval \"$RUN\""]'
    fi
}

case "${1:-}" in
demo) demo_images ;;
test) demo_images; test_images ;;
*) echo "usage: images.sh demo|test" >&2; exit 2 ;;
esac
