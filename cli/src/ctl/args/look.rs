//! Options of the commands that look at the gateway.

use cara_api::tail::Statuses;
use clap::Subcommand;

/// Options of `routes`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Routes {
    /// What else to do
    #[command(subcommand)]
    pub command: Option<RoutesCommand>,
    /// Only those of this project
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Go on printing routes as they change
    #[arg(long, short)]
    pub watch: bool,
}

/// What `routes` does besides listing.
#[derive(Debug, Subcommand)]
pub enum RoutesCommand {
    /// Explain where a request would go now, and why
    #[command(arg_required_else_help = true)]
    Explain(Explain),
}

/// Options of `routes explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The URL of the request
    pub url: String,
    /// A header of the request; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<String>,
    /// Its method
    #[arg(
        long = "request",
        short = 'X',
        value_name = "METHOD",
        default_value = "GET"
    )]
    pub method: String,
}

/// Options of `tail`.
#[derive(Debug, clap::Args)]
pub struct Tail {
    /// Whose requests: a host such as shop.example.com, or a project; the default one when left out
    #[arg(value_name = "HOST|PROJECT")]
    pub target: Option<String>,
    /// Only with these statuses, such as 404 or 5xx, separated by commas
    #[arg(long, value_name = "STATUS", value_parser = statuses)]
    pub status: Option<String>,
}

fn header(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((name, _)) if !name.trim().is_empty() => Ok(text.to_owned()),
        Some(_) | None => Err("give a header such as \"X-Canary: on\"".to_owned()),
    }
}

fn statuses(text: &str) -> Result<String, String> {
    let parsed: Result<Statuses, _> = text.parse();
    parsed
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}
