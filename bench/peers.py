"""The proxies that are compared: their configurations, and how each is started on one core.

All listen on loopback with HTTP and HTTPS, prove themselves with one certificate, and forward to
the same upstreams. Logs of the others are off; the gateway runs as it is shipped.
"""
import json
import os
import pathlib
import socket
import subprocess
import time
import urllib.request

PROXY_CORE, LOAD_CORE = "0", "1"
HOST = "bench.test"
UPSTREAM = "127.0.0.1:18800"
SOCKETS = "127.0.0.1:18899"
# Plain and TLS port of each.
PORTS = {
    "min": (18801, 18841),
    "nginx": (18802, 18842),
    "haproxy": (18803, 18843),
    "caddy": (18804, 18844),
    "cara": (18805, 18845),
}
TITLES = {
    "min": "minimal pingora",
    "nginx": "nginx",
    "haproxy": "HAProxy",
    "caddy": "Caddy",
    "cara": "this gateway",
}
API = "http://127.0.0.1:18810"


def ticks(pid):
    """Processor time of a process and its children so far, in seconds."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        children = f.read().split()
    return own + sum(ticks(child) for child in children)


def rss_mib(pid):
    """Resident memory of a process and its children, in MiB."""
    with open(f"/proc/{pid}/status") as f:
        lines = [line for line in f if line.startswith("VmRSS")]
    own = int(lines[0].split()[1]) / 1024 if lines else 0.0
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        children = f.read().split()
    return own + sum(rss_mib(child) for child in children)


class Peers:
    """Starts everything in `work`, ends what it started."""

    def __init__(self, bin_dir, work):
        self.bin, self.work = pathlib.Path(bin_dir), pathlib.Path(work)
        self.processes = {}

    def start(self, name, core, *command, env=None):
        log = open(self.work / f"{name}.log", "wb")
        self.processes[name] = subprocess.Popen(
            ["taskset", "-c", core, *map(str, command)],
            stdout=log, stderr=log, env={**os.environ, **(env or {})})

    def pid(self, name):
        return self.processes[name].pid

    def stop(self):
        for name, process in self.processes.items():
            # The minimal proxy would take minutes to end by itself.
            process.kill() if name == "min" else process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start_all(self):
        self.certificate()
        self.upstreams()
        plain, tls = PORTS["min"]
        self.start("min", PROXY_CORE, self.bin / "pingora-min", f"127.0.0.1:{plain}", UPSTREAM,
                   f"127.0.0.1:{tls}", self.work / "cert.pem", self.work / "key.pem", SOCKETS)
        for name, template in (("nginx", NGINX), ("haproxy", HAPROXY), ("caddy", CADDY)):
            plain, tls = PORTS[name]
            text = template
            for key, value in {"work": self.work, "plain": plain, "tls": tls, "upstream": UPSTREAM,
                               "sockets": SOCKETS, "host": HOST}.items():
                text = text.replace(f"@{key}@", str(value))
            (self.work / f"{name}.conf").write_text(text)
        self.start("nginx", PROXY_CORE, "nginx", "-c", self.work / "nginx.conf")
        self.start("haproxy", PROXY_CORE, "haproxy", "-q", "-f", self.work / "haproxy.conf")
        self.start("caddy", PROXY_CORE, "caddy", "run", "--config", self.work / "caddy.conf", "--adapter", "caddyfile",
                   env={"XDG_DATA_HOME": str(self.work), "XDG_CONFIG_HOME": str(self.work)})
        self.gateway()
        for name, (plain, tls) in PORTS.items():
            for url in (f"http://127.0.0.1:{plain}/1k", f"https://127.0.0.1:{tls}/1k"):
                self.wait_for(name, url)

    def certificate(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST},IP:127.0.0.1",
             "-addext", "basicConstraints=critical,CA:FALSE",
             "-keyout", self.work / "key.pem", "-out", self.work / "cert.pem"], check=True, capture_output=True)
        both = (self.work / "cert.pem").read_text() + (self.work / "key.pem").read_text()
        (self.work / "both.pem").write_text(both)

    def upstreams(self):
        (self.work / "1k").write_bytes(b"x" * 1024)
        (self.work / "1m").write_bytes(b"x" * 1024 * 1024)
        conf = UPSTREAM_CONF.replace("@work@", str(self.work)).replace("@upstream@", UPSTREAM)
        (self.work / "upstream.conf").write_text(conf)
        self.start("upstream", LOAD_CORE, "nginx", "-c", self.work / "upstream.conf")
        self.start("sockets", LOAD_CORE, self.bin / "ws-bench", "echo", SOCKETS)

    def server(self, name, *flags):
        """The gateway's process, which can be followed by others of another name."""
        plain, tls = PORTS["cara"]
        self.start(name, PROXY_CORE, self.bin / "cara-server", "--data-dir", self.work / "data",
                   "--api-listen", API.removeprefix("http://"), "--http-listen", f"127.0.0.1:{plain}",
                   "--https-listen", f"127.0.0.1:{tls}", "--access-log", self.work / "access.log", "--log-level", "warn", *flags)

    def gateway(self):
        host, port = API.removeprefix("http://").split(":")
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                raise SystemExit(f"port {port} is taken: does another measurement run?")
        # No agent runs: the node that is made below sends no heartbeat.
        self.server("cara", "--node-timeout", "24h", "--plain-node-timeout", "24h")
        self.wait_for("cara", f"{API}/api/readyz")
        call("POST", "/api/v1/certificates", {
            "metadata": {"name": "bench"},
            "spec": {"certificate": (self.work / "cert.pem").read_text(), "privateKey": (self.work / "key.pem").read_text()}})
        node()
        deploy("bench", [ingress("web", HOST, "web", 80), ingress("sockets", HOST, "sockets", 81, "/ws")],
               {"web": (80, UPSTREAM), "sockets": (81, SOCKETS)})

    def wait_for(self, name, url):
        for _ in range(300):
            if self.processes[name].poll() is not None:
                break
            # The API answers its own names only.
            host = [] if "/api/" in url else ["-H", f"Host: {HOST}"]
            command = ["curl", "-fskS", "-o", "/dev/null", *host, "--connect-to", "::127.0.0.1:", url]
            if subprocess.run(command, capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise SystemExit(f"{name} is not ready: {url}\n{(self.work / f'{name}.log').read_text()[-2000:]}")


def call(method, path, body=None):
    """Asks the gateway's API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(API + path, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def node():
    """A node by the API that agents use: no container is needed to reach the upstreams."""
    call("POST", "/api/v1/nodes", {"metadata": {"name": "bench"}})
    call("POST", "/api/v1/nodes/bench/heartbeat")


def ingress(name, host, service, port, path="/"):
    # The certificate counts as trusted, and plain HTTP would be answered with a redirect.
    return {"name": name, "host": host, "path": path, "redirectHTTP": False, "target": {"service": service, "port": port}}


def deploy(name, rules, services):
    """A project whose services are said to run at the given addresses."""
    call("POST", "/api/v1/projects", {
        "metadata": {"name": name},
        "spec": {"services": [{"name": s, "image": "x"} for s in services], "ingress": rules}})
    for _ in range(300):
        status = call("GET", f"/api/v1/projects/{name}")["status"]
        if status.get("bindingEpoch"):
            break
        time.sleep(0.02)
    report(name, status["bindingEpoch"], 1, services)


def report(name, epoch, generation, services):
    """What an agent says about a project that runs."""
    states = [{"name": s, "state": "Running", "ready": True,
               "endpoints": [{"port": port, "address": address, "ready": True}]} for s, (port, address) in services.items()]
    call("POST", "/api/v1/nodes/bench/reports", {"reports": [{
        "project": name, "epoch": epoch, "generation": generation, "outcome": {"outcome": "Running"}, "services": states}]})


UPSTREAM_CONF = """
daemon off; user root; worker_processes 1; worker_rlimit_nofile 65536; pid @work@/upstream.pid; error_log stderr crit;
events { worker_connections 32768; }
http { access_log off; sendfile on; keepalive_requests 1000000000; server { listen @upstream@; root @work@; location / { try_files $uri /1k; } } }
"""
NGINX = """
daemon off; user root; worker_processes 1; pid @work@/nginx.pid; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; client_max_body_size 0; proxy_max_temp_file_size 0;
  map $http_upgrade $upgrade { default upgrade; '' ''; }
  upstream u { server @upstream@; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:@plain@; listen 127.0.0.1:@tls@ ssl http2;
    http2_max_requests 1000000000;
    ssl_certificate @work@/cert.pem; ssl_certificate_key @work@/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:s:10m;
    location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; }
    location /ws { proxy_pass http://@sockets@; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrade; }
  }
}
"""
HAPROXY = """
global
  nbthread 1
  maxconn 4096
  tune.ssl.default-dh-param 2048
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  http-reuse always
  option splice-response
frontend f
  bind 127.0.0.1:@plain@
  bind 127.0.0.1:@tls@ ssl crt @work@/both.pem alpn h2,http/1.1
  use_backend ws if { path /ws }
  default_backend b
backend b
  server s @upstream@ pool-max-conn 256
backend ws
  server s @sockets@
"""
CADDY = """
{
  admin off
  auto_https off
  servers {
    protocols h1 h2
  }
}
(proxy) {
  reverse_proxy /ws @sockets@
  reverse_proxy @upstream@
}
http://:@plain@ {
  import proxy
}
https://:@tls@ {
  tls @work@/cert.pem @work@/key.pem
  import proxy
}
"""
