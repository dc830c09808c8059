//! The connections that agents opened to this server, by node, and what passes through them.
//!
//! ```text
//! agent --dials--> server        then, on the same connection:
//! agent <--HTTP/2 requests-- server (many at once, each with its own flow control)
//! ```
//!
//! A second tunnel of a node replaces the first, whose streams go on until they end. What waits
//! unread is bounded for each stream; a tunnel carries a bounded number of them. Every task is
//! under one tracker and ends with the server's token. It refuses to know what streams are about
//! and who may open them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use bytes::Bytes;
use cara_api::NodeName;
use cara_api::stream::{STREAM_WINDOW, TUNNEL_PIECE, TUNNEL_STREAMS, TUNNEL_WINDOW};
use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt;
use hyper::Method;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::plan::shares::{Sharer, Shares, Short, share};

/// Streams of a tunnel.
const SLOTS: usize = TUNNEL_STREAMS as usize;
/// How long an agent may take to begin its answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(40);
/// How long an upload may take, as agents have it too.
const UPLOAD_LIMIT: Duration = Duration::from_secs(24 * 3_600);
/// Pause after which an idle tunnel is tried, and how long the answer may take.
const PING: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));
/// Bytes that wait to be sent in one stream.
const SEND_BUFFER: usize = 256 * 1024;
/// What is held of an answer that is an error, in bytes.
pub(crate) const ERROR_MAX: usize = 64 * 1024;

/// Why there is no stream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The agent did not dial, or its connection is gone.
    #[error("the agent of node {0:?} is not connected to this server")]
    NotConnected(String),
    /// As many as a tunnel carries are open.
    #[error("node {0:?} has {TUNNEL_STREAMS} streams open, which is the most: close some first")]
    Busy(String),
    /// The caller has as many as one may have.
    #[error(
        "you have {most} streams of node {0:?} open, which is the most that one may have: close some first",
        most = share(SLOTS)
    )]
    Share(String),
    /// The connection broke, or nothing came.
    #[error("the agent of node {0:?} does not answer")]
    NoAnswer(String),
}

/// What a stream is about, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Logs,
    Exec,
    Forward,
    Files,
    Usage,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Exec => "exec",
            Self::Forward => "forward",
            Self::Files => "files",
            Self::Usage => "usage",
        }
    }
}

/// All tunnels of this server.
pub(crate) struct Tunnels {
    all: Mutex<HashMap<NodeName, Tunnel>>,
    /// Streams of nodes whose agents open no tunnel, while there are any.
    doors: Mutex<HashMap<NodeName, Slots>>,
    /// Says that one was opened.
    news: watch::Sender<()>,
    next: AtomicU64,
    /// Everything that belongs to streams runs under this.
    pub(crate) tasks: TaskTracker,
    open: IntGauge,
    streams: IntGaugeVec,
}

#[derive(Clone)]
struct Tunnel {
    id: u64,
    requests: SendRequest<Body>,
    slots: Slots,
}

impl Tunnels {
    pub(crate) fn new(registry: &Registry) -> Self {
        let build = || -> prometheus::Result<(IntGauge, IntGaugeVec)> {
            let open = IntGauge::new("cara_tunnels", "Agents that this server reaches")?;
            let help = "Streams between users and containers that are open";
            let streams = IntGaugeVec::new(Opts::new("cara_streams", help), &["kind"])?;
            registry.register(Box::new(open.clone()))?;
            registry.register(Box::new(streams.clone()))?;
            Ok((open, streams))
        };
        let (open, streams) =
            build().expect("the metrics of streams are registered once, under valid names");
        Self {
            all: Mutex::default(),
            doors: Mutex::default(),
            news: watch::Sender::new(()),
            next: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            open,
            streams,
        }
    }

