//! Options of the commands about who somebody is and what they may do.

use cara_api::access::Grant;
use cara_api::access::validate::parse_grant;
use clap::Subcommand;

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// List the contexts
    List,
    /// Make one the current one
    Use {
        /// Its name
        name: String,
    },
    /// Create or change one; the server is that of --server
    Set(SetContext),
    /// Forget one, with its token
    Delete {
        /// Its name
        name: String,
    },
}

/// Options of `context set`.
#[derive(Debug, clap::Args)]
pub struct SetContext {
    /// Its name
    pub name: String,
    /// SHA-256 of the certificate of the server's authority: it is fetched once, compared, and kept
    #[arg(long, value_name = "SHA256")]
    pub ca_pin: Option<String>,
    /// The project that is meant where none is named
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
}

/// Options of `login`.
#[derive(Debug, clap::Args)]
pub struct Login {
    /// Read a token from standard input, also where people can log in by a browser
    #[arg(long)]
    pub token: bool,
    /// Read a token of another issuer, such as that of a CI job, from standard input, and exchange
    /// it by a federation rule
    #[arg(long, conflicts_with = "token")]
    pub federation: bool,
    /// The federation rule; the first that fits when left out
    #[arg(long, requires = "federation", value_name = "RULE")]
    pub rule: Option<String>,
    /// Print the token instead of keeping it, for CARA_TOKEN of later commands
    #[arg(long, requires = "federation")]
    pub print: bool,
}

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Create a token and print it, this once
    Create(NewToken),
    /// List tokens, without their values
    List,
    /// Make a token void
    Revoke {
        /// Its name
        name: String,
    },
}

/// Options of `token create`.
#[derive(Debug, clap::Args)]
pub struct NewToken {
    /// Its name
    pub name: String,
    /// The user that it acts for; yourself, or nobody where there are grants
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// What it may do: ROLE:*, ROLE:PROJECT,... or ROLE:LABEL=VALUE; may be repeated. With a user,
    /// narrows what they may do
    #[arg(long = "grant", value_name = "GRANT", value_parser = parse_grant)]
    pub grants: Vec<Grant>,
    /// How long it is good, such as 30d or 12h; 90 days when left out
    #[arg(long, value_name = "DURATION")]
    pub expires_in: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
}

/// What to do with users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Create a user
    Create(NewUser),
    /// Change what a user may do
    Set(SetUser),
    /// List users
    List,
    /// Delete a user, and their tokens
    Delete {
        /// Its name
        name: String,
    },
}

/// Options of `user create`.
#[derive(Debug, clap::Args)]
pub struct NewUser {
    /// Its name
    pub name: String,
    /// What it may do: ROLE:*, ROLE:PROJECT,... or ROLE:LABEL=VALUE; may be repeated
    #[arg(long = "grant", value_name = "GRANT", value_parser = parse_grant)]
    pub grants: Vec<Grant>,
    /// Who it is
    #[arg(long, value_name = "TEXT")]
    pub display_name: Option<String>,
}

/// Options of `user set`.
#[derive(Debug, clap::Args)]
pub struct SetUser {
    /// Its name
    pub name: String,
    /// All that it may do from now on; may be repeated
    #[arg(long = "grant", value_name = "GRANT", value_parser = parse_grant)]
    pub grants: Vec<Grant>,
    /// Refuse its tokens, or take them again
    #[arg(long, value_name = "BOOL")]
    pub suspended: Option<bool>,
}

/// What to do with federation rules.
#[derive(Debug, Subcommand)]
pub enum FederationCommand {
    /// Let tokens of another issuer be exchanged for short-lived ones
    Create(NewFederation),
    /// List the rules
    List,
    /// Delete a rule
    Delete {
        /// Its name
        name: String,
    },
}

/// Options of `federation create`.
#[derive(Debug, clap::Args)]
pub struct NewFederation {
    /// Its name
    pub name: String,
    /// URL of the issuer, exactly as its tokens name it
    #[arg(long, value_name = "URL")]
    pub issuer: String,
    /// What the tokens' aud must have
    #[arg(long, value_name = "TEXT")]
    pub audience: String,
    /// What a token must say, as CLAIM=VALUE, or CLAIM=BEGINNING*; may be repeated
    #[arg(long = "claim", value_name = "CLAIM=VALUE", required = true, value_parser = claim)]
    pub claims: Vec<(String, String)>,
    /// What the tokens that are given out may do; may be repeated
    #[arg(long = "grant", value_name = "GRANT", required = true, value_parser = parse_grant)]
    pub grants: Vec<Grant>,
    /// How long they are good; 15m when left out, at most 12h
    #[arg(long, value_name = "DURATION")]
    pub expires_in: Option<String>,
}

fn claim(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let pair = pair.map(|(name, value)| (name.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "write it as CLAIM=VALUE".to_owned())
}
