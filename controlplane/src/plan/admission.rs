//! Who a caller is as a node, what a node may do, and whether a token lets one in.
//!
//! ```text
//! token made --join--> admitted --renew--> admitted
//!                         |  ^
//!                 revoke, |  | join by a token that names the node
//!                 delete  v  |
//!                      shut out
//! ```
//!
//! A certificate belongs to an admission, and counts as long as the node's record shows that very
//! admission.

use cara_api::node::Admission;
use cara_api::{NodeName, Timestamp, paths};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a connection or request shows of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Nothing.
    Nothing,
    /// It comes from inside the server's process.
    Inside(NodeName),
    /// A certificate that the server's authority issued.
    Certificate(Presented),
}

/// What a certificate of a node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// The node.
    pub node: NodeName,
    /// The admission that it belongs to.
    pub admission: Uuid,
    /// Its end.
    pub not_after: Timestamp,
}

/// Who a caller is, as far as nodes are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Not a node.
    Somebody,
    /// This node, by its certificate.
    Node(NodeName),
    /// The node inside the server.
    Inside(NodeName),
    /// A node whose certificate does not count.
    Refused(Refused),
}

/// Why a certificate does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It ended.
    #[error("the certificate of node {0} ended")]
    Ended(NodeName),
    /// The node was shut out.
    #[error("node {0} was shut out: its certificates do not count any more")]
    Revoked(NodeName),
    /// The node joined anew, or is gone.
    #[error("the certificate belongs to an earlier node {0}, which was deleted or joined anew")]
    Replaced(NodeName),
}

impl Refused {
    fn node(&self) -> &NodeName {
        match self {
            Self::Ended(node) | Self::Revoked(node) | Self::Replaced(node) => node,
        }
    }
}

/// Who shows this; `admission` is what the record of the node says.
pub fn who(shown: &Shown, admission: Option<&Admission>, now: Timestamp) -> Who {
    let presented = match shown {
        Shown::Nothing => return Who::Somebody,
        Shown::Inside(node) => return Who::Inside(node.clone()),
        Shown::Certificate(presented) => presented,
    };
    let node = presented.node.clone();
    if now >= presented.not_after {
        return Who::Refused(Refused::Ended(node));
    }
    match admission {
        Some(known) if known.id != presented.admission => Who::Refused(Refused::Replaced(node)),
        None => Who::Refused(Refused::Replaced(node)),
        Some(known) if known.revoked_at.is_some() => Who::Refused(Refused::Revoked(node)),
        Some(_) => Who::Node(node),
    }
}

/// Whether callers must show who they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Auth {
    /// No: whoever reaches the API may do everything.
    #[default]
    Off,
    /// Yes.
    On,
}

/// Why a request does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody knows who asks.
    #[error(
        "only the agent of node {0} may do this, by its certificate: let it join with a token of `caractrl node join-token`"
    )]
    NotANode(String),
    /// The certificate does not count.
    #[error("{0}: let it join again with a token of `caractrl node join-token --node {node}`", node = .0.node())]
    Refused(Refused),
    /// It is the certificate of another node.
    #[error("this is the certificate of node {own}: it may not act for node {other}")]
    OtherNode {
        /// Whose it is.
        own: NodeName,
        /// For whom it was used.
        other: String,
    },
    /// Nodes have no business there.
    #[error("nodes may not do this: it is for people")]
    NotForNodes,
    /// Older agents do not say who they are.
    #[error(
        "agents of the older system show no certificate: their door is closed while authentication is on"
    )]
    OlderAgent,
}

impl Denied {
    /// True when showing who one is would help.
    pub fn is_unauthenticated(&self) -> bool {
        match self {
            Self::NotANode(_) | Self::Refused(Refused::Ended(_)) => true,
            Self::Refused(Refused::Revoked(_) | Refused::Replaced(_))
            | Self::OtherNode { .. }
            | Self::NotForNodes
            | Self::OlderAgent => false,
        }
    }
}

/// What agents alone do, each for its own node.
const FOR_THE_NODE: [&str; 5] = [
    paths::NODE_HEARTBEAT,
    paths::NODE_ASSIGNMENTS,
    paths::NODE_REPORTS,
    paths::NODE_CERTIFICATE,
    paths::NODE_TUNNEL,
];

/// What anybody may do.
const FOR_ALL: [&str; 5] = [
    paths::HEALTHZ,
    paths::READYZ,
    paths::VERSION,
    paths::JOIN,
    paths::JOIN_AUTHORITY,
];

/// True for routes that agents alone use, each for its own node.
pub fn is_for_the_node(route: &str) -> bool {
    FOR_THE_NODE.contains(&route)
}

