//! A program that changes the DNS: `PROGRAM present|cleanup NAME VALUE`.
//!
//! It is called with the action, the record's name without a dot at the end, and its value; the
//! same are in `CARA_DNS_ACTION`, `CARA_DNS_NAME` and `CARA_DNS_VALUE`. It gets `PATH` and the
//! variables of its settings, nothing of the server's own environment, which may hold keys. Exit
//! code 0 means that the zone's servers answer with the record (or, for `cleanup`, that it is
//! gone); what it writes to stderr appears in the error.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

use super::{DnsProvider, TxtRecord};
use crate::{ChallengeError, Secret};

/// Where programs look for others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of the end of stderr is kept for the error, in bytes.
const STDERR_KEPT: usize = 4096;

/// How long to read what a program wrote right before it ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The provider.
#[derive(Debug, Clone)]
pub struct Exec {
    /// The program, an absolute path.
    pub program: PathBuf,
    /// Variables that it needs, such as a token.
    pub environment: Vec<(String, Secret<String>)>,
    /// How long a call may take; then the program and all it started are killed.
    pub timeout: Duration,
}

#[async_trait]
impl DnsProvider for Exec {
    async fn present(&self, record: &TxtRecord) -> Result<(), ChallengeError> {
        self.call("present", record).await
    }

    async fn cleanup(&self, record: &TxtRecord) -> Result<(), ChallengeError> {
        self.call("cleanup", record).await
    }
}

impl Exec {
    /// Cancel-safe: the program is killed when the call is dropped.
    async fn call(&self, action: &str, record: &TxtRecord) -> Result<(), ChallengeError> {
        let name = format!("{} {action} {}", self.program.display(), record.name);
        let child = self.command(action, record).spawn().map_err(|error| {
            ChallengeError::Misconfigured(format!("{name} cannot be started: {error}"))
        })?;
        let mut group = Group::of(child);
        let ended = timeout(self.timeout, group.finish()).await;
        match ended {
            Ok(Ok((status, _))) if status.success() => Ok(()),
            Ok(Ok((status, stderr))) => Err(ChallengeError::failed(format!(
                "{name}: {status}: {}",
                stderr.trim()
            ))),
            Ok(Err(error)) => Err(ChallengeError::caused(name, error)),
            Err(_) => Err(ChallengeError::failed(format!(
                "{name}: not finished after {} s",
                self.timeout.as_secs()
            ))),
        }
    }

    fn command(&self, action: &str, record: &TxtRecord) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args([action, &record.name, &record.value])
            .env_clear()
            .env("PATH", PATH)
            .env("CARA_DNS_ACTION", action)
            .env("CARA_DNS_NAME", &record.name)
            .env("CARA_DNS_VALUE", &record.value)
            .envs(
                self.environment
                    .iter()
                    .map(|(name, value)| (name, value.expose())),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }
}

/// A program with what it started, killed together when this goes before it ended.
struct Group {
    child: Child,
    id: Option<Pid>,
}

impl Group {
    fn of(child: Child) -> Self {
        let raw = child.id().and_then(|id| i32::try_from(id).ok());
        let id = raw.and_then(Pid::from_raw);
        Self { child, id }
    }

    /// Waits for the end, reading stderr so that the program never waits for its reader.
    async fn finish(&mut self) -> std::io::Result<(ExitStatus, String)> {
        let mut tail = Tail::default();
        let stderr = self.child.stderr.take();
        let status = match stderr {
            None => self.child.wait().await?,
            Some(mut stderr) => {
                let status = tokio::select! {
                    biased;
                    read = tail.read(&mut stderr) => {
                        read?;
                        self.child.wait().await?
                    }
                    status = self.child.wait() => status?,
                };
                // A child that lives on may keep stderr open.
                let _ = timeout(LAST_WORDS, tail.read(&mut stderr)).await;
                status
            }
        };
        self.id = None;
        Ok((status, String::from_utf8_lossy(&tail.0).into_owned()))
    }
}

/// The end of what a program writes.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// Reads to the end of the stream. Cancel-safe: what was read is kept.
    async fn read(&mut self, stream: &mut ChildStderr) -> std::io::Result<()> {
        let mut buffer = [0; 1024];
        loop {
            let count = stream.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            self.0.extend(buffer.iter().take(count));
            let surplus = self.0.len().saturating_sub(STDERR_KEPT);
            self.0.drain(..surplus);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // Fails only when everybody has ended.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}
