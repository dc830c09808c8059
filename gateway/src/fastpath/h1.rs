//! The short way for plain HTTP/1.1 requests, past pingora's HTTP layer.
//!
//! ```text
//! connection -> request (read) -> judge -> exchange (upstream, pool) -> answer, body -> client
//!                      '-- not plain --'----> pingora, with the same bytes
//! ```
//!
//! Most requests of most services are plain: HTTP/1.1, nothing that could be read in two ways, a
//! rule that only forwards. For these an exchange costs a quarter of what it costs through
//! general-purpose layers (see `docs/adr/0008-a-short-way-for-plain-requests.md`). Everything else goes to pingora, and
//! so does the connection from then on. Both ways find rules in one table, choose endpoints and
//! judge failures by the same functions, and end in the same logs, metrics and traces.
//!
//! It refuses to know rules that do more than forward, and other protocols than HTTP/1.1.

mod answer;
mod body;
mod coding;
mod ended;
mod exchange;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod judge;
mod page;
mod passage;
mod pool;
mod request;
mod text;

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use crate::access;
use crate::ctx::Ctx;
use crate::deadline::{Ending, EndingWait, MovingDeadline};
use crate::edge::Edge;
use crate::listen::client::ClientInfo;
use crate::listen::connection::Connection;
use crate::live::LiveRule;
use crate::phases::observe;
use crate::trace::Parent;

use ended::Plain;
use exchange::{End, Exchange, Then};
use request::{Hop, Request, Traces};
use text::Refusal;

pub(crate) use pool::Pool;

/// Head and body of a request together; a larger one is not plain.
const INPUT_MAX: usize = 16 * 1024;
/// Room for what a service is sent: more than most requests need.
const MESSAGE: usize = 2 * 1024;
/// What is read of a client at once.
const PIECE: usize = 8 * 1024;
/// How long a connection may be idle between two requests, as pingora has it.
const IDLE: Duration = Duration::from_secs(60);
/// How long the rest of a small body may take before the request is no plain one any more.
const BODY: Duration = Duration::from_secs(1);
/// Longer than any deadline for a head, which the connection watches itself.
const HEAD: Duration = Duration::from_secs(3_600);

/// What serves plain requests on one thread.
pub(crate) struct Lane {
    pub(crate) edge: Arc<Edge>,
    pub(crate) pool: Arc<Pool>,
    /// Answers from then on are the last of their connections.
    pub(crate) stopping: Arc<Ending>,
    /// Connections that wait for a request from then on are closed.
    pub(crate) closing: Arc<Ending>,
}

/// How a connection goes on.
enum Next {
    /// With another plain request.
    Request,
    /// With pingora.
    HandOver,
    /// Not at all.
    End,
}

/// Serves a connection for as long as its requests are plain. Gives it back, with all bytes that
/// were read and not served, when one is not; none when it has ended.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    lane: &Lane,
    client: Box<Connection<S>>,
) -> Option<Box<Connection<S>>> {
    let mut server = Server {
        lane,
        info: Arc::clone(client.info()),
        client,
        input: Vec::new(),
        message: Vec::new(),
        deadline: MovingDeadline::default(),
        closing: EndingWait::new(&lane.closing),
    };
    loop {
        match server.request().await {
            Next::Request => {}
            Next::HandOver => {
                server.client.unread(server.input);
                return Some(server.client);
            }
            Next::End => {
                // The client may be gone.
                let _ = server.client.shutdown().await;
                return None;
            }
        }
    }
}

struct Server<'a, S> {
    lane: &'a Lane,
    client: Box<Connection<S>>,
    info: Arc<ClientInfo>,
    /// What was read and is not served yet.
    input: Vec<u8>,
    /// What a service is sent; kept for its memory.
    message: Vec<u8>,
    deadline: MovingDeadline,
    closing: EndingWait,
}

/// What the client is waited for to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Request,
    Head,
    Body,
}

