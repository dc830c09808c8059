//! What clients get who may not come in, and redirects of logins and links.

use cara_api::gateway::Access;
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::decide::Refusal;
use crate::answer::{Reply, Stop};
use crate::pages::{Answer, Refused};

/// The page for a refusal; not for [`Refusal::LogIn`], which is a redirect.
pub(super) fn page(refusal: &Refusal, access: &Access) -> Refused {
    match refusal {
        Refusal::Broken => Refused::new(
            503,
            "Access is not set up",
            "The access settings of this page refer to something that does not exist yet. Until \
             its owner completes them, nobody can come in.",
        )
        .after(10),
        Refusal::Network => Refused::new(
            403,
            "Not from here",
            "This page can only be reached from certain networks.",
        ),
        Refusal::LogIn => Refused::new(401, "Log in", "This page asks for a login."),
        Refusal::Ask { token: Some(why) } => Refused::new(
            401,
            "Not let in",
            format!("The token does not count: {why}."),
        ),
        Refusal::Ask { token: None } => ask(access),
        Refusal::NotPermitted(name) => Refused::new(
            403,
            "Not let in",
            format!(
                "You are logged in as {name}, who may not see this page. To log in as somebody \
                 else, go to /.cara/oidc/logout first."
            ),
        ),
        Refusal::Link => Refused::new(
            403,
            "The link has ended",
            "This link does not count, or not any more. Ask whoever sent it for a new one.",
        ),
        Refusal::Limited(seconds) => Refused::new(
            429,
            "Too many tries",
            "There were too many wrong tries from your address. Wait a little.",
        )
        .after(*seconds),
        Refusal::Unknown => Refused::new(
            503,
            "Cannot check",
            "Who you are cannot be checked at the moment. Try again in a little while.",
        )
        .after(5),
    }
}

fn ask(access: &Access) -> Refused {
    let can_answer = access.basic.is_some() || access.bearer.is_some() || access.oidc.is_some();
    if can_answer {
        Refused::new(
            401,
            "Not let in",
            "This page is only for those who show who they are.",
        )
    } else {
        // Nothing that a client could send in answer to a challenge.
        let how = match access.share {
            Some(_) => "This page is private. It opens by a link that its owner can send you.",
            None => "This page is private.",
        };
        Refused::new(403, "Not let in", how)
    }
}

/// A page with challenges.
pub(super) fn stop(refused: Refused, challenges: impl IntoIterator<Item = HeaderValue>) -> Stop {
    let challenges = challenges.into_iter();
    let challenges = challenges.map(|value| (header::WWW_AUTHENTICATE, value));
    Stop::PageWith(Answer::Refused(refused), challenges.collect())
}

/// The `WWW-Authenticate` headers of a refusal (RFC 9110 section 11.6.1).
pub(super) fn challenges(refusal: &Refusal, access: &Access, host: &str) -> Vec<HeaderValue> {
    let Refusal::Ask { token } = refusal else {
        return Vec::new();
    };
    let mut challenges = Vec::new();
    if access.bearer.is_some() {
        let error = token.as_ref().map_or_else(String::new, |why| {
            let why = quotable(why);
            format!(", error=\"invalid_token\", error_description=\"{why}\"")
        });
        challenges.push(format!("Bearer realm=\"{}\"{error}", quotable(host)));
    }
    if let Some(basic) = &access.basic {
        let realm = if basic.realm.is_empty() {
            host
        } else {
            &basic.realm
        };
        challenges.push(format!(
            "Basic realm=\"{}\", charset=\"UTF-8\"",
            quotable(realm)
        ));
    }
    if access.oidc.is_some() && challenges.is_empty() {
        challenges.push(format!("OpenID realm=\"{}\"", quotable(host)));
    }
    challenges
        .iter()
        .filter_map(|text| HeaderValue::from_bytes(text.as_bytes()).ok())
        .collect()
}

/// What may stand between quotes.
fn quotable(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !matches!(c, '"' | '\\'))
        .collect()
}

/// Sends the client elsewhere, and sets cookies on the way.
pub(super) fn redirect(to: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Option<Reply> {
    let mut headers = vec![(header::LOCATION, HeaderValue::try_from(to).ok()?)];
    headers.extend(private());
    headers.extend(
        cookies
            .into_iter()
            .map(|cookie| (header::SET_COOKIE, cookie)),
    );
    Some(Reply {
        status: StatusCode::FOUND,
        headers,
        body: bytes::Bytes::new(),
    })
}

/// Headers of answers that carry secrets in their URLs.
pub(super) fn private() -> [(HeaderName, HeaderValue); 2] {
    [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use cara_api::gateway::{BasicAuth, Bearer};

    #[test]
    fn challenges_name_what_would_be_accepted() {
        let basic = Access {
            basic: Some(BasicAuth {
                users: Vec::new(),
                realm: "a \"b\"\r\nx: y".into(),
            }),
            ..Access::default()
        };
        let bearer = Access {
            bearer: Some(Bearer {
                issuer: String::new(),
                jwks_url: None,
                audiences: Vec::new(),
                claims: Vec::new(),
            }),
            ..Access::default()
        };
        let ask = |token: Option<&str>| Refusal::Ask {
            token: token.map(str::to_owned),
        };
        for (refusal, access, expected) in [
            (
                ask(None),
                &basic,
                &["Basic realm=\"a bx: y\", charset=\"UTF-8\""][..],
            ),
            (ask(None), &bearer, &["Bearer realm=\"host\""]),
            (
                ask(Some("why")),
                &bearer,
                &["Bearer realm=\"host\", error=\"invalid_token\", error_description=\"why\""],
            ),
            (Refusal::Network, &basic, &[]),
        ] {
            let given = challenges(&refusal, access, "host");
            assert_eq!(given, expected, "{refusal:?}");
        }
    }
}