/// Whether a request to a route passes, as far as nodes are concerned: what people may do is
/// decided elsewhere. `node` is the node that the path names.
pub fn passes(who: &Who, auth: Auth, route: &str, node: &str) -> Result<(), Denied> {
    if FOR_ALL.contains(&route) {
        return Ok(());
    }
    if !is_for_the_node(route) {
        return match who {
            Who::Somebody if route == paths::PROJECT_STATUS && auth == Auth::On => {
                Err(Denied::OlderAgent)
            }
            Who::Somebody => Ok(()),
            // It registers itself; the name is checked where it is read.
            Who::Inside(_) if route == paths::NODES => Ok(()),
            Who::Node(_) | Who::Inside(_) => Err(Denied::NotForNodes),
            Who::Refused(refused) => Err(Denied::Refused(refused.clone())),
        };
    }
    match (who, auth) {
        (Who::Node(own) | Who::Inside(own), _) if own.as_str() == node => Ok(()),
        (Who::Node(own) | Who::Inside(own), _) => Err(Denied::OtherNode {
            own: own.clone(),
            other: node.to_owned(),
        }),
        (Who::Refused(refused), _) => Err(Denied::Refused(refused.clone())),
        (Who::Somebody, Auth::Off) if route != paths::NODE_CERTIFICATE => Ok(()),
        (Who::Somebody, Auth::Off | Auth::On) => Err(Denied::NotANode(node.to_owned())),
    }
}

/// A token as it is stored: its secret only as a hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredToken {
    /// Names the token.
    pub id: String,
    /// SHA-256 of the secret in hexadecimal digits.
    pub secret_hash: String,
    /// The only node that it lets in, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeName>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its end.
    pub expires_at: Timestamp,
    /// Who used it, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Use>,
}

/// The use of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    /// When it was.
    pub at: Timestamp,
    /// By whom.
    pub node: NodeName,
    /// The admission that came of it.
    pub admission: Uuid,
    /// SHA-256 of the public key that got a certificate, in hexadecimal digits.
    pub key: String,
}

/// A machine that wants to be a node.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// SHA-256 of the secret that it shows.
    pub secret_hash: &'a str,
    /// The name that it wants.
    pub node: &'a NodeName,
    /// SHA-256 of its public key.
    pub key: &'a str,
    /// Whether there is a node of that name.
    pub exists: bool,
    /// How that node was let in, if it was.
    pub admission: Option<&'a Admission>,
}

/// What becomes of a token that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemed {
    /// The node is let in, and the token is used up.
    Admit,
    /// The answer was lost on its way; the same key gets a certificate of the same admission.
    Again(Uuid),
}

/// Why a token lets nobody in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such token, or the secret is wrong.
    #[error("this server does not know the join token: make one with `caractrl node join-token`")]
    Unknown,
    /// It was used.
    #[error(
        "the join token was used already, by node {node} at {at}: each lets in one node, make another with `caractrl node join-token`"
    )]
    Used {
        /// By whom.
        node: NodeName,
        /// When.
        at: Timestamp,
    },
    /// Its time is over.
    #[error("the join token ended at {0}: make another with `caractrl node join-token`")]
    Expired(Timestamp),
    /// It is for another node.
    #[error(
        "the join token is for node {token}, not for {node}: start the agent with --node-name {token}"
    )]
    OtherNode {
        /// For whom it is.
        token: NodeName,
        /// Who came.
        node: NodeName,
    },
    /// The name is taken.
    #[error(
        "there is a node {0} already: give this one another name with --node-name, or, if it is the same machine, make a token by `caractrl node join-token --node {0}`"
    )]
    NameTaken(NodeName),
}

/// Whether a token lets a machine in. `token` is the stored one of the id that it showed.
pub fn redeem(
    token: Option<&StoredToken>,
    candidate: Candidate<'_>,
    now: Timestamp,
) -> Result<Redeemed, Refusal> {
    let token = token
        .filter(|token| token.secret_hash == candidate.secret_hash)
        .ok_or(Refusal::Unknown)?;
    if let Some(used) = &token.used {
        let is_same = used.key == candidate.key && used.node == *candidate.node;
        let is_live = candidate
            .admission
            .is_some_and(|a| a.id == used.admission && a.revoked_at.is_none());
        if is_same && is_live && now < token.expires_at {
            return Ok(Redeemed::Again(used.admission));
        }
        return Err(Refusal::Used {
            node: used.node.clone(),
            at: used.at,
        });
    }
    if now >= token.expires_at {
        return Err(Refusal::Expired(token.expires_at));
    }
    match &token.node {
        Some(node) if node != candidate.node => Err(Refusal::OtherNode {
            token: node.clone(),
            node: candidate.node.clone(),
        }),
        Some(_) => Ok(Redeemed::Admit),
        None if candidate.exists => Err(Refusal::NameTaken(candidate.node.clone())),
        None => Ok(Redeemed::Admit),
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
