//! Options of the commands that operate nodes and projects.

use std::time::Duration;

use clap::Subcommand;

use super::{Consent, Kind, NewCertificate, Trial, duration};

/// One node.
#[derive(Debug, clap::Args)]
pub struct NodeName {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: String,
}

/// Options of `cordon` and `uncordon`.
#[derive(Debug, clap::Args)]
pub struct Gate {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Whether it is only tried
    #[command(flatten)]
    pub trial: Trial,
}

/// Options of `drain`.
#[derive(Debug, clap::Args)]
pub struct Drain {
    /// The node
    pub node: String,
    /// Also move projects whose Ephemeral volumes are lost by it
    #[arg(long)]
    pub delete_ephemeral_data: bool,
    /// How long to look on; the node goes on being emptied afterwards
    #[arg(long, default_value = "10m", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,
    /// Only ask for it, do not look on
    #[arg(long)]
    pub no_wait: bool,
    /// Whether it is only tried
    #[command(flatten)]
    pub trial: Trial,
}

/// Options of `rollback`.
#[derive(Debug, clap::Args)]
pub struct Rollback {
    /// The project; the default one when left out
    pub project: Option<String>,
    /// The generation to return to; the one before the newest when left out
    #[arg(long, value_name = "GENERATION", value_parser = clap::value_parser!(i64).range(1..))]
    pub to: Option<i64>,
    /// Only ask for it, do not wait until it runs
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,
    /// Whether it is only tried
    #[command(flatten)]
    pub trial: Trial,
    /// Whether it is agreed to beforehand
    #[command(flatten)]
    pub consent: Consent,
}

/// Options of `share`.
#[derive(Debug, clap::Args)]
pub struct Share {
    /// The project; the default one when left out
    pub project: Option<String>,
    /// The ingress rule, when several have share links
    #[arg(long, value_name = "INGRESS")]
    pub ingress: Option<String>,
    /// How long the link opens it; 24h when left out, or what the rule allows
    #[arg(long = "for", value_name = "DURATION")]
    pub life: Option<String>,
}

/// Options of `revisions`.
#[derive(Debug, clap::Args)]
pub struct Revisions {
    /// The project; the default one when left out
    pub project: Option<String>,
}

/// Options of `events`.
#[derive(Debug, clap::Args)]
pub struct Events {
    /// Of everything, also where there is a default project
    #[arg(long, short = 'A', conflicts_with_all = ["kind", "name"])]
    pub all: bool,
    /// Only of objects of this kind
    #[arg(value_enum)]
    pub kind: Option<Kind>,
    /// Only of this one
    pub name: Option<String>,
    /// Go on printing as things happen
    #[arg(long, short)]
    pub watch: bool,
}

/// What can be created without a document.
#[derive(Debug, Subcommand)]
pub enum Create {
    /// A secret, from files or standard input
    #[command(arg_required_else_help = true)]
    Secret(NewSecret),
    /// A certificate with its key, from files
    #[command(arg_required_else_help = true)]
    Certificate(NewCertificate),
}

/// Files that values come from.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct Sources {
    /// Value of a key, from a file as it is, its last newline included; - for standard input.
    /// Without KEY= the file's name is the key. May be repeated
    #[arg(long, value_name = "KEY=PATH")]
    pub from_file: Vec<String>,
    /// Lines KEY=VALUE, taken as they are; blank lines and lines with # are left out; - for
    /// standard input. May be repeated
    #[arg(long, value_name = "PATH")]
    pub from_env_file: Vec<String>,
}

/// Options of `create secret`. There is none for a value: the command line of a process can be
/// read by others, and the shell keeps it.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("values").args(["from_file", "from_env_file"]).multiple(true).required(true))]
pub struct NewSecret {
    /// Its name
    pub name: String,
    /// Where its values come from
    #[command(flatten)]
    pub sources: Sources,
    /// Replace the secret if it exists; services that use it are started anew
    #[arg(long)]
    pub replace: bool,
    /// Whether it is only tried
    #[command(flatten)]
    pub trial: Trial,
}
