//! Verbs, roles, and what a role is given for.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What somebody wants to do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// See objects, their status and events; never values of secrets.
    Read,
    /// Read logs of services, and requests as they end.
    Logs,
    /// Run commands in containers, copy files, forward ports.
    Exec,
    /// Create, change, roll back and delete.
    Deploy,
    /// Start what sleeps, and keep it awake.
    Wake,
    /// Make links that open a protected project.
    Share,
    /// Everything that concerns more than projects: nodes, certificates, users, tokens.
    Admin,
}

impl Verb {
    /// All verbs.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Logs,
        Self::Exec,
        Self::Deploy,
        Self::Wake,
        Self::Share,
        Self::Admin,
    ];

    /// The verb as documents and messages name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Logs => "logs",
            Self::Exec => "exec",
            Self::Deploy => "deploy",
            Self::Wake => "wake",
            Self::Share => "share",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of verbs under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Looks on.
    Viewer,
    /// Works with what runs: logs, commands, links.
    Developer,
    /// Changes what runs, and does not come into containers: for CI.
    Deployer,
    /// Both.
    Maintainer,
    /// May do everything.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [
        Self::Viewer,
        Self::Developer,
        Self::Deployer,
        Self::Maintainer,
        Self::Admin,
    ];

    /// Reads a role.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// The role as documents name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Developer => "developer",
            Self::Deployer => "deployer",
            Self::Maintainer => "maintainer",
            Self::Admin => "admin",
        }
    }

    /// What the role may do, where it was given.
    pub fn verbs(self) -> &'static [Verb] {
        match self {
            Self::Viewer => &[Verb::Read],
            Self::Developer => &[Verb::Read, Verb::Logs, Verb::Exec, Verb::Wake, Verb::Share],
            Self::Deployer => &[Verb::Read, Verb::Logs, Verb::Deploy, Verb::Wake],
            Self::Maintainer => &[
                Verb::Read,
                Verb::Logs,
                Verb::Exec,
                Verb::Deploy,
                Verb::Wake,
                Verb::Share,
            ],
            Self::Admin => &Verb::ALL,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A role, and the projects that it is given for: exactly one of `allProjects`, `projects` and
/// `selector`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Grant {
    /// `viewer`, `developer`, `deployer`, `maintainer` or `admin`.
    #[schema(required = true)]
    pub role: String,
    /// For everything: all projects, nodes, certificates, users.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all_projects: bool,
    /// For the projects of these names, and for secrets with the label `project` of one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
    /// For projects and secrets that have all of these labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub selector: BTreeMap<String, String>,
}

impl Grant {
    /// A role for everything.
    pub fn everywhere(role: Role) -> Self {
        Self {
            role: role.as_str().to_owned(),
            all_projects: true,
            ..Self::default()
        }
    }
}

impl fmt::Display for Grant {
    /// `deployer:shop,blog`, `viewer:team=web`, `admin:*`; see [`super::validate::parse_grant`].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.role)?;
        if self.all_projects {
            return f.write_str("*");
        }
        let labels = self.selector.iter().map(|(k, v)| format!("{k}={v}"));
        let parts: Vec<String> = self.projects.iter().cloned().chain(labels).collect();
        f.write_str(&parts.join(","))
    }
}