impl Wanted {
    fn patience(self) -> Duration {
        match self {
            Self::Request => IDLE,
            Self::Head => HEAD,
            Self::Body => BODY,
        }
    }
}

/// What has been read so far comes to.
enum Reading<'a> {
    Whole(Request<'a>),
    More(Wanted),
    NotPlain,
}

/// Judges what was read, and appends to `message` what a service gets of a head that is whole.
fn judge_input<'a>(input: &'a [u8], traces: Traces, message: &mut Vec<u8>) -> Reading<'a> {
    match request::read(input, traces, access::has_own_cookie, message) {
        Ok(request) if request.bytes() > INPUT_MAX => Reading::NotPlain,
        Ok(request) if request.bytes() <= input.len() => Reading::Whole(request),
        Ok(_) => Reading::More(Wanted::Body),
        Err(Refusal::Partial) if input.is_empty() => Reading::More(Wanted::Request),
        Err(Refusal::Partial) if input.len() < INPUT_MAX => Reading::More(Wanted::Head),
        Err(Refusal::Partial | Refusal::NotPlain) => Reading::NotPlain,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Server<'_, S> {
    /// Serves one request.
    async fn request(&mut self) -> Next {
        let edge = &self.lane.edge;
        let traces = if edge.tracer.is_on() {
            Traces::Set
        } else {
            Traces::Pass
        };
        self.info.next_request(!self.input.is_empty());
        let mut waited_for = None;
        loop {
            self.message.clear();
            self.message.reserve(MESSAGE);
            let wanted = match judge_input(&self.input, traces, &mut self.message) {
                Reading::Whole(request) => {
                    self.info.head_is_complete(false);
                    let ctx = judge::rule(edge, &self.info, &request)
                        .and_then(|rule| begin(edge, &self.info, &request, rule));
                    let Some(ctx) = ctx else {
                        return Next::HandOver;
                    };
                    let used = request.bytes();
                    let body = self.input.get(request.head_bytes..used);
                    let serving = Serving {
                        lane: self.lane,
                        client: &mut self.client,
                        deadline: &mut self.deadline,
                        info: &self.info,
                        message: &mut self.message,
                        // Of what a client sends ahead, so much is held and no more.
                        early_max: INPUT_MAX.saturating_sub(self.input.len() - used),
                    };
                    let served = serving.serve(&request, body.unwrap_or_default(), ctx);
                    let (early, next) = served.await;
                    self.input.drain(..used);
                    self.input.extend_from_slice(&early);
                    return next;
                }
                Reading::More(wanted) => wanted,
                Reading::NotPlain => return Next::HandOver,
            };
            if wanted == Wanted::Body {
                // No deadline for heads counts any more.
                self.info.head_is_complete(false);
            }
            if waited_for.replace(wanted) != Some(wanted) {
                self.deadline.set(Instant::now() + wanted.patience());
            }
            if let Some(next) = self.fill(wanted).await {
                return next;
            }
        }
    }

    /// Reads more; none when there is more now.
    async fn fill(&mut self, wanted: Wanted) -> Option<Next> {
        poll_fn(|cx| {
            match poll_fill(&mut *self.client, cx, &mut self.input) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Some(Next::End)),
                Poll::Ready(Ok(_)) => return Poll::Ready(None),
                Poll::Pending => {}
            }
            if wanted == Wanted::Request {
                // Many connections wait for long; none holds memory for what may come.
                self.input = Vec::new();
                self.message = Vec::new();
            }
            if wanted != Wanted::Body && self.closing.poll(cx).is_ready() {
                return Poll::Ready(Some(Next::End));
            }
            self.deadline.poll(cx).map(|()| match wanted {
                Wanted::Body => Some(Next::HandOver),
                Wanted::Request | Wanted::Head => Some(Next::End),
            })
        })
        .await
    }
}

