//! The command line, as data.

mod access;
mod backup;
mod certificates;
mod completion;
mod consent;
mod convert;
mod delete;
mod explain;
mod kind;
mod look;
mod nodes;
mod operate;
mod output;
mod secret;
mod select;
mod streams;
#[cfg(test)]
mod tests;
mod trial;
mod verbs;

use std::time::Duration;

use clap::{Parser, Subcommand};

pub use access::{
    ContextCommand, FederationCommand, Login, NewFederation, NewToken, NewUser, SetContext,
    SetUser, TokenCommand, UserCommand,
};
pub use backup::{Backup, Restore};
pub use certificates::{Ca, Install, NewCertificate};
pub use completion::Completion;
pub use consent::Consent;
pub use convert::Convert;
pub use delete::Delete;
pub use explain::Topic;
pub use kind::{Kind, Shown};
pub use look::{Explain, Routes, RoutesCommand, Tail};
pub use nodes::{JoinToken, JoinTokenId, NodeCommand};
pub use operate::{
    Create, Drain, Events, Gate, NewSecret, NodeName, Revisions, Rollback, Share, Sources,
};
pub use output::Output;
pub use secret::{DeleteSecret, SecretCommand, SetSecret};
pub use select::Selectors;
pub use streams::{Copy, Exec, Forward, LogSource, Logs, Top};
pub use trial::{DryRun, Trial};
pub use verbs::{Diff, Edit, Init, Wait};

/// Command line client of Caravanserai.
#[derive(Debug, Parser)]
#[command(name = "caractrl", version, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Args {
    /// URL of the server; that of the context, or http://localhost:8080, when left out
    #[arg(long, global = true, env = "CARA_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// The context, as `caractrl context list` shows them; the current one when left out
    #[arg(long, global = true, env = "CARA_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// Certificate (PEM) of the authority that the server's certificate comes from: server-ca.crt
    /// in the data directory of the server
    #[arg(long, global = true, env = "CARA_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<std::path::PathBuf>,
    /// Form of the output; jsonpath= goes on with an expression such as {.items[*].metadata.name}
    #[arg(
        long,
        short,
        global = true,
        default_value = "table",
        value_name = "FORM",
        value_parser = output::FormParser
    )]
    pub output: Output,
    /// No colours, also on a terminal; NO_COLOR does the same
    #[arg(long, global = true)]
    pub no_color: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not allowed, 4 conflict, \
                          5 a project failed, 6 no node can take a project, 7 timed out, \
                          8 projects are left on a node that should be empty, 130 interrupted";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create or change what a file describes
    Apply(Apply),
    /// Create an object from values that do not stand in a document
    #[command(arg_required_else_help = true)]
    Create {
        /// What to create
        #[command(subcommand)]
        what: Create,
    },
    /// The internal authority, whose certificates are used where there is no public one
    #[command(arg_required_else_help = true)]
    Ca {
        /// What to do with it
        #[command(subcommand)]
        what: Ca,
    },
    /// List projects, nodes, secrets or certificates, or show one
    Get(Get),
    /// Show everything about one project, node, secret or certificate
    #[command(arg_required_else_help = true)]
    Describe(Target),
    /// Delete projects, nodes, secrets or certificates
    #[command(arg_required_else_help = true)]
    Delete(Delete),
    /// Show what happened
    Events(Events),
    /// List the generations of a project
    Revisions(Revisions),
    /// Return a project to an earlier generation
    Rollback(Rollback),
    /// Close a node for new projects
    #[command(arg_required_else_help = true)]
    Cordon(Gate),
    /// Open a node for new projects again, and stop emptying it
    #[command(arg_required_else_help = true)]
    Uncordon(Gate),
    /// Move all projects away from a node
    #[command(arg_required_else_help = true)]
    Drain(Drain),
    /// Let machines join as nodes, and shut them out
    #[command(arg_required_else_help = true)]
    Node {
        /// What to do
        #[command(subcommand)]
        what: NodeCommand,
    },
    /// Servers, and who you are there
    #[command(arg_required_else_help = true)]
    Context {
        /// What to do
        #[command(subcommand)]
        what: ContextCommand,
    },
    /// Say who you are: by a token from standard input or a prompt, a browser, or the job of a CI
    Login(Login),
    /// Make the token of a login void, and forget it
    Logout,
    /// Show who the server takes you for
    Whoami,
    /// Tokens for programs and people
    #[command(arg_required_else_help = true)]
    Token {
        /// What to do
        #[command(subcommand)]
        what: TokenCommand,
    },
    /// Users, and what they may do
    #[command(arg_required_else_help = true)]
    User {
        /// What to do
        #[command(subcommand)]
        what: UserCommand,
    },
    /// Tokens of other issuers, such as those of CI jobs, and what they are exchanged for
    #[command(arg_required_else_help = true)]
    Federation {
        /// What to do
        #[command(subcommand)]
        what: FederationCommand,
    },
    /// Values that services need and nobody reads back
    #[command(arg_required_else_help = true)]
    Secret {
        /// What to do
        #[command(subcommand)]
        what: SecretCommand,
    },
    /// List what the gateway serves, or explain where a URL goes
    Routes(Routes),
    /// Print requests as they end
    Tail(Tail),
    /// Explain an error's code, or a field of a document
    Explain(Topic),
    /// Print the logs of services
    Logs(Logs),
    /// Run a command in a service
    #[command(arg_required_else_help = true)]
    Exec(Exec),
    /// Connect ports of this machine with ports of a service
    #[command(arg_required_else_help = true)]
    PortForward(Forward),
    /// Copy files into a service or out of it
    #[command(arg_required_else_help = true)]
    Cp(Copy),
    /// Show what services and nodes use
    Top(Top),
    /// Make a link that opens a protected project for a time
    Share(Share),
    /// Open a project in the browser
    Open(Open),
    /// Keep everything that the server stores in a file, and bring it back
    #[command(arg_required_else_help = true)]
    Backup {
        /// What to do
        #[command(subcommand)]
        what: Backup,
    },
    /// Make a project of a Docker Compose file
    Convert(Convert),
    /// Show what applying files would change; exit code 1 when something would
    #[command(arg_required_else_help = true)]
    Diff(Diff),
    /// Change an object in the editor
    #[command(arg_required_else_help = true)]
    Edit(Edit),
    /// Wait until objects are as they should be
    #[command(arg_required_else_help = true)]
    Wait(Wait),
    /// Write a first project file, with comments
    Init(Init),
    /// Look what works and what does not, and how to mend it
    Doctor,
    /// Print the versions of client and server
    Version,
    /// Print a script that lets a shell complete commands, flags and live names
    #[command(arg_required_else_help = true, after_help = completion::HOW)]
    Completion(Completion),
}

