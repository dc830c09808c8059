//! What is broken: a server, and two machines each with an engine and an agent.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cara_tests::process::program;
use cara_tests::{Engine, Machine, Process, Server, unique};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::plan::{Fault, Harm, Target};
use crate::timing;

/// Images that the projects use.
pub const IMAGES: [&str; 2] = ["cara-test/app:1", "cara-test/shell:1"];
/// A disk that is never full, however full that of the host is.
pub const LARGE_DISK_MIB: u32 = 2048;
/// Longest wait for an answer of the server; longer than a freeze, so that an answer that comes
/// at all is seen.
const ANSWER: Duration = Duration::from_secs(10);

/// A machine with its agent.
pub struct Node {
    pub name: String,
    pub engine: Engine,
    /// Ended before the machine is.
    pub agent: Mutex<Process>,
    setup: AgentSetup,
    directory: TempDir,
    pub machine: Mutex<Machine>,
}

/// How an agent is started.
#[derive(Debug, Clone, Default)]
pub struct AgentSetup {
    /// Instead of the machine's own engine.
    pub docker_host: Option<String>,
    /// Further environment variables.
    pub env: Vec<(String, String)>,
    /// URL of the server.
    pub server: String,
}

impl Node {
    /// Starts an agent on a machine.
    pub fn start(machine: Machine, setup: AgentSetup) -> Self {
        let (name, directory) = (unique("node"), tempfile::tempdir().expect("a directory"));
        let agent = launch(&machine, &name, &setup, &directory);
        Self {
            name,
            engine: machine.engine(),
            agent: Mutex::new(agent),
            setup,
            directory,
            machine: Mutex::new(machine),
        }
    }

    /// Starts the agent, which has ended.
    pub async fn start_agent_again(&self) {
        let mut agent = self.agent.lock().await;
        let machine = self.machine.lock().await;
        *agent = launch(&machine, &self.name, &self.setup, &self.directory);
    }
}

fn launch(machine: &Machine, name: &str, setup: &AgentSetup, directory: &TempDir) -> Process {
    let mut command = machine.command(program("cara-agent"));
    let own = machine.docker_host();
    command
        .args(["--server", &setup.server, "--node-name", name])
        .args(["--advertise-ip", &machine.ip, "--data-dir"])
        // Whichever of the two is measured, it is the machine's disk.
        .arg(machine.data_root().join("agent"))
        .args(["--docker-host", setup.docker_host.as_ref().unwrap_or(&own)])
        .arg("--files-dir")
        .arg(files_of(name))
        .args(timing::agent_flags())
        .envs(setup.env.iter().map(|(key, value)| (key, value)));
    Process::start(command, directory.path(), "agent")
}

/// Where an agent keeps the files of its containers: in memory, and no other agent's.
fn files_of(name: &str) -> PathBuf {
    PathBuf::from("/dev/shm").join(format!("cara-test-{name}"))
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("agent {}:\n{}", self.name, self.agent.get_mut().tail(40));
        }
        // A process that is frozen is no less dead after SIGKILL.
        self.agent.get_mut().kill();
        let _ = std::fs::remove_dir_all(files_of(&self.name));
    }
}

/// A machine that has the images, and a disk of so many MiB.
pub async fn machine_with_images(disk_mib: u32) -> Machine {
    let machine = Machine::start_with_disk(disk_mib).await;
    IMAGES.iter().for_each(|image| machine.copy_image(image));
    machine
}

/// Everything that can break.
pub struct World {
    pub nodes: [Node; 2],
    pub server: Mutex<Server>,
    pub api: SocketAddr,
    pub http: SocketAddr,
    client: reqwest::Client,
}

impl World {
    /// Starts everything and waits until both nodes are ready.
    pub async fn start() -> Self {
        let a = machine_with_images(LARGE_DISK_MIB).await;
        let b = machine_with_images(LARGE_DISK_MIB).await;
        let mut args = vec![
            "--insecure-api".to_owned(),
            "--api-listen".to_owned(),
            format!("{}:0", a.host_ip),
        ];
        args.extend(timing::server_flags());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let server = Server::start(&args).await;
        let setup = AgentSetup {
            server: format!("http://{}", server.api),
            ..AgentSetup::default()
        };
        let nodes = [Node::start(a, setup.clone()), Node::start(b, setup)];
        for node in &nodes {
            server.node_ready(&node.name).await;
        }
        Self {
            nodes,
            api: server.api,
            http: server.http,
            server: Mutex::new(server),
            client: cara_tests::http_builder()
                .timeout(ANSWER)
                .build()
                .expect("a client"),
        }
    }

