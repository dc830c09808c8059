//! The connection over which the server reaches this agent: dialled from here, so that it works
//! where nobody can dial the node, and served from here once it stands. It knows nothing of what
//! the streams in it are about.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use cara_api::client::{Backoff, Connection};
use cara_api::stream::{
    STREAM_WINDOW, TUNNEL_PIECE, TUNNEL_PROTOCOL, TUNNEL_STREAMS, TUNNEL_WINDOW,
};
use cara_api::{client, paths};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::link::{self, Link};

const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A connection that held for so long was a good one.
const PROVEN: Duration = Duration::from_secs(5);
/// Pause after which an idle connection is tried, and how long the answer may take.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));
/// How long streams may take to end when the agent stops.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// Bytes that wait to be sent in one stream.
const SEND_BUFFER: usize = 256 * 1024;

/// Keeps a connection to the server, and serves `router` on it, until cancelled.
pub(crate) async fn keep(
    link: Arc<Link>,
    router: Router,
    tasks: TaskTracker,
    token: CancellationToken,
) {
    let path = paths::fill(paths::NODE_TUNNEL, &[link.config.node.as_str()]);
    let mut backoff = Backoff::new(link::FIRST_PAUSE, LONGEST_PAUSE);
    let mut replacements = link.client.replacements();
    loop {
        replacements.mark_unchanged();
        let opened = tokio::select! {
            opened = link.client.upgrade(&path, TUNNEL_PROTOCOL) => opened,
            () = token.cancelled() => return,
        };
        match opened {
            Ok(connection) => {
                tracing::info!(server = link.client.base(), "the server reaches this agent");
                let since = tokio::time::Instant::now();
                let served = serve(connection, router.clone(), tasks.clone(), token.clone());
                let served = tasks.spawn(served);
                tokio::select! {
                    _ = served => {}
                    // By the new certificate at once. Streams under way end with their own
                    // tunnel: the server asks it for no more when the next one stands.
                    Ok(()) = replacements.changed() => continue,
                }
                if since.elapsed() > PROVEN {
                    backoff.reset();
                }
            }
            Err(error) => not_opened(&error),
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => {}
            () = token.cancelled() => return,
        }
    }
}

/// The server may be away, of an older version, or not know the node yet.
fn not_opened(error: &client::Error) {
    tracing::debug!(error = %link::chain(error), "the server does not take the tunnel");
}

async fn serve(
    connection: Connection,
    router: Router,
    tasks: TaskTracker,
    token: CancellationToken,
) {
    let (interval, timeout) = PING;
    let connection = hyper::server::conn::http2::Builder::new(Tracked(tasks))
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(TUNNEL_WINDOW)
        .max_concurrent_streams(TUNNEL_STREAMS)
        .max_frame_size(TUNNEL_PIECE)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(interval)
        .keep_alive_timeout(timeout)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = token.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let ended = tokio::time::timeout(STOP_GRACE, connection).await;
            ended.unwrap_or(Ok(()))
        }
    };
    match ended {
        Ok(()) => tracing::debug!("the server closed the tunnel"),
        Err(error) => tracing::info!(error = %error, "lost the tunnel; connecting again"),
    }
}

/// Runs what belongs to a connection under the agent's own tracker.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}
