//! When each node was last heard of. In memory only: heartbeats never reach the store.
//!
//! Ages are taken from a clock that nobody sets; only what is shown to people is a time of day.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cara_api::{Node, NodeName, Timestamp};
use tokio::sync::Notify;

use crate::Config;
use crate::plan::node::Seen;

/// Who gave the sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// An agent that follows its assignments; it beats every few seconds.
    Agent,
    /// Somebody who only sends heartbeats.
    Plain,
}

/// A sign of life.
#[derive(Debug, Clone, Copy)]
struct Sign {
    age_from: Instant,
    valid: Duration,
    shown: Timestamp,
}

/// Signs of life of all nodes.
pub(crate) struct Liveness {
    // Held for one map access.
    seen: Mutex<HashMap<NodeName, Sign>>,
    started: Mutex<Instant>,
    started_at: Timestamp,
    agent_timeout: Duration,
    plain_timeout: Duration,
    /// Wakes the reconciler of nodes: a node may have come to life.
    pub(crate) news: Notify,
}

impl Liveness {
    pub(crate) fn new(config: &Config, now: Timestamp) -> Self {
        Self {
            seen: Mutex::new(HashMap::new()),
            started: Mutex::new(Instant::now()),
            started_at: now,
            agent_timeout: config.node_timeout,
            plain_timeout: config.plain_node_timeout,
            news: Notify::new(),
        }
    }

    /// Notes a sign of life. A node that once had an agent keeps the agent's shorter timeout.
    pub(crate) fn note(&self, node: &NodeName, peer: Peer, now: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let had_agent = seen
            .get(node)
            .is_some_and(|old| old.valid == self.agent_timeout);
        let valid = match peer {
            Peer::Agent => self.agent_timeout,
            Peer::Plain if had_agent => self.agent_timeout,
            Peer::Plain => self.plain_timeout,
        };
        let sign = Sign {
            age_from: Instant::now(),
            valid,
            shown: now,
        };
        seen.insert(node.clone(), sign);
    }

    /// Leaves time out of account in which this process itself did not run: nobody could be heard.
    pub(crate) fn excuse(&self, gap: Duration) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        for sign in seen.values_mut() {
            sign.age_from = (sign.age_from + gap).min(now);
        }
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        *started = (*started + gap).min(now);
    }

    /// Gives every node that was not heard of its time anew, as after a start.
    pub(crate) fn start_anew(&self) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        *started = Instant::now();
    }

    /// The last sign of life, as seen from `now`. A node that was there before this process
    /// started counts as seen at the start, since what happened before is unknown, not absent;
    /// one that came later and was never heard of was never seen.
    pub(crate) fn last(&self, node: &Node, now: Timestamp) -> Seen {
        let before = |since: Instant| {
            let age = jiff::SignedDuration::try_from(since.elapsed()).unwrap_or_default();
            now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH)
        };
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let name = node.metadata.name.as_str();
        if let Some(sign) = seen.get(name) {
            return Seen {
                at: before(sign.age_from),
                valid: sign.valid,
            };
        }
        let is_older = node
            .metadata
            .created_at
            .is_some_and(|at| at < self.started_at);
        let has_agent = !node.status.info.agent_version.is_empty();
        let started = *self.started.lock().unwrap_or_else(PoisonError::into_inner);
        Seen {
            at: if is_older {
                before(started)
            } else {
                Timestamp::UNIX_EPOCH
            },
            valid: if has_agent {
                self.agent_timeout
            } else {
                self.plain_timeout
            },
        }
    }

    /// When this process last heard of the node, if ever.
    pub(crate) fn heard(&self, node: &NodeName) -> Option<Timestamp> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(node).map(|sign| sign.shown)
    }

    /// Forgets a node that was deleted.
    pub(crate) fn forget(&self, node: &NodeName) {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(node);
    }
}
