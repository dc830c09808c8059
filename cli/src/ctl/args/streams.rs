//! Options of the commands that look into services.

use std::net::IpAddr;

use clap::ValueEnum;

/// Options of `logs`.
#[derive(Debug, clap::Args)]
pub struct Logs {
    /// Whose logs: a project, or one of its services; a service alone is one of the default project
    #[arg(value_name = "PROJECT[/SERVICE]")]
    pub target: Option<String>,
    /// Only these services of the project
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Go on as lines are written, over restarts, replacements and moves
    #[arg(long, short)]
    pub follow: bool,
    /// Only the last lines of each service
    #[arg(long, value_name = "LINES")]
    pub tail: Option<u32>,
    /// Only lines of this time or later: 10m, 2h, or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub since: Option<jiff::Timestamp>,
    /// What was written before each service was last replaced or started
    #[arg(long, short, conflicts_with = "follow")]
    pub previous: bool,
    /// Begin each line with its time
    #[arg(long)]
    pub timestamps: bool,
    /// Only what was written there
    #[arg(long, value_enum)]
    pub stream: Option<LogSource>,
    /// Taken from the older command line; the server knows the node
    #[arg(long, hide = true, value_name = "NODE")]
    pub node: Option<String>,
}

/// One of the two outputs of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogSource {
    /// The first output
    Stdout,
    /// The second output
    Stderr,
}

/// Options of `exec`.
#[derive(Debug, clap::Args)]
pub struct Exec {
    /// Pass on what is typed or piped in
    #[arg(long, short = 'i')]
    pub stdin: bool,
    /// Give the command a terminal; with -i, the input must be one
    #[arg(long, short = 't')]
    pub tty: bool,
    /// The project, or PROJECT/SERVICE; or a service of the default project
    #[arg(value_name = "PROJECT")]
    pub project: Option<String>,
    /// The service; may be left out when there is only one
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,
    /// The program and its arguments, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Options of `port-forward`.
#[derive(Debug, clap::Args)]
pub struct Forward {
    /// The project and the service (PROJECT/SERVICE, PROJECT SERVICE, or a service of the default project), then ports: REMOTE for the same port here, LOCAL:REMOTE for another, 0:REMOTE for any that is free
    #[arg(value_name = "[PROJECT/SERVICE] [LOCAL:]REMOTE", required = true)]
    pub words: Vec<String>,
    /// Address of this machine to listen on; others than loopback let other machines in
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub address: IpAddr,
    /// Taken from the older command line; the server knows the node
    #[arg(long, hide = true, value_name = "NODE")]
    pub node: Option<String>,
}

/// Options of `cp`.
#[derive(Debug, clap::Args)]
pub struct Copy {
    /// What to copy: a path here, or PROJECT/SERVICE:/path; SERVICE:/path in the default project
    #[arg(value_name = "FROM")]
    pub from: String,
    /// Where to: a path here, or PROJECT/SERVICE:/path; SERVICE:/path in the default project
    #[arg(value_name = "TO")]
    pub to: String,
}

/// Options of `top`.
#[derive(Debug, clap::Args)]
pub struct Top {
    /// A project, or `nodes`; all projects when left out
    #[arg(value_name = "PROJECT|nodes")]
    pub what: Option<String>,
    /// Print one table and end, also on a terminal
    #[arg(long)]
    pub once: bool,
}

/// A time, or how long ago.
fn since(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago: Option<jiff::SignedDuration> = text.parse().ok();
    let ago = ago.filter(|span| !span.is_negative());
    ago.and_then(|span| jiff::Timestamp::now().checked_sub(span).ok())
        .ok_or_else(|| "give a time such as 10m, 2h or 2026-01-31T12:00:00Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::since;

    #[test]
    fn times_are_absolute_or_ago() {
        let time = since("2026-01-31T12:00:00Z").expect("a time");
        assert_eq!(time.to_string(), "2026-01-31T12:00:00Z");
        let ago = jiff::Timestamp::now().duration_since(since("10m").expect("a time"));
        assert!((ago.as_secs() - 600).abs() < 5, "{ago}");
        assert!(since("yesterday").is_err());
        assert!(since("-5m").is_err());
    }
}
