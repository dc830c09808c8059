//! Accepts connections and hands them to pingora; drains them when the gateway stops.
//!
//! Our own accept loop instead of pingora's server: the listener is the caller's, the runtime is
//! the caller's, and stopping waits for requests under way instead of a fixed time.

use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;
use pingora_proxy::HttpProxy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::Gateway;
use crate::connection::Connection;
use crate::proxy::Edge;

/// Idle connections to services that are kept, over all services.
const UPSTREAM_POOL: usize = 1_024;
/// Tries at a service, the first included; a try counts only when connecting failed.
const MAX_RETRIES: usize = 2;
/// How long a client may take to send its first bytes.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an HTTP/2 connection without requests is kept, as HTTP/1 ones are.
const H2_IDLE: Duration = Duration::from_secs(60);
/// Pause after the system refused to accept, such as for want of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Pause between looks at a connection whose first bytes came one by one.
const PEEK_PAUSE: Duration = Duration::from_millis(5);

/// Serves until cancelled, then drains.
pub(crate) async fn serve(gateway: &Gateway, listener: TcpListener, token: CancellationToken) {
    let conf = ServerConf {
        max_retries: MAX_RETRIES,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        ..ServerConf::default()
    };
    let edge = Edge::new(
        gateway.config.clone(),
        Arc::clone(&gateway.live),
        Arc::clone(&gateway.metrics),
        gateway.access_log.clone(),
    );
    let mut proxy = HttpProxy::new(edge, Arc::new(conf));
    proxy.handle_init_modules();
    let proxy = Arc::new(proxy);
    let h2c = Arc::new(H2c {
        proxy: Arc::clone(&proxy),
        options: {
            let mut options = HttpServerOptions::default();
            options.h2c = true;
            options.h2_idle_timeout = Some(H2_IDLE);
            options
        },
    });
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut threads = gateway.threads.iter().cycle();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(ended) = connections.join_next() => {
                gateway.metrics.connections.dec();
                note_panic(ended);
                continue;
            }
            () = token.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                // Registered anew by the thread that serves it.
                let Ok(stream) = stream.into_std() else {
                    continue;
                };
                let (proxy, h2c) = (Arc::clone(&proxy), Arc::clone(&h2c));
                gateway.metrics.connections.inc();
                let task = handle(stream, proxy, h2c, stopping.clone());
                match threads.next() {
                    Some(thread) => connections.spawn_on(task, thread),
                    None => connections.spawn(task),
                };
            }
            Err(error) => {
                tracing::warn!(error = %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
    drop(listener);
    // Nobody listens any more when every connection has ended already.
    let _ = stop.send(true);
    proxy.http_cleanup().await;
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(gateway.config.drain_timeout, drained)
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "cutting connections that did not end in time"
        );
        connections.shutdown().await;
    }
    gateway.metrics.connections.set(0);
}

/// A panic ends the request that it happened in, and nothing else.
fn note_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = %error, "a connection's task panicked");
    }
}

async fn handle(
    stream: std::net::TcpStream,
    proxy: Arc<HttpProxy<Edge>>,
    h2c: Arc<H2c>,
    stopping: ShutdownWatch,
) {
    let Ok(stream) = TcpStream::from_std(stream) else {
        return;
    };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut stopped = stopping.clone();
    let is_h2 = tokio::select! {
        is_h2 = tokio::time::timeout(FIRST_BYTES_TIMEOUT, begins_as_h2(&stream)) => is_h2,
        _ = stopped.wait_for(|stop| *stop) => return,
    };
    let connection = || Box::new(Connection::new(stream));
    match is_h2 {
        Ok(Ok(true)) => Service::handle_event(connection(), h2c, stopping).await,
        Ok(Ok(false)) => Service::handle_event(connection(), proxy, stopping).await,
        // Silent, or gone before it said anything.
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Whether a connection begins with HTTP/2's preface (RFC 9113 section 3.4); no HTTP/1 method
/// begins with `PRI`. Looks without consuming.
async fn begins_as_h2(stream: &TcpStream) -> std::io::Result<bool> {
    const PREFACE: &[u8] = b"PRI";
    let mut buffer = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut buffer).await?;
        let seen = buffer.get(..count).unwrap_or_default();
        if count == 0 || !PREFACE.starts_with(seen) {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        tokio::time::sleep(PEEK_PAUSE).await;
    }
}

/// The proxy for connections that are known to speak HTTP/2 without TLS.
struct H2c {
    proxy: Arc<HttpProxy<Edge>>,
    options: HttpServerOptions,
}

#[async_trait::async_trait]
impl HttpServerApp for H2c {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.proxy.process_new_http(session, shutdown).await
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
