//! Options of the commands about certificates.

use std::path::PathBuf;

use clap::Subcommand;

use super::Trial;

/// Options of `create certificate`.
#[derive(Debug, clap::Args)]
pub struct NewCertificate {
    /// Its name
    pub name: String,
    /// PEM file with the certificate, followed by those that lead to the authority; - for
    /// standard input
    #[arg(long, value_name = "FILE")]
    pub cert: String,
    /// PEM file with the private key, not encrypted; - for standard input
    #[arg(long, value_name = "FILE")]
    pub key: String,
    /// A hostname that the certificate must cover; may be repeated
    #[arg(long, value_name = "HOSTNAME")]
    pub host: Vec<String>,
    /// Replace the certificate if it exists; connections that are open keep the old one
    #[arg(long)]
    pub replace: bool,
    /// Whether it is only tried
    #[command(flatten)]
    pub trial: Trial,
}

/// What to do with the internal authority.
#[derive(Debug, Subcommand)]
pub enum Ca {
    /// Print its certificate as PEM
    Print,
    /// Let this machine trust it; needs root for the system's trust store
    Install(Install),
}

/// Options of `ca install`.
#[derive(Debug, clap::Args)]
pub struct Install {
    /// Whether it is only tried
    #[command(flatten)]
    pub trial: Trial,
    /// Only the databases of browsers (NSS) below this home directory, which needs no root;
    /// may be repeated
    #[arg(long, value_name = "HOME")]
    pub browsers_of: Vec<PathBuf>,
}
