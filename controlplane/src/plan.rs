//! Decisions: what should be, given what is. Pure.
//!
//! No clock, no randomness, no store, no I/O: everything that matters comes in as a value, and
//! a decision goes out as one. Reconcilers read, ask here, and write.

pub mod claims;
pub mod events;
pub mod node;
pub mod place;
pub mod project;
pub mod routes;

use std::collections::BTreeMap;
use std::sync::Arc;

use cara_api::{Node, NodeName, Timestamp};

/// What decisions are made from, besides the object itself.
#[derive(Debug)]
pub struct World<'a> {
    /// The time of the decision.
    pub now: Timestamp,
    /// All nodes.
    pub nodes: &'a BTreeMap<NodeName, Arc<Node>>,
    /// How many projects are bound to each node, counting decisions not yet written.
    pub load: &'a BTreeMap<NodeName, u32>,
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
