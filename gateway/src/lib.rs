//! The edge: accepts connections, finds the route of each request, and proxies.
//!
//! ```text
//! listener -> server -> connection -> proxy (pingora) -> request, pages, forward
//!                                        |
//! state from the control plane -> live --'
//! ```
//!
//! Owns connections and everything about HTTP on the wire. It refuses to know where routes come
//! from and how services run. No type of pingora leaves this crate.

mod access_log;
mod connection;
mod forward;
mod live;
mod metrics;
mod pages;
mod proxy;
mod request;
mod server;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use cara_api::gateway::GatewayState;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use access_log::AccessLog;
pub use workers::Workers;

use live::Live;
use metrics::Metrics;

/// Settings of the gateway.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a service may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a service may take to begin its answer, and to go on with it.
    pub upstream_timeout: Duration,
    /// How long WebSockets and event streams may be silent.
    pub stream_timeout: Duration,
    /// How long requests under way may take to end when the gateway stops.
    pub drain_timeout: Duration,
}

/// The gateway, ready to run.
pub struct Gateway {
    config: Config,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    access_log: AccessLog,
    threads: Vec<Handle>,
}

impl Gateway {
    /// A gateway that serves on these threads' runtimes and registers its metrics.
    pub fn new(
        config: Config,
        access_log: AccessLog,
        threads: &[Handle],
        registry: &Registry,
    ) -> Self {
        let metrics = Arc::new(Metrics::register(registry));
        Self {
            config,
            live: Arc::new(Live::default()),
            metrics,
            access_log,
            threads: threads.to_vec(),
        }
    }

    /// Serves `listener` by the routes of `state` until `token` is cancelled; then idle
    /// connections are closed and requests under way get the drain timeout to end.
    ///
    /// Call it on one of the gateway's threads; it hands connections to all of them in turn.
    pub async fn run(
        self,
        listener: TcpListener,
        state: watch::Receiver<Arc<GatewayState>>,
        token: CancellationToken,
    ) {
        let follow = self.live.follow(state, &self.metrics);
        let serve = server::serve(&self, listener, token);
        tokio::pin!(serve);
        tokio::select! {
            () = &mut serve => return,
            () = follow => {}
        }
        // The control plane in this process has stopped: serve what is known.
        serve.await;
    }
}
