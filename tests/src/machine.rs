//! A second machine: a network namespace of its own with a Docker Engine of its own.
//!
//! Joined to this machine by a veth pair; nothing of it leaves the machine, and everything is
//! removed when it is dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::signal;
use crate::{Docker, Engine, Process, within};

/// Numbers of machines that are handed out to whoever asks first; tests that name a number
/// themselves stay below.
const SHARED_NUMBERS: std::ops::Range<u8> = 100..200;
/// How often an engine that ends at its start is started again.
const ENGINE_TRIES: u32 = 5;
/// How long the test of another process may have a machine.
const OTHERS: Duration = Duration::from_secs(300);
/// How long an engine may take to answer after it was started.
const ENGINE_START: Duration = Duration::from_secs(60);

/// A machine with its own network and engine.
pub struct Machine {
    name: String,
    number: u8,
    directory: TempDir,
    engine: Option<Process>,
    /// Held while the machine exists, so that no other process takes the same number.
    _claim: File,
    /// This side of the cable, where the server can be reached.
    pub host_ip: String,
    /// That side of the cable, where the machine can be reached.
    pub ip: String,
}

impl Machine {
    /// Makes a machine and starts its engine. `number` tells machines apart that exist at the
    /// same time, 1 to 99; waits while another process has a machine of the number.
    pub async fn start(number: u8) -> Self {
        let claim = within(OTHERS, "the number is free", async || claim(number)).await;
        Self::make(number, claim, None).await
    }

    /// Makes a machine with a number that no other process uses, whose engine keeps everything on
    /// a disk of so many MiB, in memory.
    pub async fn start_with_disk(disk_mib: u32) -> Self {
        let (number, claim) = claim_number();
        Self::make(number, claim, Some(disk_mib)).await
    }

    async fn make(number: u8, claim: File, disk_mib: Option<u32>) -> Self {
        let name = format!("cara-test-{number}");
        let prefix = format!("{name}-");
        clear_away(&name, &prefix);
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir();
        let directory = directory.expect("a directory");
        let (host_ip, ip) = (format!("10.231.{number}.1"), format!("10.231.{number}.2"));
        let mut machine = Self {
            name,
            number,
            directory,
            engine: None,
            _claim: claim,
            host_ip,
            ip,
        };
        machine.remove_network();
        if let Some(mib) = disk_mib {
            std::fs::create_dir_all(machine.data_root()).expect("a directory");
            let (size, root) = (format!("size={mib}m"), machine.data_root());
            let root = root.display().to_string();
            run(&["mount", "-t", "tmpfs", "-o", &size, "tmpfs", &root]);
        }
        machine.make_network();
        machine.start_engine_again().await;
        machine
    }

