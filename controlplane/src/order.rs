//! The order of what agents send: reports that arrive late are not taken.
//!
//! In memory: after a restart of the server the first request of a session counts as the newest.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use cara_api::NodeName;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// The newest request of a node.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    session: String,
    sequence: u64,
    /// Sessions that were replaced by later ones, the latest last.
    ended: VecDeque<String>,
}

/// Ended sessions that are remembered: requests do not stay on their way for many restarts.
const ENDED_MAX: usize = 16;

impl Newest {
    /// Notes a request; false when a later one of its session, or a later session, was noted
    /// before. A session that was never seen replaces the last one: agents restart.
    pub(crate) fn note(&mut self, session: &str, sequence: u64) -> bool {
        if self.session == session {
            let is_late = sequence != 0 && sequence <= self.sequence;
            self.sequence = self.sequence.max(sequence);
            return !is_late;
        }
        if self.ended.iter().any(|ended| ended == session) {
            return false;
        }
        let ended = std::mem::replace(&mut self.session, session.to_owned());
        self.sequence = sequence;
        // Agents that name no session are not told apart.
        if !ended.is_empty() {
            self.ended.push_back(ended);
        }
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
        true
    }
}

/// The newest requests of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Order {
    // Held for one map access.
    nodes: Mutex<HashMap<NodeName, Arc<AsyncMutex<Newest>>>>,
}

impl Order {
    /// Waits for the turn of a request of a node: they are taken one after the other.
    pub(crate) async fn turn(&self, node: &NodeName) -> OwnedMutexGuard<Newest> {
        let newest = {
            let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(nodes.entry(node.clone()).or_default())
        };
        newest.lock_owned().await
    }

    /// Forgets a node that was deleted.
    pub(crate) fn forget(&self, node: &NodeName) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.remove(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_after_a_later_one_of_its_session_is_late() {
        let mut newest = Newest::default();
        for (session, sequence, expected) in [
            ("a", 1, true),
            ("a", 3, true),
            ("a", 2, false),
            ("a", 3, false),
            ("b", 1, true),
            ("b", 2, true),
            ("a", 4, false),
            ("b", 3, true),
            ("", 0, true),
            ("", 0, true),
        ] {
            assert_eq!(
                newest.note(session, sequence),
                expected,
                "{session} {sequence}"
            );
        }
    }
}