    /// Brings about a fault, and its end.
    pub async fn suffer(&self, fault: &Fault) {
        tokio::time::sleep(fault.after).await;
        let pause = tokio::time::sleep(fault.lasting);
        match (fault.target, fault.harm) {
            (Target::Server, Harm::Freeze) => {
                let server = self.server.lock().await;
                server.freeze(true);
                pause.await;
                server.freeze(false);
            }
            (Target::Server, Harm::Kill | Harm::Cut) => {
                let mut server = self.server.lock().await;
                server.kill();
                pause.await;
                server.start_again().await;
            }
            (Target::Agent(node), Harm::Freeze) => {
                let agent = self.nodes[node].agent.lock().await;
                agent.freeze(true);
                pause.await;
                agent.freeze(false);
            }
            (Target::Agent(node), Harm::Kill | Harm::Cut) => {
                self.nodes[node].agent.lock().await.kill();
                pause.await;
                self.nodes[node].start_agent_again().await;
            }
            (Target::Engine(node), Harm::Freeze) => {
                self.nodes[node].machine.lock().await.freeze_engine(true);
                pause.await;
                self.nodes[node].machine.lock().await.freeze_engine(false);
            }
            (Target::Engine(node), Harm::Kill | Harm::Cut) => {
                self.nodes[node].machine.lock().await.kill_engine();
                pause.await;
                let mut machine = self.nodes[node].machine.lock().await;
                machine.start_engine_again().await;
            }
            (Target::Link(node), _) => {
                self.nodes[node].machine.lock().await.cut();
                pause.await;
                self.nodes[node].machine.lock().await.mend();
            }
        }
    }

    /// A request to the API; status and body, or none when no answer came.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let method = method.parse().expect("a method");
        let request = self
            .client
            .request(method, format!("http://{}{path}", self.api));
        let request = match body {
            Value::Null => request,
            body => request
                .header("content-type", "application/json")
                .body(body.to_string()),
        };
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        Some((
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        ))
    }

    /// A request through the gateway; status and text, or none when no answer came.
    pub async fn page(&self, host: &str) -> Option<(u16, String)> {
        let request = self.client.get(format!("http://{}/", self.http));
        let answer = request.header("host", host).send().await.ok()?;
        let status = answer.status().as_u16();
        answer.text().await.ok().map(|text| (status, text))
    }

    /// Processes that ended although nobody ended them.
    pub async fn dead(&self) -> Vec<String> {
        let mut dead = Vec::new();
        if self.server.lock().await.has_ended() {
            dead.push("the server ended by itself".to_owned());
        }
        for node in &self.nodes {
            if node.agent.lock().await.has_ended() {
                dead.push(format!("the agent of {} ended by itself", node.name));
            }
        }
        dead
    }

    /// The ends of all logs, for people who look for a reason.
    pub async fn logs(&self, lines: usize) -> String {
        let server = self.server.lock().await.log();
        let from = server.lines().count().saturating_sub(lines);
        let server: Vec<&str> = server.lines().skip(from).collect();
        let mut all = format!("--- server\n{}\n", server.join("\n"));
        for node in &self.nodes {
            let agent = node.agent.lock().await.tail(lines);
            all.push_str(&format!("--- agent {}\n{agent}\n", node.name));
            let engine = node.machine.lock().await.engine_log(lines / 2);
            all.push_str(&format!("--- engine of {}\n{engine}\n", node.name));
        }
        all
    }

    /// Messages of panics in the logs of server and agents, also of those that were killed since.
    pub async fn panics(&self) -> Vec<String> {
        let mut folders = vec![self.server.lock().await.directory().to_owned()];
        folders.extend(
            self.nodes
                .iter()
                .map(|node| node.directory.path().to_owned()),
        );
        let files = folders
            .iter()
            .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
            .filter(|entry| entry.file_name().to_string_lossy().contains(".err"));
        let texts = files.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
        let is_panic = |line: &&str| line.contains("panicked");
        texts
            .flat_map(|text| {
                text.lines()
                    .filter(is_panic)
                    .map(String::from)
                    .collect::<Vec<_>>()
            })
            .collect()
    }
}

/// A command of the machine's own tools must end well.
pub fn must(command: &mut Command) {
    let output = command.output().expect("the command exists");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
