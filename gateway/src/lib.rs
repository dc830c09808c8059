//! The edge: accepts connections, finds the route of each request, and proxies.
//!
//! ```text
//! listener -> server, listen -> connection -> fastpath (plain requests) ------> upstream
//!                                                '-> proxy (pingora) -> filter -> upstream, forward
//!                                                |           '-> answer, pages
//! state from the control plane -> live ----------'        '-> observe -> access_log, metrics, trace
//! ```
//!
//! Owns connections and everything about HTTP on the wire. It refuses to know where routes come
//! from and how services run. No type of pingora leaves this crate.

mod access;
mod access_log;
mod answer;
mod connection;
mod ctx;
mod deadline;
mod draining;
mod edge;
mod fastpath;
mod filter;
mod forward;
mod frames;
#[cfg(fuzzing)]
pub mod fuzzing;
mod limit;
mod listen;
mod live;
mod metrics;
mod observe;
mod pages;
mod proxy;
mod ratio;
mod request;
#[cfg(test)]
mod scale;
mod server;
mod trace;
mod upstream;
mod workers;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
pub use draining::{Drain, DrainControl};
pub use listen::streams::{BadPorts, PortSockets, TcpPorts};
pub use listen::{BadRange, Limits, Listener, ListenerKind, TlsVersion, TrustedRanges};
pub use ratio::Ratio;
pub use trace::TraceConfig;
pub use workers::Workers;

use listen::follow::Follower;
use listen::metrics::ListenMetrics;
use listen::names::Names;
use listen::streams::StreamTable;
use listen::tls::Configs;
use live::Live;
use metrics::Metrics;
use pages::CustomPages;
use trace::{Exporter, Tracer};

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
    /// What a client's connection may take.
    pub limits: Limits,
    /// Lowest version of TLS that is accepted.
    pub tls_min_version: TlsVersion,
    /// Where ports of projects are opened, and which may be. None: no port is.
    pub tcp: Option<(IpAddr, TcpPorts)>,
    /// The port at which clients reach HTTPS. None: nobody is redirected to it.
    pub https_port: Option<u16>,
    /// The operator's own error pages.
    pub error_pages: Option<ErrorPages>,
    /// Who may come in.
    pub access: AccessConfig,
    /// What the access log says.
    pub log: LogRules,
    /// Where traces go; none are made without.
    pub traces: Option<TraceConfig>,
}

/// Where an operator's own error pages are.
#[derive(Debug, Clone)]
pub struct ErrorPages {
    /// Pages for all hosts; a directory in it has those for the environment of its name.
    pub directory: PathBuf,
    /// What comes after the environment in hostnames: `{host}.{environment}.{base_domain}`.
    pub base_domain: String,
}

impl Default for Config {
    /// Times that suit most services; nothing is open that was not asked for.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            upstream_timeout: Duration::from_secs(60),
            stream_timeout: Duration::from_secs(3_600),
            drain_timeout: Duration::from_secs(10),
            limits: Limits::default(),
            tls_min_version: TlsVersion::V1_2,
            tcp: None,
            https_port: None,
            error_pages: None,
            access: AccessConfig::default(),
            log: LogRules::default(),
            traces: None,
        }
    }
}

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
        Self {
            tls: Arc::new(Configs::new(config.tls_min_version, Arc::clone(&names))),
            names,
            streams: watch::Sender::default(),
            port_sockets: PortSockets::default(),
            drain: DrainControl::new(Drain {
                patience: config.drain_timeout,
                idle: Duration::ZERO,
            }),
            listen_metrics: ListenMetrics::register(registry),
            config,
            live: Arc::new(Live::default()),
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
            () = server::serve(self, listeners, token) => {}
            () = pages => {}
            () = ended(&mut following) => {}
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
        );
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
}
