//! Options of `backup`.

use clap::Subcommand;

use super::{Consent, Trial};

/// What to do with backups.
#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Write everything that the server stores into a file
    #[command(arg_required_else_help = true)]
    Create {
        /// The file, or - for standard output
        file: String,
        /// Write over a file that exists
        #[arg(long)]
        overwrite: bool,
    },
    /// Make a server what a backup shows
    #[command(arg_required_else_help = true)]
    Restore(Restore),
}

/// Options of `backup restore`.
#[derive(Debug, clap::Args)]
pub struct Restore {
    /// The file, or - for standard input
    pub file: String,
    /// Whether it is only tried
    #[command(flatten)]
    pub trial: Trial,
    /// Also if the server is in use: what the backup does not have is deleted
    #[arg(long)]
    pub force: bool,
    /// Whether it is agreed to beforehand
    #[command(flatten)]
    pub consent: Consent,
}