/// Appends what a client has sent to `into`, which takes no memory while there is nothing. Ready
/// with the number of bytes; 0 at the end.
fn poll_fill<S: AsyncRead + Unpin>(
    client: &mut S,
    cx: &mut Context<'_>,
    into: &mut Vec<u8>,
) -> Poll<std::io::Result<usize>> {
    let mut piece = [const { MaybeUninit::uninit() }; PIECE];
    let mut piece = ReadBuf::uninit(&mut piece);
    ready!(Pin::new(client).poll_read(cx, &mut piece))?;
    into.extend_from_slice(piece.filled());
    Poll::Ready(Ok(piece.filled().len()))
}

/// The state of a request by a rule; none when its service is not there.
fn begin(
    edge: &Edge,
    info: &ClientInfo,
    request: &Request<'_>,
    rule: Arc<LiveRule>,
) -> Option<Ctx> {
    let mut ctx = Ctx::new();
    ctx.id = crate::request::id_of(request.id, || fastrand::u128(..));
    ctx.client = Some(info.peer.ip());
    ctx.is_tls = info.tls.is_some();
    ctx.trace = edge.tracer.begin(|| parent(request));
    // Only rules that keep clients look at headers.
    let chosen = ctx.upstream.choose(rule.to_services(), &HeaderMap::new());
    chosen.ok()?;
    ctx.rule = Some(rule);
    Some(ctx)
}

fn parent(request: &Request<'_>) -> Option<Parent> {
    Parent::parse(request.trace.parent?)
}

/// What serves one request.
struct Serving<'a, S> {
    lane: &'a Lane,
    client: &'a mut Connection<S>,
    deadline: &'a mut MovingDeadline,
    info: &'a ClientInfo,
    /// The head for the service, without its end.
    message: &'a mut Vec<u8>,
    /// Bytes of the client's next requests that may be read meanwhile.
    early_max: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Serving<'_, S> {
    /// Serves a request to its end. Gives what the client sent meanwhile, and how it goes on.
    async fn serve(self, request: &Request<'_>, body: &[u8], mut ctx: Ctx) -> (Vec<u8>, Next) {
        let edge = &self.lane.edge;
        let _under_way = observe::UnderWay::begin(&edge.metrics);
        let traceparent = ctx.trace.as_ref().and_then(|trace| trace.header());
        let keeps_state = ctx.trace.as_ref().is_some_and(|trace| trace.has_parent());
        let hop = Hop {
            client: self.info.peer.ip(),
            scheme: if ctx.is_tls { "https" } else { "http" },
            id: ctx.id.as_bytes(),
            traceparent: traceparent.as_ref().map(http::HeaderValue::as_bytes),
            tracestate: request.trace.state.filter(|_| keeps_state),
        };
        request::finish(request, &hop, self.message);
        self.message.extend_from_slice(body);
        let mut exchange = Exchange {
            lane: self.lane,
            client: self.client,
            deadline: self.deadline,
            request,
            message: self.message,
            ctx: &mut ctx,
            early: Vec::new(),
            early_max: self.early_max,
            closes: request.closes || self.lane.stopping.has_come(),
            status: 0,
            body_bytes: 0,
        };
        let outcome = exchange.run().await;
        let (early, mut status, mut body_bytes) =
            (exchange.early, exchange.status, exchange.body_bytes);
        let next = match outcome {
            Ok(Then::GoOn) => Next::Request,
            Ok(Then::Close) | Err(End::Gone | End::Broken) => Next::End,
            Err(End::Failed(answer)) => {
                // Whether it got there: the client may be gone.
                let sent = page::send(edge, self.client, request, &mut ctx, answer).await;
                (status, body_bytes) = sent.unwrap_or((0, 0));
                Next::End
            }
        };
        let ended = Plain {
            request,
            info: self.info,
            status,
            bytes: body_bytes,
        };
        ended::ended(edge, &ctx, &ended);
        (early, next)
    }
}
