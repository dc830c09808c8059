//! Agent processes.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::program;
use crate::server::agent_defaults;
use crate::{Docker, Machine, Process, Server};

/// A running `cara-agent`.
pub struct Agent {
    node: String,
    process: Process,
    directory: TempDir,
    command: Box<dyn Fn(&Path) -> Command + Send + Sync>,
}

impl Agent {
    /// Starts an agent of `server` on this machine's own engine.
    pub fn start(server: &Server, node: &str) -> Self {
        Self::start_with(server, node, |_| {})
    }

    /// The same, with something changed about its command.
    pub fn start_with(
        server: &Server,
        node: &str,
        change: impl Fn(&mut Command) + Send + Sync + 'static,
    ) -> Self {
        let (url, node) = (format!("http://{}", server.api), node.to_owned());
        Self::launch(&node.clone(), move |directory| {
            let mut command = Command::new(program("cara-agent"));
            command.args([
                "--server",
                &url,
                "--node-name",
                &node,
                "--listen",
                "127.0.0.1:0",
            ]);
            command.arg("--data-dir").arg(directory);
            change(&mut command);
            command
        })
    }

    /// Starts an agent of `server` on another machine, with the engine there.
    pub fn start_on(server: &Server, machine: &Machine, node: &str) -> Self {
        let inside = machine.command(program("cara-agent"));
        let name_of = inside.get_program().to_owned();
        let mut args: Vec<OsString> = inside.get_args().map(OsString::from).collect();
        let more = [
            "--server",
            &format!("http://{}", server.api),
            "--node-name",
            node,
            "--advertise-ip",
            &machine.ip,
            "--docker-host",
            &machine.docker_host(),
            "--data-dir",
        ];
        args.extend(more.map(OsString::from));
        Self::launch(node, move |directory| {
            let mut command = Command::new(&name_of);
            command.args(&args).arg(directory);
            command
        })
    }

    /// Starts an agent of `server` that joins by a token; on this machine's own engine.
    pub fn join(server: &Server, node: &str, token: &str) -> Self {
        let agent = [
            ("--server", server.base()),
            ("--node-name", node.to_owned()),
            ("--listen", "127.0.0.1:0".to_owned()),
            ("--heartbeat-interval", "500ms".to_owned()),
        ];
        let token = token.to_owned();
        Self::launch(node, move |directory| {
            let mut command = Command::new(program("cara-agent"));
            for (flag, value) in &agent {
                command.args([flag, value.as_str()]);
            }
            command.env("CARA_JOIN", &token);
            command.arg("--data-dir").arg(directory);
            command
        })
    }

    /// The agent's data directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts the agent again with another command, on the same data.
    pub fn start_again_with(&mut self, change: impl Fn(&mut Command)) {
        self.process.kill();
        let mut command = agent_defaults((self.command)(self.directory.path()));
        change(&mut command);
        self.process = Process::start(command, self.directory.path(), "agent");
    }

    /// True when the agent has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.has_ended()
    }

    /// Starts an agent by a command that gets the agent's data directory.
    /// `node` is the name that the command gives it.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn launch(node: &str, command: impl Fn(&Path) -> Command + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let first = agent_defaults(command(directory.path()));
        let process = Process::start(first, directory.path(), "agent");
        Self {
            node: node.to_owned(),
            process,
            directory,
            command: Box::new(command),
        }
    }

    /// Ends the agent as if it had crashed, and starts it again.
    pub fn crash_and_start_again(&mut self) {
        self.process.kill();
        self.process = Process::start(
            agent_defaults((self.command)(self.directory.path())),
            self.directory.path(),
            "agent",
        );
    }

    /// The agent's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Stops the agent where it is, or lets it go on.
    pub fn freeze(&self, is_frozen: bool) {
        self.process.freeze(is_frozen);
    }

    /// Ends the agent as if it had crashed.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// What the agent logged.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill();
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.process.log());
            Docker::default().remove_all_of_node(&self.node);
        }
    }
}
