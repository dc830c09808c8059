//! Options of `delete`.

use std::time::Duration;

use super::{Consent, DeleteSecret, Kind, Selectors, Trial, duration};

/// Options of `delete`.
#[derive(Debug, clap::Args)]
pub struct Delete {
    /// What to delete
    #[arg(value_enum, required_unless_present = "files")]
    pub kind: Option<Kind>,
    /// Their names
    #[arg(value_name = "NAMES")]
    pub names: Vec<String>,
    /// What the documents of a file describe: YAML or JSON, a directory, or - for standard input;
    /// may be repeated
    #[arg(
        long = "filename",
        short = 'f',
        value_name = "FILE",
        conflicts_with_all = ["kind", "names", "selector", "field_selector"]
    )]
    pub files: Vec<String>,
    /// Instead of names
    #[command(flatten)]
    pub selectors: Selectors,
    /// Delete at once: a project is forgotten and its node removes the containers afterwards; a
    /// node's projects are placed elsewhere; a secret or certificate goes although projects use it
    #[arg(long)]
    pub force: bool,
    /// Wait until they are gone
    #[arg(long)]
    pub wait: bool,
    /// How long to wait
    #[arg(long, default_value = "2m", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,
    /// Whether it is only tried
    #[command(flatten)]
    pub trial: Trial,
    /// Whether it is agreed to beforehand
    #[command(flatten)]
    pub consent: Consent,
}

impl Delete {
    /// Of these objects, without looking on.
    pub fn of(kind: Kind, options: DeleteSecret) -> Self {
        Self {
            kind: Some(kind),
            names: options.names,
            files: Vec::new(),
            selectors: Selectors::default(),
            force: options.force,
            wait: false,
            timeout: Duration::ZERO,
            trial: options.trial,
            consent: options.consent,
        }
    }
}