    /// Takes a connection for the tunnel of a node, and holds it until it breaks or `token` is
    /// cancelled.
    pub(crate) async fn hold<T>(&self, node: NodeName, connection: T, token: CancellationToken)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (interval, timeout) = PING;
        let handshake = http2::Builder::new(Tracked(self.tasks.clone()))
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(TUNNEL_WINDOW)
            .max_frame_size(TUNNEL_PIECE)
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(interval)
            .keep_alive_timeout(timeout)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(connection));
        let (requests, connection) = match tokio::time::timeout(timeout, handshake).await {
            Ok(Ok(made)) => made,
            Ok(Err(error)) => {
                tracing::info!(%node, error = %error, "the agent's tunnel broke at once");
                return;
            }
            Err(_) => return,
        };
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let tunnel = Tunnel {
            id,
            requests,
            slots: all_free(),
        };
        // The one before ends when its last stream did: nobody asks it for another.
        let _ = self.lock().insert(node.clone(), tunnel);
        self.open.inc();
        self.news.send_replace(());
        tracing::info!(%node, "agent reached");
        let ended = tokio::select! {
            ended = connection => ended,
            () = token.cancelled() => Ok(()),
        };
        self.open.dec();
        let mut all = self.lock();
        if all.get(&node).is_some_and(|tunnel| tunnel.id == id) {
            all.remove(&node);
        }
        drop(all);
        match ended {
            Ok(()) => tracing::debug!(%node, "tunnel closed"),
            Err(error) => tracing::info!(%node, error = %error, "tunnel lost"),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<NodeName, Tunnel>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, node: &NodeName) -> Option<Tunnel> {
        let found = self.lock().get(node).cloned();
        found.filter(|tunnel| !tunnel.requests.is_closed())
    }

    /// Whether the node's agent is connected, or becomes so while there is patience.
    pub(crate) async fn is_connected(&self, node: &NodeName, patience: Duration) -> bool {
        let mut news = self.news.subscribe();
        let connected = async {
            while self.find(node).is_none() {
                if news.changed().await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(patience, connected)
            .await
            .unwrap_or(false)
    }

    /// Asks the agent of a node, with a stream of somebody's share.
    ///
    /// # Errors
    /// See [`Error`]. Whatever the agent answers, errors too, is an answer.
    pub(crate) async fn ask(
        &self,
        node: &NodeName,
        (kind, by): (Kind, &Sharer),
        request: Request<Body>,
    ) -> Result<Answer, Error> {
        let name = || node.as_str().to_owned();
        let tunnel = self.find(node).ok_or_else(|| Error::NotConnected(name()))?;
        let open = self.opened(node, &tunnel.slots, (kind, by))?;
        let mut requests = tunnel.requests;
        let limit = match *request.method() {
            // The answer comes when all was sent, which ends when nothing comes any more.
            Method::PUT => UPLOAD_LIMIT,
            _ => ANSWER_LIMIT,
        };
        let answer = async {
            requests.ready().await?;
            requests.send_request(request).await
        };
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(response)) => Ok(Answer { response, open }),
            Ok(Err(error)) => {
                tracing::info!(%node, error = %error, "the agent's answer did not come");
                Err(Error::NoAnswer(name()))
            }
            Err(_) => Err(Error::NoAnswer(name())),
        }
    }

    /// Counts a stream of somebody's share that reaches a node past any tunnel, as agents of the older
    /// system are asked. It is open until what is returned is dropped.
    ///
    /// # Errors
    /// [`Error::Busy`] and [`Error::Share`].
    pub(crate) fn count(&self, node: &NodeName, what: (Kind, &Sharer)) -> Result<Open, Error> {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        // Each stream holds the slots that it is of.
        doors.retain(|_, slots| Arc::strong_count(slots) > 1);
        let slots = doors.entry(node.clone()).or_insert_with(all_free);
        self.opened(node, slots, what)
    }

    fn opened(
        &self,
        node: &NodeName,
        slots: &Slots,
        (kind, by): (Kind, &Sharer),
    ) -> Result<Open, Error> {
        let name = || node.as_str().to_owned();
        let slot = Slot::take(slots, by).map_err(|short| match short {
            Short::Own if *by == Sharer::Everybody => Error::Busy(name()),
            Short::Own => Error::Share(name()),
            Short::All => Error::Busy(name()),
        })?;
        let count = self.streams.with_label_values(&[kind.as_str()]);
        Ok(Open::new(count, slot))
    }

    /// Waits for everything to end that the server's token ended.
    pub(crate) async fn end(&self, grace: Duration) {
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("leaving streams that did not end in time");
        }
    }
}

