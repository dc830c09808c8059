//! Commands that users run in containers: start, both outputs, input, size, signals, exit code.

use std::time::Duration;

use bollard::models::ExecConfig;
use bollard::query_parameters::ResizeExecOptionsBuilder;
use bytes::{Buf, Bytes, BytesMut};
use cara_api::stream::{Channel, ExecQuery, Signal, Size};
use rustix::process::{Pid, kill_process, kill_process_group};
use serde_json::json;
use tokio::io::{AsyncReadExt, ReadHalf, WriteHalf};

use super::engine::Engine;
use super::error::{Error, found};
use super::hijack::Wire;

/// How often, and for how long in all, the engine is asked what a command returned that has ended.
const CODE_PAUSES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(700),
    Duration::from_secs(2),
];
/// Longest piece of output that is passed on at once, in bytes.
const PIECE: usize = 32 * 1024;
/// Bytes before each piece of output when there is no terminal.
const HEAD: usize = 8;

/// A command that was made but not started.
pub(crate) struct Command {
    pub(crate) id: String,
    container: String,
    pub(crate) has_tty: bool,
}

/// A command that runs.
pub(crate) struct Running {
    /// What it says.
    pub(crate) output: Output,
    /// What it reads.
    pub(crate) input: Input,
}

/// What a command reads. When this is shut down, it reads an end; with a terminal, the engine cuts off the
/// outputs instead and lets it go on.
pub(crate) type Input = WriteHalf<Wire>;

/// What a command says.
pub(crate) struct Output {
    wire: ReadHalf<Wire>,
    has_tty: bool,
    buffer: BytesMut,
    /// What is left of the piece that was begun.
    open: Option<(Channel, usize)>,
}

impl Engine {
    /// Makes a command in a container.
    ///
    /// # Errors
    /// The engine does not answer, or refuses.
    pub(crate) async fn command(
        &self,
        container: &str,
        query: &ExecQuery,
    ) -> Result<Command, Error> {
        let size = query.size.filter(|_| query.tty);
        let config = ExecConfig {
            attach_stdin: Some(query.stdin),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            tty: Some(query.tty),
            console_size: size.map(|size| vec![size.rows.into(), size.cols.into()]),
            cmd: Some(query.command.clone()),
            ..ExecConfig::default()
        };
        let made = self.docker.create_exec(container, config).await;
        let made = made.map_err(|e| Error::new("run a command", "ExecFailed", e))?;
        Ok(Command {
            id: made.id,
            container: container.to_owned(),
            has_tty: query.tty,
        })
    }

    /// Starts a command. A program that cannot be started shows in the output and the code.
    ///
    /// # Errors
    /// The engine does not answer, or refuses.
    pub(crate) async fn start_command(
        &self,
        command: &Command,
        size: Option<Size>,
    ) -> Result<Running, Error> {
        let path = format!("/exec/{}/start", command.id);
        let mut body = json!({"Detach": false, "Tty": command.has_tty});
        if let Some(size) = size.filter(|_| command.has_tty) {
            body["ConsoleSize"] = json!([size.rows, size.cols]);
        }
        let wire = self.hijack(&path, &body).await?;
        let (wire, input) = tokio::io::split(wire);
        let output = Output {
            wire,
            has_tty: command.has_tty,
            buffer: BytesMut::new(),
            open: None,
        };
        Ok(Running { output, input })
    }

    /// Changes the size of a command's terminal; one that has ended is fine.
    pub(crate) async fn resize(&self, command: &Command, size: Size) {
        let options = ResizeExecOptionsBuilder::default()
            .h(i32::from(size.rows))
            .w(i32::from(size.cols))
            .build();
        if let Err(error) = self.docker.resize_exec(&command.id, options).await {
            tracing::debug!(error = %error, "cannot resize a terminal");
        }
    }

    /// What a command returned; none while it runs, or when the engine does not say.
    pub(crate) async fn exit_code(&self, command: &Command) -> Option<i64> {
        for pause in CODE_PAUSES {
            tokio::time::sleep(pause).await;
            let state = self.docker.inspect_exec(&command.id).await.ok()?;
            if state.running == Some(false) {
                return state.exit_code;
            }
        }
        None
    }

