//! The edge: accepts connections, finds the route of each request, and proxies.
//!
//! ```text
//! accept     server, which gets sockets and gives connections to one of the two ways
//! ways       fastpath (plain requests, bytes to bytes)      proxy (pingora, everything else)
//! phases     phases: filter, admit -> tries, forward -> send, observe
//! shared     edge (of all requests), ctx (of one)           config
//! decisions  access   live (rules by host and path), which prepares filter and upstream
//! accounts   metrics, trace, access_log
//! wire       listen (sockets, TLS, connections)             request (what a head says)
//! words      answer, pages (what a client gets in place of a service's answer)
//! ```
//!
//! Each names only what stands below it (`tests/tests/tidy.rs`). State from the control plane comes
//! in by `live` and `listen`.
//!
//! Owns connections and everything about HTTP on the wire. It refuses to know where routes come
//! from and how services run. No type of pingora leaves this crate.

mod access;
mod access_log;
mod answer;
mod config;
mod ctx;
mod deadline;
mod draining;
mod edge;
mod fastpath;
mod filter;
#[cfg(fuzzing)]
pub mod fuzzing;
mod leaving;
mod limit;
mod listen;
mod live;
mod metrics;
mod pages;
#[cfg(test)]
mod panic_tests;
mod phases;
mod pipe;
mod proxy;
mod ratio;
mod request;
#[cfg(test)]
mod scale;
mod server;
mod trace;
mod upstream;
mod workers;

use std::sync::Arc;

use arc_swap::ArcSwap;
use cara_api::ResourceVersion;
use cara_api::gateway::GatewayState;
use cara_api::tail::Feed;
use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use access::Config as AccessConfig;
pub use access_log::{AccessLog, LogRules, Redact};
pub use config::Config;
pub use draining::{Drain, DrainControl};
pub use listen::streams::{BadPorts, PortSockets, TcpPorts};
pub use listen::{BadRange, Limits, Listener, ListenerKind, TlsVersion, TrustedRanges};
pub use pages::ErrorPages;
pub use ratio::Ratio;
pub use trace::TraceConfig;
pub use workers::Workers;

use access::Guard;
use edge::Edge;
use limit::Limiter;
use listen::by_name::ByName;
use listen::follow::Follower;
use listen::metrics::ListenMetrics;
use listen::names::Names;
use listen::streams::StreamTable;
use listen::tls::Configs;
use live::Live;
use metrics::Metrics;
use pages::CustomPages;
use server::Parts;
use trace::{Exporter, Tracer};

