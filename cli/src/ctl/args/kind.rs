//! The kinds of objects.

use clap::ValueEnum;

/// A kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Projects
    #[value(alias = "project")]
    Projects,
    /// Nodes
    #[value(alias = "node")]
    Nodes,
    /// Secrets
    #[value(alias = "secret")]
    Secrets,
    /// Certificates
    #[value(aliases = ["certificate", "cert", "certs"])]
    Certificates,
    /// Users
    #[value(alias = "user")]
    Users,
    /// Federation rules
    #[value(alias = "federation")]
    Federations,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Projects,
        Self::Nodes,
        Self::Secrets,
        Self::Certificates,
        Self::Users,
        Self::Federations,
    ];

    /// The kind as messages name it.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Projects => "project",
            Self::Nodes => "node",
            Self::Secrets => "secret",
            Self::Certificates => "certificate",
            Self::Users => "user",
            Self::Federations => "federation",
        }
    }

    /// The kind as documents name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Projects => "Project",
            Self::Nodes => "Node",
            Self::Secrets => "Secret",
            Self::Certificates => "Certificate",
            Self::Users => "User",
            Self::Federations => "Federation",
        }
    }
}

/// What can be listed: the objects of a kind, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shown {
    /// Projects
    #[value(alias = "project")]
    Projects,
    /// Nodes
    #[value(alias = "node")]
    Nodes,
    /// Secrets
    #[value(alias = "secret")]
    Secrets,
    /// Certificates
    #[value(aliases = ["certificate", "cert", "certs"])]
    Certificates,
    /// Users
    #[value(alias = "user")]
    Users,
    /// Federation rules
    #[value(alias = "federation")]
    Federations,
    /// Objects of every kind
    All,
}

impl Shown {
    /// The kind, if it is one.
    pub fn kind(self) -> Option<Kind> {
        match self {
            Self::Projects => Some(Kind::Projects),
            Self::Nodes => Some(Kind::Nodes),
            Self::Secrets => Some(Kind::Secrets),
            Self::Certificates => Some(Kind::Certificates),
            Self::Users => Some(Kind::Users),
            Self::Federations => Some(Kind::Federations),
            Self::All => None,
        }
    }
}
