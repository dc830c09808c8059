//! Accepts connections and hands them to the short way or to pingora (`options`); drains them when the
//! gateway stops.
//!
//! Our own accept loops instead of pingora's server: the listeners are the caller's, the runtimes
//! are the caller's, and stopping waits for requests under way instead of a fixed time.

mod options;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cara_api::gateway::StreamRoute;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::listening::Service;
use pingora_proxy::HttpProxy;
use prometheus::IntGauge;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::deadline::Ending;
use crate::draining::{DrainControl, Draining};
use crate::edge::Edge;
use crate::fastpath::h2::Http2;
use crate::fastpath::{Lane, Pool, h1};
use crate::listen::admission::{Admission, Permit};
use crate::listen::connection::{Connection, Patience, Transport};
use crate::listen::establish::{Accepted, Establish, Established};
use crate::listen::metrics::ListenMetrics;
use crate::listen::streams::{PortSockets, Ports, StreamTable};
use crate::listen::tls::Configs;
use crate::listen::watch::watched;
use crate::listen::{Listener, ListenerKind, TrustedRanges, prepare, splice};
use crate::pipe::{PIPES, Pipes};
use crate::proxy::Phases;

/// Pause after the system refused to accept, such as for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// What tunnels get to end in order, after they were told to.
const TUNNEL_GRACE: Duration = Duration::from_millis(500);

/// What a server is made of.
pub(crate) struct Parts {
    /// What requests share.
    pub(crate) edge: Arc<Edge>,
    pub(crate) tls: Arc<Configs>,
    pub(crate) listen_metrics: ListenMetrics,
    pub(crate) streams: watch::Receiver<StreamTable>,
    pub(crate) port_sockets: PortSockets,
    /// Connections are handed to these in turn.
    pub(crate) threads: Vec<Handle>,
    pub(crate) drain: DrainControl,
}

/// What all connections share.
struct Shared {
    proxy: Arc<HttpProxy<Phases>>,
    lanes: Vec<Arc<Lane>>,
    establish: Establish,
    admission: Arc<Admission>,
    metrics: ListenMetrics,
    splice: splice::Patience,
    streams: watch::Receiver<StreamTable>,
    signals: Signals,
    threads: Vec<Handle>,
    open: IntGauge,
    drain: DrainControl,
}

/// What connections are told when the gateway stops.
#[derive(Clone)]
struct Signals {
    /// The answer under way, or the next one, is the last.
    stopping: ShutdownWatch,
    /// What waits for a request is closed.
    closing: watch::Receiver<bool>,
    /// The same for plain requests, which look at it each.
    lanes: Endings,
}

/// What connections with plain requests are told.
#[derive(Clone, Default)]
struct Endings {
    stopping: Arc<Ending>,
    closing: Arc<Ending>,
}

/// Serves until cancelled, then drains.
pub(crate) async fn serve(parts: Parts, listeners: Vec<Listener>, token: CancellationToken) {
    let (stop, stopping) = watch::channel(false);
    let (close, closing) = watch::channel(false);
    let ending = Arc::new(Ending::default());
    let lanes = Endings::default();
    let signals = Signals {
        stopping,
        closing,
        lanes: lanes.clone(),
    };
    let tcp = parts.edge.config.tcp.clone();
    let trusted = parts.edge.config.tcp_proxy_protocol.clone();
    let port_sockets = parts.port_sockets.clone();
    let shared = Arc::new(Shared::new(parts, signals, Arc::clone(&ending)));
    let tidying = CancellationToken::new();
    let mut keepers = shared.keep_tidy(&tidying);
    let mut accepting = JoinSet::new();
    let (for_ports, listeners): (Vec<_>, Vec<_>) = listeners
        .into_iter()
        .partition(|listener| listener.kind == ListenerKind::Tcp);
    for listener in listeners {
        accepting.spawn(accept(Arc::clone(&shared), listener, token.clone()));
    }
    let mut ports = JoinSet::new();
    if let Some((ip, allowed)) = tcp {
        let shared = Arc::clone(&shared);
        let table = shared.streams.clone();
        let ports_of = Ports {
            ip,
            allowed,
            trusted,
            held: by_port(for_ports),
            open: port_sockets,
            serve: move |listener, token| serve_port(Arc::clone(&shared), listener, token),
        };
        ports.spawn(ports_of.follow(table, token.clone()));
    }
    let mut open = Vec::new();
    while let Some(connections) = accepting.join_next().await {
        match connections {
            Ok(connections) => open.push(connections),
            Err(error) => tracing::error!(error = %error, "an accept loop panicked"),
        }
    }
    token.cancelled().await;
    // Nobody listens any more when every connection has ended already.
    let _ = stop.send(true);
    lanes.stopping.come();
    let mut idle = shared.drain.begin();
    let close_idle = async {
        idle.after(|drain| drain.idle).await;
        let _ = close.send(true);
        lanes.closing.come();
        shared.proxy.http_cleanup().await;
        std::future::pending().await
    };
    tokio::select! {
        () = drain(&mut open, shared.drain.begin(), &ending) => {}
        () = close_idle => {}
    }
    while ports.join_next().await.is_some() {}
    tidying.cancel();
    while keepers.join_next().await.is_some() {}
}

