//! Decisions: what should be, given what is. Pure.
//!
//! No clock, no randomness, no store, no I/O: everything that matters comes in as a value, and
//! a decision goes out as one. Reconcilers read, ask here, and write.

pub mod access;
pub mod admission;
pub mod assign;
pub mod certs;
pub mod claims;
pub mod doctor;
pub mod events;
pub mod evict;
pub mod fleet;
pub mod node;
pub mod once;
pub mod place;
pub mod project;
pub mod routes;
pub mod shares;

use std::time::Duration;

use cara_api::Timestamp;
use cara_api::project::ProjectRevision;

use fleet::Fleet;

/// What decisions are made from, besides the object itself.
#[derive(Debug)]
pub struct World<'a> {
    /// The time of the decision.
    pub now: Timestamp,
    /// All nodes and what is on them, counting decisions not yet written.
    pub fleet: &'a Fleet,
    /// The stored spec of the stable generation of the project that is decided about, if that
    /// generation was replaced.
    pub stable: Option<&'a ProjectRevision>,
    /// How long to wait before giving up on a node.
    pub patience: Patience,
}

/// How long to wait for a node that is not ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Before a project that runs there is placed elsewhere.
    pub reschedule_grace: Duration,
    /// Before a project that is being deleted there counts as removed.
    pub force_terminate_after: Duration,
}

/// What to do with an object, and when to look again if nothing happens before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<S> {
    /// What to write.
    pub action: Action<S>,
    /// The next moment at which time alone changes the decision.
    pub wake_at: Option<Timestamp>,
}

/// What to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<S> {
    /// Nothing: the object is as it should be.
    Keep,
    /// The whole new status.
    Write(S),
    /// Remove the record.
    Forget,
}

/// The moment that lies `after` a moment.
fn later(moment: Timestamp, after: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(after)
        .ok()
        .and_then(|after| moment.checked_add(after).ok())
        .unwrap_or(Timestamp::MAX)
}
