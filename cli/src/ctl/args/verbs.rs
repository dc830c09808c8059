//! Options of the verbs that compare, change and wait.

use std::path::PathBuf;
use std::time::Duration;

use super::{Kind, Selectors, duration};
use crate::ctl::wait::Goal;

/// Options of `diff`.
#[derive(Debug, clap::Args)]
pub struct Diff {
    /// YAML or JSON file, directory of such files, or - for standard input; may be repeated
    #[arg(long = "filename", short = 'f', required = true, value_name = "FILE")]
    pub files: Vec<String>,
}

/// Options of `edit`.
#[derive(Debug, clap::Args)]
pub struct Edit {
    /// What it is
    #[arg(value_enum)]
    pub kind: Kind,
    /// Its name
    pub name: String,
    /// The editor, with arguments if it needs some
    #[arg(long, env = "EDITOR", default_value = "vi", value_name = "COMMAND")]
    pub editor: String,
}

/// Options of `wait`.
#[derive(Debug, clap::Args)]
pub struct Wait {
    /// What it is
    #[arg(value_enum)]
    pub kind: Kind,
    /// Their names; the default project when left out
    #[arg(value_name = "NAMES")]
    pub names: Vec<String>,
    /// Instead of names
    #[command(flatten)]
    pub selectors: Selectors,
    /// What to wait for: condition=TYPE[=STATUS], phase=PHASE, deleted, or
    /// jsonpath=EXPRESSION[=VALUE]
    #[arg(long = "for", value_name = "GOAL")]
    pub goal: Goal,
    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,
}

/// Options of `init`.
#[derive(Debug, clap::Args)]
pub struct Init {
    /// Name of the project; that of the directory when left out
    pub name: Option<String>,
    /// Image of its service
    #[arg(long)]
    pub image: Option<String>,
    /// Host that it is reached at: a name, or a whole hostname
    #[arg(long)]
    pub host: Option<String>,
    /// Port that the service listens at
    #[arg(long)]
    pub port: Option<u16>,
    /// Where to write it
    #[arg(
        long = "filename",
        short = 'f',
        default_value = "project.yaml",
        value_name = "FILE"
    )]
    pub file: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    pub force: bool,
}
