//! Options of the commands that operate nodes and projects.

use std::time::Duration;

use clap::Subcommand;

use super::{Consent, Kind, NewCertificate, duration};

/// One node.
#[derive(Debug, clap::Args)]
pub struct NodeName {
    /// The node
    #[arg(value_name = "NODE")]
    pub node: String,
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
}

/// Options of `rollback`.
#[derive(Debug, clap::Args)]
pub struct Rollback {
    /// The project
    pub project: String,
    /// The generation to return to; the one before the newest when left out
    #[arg(long, value_name = "GENERATION", value_parser = clap::value_parser!(i64).range(1..))]
    pub to: Option<i64>,
    /// Only ask for it, do not wait until it runs
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,
    /// Whether it is agreed to beforehand
    #[command(flatten)]
    pub consent: Consent,
}

/// Options of `share`.
#[derive(Debug, clap::Args)]
pub struct Share {
    /// The project
    pub project: String,
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
    /// The project
    pub project: String,
}

/// Options of `events`.
#[derive(Debug, clap::Args)]
pub struct Events {
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

/// Options of `create secret`. There is none for a value: the command line of a process can be
/// read by others, and the shell keeps it.
#[derive(Debug, clap::Args)]
pub struct NewSecret {
    /// Its name
    pub name: String,
    /// Value of a key, from a file as it is, its last newline included; - for standard input.
    /// Without KEY= the file's name is the key. May be repeated
    #[arg(
        long,
        value_name = "KEY=PATH",
        required_unless_present = "from_env_file"
    )]
    pub from_file: Vec<String>,
    /// Lines KEY=VALUE, taken as they are; blank lines and lines with # are left out; - for
    /// standard input. May be repeated
    #[arg(long, value_name = "PATH")]
    pub from_env_file: Vec<String>,
    /// Replace the secret if it exists; services that use it are started anew
    #[arg(long)]
    pub replace: bool,
}
