//! Who may reach an ingress.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who may reach an ingress. Where several ways are given, one that succeeds is enough; `allow`
/// holds for all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressAccess {
    /// `Internal`, which is also what an empty text means.
    #[schema(value_type = AccessScope)]
    pub scope: String,
    /// Only clients from these networks, such as `10.0.0.0/8`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// A name and a password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<Box<BasicAuth>>,
    /// A signed token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Box<Bearer>>,
    /// A login in the browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc: Option<Box<Oidc>>,
    /// Links that open it for a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_links: Option<Box<ShareLinks>>,
    /// A Secret whose key `token` lets automated checks pass, in the header
    /// `x-cara-bypass`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bypass_token: String,
}

/// Scope of an ingress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum AccessScope {
    /// The same as `Internal`.
    #[serde(rename = "")]
    Unset,
    /// Visible on the overlay network.
    Internal,
}

/// HTTP basic authentication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BasicAuth {
    /// A Secret: its keys are names, its values passwords or their bcrypt hashes.
    #[schema(required = true)]
    pub secret: String,
    /// What the browser's dialogue shows; the hostname when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub realm: String,
}

/// JSON web tokens in the `Authorization` header.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Bearer {
    /// The issuer's URL, as tokens name it; its keys are found by OpenID Connect discovery.
    #[schema(required = true)]
    pub issuer: String,
    /// Where the issuer's keys are, if not where discovery says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub jwks_url: String,
    /// Tokens must be for one of these; at least one.
    #[schema(required = true)]
    pub audiences: Vec<String>,
    /// Claims that tokens must have, with these values.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub claims: std::collections::BTreeMap<String, String>,
}

/// Login by OpenID Connect: authorization code with PKCE.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Oidc {
    /// The issuer's URL.
    #[schema(required = true)]
    pub issuer: String,
    /// The client that the issuer knows the gateway as.
    #[schema(required = true)]
    pub client_id: String,
    /// A Secret whose key `clientSecret` the issuer knows; left out for a public client.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub secret: String,
    /// What to ask for beyond `openid`; `email` when left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Only people with these addresses, or `@example.com` for all of a domain. Left out:
    /// everybody whom the issuer knows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<String>,
    /// Only people of one of these groups (claim `groups`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// How long a login lasts, such as `12h`, which applies when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
}

/// Links with a signature and an end, made by `caractrl share`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ShareLinks {
    /// The longest life of a link, such as `168h`, which applies when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub max_age: String,
    /// Change it, and all links that were given out are void.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub epoch: String,
}

/// Certificates of clients.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientCertificate {
    /// A Secret whose key `ca.crt` holds the authorities that sign clients.
    #[schema(required = true)]
    pub ca: String,
    /// Lets clients without a certificate pass.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}
