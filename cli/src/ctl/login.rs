//! `login`, `logout` and `whoami`.
//!
//! Tokens come by standard input, a prompt that does not show them, a browser, or an exchange; never
//! by a flag. They are kept in the file of contexts.

use std::io::Read;
use std::time::Duration;

use cara_api::access::login::{
    DeviceAnswer, DeviceLogin, DevicePoll, Exchange, LoginInfo, Session as Given,
};
use cara_api::access::{WhoAmI, value};
use cara_api::client::{Client, Method};
use cara_api::paths;
use cara_api::secret::Hidden;

use super::args::{Args, Login, Output};
use super::context::Session;
use super::failure::Failure;
use super::screen::Screen;
use super::{Context, out, tell};

/// Longest token that is read, in bytes.
const INPUT_MAX: u64 = 64 * 1024;
/// Longest pause between two questions whether a login is complete.
const POLL_PAUSE_MAX: Duration = Duration::from_secs(60);

/// Logs in.
///
/// # Errors
/// The token does not count, the login was not completed in time, or nothing can be kept.
pub async fn login(args: &Args, options: &Login) -> Result<(), Failure> {
    let session = Session::open(args).await?;
    let open = session.client(None)?;
    let token = if options.federation {
        let given = exchange(&open, options).await?;
        if options.print {
            return out(&format!("{}\n", given.value.reveal()));
        }
        given.value
    } else {
        let info = open.get::<LoginInfo>(paths::LOGIN).await;
        let info = info.map_err(|error| Failure::of("log in", &error))?;
        if !info.required {
            tell(format_args!(
                "{} asks nobody who they are: there is no need to log in.",
                session.server
            ));
        }
        let by_browser = !info.issuer.is_empty() && !options.token;
        match by_browser {
            true => by_device(&open).await?.value,
            false => typed()?,
        }
    };
    let known = session.client(Some(token.clone()))?;
    let who = known.get::<WhoAmI>(paths::WHOAMI).await;
    let who = who.map_err(|error| Failure::of("log in", &error))?;
    session.keep(Some(token))?;
    out(&format!(
        "logged in to {} as {} (context {})\n",
        session.server, who.actor, session.name
    ))
}

/// A token from standard input, or from somebody who is asked for it and does not see it.
fn typed() -> Result<Hidden, Failure> {
    let text = if Screen::look(false).types {
        rpassword::prompt_password("Token: ").map_err(|e| Failure::other(e.to_string()))?
    } else {
        input()?
    };
    let text = text.trim();
    match value::is_whole(text) {
        true => Ok(Hidden::new(text)),
        false => Err(Failure::usage(
            "that is no token: it begins with cara_ and has 54 characters, the last of which are a checksum",
        )),
    }
}

fn input() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .take(INPUT_MAX)
        .read_to_string(&mut text)
        .map_err(|error| Failure::other(format!("standard input: {error}")))?;
    Ok(text)
}

async fn exchange(client: &Client, options: &Login) -> Result<Given, Failure> {
    let wish = Exchange {
        rule: options.rule.clone().unwrap_or_default(),
        token: Hidden::new(input()?.trim()),
    };
    let given = client.write::<Given, _>(Method::POST, paths::LOGIN_FEDERATION, &wish);
    let given = given.await;
    Ok(given
        .map_err(|error| Failure::of("exchange the token", &error))?
        .object)
}

/// Lets somebody log in by a browser, on this machine or any other.
async fn by_device(client: &Client) -> Result<Given, Failure> {
    let failed = |error| Failure::of("log in", &error);
    let nothing = serde_json::json!({});
    let begun = client.write::<DeviceLogin, _>(Method::POST, paths::LOGIN_DEVICE, &nothing);
    let login = begun.await.map_err(failed)?.object;
    tell(format_args!(
        "Open {} in a browser and enter the code {}",
        login.verification_uri, login.user_code
    ));
    if !login.verification_uri_complete.is_empty() {
        tell(format_args!("or open {}", login.verification_uri_complete));
    }
    let end = tokio::time::Instant::now() + Duration::from_secs(login.expires_in_s);
    let poll = DevicePoll {
        handle: login.handle,
    };
    let mut pause = Duration::from_secs(login.interval_s.max(1));
    loop {
        if tokio::time::Instant::now() + pause >= end {
            return Err(Failure::timed_out(
                "log in: nobody entered the code in time",
            ));
        }
        tokio::time::sleep(pause).await;
        let answer =
            client.write::<DeviceAnswer, _>(Method::POST, paths::LOGIN_DEVICE_TOKEN, &poll);
        let answer = match answer.await {
            Ok(answer) => answer.object,
            // The code is good until its end: less often, then (RFC 8628 section 3.5).
            Err(error) if error.is_retryable() => {
                pause = (pause * 2).min(POLL_PAUSE_MAX);
                continue;
            }
            Err(error) => return Err(failed(error)),
        };
        if let Some(given) = answer.session {
            return Ok(given);
        }
        pause = Duration::from_secs(answer.retry_after_s.max(1));
    }
}

/// Makes the token of a login void, and forgets it.
///
/// # Errors
/// The server does not answer, or the file cannot be written.
pub async fn logout(args: &Args) -> Result<(), Failure> {
    let session = Session::open(args).await?;
    let client = super::context::connect(args).await?;
    let nothing = serde_json::json!({});
    match client.post(paths::LOGOUT, &nothing).await {
        Ok(()) => {}
        // It is void already.
        Err(error) if error.status() == Some(401) => {}
        Err(error) => return Err(Failure::of("log out", &error)),
    }
    session.keep(None)?;
    out(&format!("logged out of {}\n", session.server))
}

/// Says who somebody is.
///
/// # Errors
/// The server does not answer, or does not know the token.
pub async fn whoami(context: &Context) -> Result<(), Failure> {
    let who = context.client.get::<WhoAmI>(paths::WHOAMI).await;
    let who = who.map_err(|error| Failure::of("ask who you are", &error))?;
    out(&identity(&who, context.output)?)
}

/// Who somebody is, in the form that was asked for.
pub(super) fn identity(who: &WhoAmI, output: Output) -> Result<String, Failure> {
    if let Some(text) = output.document(who)? {
        return Ok(text);
    }
    if output == Output::Name {
        // Users stand alone, all others after their kind.
        let (kind, name) = who.actor.split_once(':').unwrap_or(("user", &who.actor));
        return Ok(format!("{kind}/{name}\n"));
    }
    if !who.authenticated {
        return Ok(format!(
            "{}: this server asks nobody who they are\n",
            who.actor
        ));
    }
    let mut text = format!("{}\n", who.actor);
    let grants = |grants: &[cara_api::access::Grant]| {
        let all: Vec<String> = grants.iter().map(ToString::to_string).collect();
        all.join(", ")
    };
    if !who.token.is_empty() {
        text.push_str(&format!("  token   {}\n", who.token));
    }
    text.push_str(&format!("  may     {}\n", grants(&who.grants)));
    if !who.within.is_empty() {
        text.push_str(&format!("  within  {}\n", grants(&who.within)));
    }
    if let Some(end) = who.expires_at {
        text.push_str(&format!("  until   {end}\n"));
    }
    Ok(text)
}