    /// Whether a command ended, as far as the engine says. One that was not started yet did not.
    pub(crate) async fn has_command_ended(&self, command: &Command) -> bool {
        match found(self.docker.inspect_exec(&command.id).await) {
            Ok(Some(state)) => state.running != Some(true) && state.exit_code.is_some(),
            // With its container.
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Sends a signal to a command and what it started. The engine has no call for that, so it
    /// works where the agent sees the engine's processes. Whether it was sent.
    pub(crate) async fn signal_command(&self, command: &Command, signal: KillSignal) -> bool {
        let Ok(state) = self.docker.inspect_exec(&command.id).await else {
            return false;
        };
        let pid = state.pid.filter(|_| state.running == Some(true));
        let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) else {
            return false;
        };
        // The number may be that of another process, on another machine or after this one ended.
        if !is_of_container(pid, &command.container) {
            tracing::debug!(pid, "a command's process cannot be seen from here");
            return false;
        }
        let Some(pid) = Pid::from_raw(pid) else {
            return false;
        };
        // The engine gives every command a session of its own. Shells make groups in it.
        let is_sent = kill_process_group(pid, signal.number()).is_ok();
        if signal == KillSignal::Kill {
            for member in members_of_session(pid) {
                // It may have ended meanwhile.
                let _ = kill_process(member, signal.number());
            }
        }
        is_sent
    }
}

/// A signal as it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KillSignal {
    /// One that a user may send.
    Asked(Signal),
    /// The end.
    Kill,
}

impl KillSignal {
    fn number(self) -> rustix::process::Signal {
        use rustix::process::Signal as Number;
        match self {
            Self::Asked(Signal::Int) => Number::INT,
            Self::Asked(Signal::Term) => Number::TERM,
            Self::Asked(Signal::Hup) => Number::HUP,
            Self::Asked(Signal::Quit) => Number::QUIT,
            Self::Kill => Number::KILL,
        }
    }
}

/// Whether a process is in a container's control group, as the system shows it.
fn is_of_container(pid: i32, container: &str) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
    groups.is_ok_and(|text| text.contains(container))
        || std::fs::read_to_string(format!("/proc/{pid}/mountinfo"))
            .is_ok_and(|text| text.contains(container))
}

/// The processes of a session, by its first.
fn members_of_session(first: Pid) -> Vec<Pid> {
    let Ok(all) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let wanted = first.as_raw_nonzero().get();
    let members = numbers.filter(|pid| session_of(*pid) == Some(wanted));
    members.filter_map(Pid::from_raw).collect()
}

fn session_of(pid: i32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: state, parent, group, session.
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(3)?.parse().ok()
}

impl Output {
    /// The next piece; none at the end. Cancel-safe.
    ///
    /// # Errors
    /// The connection to the engine broke.
    pub(crate) async fn next(&mut self) -> std::io::Result<Option<(Channel, Bytes)>> {
        loop {
            if let Some(piece) = self.ready() {
                return Ok(Some(piece));
            }
            self.buffer.reserve(PIECE);
            if self.wire.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn ready(&mut self) -> Option<(Channel, Bytes)> {
        if self.has_tty {
            let length = self.buffer.len().min(PIECE);
            return (length > 0).then(|| (Channel::Stdout, self.buffer.split_to(length).freeze()));
        }
        loop {
            if let Some((channel, left)) = self.open {
                let length = left.min(self.buffer.len()).min(PIECE);
                if left == 0 {
                    self.open = None;
                    continue;
                }
                if length == 0 {
                    return None;
                }
                self.open = Some((channel, left - length));
                return Some((channel, self.buffer.split_to(length).freeze()));
            }
            if self.buffer.len() < HEAD {
                return None;
            }
            let mut head = self.buffer.split_to(HEAD);
            let channel = match head.get_u8() {
                2 => Channel::Stderr,
                _ => Channel::Stdout,
            };
            head.advance(3);
            let length = usize::try_from(head.get_u32()).unwrap_or(usize::MAX);
            self.open = Some((channel, length));
        }
    }
}