/// Options of `apply`.
#[derive(Debug, clap::Args)]
pub struct Apply {
    /// YAML or JSON file, directory of such files, or - for standard input; may be repeated
    #[arg(long = "filename", short = 'f', required = true, value_name = "FILE")]
    pub files: Vec<String>,
    /// Wait until everything runs and its URLs answer
    #[arg(long)]
    pub wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m", value_parser = duration, value_name = "DURATION")]
    pub timeout: Duration,
    /// Whether it is only tried
    #[command(flatten)]
    pub trial: Trial,
    /// Delete what has the labels of --selector and is not in the files; no nodes, and no
    /// certificates of the server's own
    #[arg(long, requires = "selector")]
    pub prune: bool,
    /// What --prune is about, such as app=shop
    #[arg(long, short = 'l', value_name = "SELECTOR", requires = "prune", value_parser = select::said)]
    pub selector: Option<String>,
    /// Whether it is agreed to beforehand
    #[command(flatten)]
    pub consent: Consent,
}

/// Options of `get`.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Get {
    /// What to show
    #[arg(value_enum)]
    pub kind: Shown,
    /// Only this one
    #[arg(id = "names", value_name = "NAME")]
    pub name: Option<String>,
    /// Only some of them
    #[command(flatten)]
    pub selectors: Selectors,
    /// Only projects in this phase
    #[arg(long, value_name = "PHASE")]
    pub phase: Option<String>,
    /// Go on printing as things change
    #[arg(long, short)]
    pub watch: bool,
}

/// One object.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// What it is
    #[arg(value_enum)]
    pub kind: Kind,
    /// Its name; of projects the default one when left out
    pub name: Option<String>,
}

/// Options of `open`.
#[derive(Debug, clap::Args)]
pub struct Open {
    /// The project; the default one when left out
    #[arg(value_name = "PROJECT")]
    pub project: Option<String>,
    /// The ingress rule, when there are several
    pub ingress: Option<String>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Option<jiff::SignedDuration> = text.parse().ok();
    parsed
        .and_then(|d| Duration::try_from(d).ok())
        .ok_or_else(|| "give a duration such as 30s or 5m".to_owned())
}
