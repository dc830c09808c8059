//! The short way for connections that speak HTTP/1.1, with or without TLS: reads requests one after
//! the other for as long as they are plain.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pingora_http::ResponseHeader;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::Instant;

use super::client::{Client, Gone};
use super::exchange::Then;
use super::request::{self, Request, Traces};
use super::text::{Refusal, push};
use super::{INPUT_MAX, Lane, MESSAGE, Serving};
use crate::access;
use crate::deadline::{EndingWait, LastingWait, MovingDeadline};
use crate::listen::client::ClientInfo;
use crate::listen::connection::{Connection, Transport};
use crate::pipe::Pipe;

/// What is read of a client at once.
const PIECE: usize = 8 * 1024;
/// How long the rest of a small body may take before the request is no plain one any more.
const BODY: Duration = Duration::from_secs(1);
/// Longer than any deadline for a head, which the connection watches itself.
const HEAD: Duration = Duration::from_secs(3_600);

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
pub(crate) async fn serve<S: Transport + Send>(
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
        lasting: LastingWait::default(),
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
    lasting: LastingWait,
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
    fn patience(self, idle: Duration) -> Duration {
        match self {
            Self::Request => idle,
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

impl<S: Transport + Send> Server<'_, S> {
    /// Serves one request.
    async fn request(&mut self) -> Next {
        let traces = self.lane.traces();
        self.info.next_request(!self.input.is_empty());
        let mut waited_for = None;
        loop {
            self.message.clear();
            self.message.reserve(MESSAGE);
            let wanted = match judge_input(&self.input, traces, &mut self.message) {
                Reading::Whole(request) => {
                    self.info.head_is_complete(false);
                    let Some(ctx) = self.lane.judge(&self.info, &request) else {
                        return Next::HandOver;
                    };
                    let used = request.bytes();
                    let body = self.input.get(request.head_bytes..used);
                    let mut client = Waiting {
                        connection: &mut *self.client,
                        early: Vec::new(),
                        early_max: INPUT_MAX.saturating_sub(self.input.len() - used),
                    };
                    let serving = Serving {
                        lane: self.lane,
                        client: &mut client,
                        deadline: &mut self.deadline,
                        lasting: &mut self.lasting,
                        info: &self.info,
                        message: &mut self.message,
                    };
                    let then = serving.serve(&request, body.unwrap_or_default(), ctx).await;
                    let early = client.early;
                    self.input.drain(..used);
                    self.input.extend_from_slice(&early);
                    return match then {
                        Then::GoOn => Next::Request,
                        Then::Close => Next::End,
                    };
                }
                Reading::More(wanted) => wanted,
                Reading::NotPlain => return Next::HandOver,
            };
            if wanted == Wanted::Body {
                // No deadline for heads counts any more.
                self.info.head_is_complete(false);
            }
            if waited_for.replace(wanted) != Some(wanted) {
                let patience = wanted.patience(self.lane.edge.config.limits.idle);
                self.deadline.set(Instant::now() + patience);
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

/// A client that waits for an answer.
struct Waiting<'a, S> {
    connection: &'a mut Connection<S>,
    /// What it sent meanwhile: the beginning of its next request.
    early: Vec<u8>,
    /// Bytes of that at most, give or take one read.
    early_max: usize,
}

impl<S: Transport> Waiting<'_, S> {
    /// The connection has a deadline of its own for writes.
    async fn write(&mut self, data: &[u8]) -> Result<(), Gone> {
        let written = self.connection.write_all(data).await;
        written.map_err(|_| Gone)?;
        self.connection.flush().await.map_err(|_| Gone)
    }
}

impl<S: Transport + Send> Client for Waiting<'_, S> {
    type Head = Vec<u8>;
    const PROTOCOL: &'static str = "h1";
    const ENDS_WITH_ANSWERS: bool = true;

    async fn hint(&mut self, head: &Vec<u8>) -> Result<(), Gone> {
        self.write(head).await
    }

    async fn begin(&mut self, mut head: Vec<u8>, first: &[u8], _: bool) -> Result<(), Gone> {
        head.extend_from_slice(first);
        self.write(&head).await
    }

    async fn part(&mut self, data: &[u8], _: bool) -> Result<(), Gone> {
        self.write(data).await
    }

    fn takes_pipes(&self) -> bool {
        self.connection.takes_pipes()
    }

    fn poll_part(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe<'_>) -> Poll<Result<(), Gone>> {
        let moved = self.connection.poll_drain(cx, pipe);
        moved.map(|moved| moved.map_err(|_| Gone))
    }

    async fn page(&mut self, head: ResponseHeader, body: &[u8]) -> Result<(), Gone> {
        let mut out = Vec::with_capacity(1_024 + body.len());
        let reason = head.status.canonical_reason().unwrap_or_default();
        let status = head.status.as_str().as_bytes();
        push(
            &mut out,
            &[b"HTTP/1.1 ", status, b" ", reason.as_bytes(), b"\r\n"],
        );
        for (name, value) in &head.headers {
            let name = name.as_str().as_bytes();
            push(&mut out, &[name, b": ", value.as_bytes(), b"\r\n"]);
        }
        push(&mut out, &[b"connection: close\r\n\r\n", body]);
        self.write(&out).await
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.early.len() < self.early_max {
            match ready!(poll_fill(self.connection, cx, &mut self.early)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Closing tells.
    fn cut(&mut self) {}
}