/// Waits for connections to end; tells those that do not to, and cuts the rest.
async fn drain(open: &mut [JoinSet<()>], mut draining: Draining, ending: &Ending) {
    if draining.wait_for(open, note_panic).await {
        return;
    }
    ending.come();
    let told = async {
        for connections in &mut *open {
            while let Some(ended) = connections.join_next().await {
                note_panic(ended);
            }
        }
    };
    if tokio::time::timeout(TUNNEL_GRACE, told).await.is_ok() {
        return;
    }
    let connections: usize = open.iter().map(JoinSet::len).sum();
    tracing::warn!(connections, "cutting connections that did not end in time");
    for connections in open {
        connections.shutdown().await;
    }
}

/// Accepts on one socket until cancelled; returns the connections that are still open.
async fn accept(shared: Arc<Shared>, listener: Listener, token: CancellationToken) -> JoinSet<()> {
    let mut connections = JoinSet::new();
    let metrics = shared.metrics.of(listener.kind);
    let trusted = Arc::new(listener.proxy_protocol);
    let socket = match prepare(listener.socket) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(error = %error, "cannot use a socket that was bound");
            return connections;
        }
    };
    let port = socket.local_addr().map_or(0, |address| address.port());
    let mut threads = shared.threads.iter().enumerate().cycle();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(ended) = connections.join_next() => {
                note_panic(ended);
                continue;
            }
            () = token.cancelled() => return connections,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        metrics.accepted.inc();
        let permit = match shared.admission.enter() {
            Ok(permit) => permit,
            Err(refusal) => {
                shared.metrics.refused(refusal);
                continue;
            }
        };
        // Registered anew by the thread that serves it.
        let Ok(stream) = stream.into_std() else {
            continue;
        };
        let (thread, on) = threads.next().unzip();
        let socket = Socket {
            stream,
            thread: thread.unwrap_or(0),
            peer,
            port,
            kind: listener.kind,
            trusted: Arc::clone(&trusted),
            open: Open::new(permit, [&shared.open, &metrics.open]),
        };
        let task = handle(Arc::clone(&shared), socket);
        match on {
            Some(thread) => connections.spawn_on(task, thread),
            None => connections.spawn(task),
        };
    }
}

/// Sockets by their ports.
fn by_port(listeners: Vec<Listener>) -> BTreeMap<u16, std::net::TcpListener> {
    let with_port = |listener: Listener| {
        let address = listener.socket.local_addr().ok()?;
        Some((address.port(), listener.socket))
    };
    listeners.into_iter().filter_map(with_port).collect()
}

/// Serves one port of a project until it is closed, and drains it.
async fn serve_port(shared: Arc<Shared>, listener: Listener, token: CancellationToken) {
    let control = shared.drain.clone();
    let mut open = [accept(shared, listener, token).await];
    drain(&mut open, control.begin(), &Ending::default()).await;
}

/// A panic ends the request that it happened in, and nothing else.
fn note_panic(ended: Result<(), JoinError>) {
    match ended {
        Err(error) if error.is_panic() => {
            tracing::error!(error = %error, "a connection's task panicked");
        }
        Ok(()) | Err(_) => {}
    }
}

/// A connection that was accepted, on its way to a thread.
struct Socket {
    stream: std::net::TcpStream,
    /// The number of the thread.
    thread: usize,
    peer: SocketAddr,
    port: u16,
    kind: ListenerKind,
    trusted: Arc<TrustedRanges>,
    open: Open,
}

/// Counts an open connection until it is dropped.
struct Open {
    permit: Permit,
    gauges: [IntGauge; 2],
}

impl Open {
    fn new(permit: Permit, gauges: [&IntGauge; 2]) -> Self {
        let gauges = gauges.map(Clone::clone);
        gauges.iter().for_each(IntGauge::inc);
        Self { permit, gauges }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauges.iter().for_each(IntGauge::dec);
    }
}

async fn handle(shared: Arc<Shared>, socket: Socket) {
    let mut open = socket.open;
    let Ok(stream) = TcpStream::from_std(socket.stream) else {
        return;
    };
    if socket.kind == ListenerKind::Tcp {
        let mut stream = stream;
        let client = shared
            .establish
            .client(&mut stream, socket.peer, &socket.trusted, &mut open.permit)
            .await;
        if let Some(client) = client {
            shared.pass_to_port(stream, client, socket.port).await;
        }
        return;
    }
    let accepted = Accepted {
        stream,
        peer: socket.peer,
        kind: socket.kind,
        trusted: &socket.trusted,
    };
    let mut closing = shared.signals.closing.clone();
    let established = tokio::select! {
        established = shared.establish.establish(accepted, &mut open.permit) => established,
        _ = closing.wait_for(|close| *close) => return,
    };
    let stopping = shared.signals.stopping.clone();
    let Some(lane) = shared.lanes.get(socket.thread) else {
        return;
    };
    match established {
        None => {}
        Some(Established::Plain(connection)) => {
            shared.serve(lane, connection, stopping).await;
        }
        Some(Established::Tls(connection)) => shared.serve(lane, connection, stopping).await,
        Some(Established::Passthrough {
            client,
            first,
            peer,
            route,
        }) => {
            let ends = |endpoint| route.ending(endpoint);
            shared
                .pass(client, &first, (peer, &route.route), ends)
                .await;
        }
    }
}

