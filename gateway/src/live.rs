//! The routes that requests see, swapped as a whole.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cara_api::gateway::GatewayState;
use cara_routes::RouteTable;
use tokio::sync::watch;

use crate::metrics::Metrics;

/// The current table. A request loads it once and keeps the route that it found, so a change
/// never disturbs what is under way.
#[derive(Default)]
pub(crate) struct Live {
    table: ArcSwap<RouteTable>,
}

impl Live {
    /// The current table.
    pub(crate) fn table(&self) -> arc_swap::Guard<Arc<RouteTable>> {
        self.table.load()
    }

    /// Takes in every state that is published; ends when the publisher is gone.
    pub(crate) async fn follow(
        &self,
        mut state: watch::Receiver<Arc<GatewayState>>,
        metrics: &Metrics,
    ) {
        loop {
            let next = Arc::clone(&state.borrow_and_update());
            let table = self.table.load().apply(&next);
            metrics
                .routes
                .set(i64::try_from(table.len()).unwrap_or(i64::MAX));
            tracing::debug!(revision = %table.revision(), routes = table.len(), "routes");
            self.table.store(Arc::new(table));
            if state.changed().await.is_err() {
                return;
            }
        }
    }
}
