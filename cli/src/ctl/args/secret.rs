//! Options of `secret`.

use clap::Subcommand;

use super::{Consent, Sources, Trial};

/// What to do with secrets.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// List secrets: their keys, and who uses them
    List,
    /// Create a secret, or replace all its values
    #[command(arg_required_else_help = true)]
    Set(SetSecret),
    /// Delete secrets
    #[command(arg_required_else_help = true)]
    Delete(DeleteSecret),
    /// List the services that use a secret
    #[command(arg_required_else_help = true)]
    UsedBy {
        /// The secret
        #[arg(value_name = "SECRET")]
        name: String,
    },
}

/// Options of `secret set`. There is none for a value: the command line of a process can be read
/// by others, and the shell keeps it.
#[derive(Debug, clap::Args)]
pub struct SetSecret {
    /// The secret
    #[arg(value_name = "SECRET")]
    pub name: String,
    /// Keys whose values are asked for and not shown; of one key, standard input is the value
    /// where it is no terminal, without its last newline
    #[arg(
        value_name = "KEY",
        required_unless_present_any = ["from_file", "from_env_file"]
    )]
    pub keys: Vec<String>,
    /// Where other values come from
    #[command(flatten)]
    pub sources: Sources,
    /// Whether it is only tried
    #[command(flatten)]
    pub trial: Trial,
    /// Whether it is agreed to beforehand
    #[command(flatten)]
    pub consent: Consent,
}

/// Options of `secret delete`.
#[derive(Debug, clap::Args)]
pub struct DeleteSecret {
    /// Their names
    #[arg(value_name = "SECRET", required = true)]
    pub names: Vec<String>,
    /// Delete them although projects use them
    #[arg(long)]
    pub force: bool,
    /// Whether it is only tried
    #[command(flatten)]
    pub trial: Trial,
    /// Whether it is agreed to beforehand
    #[command(flatten)]
    pub consent: Consent,
}
