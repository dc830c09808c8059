//! The connections of nodes that are open, each with the certificate that it was opened with; and
//! their end when that certificate does not count any more: at once when the node is shut out,
//! deleted or joins anew, and when the certificate ends.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use cara_api::{NodeName, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::plan::admission::{Presented, Shown, Who, who};
use crate::plan::node::is_alive;

/// Connections of nodes.
#[derive(Default)]
pub(crate) struct Peers {
    // Held for one access, or one walk over all.
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, (Arc<Presented>, CancellationToken)>,
}

impl Peers {
    /// Notes a connection, until the entry is dropped.
    pub(crate) fn enter(self: &Arc<Self>, presented: Arc<Presented>) -> Entry {
        let token = CancellationToken::new();
        let left = presented.not_after.duration_since(Timestamp::now());
        let left = Duration::try_from(left).unwrap_or_default();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, (presented, token.clone()));
        Entry {
            id,
            peers: Arc::clone(self),
            end: Box::pin(async move {
                tokio::select! {
                    () = token.cancelled() => {}
                    () = tokio::time::sleep(left) => {}
                }
            }),
            is_cut: false,
        }
    }

    /// Ends the connections whose certificates do not count.
    pub(crate) fn cut(&self, counts: impl Fn(&Presented) -> bool) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for (presented, token) in open.connections.values() {
            if !token.is_cancelled() && !counts(presented) {
                tracing::info!(node = %presented.node, "ending a connection: its certificate does not count any more");
                token.cancel();
            }
        }
    }

    /// Ends all connections of a node.
    pub(crate) fn cut_node(&self, node: &NodeName) {
        self.cut(|presented| presented.node != *node);
    }
}

/// A connection that is noted.
pub(crate) struct Entry {
    id: u64,
    peers: Arc<Peers>,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_cut: bool,
}

impl Entry {
    /// Ready once the connection has to end.
    pub(crate) fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if !self.is_cut && self.end.as_mut().poll(context).is_ready() {
            self.is_cut = true;
        }
        match self.is_cut {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let open = self.peers.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        open.connections.remove(&self.id);
    }
}

/// Ends connections as nodes are shut out, by whichever server, and shows when the first
/// certificate ends; until cancelled.
pub(crate) async fn follow(shared: Arc<Shared>, token: CancellationToken) {
    let mut heads = shared.cache.heads();
    loop {
        tokio::select! {
            changed = heads.changed() => if changed.is_err() { return },
            () = token.cancelled() => return,
        }
        // What the cache does not know for certain shuts nobody out.
        if !shared.cache.is_live() {
            continue;
        }
        let now = Timestamp::now();
        shared.peers.cut(|presented| {
            let shown = Shown::Certificate(presented.clone());
            shared.cache.read(|state| {
                let node = state.node(presented.node.as_str());
                let admission = node.and_then(|n| n.status.admission.as_ref());
                matches!(who(&shown, admission, now), Who::Node(_))
            })
        });
        let first = shared.cache.read(|state| {
            // Those that are gone do not renew, and need not.
            let alive = state.nodes().values().filter(|node| is_alive(node));
            let admissions = alive.filter_map(|n| n.status.admission.as_ref());
            let live = admissions.filter(|a| a.revoked_at.is_none());
            live.map(|a| a.certificate_not_after).min()
        });
        let seconds = first.map_or(0, Timestamp::as_second);
        shared
            .metrics
            .node_certificate_not_after_seconds
            .set(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(node: &str) -> Arc<Presented> {
        Arc::new(Presented {
            node: NodeName::trusted(node),
            admission: uuid::Uuid::nil(),
            not_after: Timestamp::now() + Duration::from_secs(60),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn connections_end_with_what_they_were_opened_with() {
        let peers = Arc::new(Peers::default());
        let [mut a, mut b] = ["a", "b"].map(|node| peers.enter(presented(node)));
        let cut = async |entry: &mut Entry| {
            std::future::poll_fn(|context| Poll::Ready(entry.poll_cut(context).is_ready())).await
        };
        assert!(!cut(&mut a).await && !cut(&mut b).await);
        peers.cut_node(&NodeName::trusted("a"));
        assert!(cut(&mut a).await && !cut(&mut b).await);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(cut(&mut b).await, "its time is over");
        drop((a, b));
        assert!(peers.open.lock().expect("free").connections.is_empty());
    }
}
