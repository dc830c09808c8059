//! `token`: create, list and revoke.

use cara_api::access::{TokenSpec, WhoAmI};
use cara_api::client::Method;
use cara_api::secret::Hidden;
use cara_api::{List, ObjectMeta, Token, paths};

use super::args::{NewToken, TokenCommand};
use super::failure::Failure;
use super::user::print_list;
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
                .query(paths::TOKENS, &[])
                .await
                .map_err(|error| Failure::of("list tokens", &error))?;
            print_list(context, list)
        }
        TokenCommand::Revoke { name } => {
            let path = paths::fill(paths::TOKEN, &[&name]);
            let gone = context.client.delete(&path, false).await;
            gone.map_err(|error| Failure::of(&format!("revoke token {name:?}"), &error))?;
            out(&format!("token/{name} revoked\n"))
        }
    }
}

/// How a token names whoever creates it for themselves: a user by their name; somebody who is known
/// by a login is left out. None for others, who cannot.
fn themselves(who: &WhoAmI) -> Option<&str> {
    let is_of_login = who.actor.contains('@') || who.actor.starts_with("oidc:");
    match who.actor.as_str() {
        _ if !who.authenticated => None,
        _ if is_of_login => Some(""),
        actor if actor.contains(':') => None,
        actor => Some(actor),
    }
}

/// Prints the token alone on stdout, so that it can be passed on, and the rest on stderr.
async fn create(context: &Context, options: NewToken) -> Result<(), Failure> {
    let name = options.name;
    let mut user = options.user.unwrap_or_default();
    if user.is_empty() && options.grants.is_empty() {
        // For whoever asks, if that is a user.
        let who = context.client.get::<WhoAmI>(paths::WHOAMI).await;
        let who = who.map_err(|error| Failure::of("create token", &error))?;
        let Some(name) = themselves(&who) else {
            return Err(Failure::usage(
                "say for whom: --user USER, or what it may do: --grant ROLE:PROJECT",
            ));
        };
        user = name.to_owned();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_make_tokens_for_themselves() {
        for (actor, authenticated, expected) in [
            ("ann", true, Some("ann")),
            ("ann@example.com", true, Some("")),
            ("oidc:u-1", true, Some("")),
            ("token:ci", true, None),
            ("federation:shop:oidc:repo", true, None),
            ("anonymous", false, None),
        ] {
            let who = WhoAmI {
                actor: actor.to_owned(),
                authenticated,
                ..WhoAmI::default()
            };
            assert_eq!(themselves(&who), expected, "{actor}");
        }
    }
}
