//! Options of `convert`.

/// Options of `convert`.
#[derive(Debug, clap::Args)]
pub struct Convert {
    /// Compose file; may be repeated, later ones change earlier ones. Left out: compose.yaml or
    /// docker-compose.yml of this directory, with its override
    #[arg(long = "filename", short = 'f', value_name = "FILE")]
    pub files: Vec<String>,
    /// Take the services of this profile; may be repeated, * takes all
    #[arg(long, value_name = "PROFILE")]
    pub profile: Vec<String>,
    /// File of variables in the place of .env; may be repeated
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<String>,
    /// Name of the project
    #[arg(long, value_name = "NAME")]
    pub project: Option<String>,
    /// Hostname of a service; may be repeated
    #[arg(long, value_name = "SERVICE=HOST")]
    pub host_for: Vec<String>,
    /// Write the documents to this file
    #[arg(long = "to", value_name = "FILE")]
    pub output_file: Option<String>,
    /// Fail (exit code 2) when something is not carried over
    #[arg(long)]
    pub strict: bool,
}
