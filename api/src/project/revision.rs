//! Earlier generations of a project, kept so that it can return to them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ProjectSpec;
use crate::meta::{Generation, Timestamp};

/// A generation of a project's spec that was replaced by a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProjectRevision {
    /// The project.
    pub project: String,
    /// Which edit of the spec it is.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// What was wanted.
    #[schema(value_type = ProjectSpec)]
    pub spec: Arc<ProjectSpec>,
    /// It ran with every service ready.
    #[serde(default)]
    pub ran: bool,
    /// When it was replaced.
    #[schema(value_type = String, format = DateTime)]
    pub replaced_at: Timestamp,
}

/// Body of a request to return to an earlier generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Rollback {
    /// The generation to return to; left out: the one before the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub generation: Option<i64>,
}
