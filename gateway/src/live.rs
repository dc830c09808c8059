//! The hosts that requests see, swapped as a whole.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cara_api::gateway::{GatewayState, Host, Route};
use cara_routes::{RouteTable, rank};
use tokio::sync::watch;

use crate::metrics::Metrics;

/// The current table. A request loads it once and keeps the rule that it found, so a change
/// never disturbs what is under way.
#[derive(Default)]
pub(crate) struct Live {
    table: ArcSwap<RouteTable<LiveHost>>,
}

/// A host with its rules, the most specific first.
pub(crate) struct LiveHost {
    _host: Arc<Host>,
    rules: Vec<LiveRule>,
}

/// A rule, and what the gateway remembers about it from request to request.
#[derive(Clone)]
pub(crate) struct LiveRule {
    pub(crate) route: Arc<Route>,
}

impl AsRef<Route> for LiveRule {
    fn as_ref(&self) -> &Route {
        &self.route
    }
}

impl LiveHost {
    fn new(host: &Arc<Host>) -> Self {
        let mut rules: Vec<LiveRule> = host
            .routes
            .iter()
            .map(|route| LiveRule {
                route: Arc::clone(route),
            })
            .collect();
        rank::sort(&mut rules);
        Self {
            _host: Arc::clone(host),
            rules,
        }
    }

    /// The most specific rule that takes a request.
    pub(crate) fn rule(&self, path: &str, headers: &http::HeaderMap) -> Option<&LiveRule> {
        let values = |name: &str| {
            headers
                .get_all(name)
                .iter()
                .map(http::HeaderValue::as_bytes)
        };
        self.rules
            .iter()
            .find(|rule| rank::matches(&rule.route, path, values))
    }
}

impl Live {
    /// The current table.
    pub(crate) fn table(&self) -> arc_swap::Guard<Arc<RouteTable<LiveHost>>> {
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
            let table = self
                .table
                .load()
                .apply(&next, |host, _| LiveHost::new(host));
            metrics
                .routes
                .set(i64::try_from(table.len()).unwrap_or(i64::MAX));
            tracing::debug!(revision = %table.revision(), hosts = table.len(), "routes");
            self.table.store(Arc::new(table));
            if state.changed().await.is_err() {
                return;
            }
        }
    }
}