/// The gateway, ready to run.
pub struct Gateway {
    config: Config,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    access_log: AccessLog,
    pages: Arc<ArcSwap<CustomPages>>,
    threads: Vec<Handle>,
    background: Option<Handle>,
    names: Arc<ArcSwap<Names>>,
    tls: Arc<Configs>,
    streams: watch::Sender<StreamTable>,
    port_sockets: PortSockets,
    listen_metrics: ListenMetrics,
    tail: Arc<Feed>,
    served: watch::Sender<ResourceVersion>,
    tracer: Arc<Tracer>,
    exporter: Option<Exporter>,
    drain: DrainControl,
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
        registry
            .register(Box::new(access_log.dropped().clone()))
            .expect("the access log's metric is registered once");
        let (tracer, exporter) = Tracer::new(config.traces.as_ref(), registry);
        let names = Arc::new(ArcSwap::from_pointee(Names::default()));
        let resolver = Arc::new(ByName(Arc::clone(&names)));
        Self {
            tls: Arc::new(Configs::new(config.tls_min_version, resolver)),
            names,
            streams: watch::Sender::default(),
            port_sockets: PortSockets::default(),
            drain: DrainControl::new(Drain {
                patience: config.drain_timeout,
                idle: Drain::ON_ITS_WAY,
            }),
            listen_metrics: ListenMetrics::register(registry),
            live: Arc::new(Live::new(config.endpoint_drain)),
            config,
            metrics,
            access_log,
            pages: Arc::default(),
            threads: threads.to_vec(),
            background: None,
            tail: Arc::default(),
            served: watch::Sender::default(),
            tracer: Arc::new(tracer),
            exporter,
        }
    }

    /// Tells those who listen there about requests as they end.
    #[must_use]
    pub fn with_tail(self, tail: Arc<Feed>) -> Self {
        Self { tail, ..self }
    }

    /// Says there which state requests are served by, from the moment at which all new ones are.
    #[must_use]
    pub fn with_served(self, served: watch::Sender<ResourceVersion>) -> Self {
        Self { served, ..self }
    }

    /// Computes there what follows from a change of routes or certificates, and checks endpoints, so
    /// that no thread that serves has to; by default where the gateway runs.
    #[must_use]
    pub fn with_background(self, background: Handle) -> Self {
        Self {
            background: Some(background),
            ..self
        }
    }

    /// The sockets of ports that the gateway opens by itself.
    pub fn port_sockets(&self) -> PortSockets {
        self.port_sockets.clone()
    }

    /// The revision of the routes that requests see; zero until there are any.
    pub fn served_revision(&self) -> watch::Receiver<ResourceVersion> {
        self.served.subscribe()
    }

    /// Changes how the gateway drains; by default with the drain timeout and without idle time.
    pub fn drain_control(&self) -> DrainControl {
        self.drain.clone()
    }

    /// Serves `listeners` by the routes of `state` until `token` is cancelled; then idle
    /// connections are closed and requests under way get the drain timeout to end.
    ///
    /// Call it on one of the gateway's threads; it hands connections to all of them in turn.
    pub async fn run(
        mut self,
        listeners: Vec<Listener>,
        state: watch::Receiver<Arc<GatewayState>>,
        token: CancellationToken,
    ) {
        // Told to end after the last request did.
        let is_served = CancellationToken::new();
        let exporter = self.exporter.take();
        let export = async {
            if let Some(exporter) = exporter {
                exporter.run(is_served.clone()).await;
            }
        };
        let serve = async {
            self.serve(listeners, state, token).await;
            is_served.cancel();
        };
        tokio::join!(serve, export);
    }

    async fn serve(
        &self,
        listeners: Vec<Listener>,
        state: watch::Receiver<Arc<GatewayState>>,
        token: CancellationToken,
    ) {
        let newest = state.borrow().revision;
        let mut is_served = self.served.subscribe();
        let mut following = self.follow(state);
        // Nobody is told that there is no such host while the first state is being taken in.
        tokio::select! {
            _ = is_served.wait_for(|revision| *revision >= newest) => {}
            () = ended(&mut following) => {}
        }
        let pages = async {
            match self.config.error_pages.clone() {
                Some(settings) => match pages::follow(settings, &self.pages).await {},
                None => std::future::pending::<()>().await,
            }
        };
        tokio::select! {
            () = server::serve(self.parts(), listeners, token) => {}
            () = pages => {}
            () = ended(&mut following) => {}
        }
    }

    fn parts(&self) -> Parts {
        let edge = Edge {
            config: self.config.clone(),
            live: Arc::clone(&self.live),
            metrics: Arc::clone(&self.metrics),
            access_log: self.access_log.clone(),
            names: Arc::clone(&self.names),
            tail: Arc::clone(&self.tail),
            tracer: Arc::clone(&self.tracer),
            pages: Arc::clone(&self.pages),
            limiter: Limiter::default(),
            access: Guard::new(self.config.access.clone()),
        };
        Parts {
            edge: Arc::new(edge),
            tls: Arc::clone(&self.tls),
            listen_metrics: self.listen_metrics.clone(),
            streams: self.streams.subscribe(),
            port_sockets: self.port_sockets.clone(),
            threads: self.threads.clone(),
            drain: self.drain.clone(),
        }
    }

    /// Follows the published state in the background, for as long as the task is held. When the
    /// control plane in this process has stopped, what is known is served.
    fn follow(&self, state: watch::Receiver<Arc<GatewayState>>) -> JoinSet<()> {
        let mut follower = Follower::new(
            Arc::clone(&self.tls),
            Arc::clone(&self.names),
            self.streams.clone(),
            self.listen_metrics.clone(),
        )
        .with_departures(self.live.departures());
        let (live, metrics) = (Arc::clone(&self.live), Arc::clone(&self.metrics));
        let served = self.served.clone();
        let follow = async move {
            let first = |next: &Arc<GatewayState>| follower.catch_up(next);
            live.follow(state, (&metrics, &served), first).await;
        };
        let mut following = JoinSet::new();
        match &self.background {
            Some(background) => following.spawn_on(follow, background),
            None => following.spawn(follow),
        };
        following
    }
}

/// Waits for a task that ends only by a panic, which goes on here. Cancel-safe.
async fn ended(task: &mut JoinSet<()>) {
    if let Some(Err(error)) = task.join_next().await
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
    // Its runtime has ended: what is known is served.
    std::future::pending().await
}