impl Shared {
    fn new(parts: Parts, signals: Signals, ending: Arc<Ending>) -> Self {
        let edge = parts.edge;
        let (config, limits) = (&edge.config, &edge.config.limits);
        let proxy = Arc::new(options::proxy(Arc::clone(&edge)));
        let threads = parts.threads.len().max(1);
        let lane = || {
            Arc::new(Lane {
                edge: Arc::clone(&edge),
                pool: Arc::new(Pool::new(limits.idle_upstreams / threads)),
                pipes: Pipes::new(PIPES / threads),
                stopping: Arc::clone(&signals.lanes.stopping),
                closing: Arc::clone(&signals.lanes.closing),
            })
        };
        Self {
            lanes: std::iter::repeat_with(lane).take(threads).collect(),
            proxy,
            establish: Establish {
                configs: parts.tls,
                names: Arc::clone(&edge.names),
                metrics: parts.listen_metrics.clone(),
                patience: Patience {
                    head: limits.header_timeout,
                    write: limits.write_timeout,
                },
                ending,
            },
            admission: Arc::new(Admission::new(limits)),
            metrics: parts.listen_metrics,
            splice: splice::Patience {
                connect: config.connect_timeout,
                idle: limits.stream_idle,
            },
            streams: parts.streams,
            signals,
            threads: parts.threads,
            open: edge.metrics.connections.clone(),
            drain: parts.drain,
        }
    }

    /// Serves requests of a connection: what is plain by itself, all else by pingora.
    async fn serve<S>(
        &self,
        lane: &Arc<Lane>,
        connection: Box<Connection<S>>,
        stopping: ShutdownWatch,
    ) where
        S: Transport + Debug + Send + Sync + 'static,
    {
        if !connection.speaks_h2() {
            if let Some(connection) = h1::serve(lane, connection).await {
                Service::handle_event(connection, Arc::clone(&self.proxy), stopping).await;
            }
            return;
        }
        let http2 = Http2 {
            lane: Arc::clone(lane),
            info: Arc::clone(connection.info()),
            options: options::h2_options(),
        };
        let proxy = Arc::clone(&self.proxy);
        let by_pingora = move |session| {
            let (proxy, stopping) = (Arc::clone(&proxy), stopping.clone());
            async move {
                let session = ServerSession::new_http2(session);
                let served = async {
                    proxy.process_new_http(session, &stopping).await;
                };
                if let Err(why) = watched(served).await {
                    tracing::debug!(?why, "a stream was reset");
                }
            }
        };
        http2.serve(connection, by_pingora).await;
    }

    /// Throws away idle connections to services, on the threads that hold them, until cancelled.
    fn keep_tidy(&self, token: &CancellationToken) -> JoinSet<()> {
        let mut keepers = JoinSet::new();
        for (number, lane) in self.lanes.iter().enumerate() {
            let (pool, token) = (Arc::clone(&lane.pool), token.clone());
            let keep = async move { pool.keep_tidy(token).await };
            match self.threads.get(number) {
                Some(thread) => keepers.spawn_on(keep, thread),
                None => keepers.spawn(keep),
            };
        }
        keepers
    }

    async fn pass_to_port(&self, client: TcpStream, peer: SocketAddr, port: u16) {
        let route = self.streams.borrow().get(&port).cloned();
        if let Some(route) = route {
            // When the port is closed, all of it is drained.
            self.pass(client, &[], (peer, &route), |_| None).await;
        }
    }

    async fn pass(
        &self,
        client: TcpStream,
        first: &[u8],
        (peer, route): (SocketAddr, &StreamRoute),
        ends: impl FnOnce(SocketAddr) -> Option<Arc<Ending>>,
    ) {
        let ip = peer.ip().to_canonical();
        if !route.allow.is_empty() && !route.allow.iter().any(|network| network.contains(&ip)) {
            self.metrics.not_allowed();
            return;
        }
        let endpoints = route.backend.endpoints();
        // Boxed: few connections need its buffers.
        let passed = Box::pin(splice::run(client, first, (endpoints, ends), self.splice)).await;
        if let Err(error) = passed {
            if matches!(error, splice::SpliceError::Unreachable) {
                self.metrics.unreachable();
            }
            tracing::debug!(error = %error, "a passed-through connection ended");
        }
    }
}
