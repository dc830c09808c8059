//! A process that a test started.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// A child process whose output goes to files; killed when dropped.
pub struct Process {
    child: Child,
    /// Where its stderr goes.
    pub stderr: PathBuf,
    /// Where its stdout goes.
    pub stdout: PathBuf,
}

impl Process {
    /// Starts a command. Its output is appended to `name.out` and `name.err` in `directory`.
    ///
    /// # Panics
    /// When the command cannot be started.
    pub fn start(mut command: Command, directory: &Path, name: &str) -> Self {
        let path = |suffix: &str| directory.join(format!("{name}.{suffix}"));
        let open = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .expect("a log file")
        };
        let (stdout, stderr) = (path("out"), path("err"));
        let child = command
            .stdin(Stdio::null())
            .stdout(open(&stdout))
            .stderr(open(&stderr))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self {
            child,
            stderr,
            stdout,
        }
    }

    /// What it wrote to stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// The last lines that it wrote to stderr.
    pub fn tail(&self, lines: usize) -> String {
        let log = self.log();
        let from = log.lines().count().saturating_sub(lines);
        log.lines().skip(from).collect::<Vec<_>>().join("\n")
    }

    /// Stops the process where it is, or lets it go on.
    pub fn freeze(&self, is_frozen: bool) {
        signal(self.pid(), if is_frozen { "STOP" } else { "CONT" });
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True when it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub async fn terminate(&mut self, limit: Duration) -> ExitStatus {
        assert!(
            signal(self.pid(), "TERM"),
            "cannot signal process {}",
            self.pid()
        );
        crate::within(limit, "the process ends after SIGTERM", async || {
            self.child.try_wait().ok().flatten()
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal such as `TERM`; whether there was a process to get it.
pub fn signal(pid: u32, name: &str) -> bool {
    let sent = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .output();
    sent.is_ok_and(|output| output.status.success())
}

/// A program of the workspace, beside the test executable.
///
/// # Panics
/// When it was not built.
pub fn program(name: &str) -> PathBuf {
    let here = std::env::current_exe().expect("the test's own path");
    let built = here
        .ancestors()
        .nth(2)
        .map(|target| target.join(name))
        .filter(|path| path.exists());
    built.unwrap_or_else(|| {
        panic!("{name} is not built: run `make test`, or `cargo build --workspace --bins` first")
    })
}
