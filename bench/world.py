"""What operations.py measures in: machines (a network namespace with a Docker Engine each), a server
and agents. Nothing of it leaves this machine, and everything is ended and removed at the end.
"""
import http.client
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time

API, GATEWAY = 18840, 18841
START_LIMIT_S = 60
ENGINE_TRIES = 5


def run(*command, check=True, **more):
    done = subprocess.run(command, capture_output=True, text="input" not in more, **more)
    if check and done.returncode:
        raise RuntimeError(f"{command}: {done.stdout} {done.stderr}")
    return done.stdout


def wait(limit_s, what, probe, pause_s=0.05):
    """Looks until `probe` is true; what it was then."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(pause_s)
    raise TimeoutError(f"not within {limit_s} s: {what}")


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


class Process:
    """A child whose output goes to a file."""

    def __init__(self, log, *command):
        self.log = log
        with open(log, "ab") as out:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.pid = self.child.pid

    def end(self, limit_s=20):
        if self.child.poll() is None:
            self.child.terminate()
        try:
            self.child.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


class Machine:
    """A machine of its own, joined to this one by a veth pair. Its images are made from what this
    machine has."""

    def __init__(self, number):
        self.name = f"cara-bench-{number}"
        self.number = number
        self.link = f"carab{number}"
        self.host_ip, self.ip = f"10.241.{number}.1", f"10.241.{number}.2"
        self.engine = self.agent = None
        self.remove()
        self.work = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.name}-"))
        # The kernel keeps what containers are given as files in memory only.
        self.files = pathlib.Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir="/dev/shm"))
        self.docker_host = f"unix://{self.work}/docker.sock"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", f"{self.link}h", "type", "veth", "peer", "name", f"{self.link}m")
        run("ip", "link", "set", f"{self.link}m", "netns", self.name)
        run("ip", "addr", "add", f"{self.host_ip}/24", "dev", f"{self.link}h")
        run("ip", "link", "set", f"{self.link}h", "up")
        run("ip", "-n", self.name, "addr", "add", f"{self.ip}/24", "dev", f"{self.link}m")
        run("ip", "-n", self.name, "link", "set", f"{self.link}m", "up")
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        run("ip", "-n", self.name, "route", "add", "default", "via", self.host_ip)

    # `ip netns exec` would hide the mounts of the control groups.
    def inside(self, *command):
        return ("nsenter", f"--net=/var/run/netns/{self.name}", "--", *map(str, command))

    def docker(self, *args, **more):
        return run("docker", "-H", self.docker_host, *args, **more)

    def start_engine(self):
        """Starts the engine; one that was killed may stumble over what it left behind, and is
        started again."""
        self.forget_engine()
        for _ in range(ENGINE_TRIES):
            self.engine = Process(self.work / "dockerd.log", *self.inside(
                "dockerd", "--data-root", self.work / "data", "--exec-root", self.work / "exec",
                "--pidfile", self.work / "dockerd.pid", "--host", self.docker_host,
                "--bip", f"10.242.{self.number}.1/24", "--default-address-pool", "base=10.243.0.0/16,size=24"))
            engine = self.engine.child
            answers = lambda: run("docker", "-H", self.docker_host, "info", "-f", "{{.ServerVersion}}", check=False).strip()
            if wait(START_LIMIT_S, "the engine answers", lambda: engine.poll() is not None or answers(), 0.1) is not True:
                return
        raise RuntimeError("the engine ends: " + self.engine.log.read_text()[-2000:])

    def forget_engine(self):
        for file in ("exec/containerd/containerd.pid", "dockerd.pid"):
            (self.work / file).unlink(missing_ok=True)

    def start_agent(self, programs, server, *flags):
        self.agent = Process(self.work / "agent.log", *self.inside(
            programs / "cara-agent", "--server", f"http://{server.ip}:{API}", "--node-name", self.name,
            "--advertise-ip", self.ip, "--data-dir", self.work / "agent", "--docker-host", self.docker_host,
            "--files-dir", self.files, *flags))

    def pids(self):
        """Every process of the machine: those in its network, and what they started."""
        pids = [int(pid) for pid in run("ip", "netns", "pids", self.name, check=False).split()]
        for pid in pids:
            for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
                try:
                    pids += [int(child) for child in children.read_text().split() if int(child) not in pids]
                except (FileNotFoundError, ProcessLookupError):
                    pass
        return pids

    def kill(self):
        """Ends agent, engine and containers at once, as if the power were gone."""
        signal_all(self.pids(), signal.SIGKILL)
        for process in (self.agent, self.engine):
            process.child.wait()

    def cut(self):
        """Nothing passes the link in either direction, and nobody is told."""
        chain = "chain at_{0} {{ type filter hook {0} device {1} priority 0; policy drop; }}"
        rules = "\n".join(chain.format(hook, f"{self.link}m") for hook in ("ingress", "egress"))
        run(*self.inside("nft", f"table netdev cable {{\n{rules}\n}}"))

    def mend(self):
        run(*self.inside("nft", "delete table netdev cable"), check=False)

    def end(self):
        """Removes the machine with everything on it."""
        if self.agent:
            self.agent.end()
        if self.engine:
            if self.engine.child.poll() is not None:
                # Only an engine can take down what a killed one left behind.
                self.start_engine()
            ids = self.docker("ps", "-aq", check=False).split()
            if ids:
                self.docker("rm", "-f", *ids, check=False)
            self.engine.end()
        self.remove()

    def remove(self):
        """Removes the network, and what a run that was killed left behind."""
        signal_all(self.pids(), signal.SIGKILL)
        for directory in [*pathlib.Path(tempfile.gettempdir()).glob(f"{self.name}-*"), *pathlib.Path("/dev/shm").glob(f"{self.name}-*")]:
            mounts = [line.split()[1] for line in open("/proc/self/mounts")]
            for mount in mounts:
                if mount.startswith(str(directory)):
                    run("umount", "-l", mount, check=False)
            shutil.rmtree(directory, ignore_errors=True)
        run("ip", "link", "del", f"{self.link}h", check=False)
        run("ip", "netns", "del", self.name, check=False)

    def import_image(self, image, archive, command):
        self.docker("import", "--change", f"CMD {json.dumps(command)}", "-", image, input=archive)


def archive(programs, files=()):
    """A root file system as a tar: busybox, programs with the libraries that they need, and files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", dereference=True) as tar:
        paths = {"/bin/busybox", *programs}
        for program in list(paths):
            ldd = run("ldd", program, check=False).split()
            paths |= {word for word in ldd if word.startswith("/")}
        for path in sorted(paths):
            tar.add(path)
        for applet in run("/bin/busybox", "--list").split():
            if applet != "busybox":
                entry = tarfile.TarInfo(f"bin/{applet}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        for path, text in {"www/index.html": "hello\n", "run/keep": "", "tmp/keep": "", **dict(files)}.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


class Server:
    """The server, reached on loopback, and by agents at their machines' link."""

    def __init__(self, programs, machines, *flags):
        self.work = pathlib.Path(tempfile.mkdtemp(prefix="cara-bench-server-"))
        # Machines reach this side of the first one's link as well as of their own.
        self.ip = machines[0].host_ip
        self.process = Process(self.work / "log", programs / "cara-server", "--data-dir", self.work / "data",
                               "--insecure-api", "--api-listen", f"{self.ip}:{API}", "--http-listen", f"127.0.0.1:{GATEWAY}",
                               "--access-log", self.work / "access.log", *flags)
        server = self.process.child
        try:
            wait(START_LIMIT_S, "the server is ready", lambda: server.poll() is not None or self.ask("GET", "/api/readyz")[0] == 200)
            if server.poll() is not None:
                raise RuntimeError("the server ends: " + self.process.log.read_text()[-2000:])
        except BaseException:
            self.end()
            raise

    def ask(self, method, path, body=None):
        """Status and document; status 0 when there is no answer."""
        connection = http.client.HTTPConnection(self.ip, API, timeout=10)
        try:
            connection.request(method, path, json.dumps(body) if body else None)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else {}
        except OSError:
            return 0, {}
        finally:
            connection.close()

    def status(self, path):
        """The status of an object; empty when there is none."""
        code, document = self.ask("GET", path)
        return document.get("status", {}) if code == 200 else {}

    def must(self, method, path, body=None):
        status, document = self.ask(method, path, body)
        if status // 100 != 2:
            raise RuntimeError(f"{method} {path}: {status} {document}")
        return document

    def node_ready(self, machine):
        look = lambda: self.status(f"/api/v1/nodes/{machine.name}").get("state") == "Ready"
        wait(START_LIMIT_S, f"{machine.name} is ready", look)

    def running(self, name, limit_s=START_LIMIT_S):
        """Waits until a project runs; its status."""
        status = lambda: self.status(f"/api/v1/projects/{name}")
        try:
            wait(limit_s, f"{name} runs", lambda: status().get("phase") == "Running")
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {status()}")
        return status()

    def page(self, host, timeout_s=0.2):
        """Status that the gateway answers in time; 0 for none."""
        connection = http.client.HTTPConnection("127.0.0.1", GATEWAY, timeout=timeout_s)
        try:
            connection.request("GET", "/", headers={"Host": host})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def end(self):
        self.process.end()
        shutil.rmtree(self.work, ignore_errors=True)
