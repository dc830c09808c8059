//! What every long-running program does: read settings, wait for signals, end in order.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::ArgMatches;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::settings::{Layers, Reader, Setting};

/// What tasks get to end after they were told to, before the process ends anyway.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// Reads the settings of this process from its file, environment and flags.
pub fn read_settings(settings: &'static [Setting], flags: &ArgMatches) -> Reader {
    Reader::new(Layers::read(settings, flags, variable, |path| {
        std::fs::read_to_string(path)
    }))
}

/// Keeps this process and those it starts in small pages of memory. The allocator asks for huge ones, which
/// hold 25 MiB more for a server at rest and save no time that could be measured
/// (`docs/performance.md`).
pub fn use_small_pages() {
    // A system without the call has no huge pages, or hands them out as it did before.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Reads a variable of the environment.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Cancels `token` at SIGTERM or SIGINT.
///
/// # Errors
/// Signal handlers cannot be installed.
pub fn cancel_on_signal(
    token: &CancellationToken,
) -> std::io::Result<impl Future<Output = ()> + use<>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token = token.clone();
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            () = token.cancelled() => {}
        }
        token.cancel();
    })
}

/// Lets this process have as many open files as the system allows it at most; how many that is.
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // None stands for no limit.
    now.unwrap_or(u64::MAX)
}

/// Runs a part of this process, which has so long to end after it was told to. Then its future is
/// dropped and nobody waits for it any more; tasks in a `TaskTracker` go on until the process ends.
///
/// # Errors
/// Its own, or that it did not end in time.
pub async fn within(
    name: &str,
    told: &CancellationToken,
    patience: Duration,
    part: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let late = async {
        told.cancelled().await;
        tokio::time::sleep(patience).await;
    };
    tokio::select! {
        biased;
        ended = part => ended,
        () = late => bail!("{name} did not end within {patience:?} and was given up"),
    }
}

/// The exit code of a program's main function; prints the whole chain of an error.
pub fn exit(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// This machine's host name in lower case.
pub fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .to_lowercase()
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_part_has_its_time_to_end_after_it_was_told_to() {
        let seconds = Duration::from_secs;
        for (needs, expected, ends_at) in [
            (seconds(3), "", seconds(63)),
            (
                seconds(30),
                "the part did not end within 10s and was given up",
                seconds(70),
            ),
        ] {
            let (start, token) = (Instant::now(), CancellationToken::new());
            let part = async {
                token.cancelled().await;
                tokio::time::sleep(needs).await;
                Ok(())
            };
            let tell = async {
                tokio::time::sleep(seconds(60)).await;
                token.cancel();
            };
            let (ended, ()) = tokio::join!(within("the part", &token, seconds(10), part), tell);
            let said = ended.err().map(|error| error.to_string());
            assert_eq!(said.unwrap_or_default(), expected);
            assert_eq!(start.elapsed(), ends_at);
        }
    }
}
