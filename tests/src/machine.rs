//! A second machine: a network namespace of its own with a Docker Engine of its own.
//!
//! Joined to this machine by a veth pair; nothing of it leaves the machine, and everything is
//! removed when it is dropped.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::{Docker, Process, eventually};

/// A machine with its own network and engine.
pub struct Machine {
    name: String,
    directory: TempDir,
    engine: Option<Process>,
    /// This side of the cable, where the server can be reached.
    pub host_ip: String,
    /// That side of the cable, where the machine can be reached.
    pub ip: String,
}

impl Machine {
    /// Makes a machine and starts its engine. `number` tells machines apart that exist at the
    /// same time, 1 to 200.
    pub async fn start(number: u8) -> Self {
        let name = format!("cara-test-{number}");
        let directory = tempfile::tempdir().expect("a directory");
        let (host_ip, ip) = (format!("10.231.{number}.1"), format!("10.231.{number}.2"));
        let mut machine = Self {
            name,
            directory,
            engine: None,
            host_ip,
            ip,
        };
        machine.remove_network();
        machine.make_network();
        machine.engine = Some(machine.start_engine(number));
        let docker = machine.docker();
        eventually("the second engine answers", async || {
            docker.attempt(&["info"]).0.then_some(())
        })
        .await;
        machine
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

    fn start_engine(&self, number: u8) -> Process {
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
        format!(
            "unix://{}",
            self.directory.path().join("docker.sock").display()
        )
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
        let docker = self.docker();
        let (_, ids) = docker.attempt(&["ps", "-aq"]);
        let ids: Vec<&str> = ids.lines().collect();
        if !ids.is_empty() {
            docker.attempt(&[&["rm", "-f"], &ids[..]].concat());
        }
        if let Some(mut engine) = self.engine.take() {
            let pid = engine.pid().to_string();
            // A clean end lets the engine take down its bridges and mounts.
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
            for _ in 0..200 {
                if engine.has_ended() {
                    break;
                }
                let _ = Command::new("sleep").arg("0.05").status();
            }
            engine.kill();
        }
        unmount_below(self.directory.path());
        self.remove_network();
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

fn run(command: &[&str]) {
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
