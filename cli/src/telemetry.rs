//! The log: to stderr, as text or JSON.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Form of the log's lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(()),
        }
    }
}

/// Checks a filter.
///
/// # Errors
/// It cannot be parsed.
pub fn check(level: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    EnvFilter::try_new(level).map(drop)
}

/// Installs the log. `level` is a filter of tracing-subscriber, such as `info` or
/// `cara_controlplane=debug`. The proxy library's own messages, which any client can provoke,
/// are left out unless the filter names them.
///
/// # Errors
/// The filter cannot be parsed, or a log is installed already.
pub fn install(format: LogFormat, level: &str) -> anyhow::Result<()> {
    let quiet = if level.contains("pingora") {
        String::new()
    } else {
        ",pingora_core=off,pingora_proxy=off".into()
    };
    let filter = EnvFilter::try_new(format!("{level}{quiet}"))
        .with_context(|| format!("log-level: {level:?} is not a filter"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let installed = match format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("cannot install the log: {error}"))
}