    /// Where the engine keeps images, containers and volumes.
    pub fn data_root(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts the engine, which does not run, and waits until it answers.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub async fn start_engine_again(&mut self) {
        let mut process = self.start_engine();
        let (engine, mut tries_left) = (self.engine(), ENGINE_TRIES);
        within(ENGINE_START, "the machine's engine answers", async || {
            if process.has_ended() {
                // An engine may stumble over what it left behind when it was killed. Whatever
                // watches over it on a real machine starts it again, and so does this.
                assert!(tries_left > 0, "it ended: {}", process.tail(60));
                tries_left -= 1;
                if process.log().contains("reservePools") {
                    // Killed while it made a network, this engine cannot read its own notes of
                    // networks (a fault of libnetwork); all that helps is to take them away.
                    println!("the engine of {} lost its networks", self.name);
                    let _ = std::fs::remove_dir_all(self.data_root().join("network/files"));
                }
                process = self.start_engine();
            }
            engine.answers().await.then_some(())
        })
        .await;
        self.engine = Some(process);
    }

    /// Ends the engine as if it had crashed.
    pub fn kill_engine(&mut self) {
        if let Some(engine) = &mut self.engine {
            engine.kill();
        }
    }

    /// Stops the engine's process where it is, or lets it go on.
    pub fn freeze_engine(&self, is_frozen: bool) {
        if let Some(engine) = &self.engine {
            engine.freeze(is_frozen);
        }
    }

    /// Last lines of what the engine logged.
    pub fn engine_log(&self, lines: usize) -> String {
        self.engine
            .as_ref()
            .map_or_else(String::new, |engine| engine.tail(lines))
    }

    /// Pulls the cable: nothing passes in either direction, and nobody is told.
    pub fn cut(&self) {
        let link = self.link("m");
        let rules = format!(
            "table netdev cable {{
                chain inward {{ type filter hook ingress device {link} priority 0; policy drop; }}
                chain outward {{ type filter hook egress device {link} priority 0; policy drop; }}
            }}"
        );
        let output = self.command("nft").arg(rules).output().expect("nft runs");
        assert!(
            output.status.success(),
            "cannot cut: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Plugs the cable in again.
    pub fn mend(&self) {
        // Fails only when it is in already.
        let _ = self
            .command("nft")
            .arg("delete table netdev cable")
            .output();
    }

    fn make_network(&self) {
        let (outside, inside) = (self.link("h"), self.link("m"));
        run(&["ip", "netns", "add", &self.name]);
        run(&[
            "ip", "link", "add", &outside, "type", "veth", "peer", "name", &inside,
        ]);
        run(&["ip", "link", "set", &inside, "netns", &self.name]);
        run(&[
            "ip",
            "addr",
            "add",
            &format!("{}/24", self.host_ip),
            "dev",
            &outside,
        ]);
        run(&["ip", "link", "set", &outside, "up"]);
        run(&[
            "ip",
            "-n",
            &self.name,
            "addr",
            "add",
            &format!("{}/24", self.ip),
            "dev",
            &inside,
        ]);
        run(&["ip", "-n", &self.name, "link", "set", &inside, "up"]);
        run(&["ip", "-n", &self.name, "link", "set", "lo", "up"]);
        run(&[
            "ip",
            "-n",
            &self.name,
            "route",
            "add",
            "default",
            "via",
            &self.host_ip,
        ]);
    }

    fn link(&self, side: &str) -> String {
        format!("{}{side}", self.name.replace("cara-test-", "cara"))
    }

    /// Removes what an engine that was killed left behind and a new one would stumble over: files
    /// with the numbers of processes that are gone, or go at this moment.
    fn forget_engine(&self) {
        let helper = self.directory.path().join("exec/containerd/containerd.pid");
        let pid = std::fs::read_to_string(&helper).unwrap_or_default();
        let is_alive = || {
            let line = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
            line.is_ok_and(|line| line.contains("(containerd)") && !line.contains(") Z "))
        };
        // The kernel ends it together with its parent.
        wait(100, || !is_alive());
        for file in [helper, self.directory.path().join("dockerd.pid")] {
            let _ = std::fs::remove_file(file);
        }
    }

    fn start_engine(&self) -> Process {
        self.forget_engine();
        let number = self.number;
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        let mut command = self.command("dockerd");
        command.args([
            "--data-root",
            &path("data"),
            "--exec-root",
            &path("exec"),
            "--pidfile",
            &path("dockerd.pid"),
            "--host",
            &format!("unix://{}", path("docker.sock")),
            "--bip",
            &format!("10.232.{number}.1/24"),
            "--default-address-pool",
            &format!("base=10.{}.0.0/16,size=24", 233),
        ]);
        Process::start(command, self.directory.path(), "dockerd")
    }

    /// A command that runs on the machine: in its network, with this machine's files. By
    /// `nsenter`, since `ip netns exec` would hide the mounts of the control groups.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/var/run/netns/{}", self.name))
            .arg("--")
            .arg(program);
        command
    }

    /// Address of the machine's engine.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The engine's socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    /// The machine's engine, asked without a command line.
    pub fn engine(&self) -> Engine {
        Engine::at(&self.socket())
    }

