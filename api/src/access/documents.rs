//! The documents about access, as they go over the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Grant;
use crate::meta::{ObjectMeta, Resource, Timestamp};
use crate::secret::Hidden;

/// A person or a program with rights of its own; tokens act for it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct User {
    /// `caravanserai/v1`; may be left out.
    pub api_version: String,
    /// `User`; may be left out.
    pub kind: String,
    /// Name, labels and versions.
    #[schema(required = true)]
    pub metadata: ObjectMeta,
    /// What it may do.
    pub spec: UserSpec,
}

/// What a user may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UserSpec {
    /// Who it is, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// Roles; nothing is allowed without one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// Refuses all of its tokens, without deleting anything.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub suspended: bool,
}

/// A secret text that acts for a user, or in its own right. Only its hash is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Token {
    /// `caravanserai/v1`; may be left out.
    pub api_version: String,
    /// `Token`; may be left out.
    pub kind: String,
    /// Name, labels and versions.
    #[schema(required = true)]
    pub metadata: ObjectMeta,
    /// For whom, and what it may do.
    pub spec: TokenSpec,
    /// What became of it; set by the server.
    #[schema(read_only)]
    pub status: TokenStatus,
    /// The token itself: only in the answer to its creation, never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(read_only, value_type = Option<String>)]
    pub value: Option<Hidden>,
}

/// For whom a token acts, and what it may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenSpec {
    /// The user that it acts for; it may do what the user may. Empty: only what `grants` says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// With `user`: narrows what it may do to what these allow as well. Without: all that it may
    /// do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
    /// How long it is good: `90d` or a duration such as `12h`; 90 days when left out. Only when
    /// it is created.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expires_in: String,
    /// What it is for, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// Where a token comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenOrigin {
    /// Somebody created it.
    #[default]
    Created,
    /// The first one, made by the server.
    Bootstrap,
    /// Of a login.
    Login,
    /// Of a federation rule.
    Federation,
}

/// What became of a token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenStatus {
    /// Where it comes from.
    pub origin: TokenOrigin,
    /// When it stops being good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Timestamp>,
    /// Who created it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who it is when it acts for no user: the subject of a login.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// How the token begins, to tell which one it is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
}

/// A rule by which tokens of another issuer, such as those of CI jobs, are exchanged for
/// short-lived ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Federation {
    /// `caravanserai/v1`; may be left out.
    pub api_version: String,
    /// `Federation`; may be left out.
    pub kind: String,
    /// Name, labels and versions.
    #[schema(required = true)]
    pub metadata: ObjectMeta,
    /// Whose tokens, and what they are good for.
    #[schema(required = true)]
    pub spec: FederationSpec,
}

/// Whose tokens are taken, and what is given for them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FederationSpec {
    /// URL of the issuer, exactly as its tokens name it.
    #[schema(required = true)]
    pub issuer: String,
    /// What must be in the tokens' `aud`.
    #[schema(required = true)]
    pub audience: String,
    /// What the tokens must say, at least one claim: its whole value, or the beginning of it and
    /// `*`.
    #[schema(required = true)]
    pub claims: BTreeMap<String, String>,
    /// What the tokens that are given out may do.
    #[schema(required = true)]
    pub grants: Vec<Grant>,
    /// How long they are good: at most `12h`; `15m` when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub expires_in: String,
}

/// Who the server takes the caller for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WhoAmI {
    /// As the audit log names them: a user, the subject of a login, or `token:NAME`.
    pub actor: String,
    /// False when the server asks nobody who they are.
    pub authenticated: bool,
    /// Name of the token that was shown.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// When it stops being good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// What they may do.
    pub grants: Vec<Grant>,
    /// What the token narrows that to, if it does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Grant>,
}

macro_rules! resource {
    ($name:ident, $kind:literal, $noun:literal) => {
        impl Resource for $name {
            const KIND: &'static str = $kind;
            const NOUN: &'static str = $noun;

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(User, "User", "user");
resource!(Token, "Token", "token");
resource!(Federation, "Federation", "federation rule");
