//! Who may do what: the one function that decides it, from values.
//!
//! ```text
//! token -> Rights (grants of the user, narrowed by those of the token) -> Identity
//! route -> Need -> Question (verb, object)      Identity::may(Question) -> yes or no
//! ```
//!
//! What is not allowed is refused: a role that nobody knows, a grant that names nothing and an
//! identity without grants allow nothing.

pub mod change;
pub mod limit;
pub mod mapping;
pub mod pending;
pub mod site;
mod token;

use std::collections::BTreeMap;

use cara_api::access::{Grant, PROJECT_LABEL, Role, Verb};
use cara_api::{NodeName, TokenName, UserName};

pub use token::{Owner, Refusal, is_use_news, rights, shows_grants_only};

/// What something is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object<'a> {
    /// Everything that is no project's: nodes, certificates, users, all projects together.
    Installation,
    /// A project, or what belongs to it.
    Project(Named<'a>),
    /// A secret.
    Secret(Named<'a>),
}

/// An object by name and labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels; none when it is not known which.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

impl std::fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Installation => f.write_str("the installation"),
            Self::Project(named) => write!(f, "project {:?}", named.name),
            Self::Secret(named) => write!(f, "secret {:?}", named.name),
        }
    }
}

/// What somebody may do: what one of `grants` allows and, if there are any, one of `within` too.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// What they were given.
    pub grants: Vec<Grant>,
    /// What a token narrows it to; none for all of it.
    pub within: Option<Vec<Grant>>,
}

impl Rights {
    /// Whether they allow it.
    pub fn allow(&self, verb: Verb, object: Object<'_>) -> bool {
        let any = |grants: &[Grant]| grants.iter().any(|grant| allows(grant, verb, object));
        any(&self.grants) && self.within.as_deref().is_none_or(any)
    }

    /// Whether they allow it for anything at all.
    fn allow_somewhere(&self, verb: Verb) -> bool {
        let any = |grants: &[Grant]| grants.iter().any(|grant| has_verb(grant, verb));
        any(&self.grants) && self.within.as_deref().is_none_or(any)
    }
}

/// Whether a grant allows to do something to an object.
fn allows(grant: &Grant, verb: Verb, object: Object<'_>) -> bool {
    has_verb(grant, verb) && covers(grant, object)
}

fn has_verb(grant: &Grant, verb: Verb) -> bool {
    Role::parse(&grant.role).is_some_and(|role| role.verbs().contains(&verb))
}

/// Whether an object is among those that a grant is for.
fn covers(grant: &Grant, object: Object<'_>) -> bool {
    if grant.all_projects {
        return true;
    }
    let has_labels = |named: Named<'_>| {
        let Some(labels) = named.labels else {
            return false;
        };
        let mut wanted = grant.selector.iter();
        !grant.selector.is_empty() && wanted.all(|(key, value)| labels.get(key) == Some(value))
    };
    match object {
        Object::Installation => false,
        Object::Project(named) => {
            grant.projects.iter().any(|name| name == named.name) || has_labels(named)
        }
        Object::Secret(named) => {
            let owner = named.labels.and_then(|labels| labels.get(PROJECT_LABEL));
            let is_owned = owner.is_some_and(|owner| grant.projects.contains(owner));
            is_owned || has_labels(named)
        }
    }
}

/// Who makes a request, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// Nobody is asked who they are: the server serves this host alone.
    Unasked,
    /// Nobody that is known.
    Unknown,
    /// Somebody who showed a token.
    Bearer(Bearer),
    /// An agent.
    Node(NodeName),
}

/// Somebody who showed a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// As people and the audit log name them.
    pub actor: String,
    /// The token.
    pub token: TokenName,
    /// The user, if the token acts for one.
    pub user: Option<UserName>,
    /// The person, if it acts for somebody who logs in by a login service.
    pub person: Option<String>,
    /// What they may do.
    pub rights: Rights,
}

impl Identity {
    /// The one decision about access: whether somebody may do something to an object.
    pub fn may(&self, verb: Verb, object: Object<'_>) -> bool {
        match self {
            Self::Unasked => true,
            Self::Unknown | Self::Node(_) => false,
            Self::Bearer(bearer) => bearer.rights.allow(verb, object),
        }
    }

    /// Whether there may be anything that they may do this to; which, is decided for each.
    pub fn may_somewhere(&self, verb: Verb) -> bool {
        match self {
            Self::Unasked => true,
            Self::Unknown | Self::Node(_) => false,
            Self::Bearer(bearer) => bearer.rights.allow_somewhere(verb),
        }
    }

    /// Whether somebody is this node, as far as anybody is asked.
    pub fn is_node(&self, name: &str) -> bool {
        match self {
            Self::Unasked => true,
            Self::Unknown | Self::Bearer(_) => false,
            Self::Node(node) => node.as_str() == name,
        }
    }

    /// Whether it is known who makes the request, as far as anybody is asked.
    pub fn is_known(&self) -> bool {
        *self != Self::Unknown
    }

    /// As people and the audit log name them.
    pub fn actor(&self) -> String {
        match self {
            Self::Unasked | Self::Unknown => "anonymous".to_owned(),
            Self::Bearer(bearer) => bearer.actor.clone(),
            Self::Node(node) => format!("node:{node}"),
        }
    }

    /// Who this is, among all: people who log in may be named alike, so each goes by their id.
    pub fn id(&self) -> String {
        match self {
            Self::Bearer(Bearer {
                person: Some(id), ..
            }) => format!("person:{id}"),
            Self::Unasked | Self::Unknown | Self::Bearer(_) | Self::Node(_) => self.actor(),
        }
    }

    /// The token that was shown.
    pub fn token(&self) -> Option<&TokenName> {
        match self {
            Self::Unasked | Self::Unknown | Self::Node(_) => None,
            Self::Bearer(bearer) => Some(&bearer.token),
        }
    }
}

#[cfg(test)]
mod tests;
