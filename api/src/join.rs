//! How a node is let in: tokens, and what is said over the wire to turn one into a certificate.
//!
//! A token carries the SHA-256 of the authority that the server's certificate comes from. Who has
//! the token asks for the authority first, and shows the secret only to a server that proves to
//! belong to it.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::meta::Timestamp;
use crate::secret::Hidden;

/// The name by which a server shows itself to nodes and to clients that trust its authority, at
/// whatever address they reach it.
pub const SERVER_NAME: &str = "server.caravanserai.internal";

/// The header by which the agent inside a server shows that it is that.
pub const INSIDE_HEADER: &str = "x-caravanserai-inside";

/// What every token begins with; the number grows when its form changes.
const VERSION: &str = "carajoin1";
/// Hexadecimal digits of hash and secret.
const HASH_DIGITS: usize = 64;
/// Most hexadecimal digits of an id.
const ID_DIGITS_MAX: usize = 32;

/// Lets one node in, once.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the authority's certificate (DER), in lower-case hexadecimal digits.
    pub authority: String,
    /// Names the token.
    pub id: String,
    /// 256 random bits in hexadecimal digits.
    pub secret: Hidden,
}

/// Why a text is not a token. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is something else.
    #[error("this is not a join token: copy the whole line that `caractrl node join-token` prints")]
    NotAToken,
    /// It was made by a newer server.
    #[error("the join token is of a newer version: update cara-agent")]
    Newer,
}

impl JoinToken {
    /// Reads a token; white space around it is ignored.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.trim().split('_');
        let version = parts.next().unwrap_or_default();
        if version != VERSION {
            let is_newer = version
                .strip_prefix("carajoin")
                .is_some_and(|number| number.parse::<u32>().is_ok());
            return Err(if is_newer {
                TokenError::Newer
            } else {
                TokenError::NotAToken
            });
        }
        let mut next = || parts.next().filter(|part| is_hex(part)).map(str::to_owned);
        let (authority, id, secret) = (next(), next(), next());
        let (Some(authority), Some(id), Some(secret), None) = (authority, id, secret, parts.next())
        else {
            return Err(TokenError::NotAToken);
        };
        if authority.len() != HASH_DIGITS || secret.len() != HASH_DIGITS || id.len() > ID_DIGITS_MAX
        {
            return Err(TokenError::NotAToken);
        }
        Ok(Self {
            authority,
            id,
            secret: Hidden::new(secret),
        })
    }

    /// The token as [`Self::parse`] reads it. Whoever calls this answers for where it goes.
    pub fn to_text(&self) -> Hidden {
        let (authority, id) = (&self.authority, &self.id);
        let secret = self.secret.reveal();
        Hidden::new(format!("{VERSION}_{authority}_{id}_{secret}"))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("authority", &self.authority)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn is_hex(text: &str) -> bool {
    let is_digit = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
    !text.is_empty() && text.bytes().all(is_digit)
}

/// What a token lets in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JoinRole {
    /// A machine that runs projects.
    #[default]
    Agent,
}

/// Asks for a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct NewJoinToken {
    /// What it lets in.
    pub role: JoinRole,
    /// The only node that it lets in; any new one if left out. A node that exists already comes
    /// back only by a token that names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// How many seconds it can be used, 3600 if left out, at most a week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
}

/// A token that was made. It is shown this one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedJoinToken {
    /// Names the token.
    pub id: String,
    /// The token.
    #[schema(value_type = String)]
    pub token: Hidden,
    /// What it lets in.
    pub role: JoinRole,
    /// The only node that it lets in, if it names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its end.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Where nodes reach the server, as far as it knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

/// The tokens that there are, by their ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JoinTokenList {
    /// All of them, without their secrets.
    pub items: Vec<JoinTokenInfo>,
}

/// What is known of a token: all but its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinTokenInfo {
    /// Names the token.
    pub id: String,
    /// The only node that it lets in, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Its end.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The node that it let in, if it did: it lets in no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_by: Option<String>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Timestamp>,
}

/// The authority of the server. Says nothing that has to be trusted: its hash is in the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerAuthority {
    /// The certificate, PEM.
    pub certificate: String,
    /// SHA-256 of it (DER).
    pub fingerprint: String,
}

/// Turns a token into a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct JoinRequest {
    /// Names the token.
    pub id: String,
    /// The token's secret.
    #[schema(value_type = String)]
    pub secret: Hidden,
    /// The name that the node wants.
    pub node: String,
    /// The machine's own host name.
    #[serde(default)]
    pub hostname: String,
    /// PKCS #10 in PEM, signed by the key that the node made.
    pub certificate_request: String,
}

/// Asks for the next certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenewRequest {
    /// PKCS #10 in PEM, signed by the next key of the node.
    pub certificate_request: String,
}

/// A certificate for a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuedCertificate {
    /// PEM.
    pub certificate: String,
    /// The authority that the server's certificate comes from, PEM.
    pub authority: String,
    /// Its end.
    #[schema(value_type = String, format = DateTime)]
    pub not_after: Timestamp,
    /// How many seconds it lives from now on.
    pub life_seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let token = JoinToken {
            authority: "ab".repeat(32),
            id: "0199aa".to_owned(),
            secret: Hidden::new("01".repeat(32)),
        };
        let text = token.to_text();
        assert_eq!(
            JoinToken::parse(&format!(" {}\n", text.reveal())),
            Ok(token.clone())
        );
        assert!(!format!("{token:?}").contains("0101"));
        let short = text.reveal().trim_end_matches('1');
        for (text, expected) in [
            ("", TokenError::NotAToken),
            ("hello", TokenError::NotAToken),
            (short, TokenError::NotAToken),
            ("carajoin2_x", TokenError::Newer),
            ("carajoin1_ab_cd_ef", TokenError::NotAToken),
        ] {
            assert_eq!(JoinToken::parse(text), Err(expected), "{text}");
        }
        let more = format!("{}_00", text.reveal());
        assert_eq!(JoinToken::parse(&more), Err(TokenError::NotAToken));
    }
}
