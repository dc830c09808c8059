//! What the API says about backups. The archive itself is bytes to everybody but the control plane.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Media type of an archive.
pub const CONTENT_TYPE: &str = "application/vnd.caravanserai.backup+zstd";
/// Largest archive, in bytes as it is sent.
pub const ARCHIVE_MAX: usize = 512 * 1024 * 1024;

/// What a restore does, or did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlan {
    /// When the backup was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// The revision of the store that it shows.
    pub revision: u64,
    /// Version of the server that made it.
    pub server_version: String,
    /// Whether the server holds projects, secrets or certificates of users, which a restore
    /// takes away unless the backup has them too.
    pub is_in_use: bool,
    /// By kind, such as `projects`: what becomes of what is stored.
    pub kinds: BTreeMap<String, Counts>,
    /// What a person should know before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The revision at which all of it was written; none while it is only planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<u64>,
}

/// How many entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Not there yet.
    pub create: u64,
    /// There, with another content.
    pub replace: u64,
    /// There as in the backup.
    pub keep: u64,
    /// There, but not in the backup.
    pub delete: u64,
}
