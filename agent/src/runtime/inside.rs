//! Looking into containers: logs, and commands run in them.

use std::collections::HashMap;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::query_parameters::{ListContainersOptionsBuilder, LogsOptionsBuilder};
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{Stream, StreamExt};

use super::engine::Engine;
use super::error::Error;
use super::names;

/// Which part of a log to show.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogOptions {
    pub(crate) follow: bool,
    pub(crate) timestamps: bool,
    pub(crate) tail: String,
}

/// How long reading the end of a log may take.
const TAIL_LIMIT: Duration = Duration::from_secs(2);
/// Lines and bytes of a log that a message carries.
const TAIL_LINES: &str = "20";
const TAIL_BYTES: usize = 2_000;
/// Bytes of a failed command's output that a message carries.
const SAID_BYTES: usize = 300;

impl Engine {
    /// The log of a service, stdout and stderr in one: of its newest container that runs, else
    /// of its newest one. Whether it runs comes with it.
    pub(crate) async fn logs(
        &self,
        project: &str,
        service: &str,
        options: LogOptions,
    ) -> Result<Option<(bool, impl Stream<Item = std::io::Result<Bytes>> + use<>)>, Error> {
        let attempt = format!("read the log of {project}/{service}");
        let labels = vec![
            format!("{}={project}", names::PROJECT),
            format!("{}={service}", names::SERVICE),
        ];
        let list = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&HashMap::from([("label", labels)]))
            .build();
        let found = self.docker.list_containers(Some(list)).await;
        let found = found.map_err(|e| Error::new(attempt, "EngineUnavailable", e))?;
        let looks = found.into_iter().filter_map(|c| c.id).map(|id| async move {
            let info = self.docker.inspect_container(&id, None).await.ok()?;
            let is_running = info.state.and_then(|s| s.running).unwrap_or(false);
            Some((is_running, info.created, id))
        });
        let newest = join_all(looks).await.into_iter().flatten().max();
        let Some((is_running, _, id)) = newest else {
            return Ok(None);
        };
        let tail = if options.tail.is_empty() {
            "all"
        } else {
            &options.tail
        };
        let query = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .follow(options.follow)
            .timestamps(options.timestamps)
            .tail(tail)
            .build();
        let bytes = self.docker.logs(&id, Some(query)).map(|item| {
            item.map(LogOutput::into_bytes)
                .map_err(std::io::Error::other)
        });
        Ok(Some((is_running, bytes)))
    }

    /// The last lines that a container logged since it was last started; empty when they cannot be had within 2 s.
    pub(crate) async fn last_lines(&self, id: &str, started_at: &str) -> String {
        let started: Option<jiff::Timestamp> = started_at.parse().ok();
        let since = started.and_then(|at| i32::try_from(at.as_second()).ok());
        let query = LogsOptionsBuilder::default()
            .since(since.unwrap_or(0))
            .stdout(true)
            .stderr(true)
            .tail(TAIL_LINES)
            .build();
        let mut lines = self.docker.logs(id, Some(query));
        let mut all = Vec::new();
        let read = async {
            while let Some(Ok(line)) = lines.next().await {
                all.extend_from_slice(&line.into_bytes());
            }
        };
        // What came in time is shown.
        let _ = tokio::time::timeout(TAIL_LIMIT, read).await;
        end_of(&all, TAIL_BYTES)
    }

    /// Runs a command in a container, without a shell, unless the `last` one still runs. If this is
    /// dropped, the command goes on in the container.
    ///
    /// # Errors
    /// In words: it cannot be run, or ended with another code than 0.
    pub(crate) async fn run_in(
        &self,
        id: &str,
        command: &[String],
        last: &mut Option<String>,
    ) -> Result<(), String> {
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..CreateExecOptions::default()
        };
        let said = |error: bollard::errors::Error| format!("cannot be run: {error}");
        if let Some(last) = last {
            let before = self.docker.inspect_exec(last).await.map_err(said)?;
            if before.running == Some(true) {
                return Err("the command of the last check still runs".to_owned());
            }
        }
        let exec = self.docker.create_exec(id, options).await.map_err(said)?;
        *last = Some(exec.id.clone());
        let start = StartExecOptions {
            detach: false,
            ..StartExecOptions::default()
        };
        let started = self
            .docker
            .start_exec(&exec.id, Some(start))
            .await
            .map_err(said)?;
        let mut output = Vec::new();
        if let StartExecResults::Attached {
            output: mut lines, ..
        } = started
        {
            while let Some(Ok(line)) = lines.next().await {
                if output.len() < SAID_BYTES {
                    output.extend_from_slice(&line.into_bytes());
                }
            }
        }
        let ended = self.docker.inspect_exec(&exec.id).await.map_err(said)?;
        match ended.exit_code {
            Some(0) => Ok(()),
            code => {
                let code = code.map_or_else(|| "unknown".to_owned(), |code| code.to_string());
                let output = end_of(&output, SAID_BYTES);
                Err(format!("ended with exit code {code}: {output}"))
            }
        }
    }
}

/// The last bytes of a text, whole lines where that is possible.
fn end_of(bytes: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(bytes).replace('\0', "");
    let text = text.trim_end();
    let mut start = text.len().saturating_sub(limit);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    let end = text.get(start..).unwrap_or_default();
    match end.split_once('\n') {
        Some((_, rest)) if start > 0 => rest.to_owned(),
        Some(_) | None => end.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::end_of;

    #[test]
    fn the_end_of_a_log_is_whole_lines() {
        assert_eq!(end_of(b"a\nb\n", 100), "a\nb");
        assert_eq!(end_of(b"first\nsecond\nthird\n", 8), "third");
        assert_eq!(end_of("éé".as_bytes(), 3), "é");
        assert_eq!(end_of(b"", 3), "");
    }
}