/// An agent's answer; the stream is open until it is dropped.
pub(crate) struct Answer {
    response: Response<Incoming>,
    open: Open,
}

/// Bytes of an answer as they arrive.
pub(crate) type Pieces = std::pin::Pin<Box<dyn Stream<Item = Result<Bytes, hyper::Error>> + Send>>;

impl Answer {
    /// What stands before the body.
    pub(crate) fn head(&self) -> &Response<Incoming> {
        &self.response
    }

    /// The body; the stream is open until it is dropped.
    pub(crate) fn pieces(self) -> Pieces {
        let open = self.open;
        let pieces = self.response.into_body().into_data_stream();
        // The closure holds what counts the stream.
        Box::pin(pieces.map(move |piece| {
            let _counted = &open;
            piece
        }))
    }

    /// The beginning of the body, of an answer that is short, as far as it comes in time.
    pub(crate) async fn text(self, limit: usize, patience: Duration) -> Vec<u8> {
        let mut pieces = self.pieces();
        let mut text = Vec::new();
        let read = async {
            while let Some(Ok(piece)) = pieces.next().await {
                text.extend_from_slice(&piece);
                if text.len() > limit {
                    text.truncate(limit);
                    return;
                }
            }
        };
        // What came in time says enough.
        let _ = tokio::time::timeout(patience, read).await;
        text
    }
}

/// The streams of a tunnel, and whose they are.
type Slots = Arc<Mutex<Shares>>;

fn all_free() -> Slots {
    Arc::new(Mutex::new(Shares::new(SLOTS)))
}

/// One of them, until it is dropped.
struct Slot {
    slots: Slots,
    by: Sharer,
}

impl Slot {
    fn take(slots: &Slots, by: &Sharer) -> Result<Self, Short> {
        let mut shares = slots.lock().unwrap_or_else(PoisonError::into_inner);
        shares.room(by)?;
        shares.take(by, 1);
        drop(shares);
        Ok(Self {
            slots: Arc::clone(slots),
            by: by.clone(),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut shares = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        shares.give_back(&self.by, 1);
    }
}

/// Counts a stream while it is open.
pub(crate) struct Open {
    count: IntGauge,
    _slot: Slot,
}

impl Open {
    fn new(count: IntGauge, slot: Slot) -> Self {
        count.inc();
        Self { count, _slot: slot }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.count.dec();
    }
}

/// Runs what belongs to a connection under the tracker.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_of_the_share_of_who_opened_it_until_it_is_dropped() {
        let slots = all_free();
        let (ann, ben) = (Sharer::One("ann".into()), Sharer::One("ben".into()));
        let take = |by| Slot::take(&slots, by);
        let mut of_ann: Vec<Slot> = (0..64).map(|_| take(&ann).expect("a stream")).collect();
        assert_eq!(take(&ann).err(), Some(Short::Own));
        assert!(take(&ben).is_ok());
        of_ann.pop();
        assert!(take(&ann).is_ok());
    }

    #[test]
    fn streams_past_tunnels_count_too_and_leave_nothing() {
        let tunnels = Tunnels::new(&Registry::new());
        let (old, new) = (NodeName::trusted("old"), NodeName::trusted("new"));
        let ann = Sharer::One("ann".into());
        let take = |node| tunnels.count(node, (Kind::Logs, &ann));
        let held: Result<Vec<Open>, Error> = (0..64).map(|_| take(&old)).collect();
        assert!(held.is_ok());
        assert!(matches!(take(&old), Err(Error::Share(_))));
        assert!(take(&new).is_ok());
        let count = tunnels.streams.with_label_values(&["logs"]);
        assert_eq!(count.get(), 64);
        drop(held);
        assert_eq!(count.get(), 0);
        let last = take(&new);
        assert!(last.is_ok());
        let doors = tunnels.doors.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(doors.len(), 1);
    }
}