    /// The machine's engine.
    pub fn docker(&self) -> Docker {
        Docker::at(&self.docker_host())
    }

    /// Copies an image from this machine's engine.
    ///
    /// # Panics
    /// When the copy fails.
    pub fn copy_image(&self, image: &str) {
        let file = self.directory.path().join("image.tar");
        Docker::default().run(&["save", "-o", &file.display().to_string(), image]);
        self.docker()
            .run(&["load", "-i", &file.display().to_string()]);
        std::fs::remove_file(&file).expect("the copy goes");
    }

    fn remove_network(&self) {
        // What does not exist need not be removed.
        let _ = Command::new("ip")
            .args(["link", "del", &self.link("h")])
            .output();
        let _ = Command::new("ip")
            .args(["netns", "del", &self.name])
            .output();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.freeze_engine(false);
        if self.engine.as_mut().is_some_and(Process::has_ended) {
            // Its containers are still there; only an engine can end them.
            self.engine = Some(self.start_engine());
            wait(200, || self.docker().attempt(&["version"]).0);
        }
        let docker = self.docker();
        let (_, ids) = docker.attempt(&["ps", "-aq"]);
        let ids: Vec<&str> = ids.lines().collect();
        if !ids.is_empty() {
            docker.attempt(&[&["rm", "-f"], &ids[..]].concat());
        }
        if let Some(mut engine) = self.engine.take() {
            // A clean end lets the engine take down its bridges and mounts.
            signal(engine.pid(), "TERM");
            wait(200, || engine.has_ended());
            engine.kill();
        }
        end_processes(&self.name);
        unmount_below(self.directory.path());
        self.remove_network();
    }
}

/// Waits until `is_done`, looking every 50 ms, at most so often.
fn wait(looks: u32, mut is_done: impl FnMut() -> bool) {
    for _ in 0..looks {
        if is_done() {
            return;
        }
        let _ = Command::new("sleep").arg("0.05").status();
    }
}

/// Takes a number that no machine of any process has.
fn claim_number() -> (u8, File) {
    SHARED_NUMBERS
        .into_iter()
        .find_map(|number| Some((number, claim(number)?)))
        .expect("fewer than 100 machines exist at a time")
}

/// Takes a number, unless a machine of any process has it. The claim ends with this process,
/// however that ends.
pub(crate) fn claim(number: u8) -> Option<File> {
    let directory = std::env::temp_dir().join("cara-test-machines");
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = File::create(directory.join(number.to_string())).ok()?;
    file.try_lock().ok()?;
    Some(file)
}

/// Removes what is left of an earlier machine of the name whose test was killed.
fn clear_away(name: &str, prefix: &str) {
    end_processes(name);
    for entry in std::fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
    {
        let Ok(entry) = entry else { continue };
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            unmount_below(&entry.path());
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Ends every process of a machine, and all that they started: an engine that was killed may
/// have lost sight of some.
fn end_processes(name: &str) {
    let listed = Command::new("ip").args(["netns", "pids", name]).output();
    let text = listed.map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    // The first process of a container is in a network of its own, below one of these.
    let mut next = 0;
    while let Some(pid) = pids.get(next) {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
        let threads = threads.into_iter().flatten().flatten();
        let children: String = threads
            .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
            .collect();
        let new = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        let new: Vec<u32> = new.filter(|pid| !pids.contains(pid)).collect();
        pids.extend(new);
        next += 1;
    }
    for pid in pids {
        signal(pid, "KILL");
    }
}

/// Unmounts what an engine that was killed left mounted.
fn unmount_below(directory: &Path) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let prefix = directory.display().to_string();
    let below = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|path| path.starts_with(&prefix));
    for path in below {
        let _ = Command::new("umount").args(["-l", path]).status();
    }
}

pub(crate) fn run(command: &[&str]) {
    let output = Command::new(command[0])
        .args(&command[1..])
        .output()
        .expect("the command exists");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
