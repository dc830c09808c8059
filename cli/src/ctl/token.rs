//! `token`: create, list and revoke.

use cara_api::access::{TokenSpec, WhoAmI};
use cara_api::client::Method;
use cara_api::secret::Hidden;
use cara_api::{List, ObjectMeta, Timestamp, Token, paths};

use super::args::{NewToken, TokenCommand};
use super::failure::Failure;
use super::table::{age, or};
use super::user::{grants, print_list};
use super::{Context, out, tell};

/// Does what is asked for with tokens.
///
/// # Errors
/// The server refuses it, or does not answer.
pub async fn run(context: &Context, what: TokenCommand) -> Result<(), Failure> {
    match what {
        TokenCommand::Create(options) => create(context, options).await,
        TokenCommand::List => {
            let list: List<Token> = context
                .client
                .list(paths::TOKENS, &[])
                .await
                .map_err(|error| Failure::of("list tokens", &error))?;
            let header = ["NAME", "ACTS FOR", "MAY", "EXPIRES", "LAST USED", "BEGINS"];
            print_list(context, "token", &list, &header, row)
        }
        TokenCommand::Revoke { name } => {
            let path = paths::fill(paths::TOKEN, &[&name]);
            let gone = context.client.delete(&path, false).await;
            gone.map_err(|error| Failure::of(&format!("revoke token {name:?}"), &error))?;
            out(&format!("token/{name} revoked\n"))
        }
    }
}

fn row(token: &Token) -> Vec<String> {
    let now = Timestamp::now();
    let status = &token.status;
    let whom = or(&token.spec.user, or(&status.subject, "-")).to_owned();
    let may = match (token.spec.user.as_str(), token.spec.grants.is_empty()) {
        ("", _) => grants(&token.spec.grants),
        (_, true) => "all that they may".to_owned(),
        (_, false) => format!("within {}", grants(&token.spec.grants)),
    };
    let end = match status.expires_at {
        Some(end) if end <= now => "expired".to_owned(),
        Some(end) => format!("in {}", age(Some(now), end)),
        None => "-".to_owned(),
    };
    let used = status.last_used.map(|used| age(Some(used), now));
    let used = used.map_or("never".to_owned(), |age| format!("{age} ago"));
    vec![
        token.metadata.name.clone(),
        whom,
        may,
        end,
        used,
        status.hint.clone(),
    ]
}

/// Prints the token alone on stdout, so that it can be passed on, and the rest on stderr.
async fn create(context: &Context, options: NewToken) -> Result<(), Failure> {
    let name = options.name;
    let mut user = options.user.unwrap_or_default();
    if user.is_empty() && options.grants.is_empty() {
        // For whoever asks, if that is a user.
        let who = context.client.get::<WhoAmI>(paths::WHOAMI).await;
        let who = who.map_err(|error| Failure::of("create token", &error))?;
        let is_user = !who.actor.contains(':') && who.authenticated;
        if !is_user {
            return Err(Failure::usage(
                "say for whom: --user USER, or what it may do: --grant ROLE:PROJECT",
            ));
        }
        user = who.actor;
    }
    let document = Token {
        metadata: ObjectMeta {
            name: name.clone(),
            ..ObjectMeta::default()
        },
        spec: TokenSpec {
            user,
            grants: options.grants,
            expires_in: options.expires_in.unwrap_or_default(),
            description: options.description.unwrap_or_default(),
        },
        ..Token::default()
    };
    let made = context
        .client
        .write::<Token, _>(Method::POST, paths::TOKENS, &document)
        .await
        .map_err(|error| Failure::of(&format!("create token {name:?}"), &error))?
        .object;
    let value = made.value.as_ref().map(Hidden::reveal).unwrap_or_default();
    out(&format!("{value}\n"))?;
    let end = made
        .status
        .expires_at
        .map(|end| format!(" It is good until {end}."));
    tell(format_args!(
        "This is the only time that token {name:?} is shown.{}",
        end.unwrap_or_default()
    ));
    Ok(())
}
