//! What is said at a login.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::meta::Timestamp;
use crate::secret::Hidden;

/// How people can log in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoginInfo {
    /// Whether the server asks who somebody is at all.
    pub required: bool,
    /// The login service; empty when there is none and only tokens count.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub issuer: String,
}

/// A login by a device that cannot receive the browser itself (RFC 8628).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceLogin {
    /// Where a person goes.
    pub verification_uri: String,
    /// The same with the code in it, if the login service has that.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub verification_uri_complete: String,
    /// What they enter there.
    pub user_code: String,
    /// Sent back with each poll.
    pub handle: String,
    /// Seconds between two polls.
    pub interval_s: u64,
    /// Seconds until it is too late.
    pub expires_in_s: u64,
}

/// Asks whether a device login is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DevicePoll {
    /// Of the [`DeviceLogin`].
    #[schema(required = true)]
    pub handle: String,
}

/// Asks for a token by one of another issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Exchange {
    /// The federation rule; the first by name that fits when left out.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rule: String,
    /// The token of the other issuer, a JWT.
    #[schema(required = true, write_only, value_type = String)]
    pub token: Hidden,
}

/// A token that a login gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Shown as `Authorization: Bearer`.
    #[schema(value_type = String)]
    pub value: Hidden,
    /// Who it is.
    pub actor: String,
    /// When it stops being good.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// What a poll says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceAnswer {
    /// Seconds to wait before the next poll; 0 when the login is complete.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_s: u64,
    /// The token, when the login is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
