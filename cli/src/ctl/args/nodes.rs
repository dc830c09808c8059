//! Options of the commands that let nodes in and shut them out.

use std::time::Duration;

use clap::Subcommand;

use super::{NodeName, duration};

/// What to do with nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Print the line that lets a machine join as a node, once
    JoinToken(JoinToken),
    /// List the tokens that let machines join, without their secrets
    JoinTokens,
    /// Delete such a token: it lets nobody in any more
    #[command(arg_required_else_help = true)]
    DeleteJoinToken(JoinTokenId),
    /// Shut a node out: its certificate is useless at once
    #[command(arg_required_else_help = true)]
    Revoke(NodeName),
}

/// Names a token that lets a machine join.
#[derive(Debug, clap::Args)]
pub struct JoinTokenId {
    /// As `caractrl node join-tokens` shows it
    #[arg(value_name = "ID")]
    pub id: String,
}

/// Options of `node join-token`.
#[derive(Debug, clap::Args)]
pub struct JoinToken {
    /// The only node that it lets in; needed when the node exists already
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// How long it can be used
    #[arg(long, default_value = "1h", value_parser = duration, value_name = "DURATION")]
    pub ttl: Duration,
    /// Print the token alone, for scripts that hand it over in a file
    #[arg(long)]
    pub token_only: bool,
}
