//! The short way for connections that speak HTTP/2, with or without TLS: each stream is judged by
//! itself, and those that are not plain go to pingora.
//!
//! The accept loop is pingora's own one anew, since its streams cannot be had otherwise: it counts
//! streams that were refused, says that the connection ends before the gateway stops, and closes
//! what is idle.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora_core::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, handshake};
use pingora_core::protocols::{Digest, Stream};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use super::client::{Client, Gone};
use super::ended::{self, Plain};
use super::head::Head;
use super::request;
use super::text::Refusal;
use super::{INPUT_MAX, Lane, MESSAGE, Serving};
use crate::access;
use crate::deadline::{EndingWait, LastingWait, MovingDeadline};
use crate::listen::client::ClientInfo;
use crate::pipe::Pipe;
use crate::request::REQUEST_ID;

/// Pause between looks at a connection whose requests take long.
const IDLE_CHECK: Duration = Duration::from_secs(1);
/// Room for headers: more than most answers have.
const HEADERS: usize = 16;
/// What is kept for the streams of a connection that are to come, and of memory for each.
const KEPT: usize = 16;
const KEPT_MESSAGE: usize = 4 * 1024;
/// Streams of a connection that may be refused for their form, as pingora has it.
const REFUSED_MAX: usize = 32;

/// What a connection is served with.
pub(crate) struct Http2 {
    pub(crate) lane: Arc<Lane>,
    pub(crate) info: Arc<ClientInfo>,
    pub(crate) options: H2Options,
}

impl Http2 {
    /// Serves a connection to its end. `otherwise` serves the streams that are not plain.
    pub(crate) async fn serve<O, F>(self, stream: Stream, otherwise: O)
    where
        O: Fn(HttpSession) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send,
    {
        let digest = Arc::new(Digest {
            ssl_digest: stream.get_ssl_digest(),
            timing_digest: stream.get_timing_digest(),
            proxy_digest: stream.get_proxy_digest(),
            socket_digest: stream.get_socket_digest(),
        });
        let mut connection = match handshake(stream, Some(self.options)).await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(error = %error, "no HTTP/2");
                return;
            }
        };
        let mut stopping = EndingWait::new(&self.lane.stopping);
        let mut is_stopping = false;
        let mut refused = 0;
        let streams = TaskTracker::new();
        let shared = Arc::new(Shared::new(self.lane, self.info));
        let mut idle = MovingDeadline::default();
        idle.set(shared.idle_until());
        loop {
            let accepted = tokio::select! {
                biased;
                () = poll_fn(|cx| stopping.poll(cx)), if !is_stopping => {
                    connection.graceful_shutdown();
                    is_stopping = true;
                    continue;
                }
                accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
                () = poll_fn(|cx| idle.poll(cx)), if !is_stopping => {
                    if streams.is_empty() && shared.idle_until() <= Instant::now() {
                        // Closed without a word, since nobody may be there to hear it.
                        return;
                    }
                    idle.set(shared.idle_until().max(Instant::now() + IDLE_CHECK));
                    continue;
                }
            };
            match accepted {
                Ok(Some(H2Accept::Session(session))) => {
                    let shared = Arc::clone(&shared);
                    let otherwise = otherwise.clone();
                    // Boxed, what is rare makes no task larger than it has to be: tasks are moved.
                    let mut session = session;
                    streams.spawn(async move {
                        if !shared.serve(&mut session).await {
                            Box::pin(otherwise(session)).await;
                        }
                        shared.ended();
                    });
                }
                Ok(Some(H2Accept::Rejected)) if refused < REFUSED_MAX => refused += 1,
                Ok(Some(H2Accept::Rejected)) => {
                    tracing::warn!(refused, "a client sent too many malformed requests");
                    break;
                }
                Ok(None) => break,
                Err(error) => {
                    // Most clients just go.
                    tracing::debug!(error = %error, "the connection broke");
                    break;
                }
            }
        }
        // Without it the streams that are left end too.
        drop(connection);
        streams.close();
        streams.wait().await;
    }
}

/// What the streams of a connection share.
struct Shared {
    lane: Arc<Lane>,
    info: Arc<ClientInfo>,
    /// When the last of them ended; before that, when the connection began.
    ended: Mutex<Instant>,
    /// What streams that ended left for others. Only the thread's own tasks lock it.
    kept: Mutex<Vec<Kept>>,
}

/// What a stream needs for a while, kept for its memory and its timer.
#[derive(Default)]
struct Kept {
    message: Vec<u8>,
    deadline: MovingDeadline,
    lasting: LastingWait,
}

impl Shared {
    fn new(lane: Arc<Lane>, info: Arc<ClientInfo>) -> Self {
        Self {
            lane,
            info,
            ended: Mutex::new(Instant::now()),
            kept: Mutex::default(),
        }
    }

    /// Without requests, the connection is kept until then.
    fn idle_until(&self) -> Instant {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
            + self.lane.edge.config.limits.idle
    }

