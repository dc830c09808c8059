//! Links that open an ingress for a time: what is signed, and the API's documents.
//!
//! The control plane makes a link and a gateway checks it, so both use this module.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::signing::{Secret, Signer};

/// Name of the parameter that carries a link's token.
pub const PARAMETER: &str = "cara_share";
/// Life of a link that asks for none.
pub const LIFE_DEFAULT: Duration = Duration::from_secs(24 * 3_600);
/// Longest life of a link where the rule says none.
pub const MAX_AGE_DEFAULT: Duration = Duration::from_secs(168 * 3_600);
/// Version of a token's form.
const FORM: &str = "1";

/// Asks for a link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ShareRequest {
    /// The ingress rule; may be left out where only one has share links.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ingress: String,
    /// How long the link opens it, such as `24h`, which applies when left out; at most the
    /// rule's `shareLinks.maxAge`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expires_in: String,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShareLink {
    /// Opens the rule for whoever has it.
    pub url: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// What a link opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The project.
    pub project: &'a str,
    /// Its ingress rule.
    pub ingress: &'a str,
    /// `shareLinks.epoch` of the rule.
    pub epoch: &'a str,
}

/// Signs and checks links.
#[derive(Clone)]
pub struct Links(Signer);

impl Links {
    /// With the key that is derived for links.
    pub fn new(secret: &Secret) -> Self {
        Self(secret.signer("share link"))
    }

    /// The token of a link that ends at `expires_at`, cut to whole seconds.
    pub fn token(&self, scope: Scope<'_>, expires_at: Timestamp) -> String {
        let expiry = expires_at.as_second();
        let tag = self.0.tag_text(&message(scope, expiry));
        format!("{FORM}.{expiry}.{tag}")
    }

    /// When a token ends, in seconds of Unix time; none when it was not made for this scope, or
    /// has ended.
    pub fn verify(&self, scope: Scope<'_>, token: &str, now: Timestamp) -> Option<i64> {
        let rest = token.strip_prefix(FORM)?.strip_prefix('.')?;
        let (expiry, tag) = rest.split_once('.')?;
        let expiry: i64 = expiry.parse().ok()?;
        let is_genuine = self.0.verify_text(&message(scope, expiry), tag);
        (is_genuine && now.as_second() < expiry).then_some(expiry)
    }
}

/// Each part with its length before it, so that no two scopes give the same bytes.
fn message(scope: Scope<'_>, expiry: i64) -> Vec<u8> {
    let parts = [scope.project, scope.ingress, scope.epoch];
    let mut out = Vec::with_capacity(64);
    for part in parts {
        out.extend_from_slice(part.len().to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(part.as_bytes());
    }
    out.extend_from_slice(expiry.to_string().as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Hidden;

    const SCOPE: Scope<'_> = Scope {
        project: "shop",
        ingress: "web",
        epoch: "1",
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn a_link_opens_its_own_rule_until_it_ends() {
        let secret = Hidden::new("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        let links = Links::new(&Secret::parse(&secret).expect("a secret"));
        let token = links.token(SCOPE, at(1_000));
        let tampered = token.replacen("1000", "9000", 1);
        let other = |change: fn(&mut Scope<'static>)| {
            let mut scope = SCOPE;
            change(&mut scope);
            scope
        };
        for (scope, token, now, expected) in [
            (SCOPE, token.as_str(), 999, Some(1_000)),
            (SCOPE, &token, 1_000, None),
            (SCOPE, &tampered, 999, None),
            (SCOPE, "", 999, None),
            (SCOPE, "1.1000.", 999, None),
            (SCOPE, &token[..token.len() - 1], 999, None),
            (other(|s| s.project = "other"), &token, 999, None),
            (other(|s| s.ingress = "other"), &token, 999, None),
            (other(|s| s.epoch = "2"), &token, 999, None),
        ] {
            assert_eq!(
                links.verify(scope, token, at(now)),
                expected,
                "{scope:?} {token}"
            );
        }
    }

    #[test]
    fn no_two_scopes_sign_the_same() {
        let a = message(
            Scope {
                project: "ab",
                ingress: "c",
                epoch: "",
            },
            1,
        );
        let b = message(
            Scope {
                project: "a",
                ingress: "bc",
                epoch: "",
            },
            1,
        );
        assert_ne!(a, b);
    }
}