    fn ended(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a request if it is plain. False when it is not, and nothing was done.
    async fn serve(&self, session: &mut HttpSession) -> bool {
        let Ok(nothing) = RequestHeader::build_no_case("GET", b"/", Some(0)) else {
            return false;
        };
        // Taken out of the session, which sends the answer meanwhile.
        let head = std::mem::replace(session.req_header_mut(), nothing);
        let mut kept = self.kept().pop().unwrap_or_default();
        let is_served = self.serve_plain(&head, session, &mut kept).await;
        if kept.message.capacity() <= KEPT_MESSAGE {
            self.keep(kept);
        }
        if !is_served {
            *session.req_header_mut() = head;
        }
        is_served
    }

    fn keep(&self, kept: Kept) {
        let mut all = self.kept();
        if all.len() < KEPT {
            all.push(kept);
        }
    }

    /// The same with what it takes.
    async fn serve_plain(
        &self,
        head: &RequestHeader,
        session: &mut HttpSession,
        kept: &mut Kept,
    ) -> bool {
        kept.message.clear();
        kept.message.reserve(MESSAGE);
        let (traces, is_own) = (self.lane.traces(), access::has_own_cookie);
        let Ok(request) = request::of_http2(head, traces, is_own, &mut kept.message) else {
            return false;
        };
        // A body of unknown length may be a large one.
        let is_small = request.bytes() <= INPUT_MAX;
        if !is_small || (request.body_bytes == 0 && !session.is_body_done()) {
            return false;
        }
        let Some(ctx) = self.lane.judge(&self.info, &request) else {
            return false;
        };
        let body = match request.body_bytes {
            0 => Some(Vec::new()),
            _ => {
                let patience = self.lane.edge.config.limits.body_pause;
                Box::pin(timeout(patience, body(session)))
                    .await
                    .unwrap_or_default()
            }
        };
        let Some(body) = body else {
            // The client went, or keeps it back.
            session.shutdown();
            let unanswered = Plain {
                request: &request,
                info: &self.info,
                protocol: Waiting::PROTOCOL,
                status: 0,
                bytes: 0,
            };
            ended::ended(&self.lane.edge, &ctx, &unanswered);
            return true;
        };
        session.set_write_timeout(Some(self.lane.edge.config.limits.write_timeout));
        let serving = Serving {
            lane: &self.lane,
            client: &mut Waiting(session),
            deadline: &mut kept.deadline,
            lasting: &mut kept.lasting,
            info: &self.info,
            message: &mut kept.message,
        };
        serving.serve(&request, &body, ctx).await;
        true
    }
}

/// Reads a body, whose length h2 checks. None when the client went.
async fn body(session: &mut HttpSession) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(part) = session.read_body_bytes().await.ok()? {
        body.extend_from_slice(&part);
    }
    Some(body)
}

/// The head of an answer over HTTP/2.
#[derive(Default)]
struct AnswerHead {
    status: StatusCode,
    headers: HeaderMap,
}

impl Head for AnswerHead {
    const IS_FRAMED: bool = false;

    fn clear(&mut self) {
        self.headers.clear();
    }

    fn status(&mut self, status: u16, _: &str) -> Result<(), Refusal> {
        self.status = StatusCode::from_u16(status).map_err(|_| Refusal::NotPlain)?;
        self.headers.reserve(HEADERS);
        Ok(())
    }

    fn header(&mut self, name: &str, value: &[&[u8]]) -> Result<(), Refusal> {
        let value = match value {
            [value] => HeaderValue::from_bytes(value),
            parts => HeaderValue::from_bytes(&parts.concat()),
        };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Refusal::NotPlain)?;
        let mut value = value.map_err(|_| Refusal::NotPlain)?;
        if name == REQUEST_ID {
            // It never comes again: in the table of header compression it only drives others out.
            value.set_sensitive(true);
        }
        let added = self.headers.try_append(name, value);
        added.map(|_| ()).map_err(|_| Refusal::NotPlain)
    }

    fn end(&mut self) {}
}

impl From<AnswerHead> for ResponseHeader {
    fn from(head: AnswerHead) -> Self {
        let (mut parts, ()) = http::Response::new(()).into_parts();
        (parts.status, parts.headers) = (head.status, head.headers);
        Parts::into(parts)
    }
}

/// A stream whose client waits for an answer.
struct Waiting<'a>(&'a mut HttpSession);

impl Waiting<'_> {
    fn send_head(&mut self, head: ResponseHeader, is_whole: bool) -> Result<(), Gone> {
        let sent = self.0.write_response_header(Box::new(head), is_whole);
        sent.map_err(|_| Gone)
    }
}

impl Client for Waiting<'_> {
    type Head = AnswerHead;
    const PROTOCOL: &'static str = "h2";
    const ENDS_WITH_ANSWERS: bool = false;

    /// Pingora sends one head for each stream and no other.
    async fn hint(&mut self, _: &AnswerHead) -> Result<(), Gone> {
        Ok(())
    }

    async fn begin(&mut self, head: AnswerHead, first: &[u8], is_whole: bool) -> Result<(), Gone> {
        self.send_head(head.into(), is_whole && first.is_empty())?;
        if first.is_empty() {
            return Ok(());
        }
        self.part(first, is_whole).await
    }

    async fn part(&mut self, data: &[u8], is_last: bool) -> Result<(), Gone> {
        if data.is_empty() && !is_last {
            return Ok(());
        }
        let data = Bytes::copy_from_slice(data);
        let sent = self.0.write_body(data, is_last).await;
        sent.map_err(|_| Gone)
    }

    async fn page(&mut self, head: ResponseHeader, body: &[u8]) -> Result<(), Gone> {
        self.send_head(head, body.is_empty())?;
        if body.is_empty() {
            return Ok(());
        }
        self.part(body, true).await
    }

    /// Bodies are in frames.
    fn takes_pipes(&self) -> bool {
        false
    }

    fn poll_part(&mut self, _: &mut Context<'_>, _: &mut Pipe<'_>) -> Poll<Result<(), Gone>> {
        Poll::Ready(Err(Gone))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The client took its request back, or the connection broke.
        Pin::new(&mut self.0.idle()).poll(cx).map(|_| ())
    }

    fn cut(&mut self) {
        self.0.shutdown();
    }
}
