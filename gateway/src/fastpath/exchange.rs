//! One request and its answer: sends to the service, and passes on what comes back.
//!
//! Which endpoint, whether there is another try, and what a failure says about an endpoint is
//! decided by `phases::tries`, as for all requests.

mod relay;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cara_routes::retry::{Failure, Shape};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::io::poll_read_buf;

use super::Lane;
use super::answer::{self, Answer, Ours};
use super::client::{Client, Gone};
use super::head::Head;
use super::pool::Key;
use super::request::Request;
use super::text::Refusal;
use crate::ctx::Ctx;
use crate::deadline::{Ending, LastingWait, MovingDeadline};
use crate::pages;
use crate::phases::tries;

/// Bytes of an answer's head at most.
const HEAD_MAX: usize = 256 * 1024;
/// What is read of an answer's beginning at once.
const BEGIN: usize = 16 * 1024;
/// Least room for a read.
const ROOM: usize = 4 * 1024;
/// Heads that may come before the one of the answer.
const HINTS_MAX: u32 = 16;

/// One exchange.
pub(super) struct Exchange<'a, C> {
    pub(super) lane: &'a Lane,
    pub(super) client: &'a mut C,
    pub(super) deadline: &'a mut MovingDeadline,
    pub(super) lasting: &'a mut LastingWait,
    /// When the answer has to end, which goes on after its first piece.
    pub(super) ends: Option<Arc<Ending>>,
    pub(super) request: &'a Request<'a>,
    /// What the service is sent.
    pub(super) message: &'a [u8],
    pub(super) ctx: &'a mut Ctx,
    /// The answer is the connection's last.
    pub(super) closes: bool,
    /// What the client has got.
    pub(super) status: u16,
    pub(super) body_bytes: usize,
}

/// Why the client has to be told, or cannot be.
#[derive(Debug)]
pub(super) enum End {
    /// The client went.
    Gone,
    /// The answer broke off after its head; only closing tells.
    Broken,
    /// Nothing of an answer was sent yet.
    Failed(pages::Answer),
}

/// How the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// With the next request.
    GoOn,
    /// Not at all.
    Close,
}

/// Why a try failed.
#[derive(Debug)]
enum Fault {
    Unconnected(pages::Answer),
    /// The service closed the connection; before it sent anything, if this says how old it was.
    Closed(Option<Failure>),
    Silent,
    Broke,
    ClientGone,
    /// The endpoint has left, and the time to end in is over.
    Over,
}

/// The head of an answer, and what came with it.
struct Begun<H> {
    service: TcpStream,
    answer: Answer,
    /// As the client gets it.
    head: H,
    /// What was read, the answer's head included.
    buffer: Vec<u8>,
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

impl<C: Client> Exchange<'_, C> {
    /// Passes the request on, and the answer back.
    pub(super) async fn run(&mut self) -> Result<Then, End> {
        let edge = &self.lane.edge;
        let (begun, key) = loop {
            let (Some(address), Some(group)) =
                (tries::begin(edge, self.ctx), tries::group(self.ctx))
            else {
                return Err(End::Failed(pages::Answer::BadGateway));
            };
            let (shape, key) = (self.shape(), Key { address, group });
            match self.attempt(key).await {
                Ok(begun) => {
                    let status = begun.answer.status;
                    if !tries::head_came(edge, self.ctx, status, || shape) {
                        break (begun, key);
                    }
                }
                Err(fault) => self.failed(fault, shape)?,
            }
        };
        self.relay(begun, key).await
    }

    /// All of the request is at hand for as long as it takes.
    fn shape(&self) -> Shape {
        Shape {
            is_idempotent: self.request.is_idempotent(),
            has_no_body: self.request.body_bytes == 0,
            is_replayable: true,
        }
    }

    /// Whether there is another try after a failure; if not, how it ends.
    fn failed(&mut self, fault: Fault, shape: Shape) -> Result<(), End> {
        let edge = &self.lane.edge;
        let (failure, answer, kind) = match fault {
            Fault::ClientGone => return Err(End::Gone),
            Fault::Unconnected(answer) => {
                let again = tries::refused(edge, self.ctx, shape);
                return if again {
                    Ok(())
                } else {
                    Err(End::Failed(answer))
                };
            }
            Fault::Closed(failure) => {
                let failure = failure.unwrap_or(Failure::Other);
                (failure, pages::Answer::BadGateway, "reset")
            }
            Fault::Silent => (Failure::Other, pages::Answer::Timeout, "timeout"),
            Fault::Broke | Fault::Over => (Failure::Other, pages::Answer::BadGateway, "other"),
        };
        if tries::broke(edge, self.ctx, failure, true, || shape) {
            return Ok(());
        }
        self.count(kind);
        Err(End::Failed(answer))
    }

    /// Counts a service's failure.
    fn count(&self, kind: &str) {
        let errors = &self.lane.edge.metrics.upstream_errors;
        errors.with_label_values(&[kind]).inc();
    }

    /// How an answer ends that a fault broke off.
    fn broken_by(&self, fault: &Fault) -> End {
        match fault {
            Fault::ClientGone => End::Gone,
            Fault::Over => End::Broken,
            Fault::Closed(_) => self.broken("reset"),
            Fault::Unconnected(_) | Fault::Silent | Fault::Broke => self.broken("timeout"),
        }
    }

    fn broken(&self, kind: &str) -> End {
        self.count(kind);
        End::Broken
    }

    /// Sends the request to one endpoint and waits for the head of its answer.
    async fn attempt(&mut self, key: Key) -> Result<Begun<C::Head>, Fault> {
        let edge = &self.lane.edge;
        let policy = self.ctx.rule.as_ref().map(|rule| &rule.route.policy);
        let Some(times) = policy.map(|policy| tries::times(edge, policy, false)) else {
            return Err(Fault::Broke);
        };
        // After a connection that was closed, others may have been too.
        let kept = match self.ctx.upstream.retries() {
            0 => self.lane.pool.take(key),
            _ => None,
        };
        let unanswered = match kept {
            Some(_) => Failure::Stale,
            None => Failure::Died,
        };
        let mut service = match kept {
            Some(service) => service,
            None => connect(key.address, times.connect).await?,
        };
        // Nearly always the socket takes it at once, which arms no timer.
        match timeout(times.write, service.write_all(self.message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(Fault::Closed(Some(unanswered))),
            Err(_) => return Err(Fault::Silent),
        }
        let mut buffer = Vec::with_capacity(BEGIN);
        let mut head = C::Head::default();
        self.deadline.set(Instant::now() + times.read);
        let answer = self
            .head(&mut service, &mut buffer, &mut head, unanswered)
            .await?;
        Ok(Begun {
            service,
            answer,
            head,
            buffer,
        })
    }

    /// Reads up to the head of the answer. `out` is what the client gets of it.
    async fn head(
        &mut self,
        service: &mut TcpStream,
        buffer: &mut Vec<u8>,
        out: &mut C::Head,
        unanswered: Failure,
    ) -> Result<Answer, Fault> {
        let mut hints = 0;
        loop {
            let is_first = buffer.is_empty() && hints == 0;
            if buffer.is_empty() {
                match self.read_beside(service, buffer).await {
                    Ok(0) | Err(Fault::Closed(_)) => {
                        return Err(Fault::Closed(is_first.then_some(unanswered)));
                    }
                    read => read?,
                };
            }
            out.clear();
            match self.read_head(buffer, out) {
                Ok(answer) if answer.status < 200 => {
                    hints += 1;
                    if hints > HINTS_MAX {
                        return Err(Fault::Broke);
                    }
                    let sent = self.client.hint(out).await;
                    sent.map_err(|Gone| Fault::ClientGone)?;
                    buffer.drain(..answer.bytes);
                }
                Ok(answer) => return Ok(answer),
                Err(Refusal::Partial) if buffer.len() < HEAD_MAX => {
                    if self.read_beside(service, buffer).await? == 0 {
                        return Err(Fault::Closed(None));
                    }
                }
                Err(_) => return Err(Fault::Broke),
            }
        }
    }

    fn read_head(&self, buffer: &[u8], out: &mut C::Head) -> Result<Answer, Refusal> {
        let rule = self.ctx.rule.as_ref();
        let hsts = rule.and_then(|rule| rule.filters.hsts.as_ref());
        let ours = Ours {
            id: self.ctx.id.as_bytes(),
            no_index: rule.is_some_and(|rule| rule.route.policy.no_index),
            // A browser must not believe it over plain HTTP (RFC 6797 section 7.2).
            hsts: hsts.filter(|_| self.ctx.is_tls),
            closes: self.closes,
            compresses: rule
                .is_some_and(|rule| rule.route.policy.compression)
                .then_some(self.request.accept_encoding),
            date,
        };
        answer::read(buffer, self.request.method == "HEAD", &ours, out)
    }

    /// Reads from the service; meanwhile notes whether the client goes.
    async fn read_beside(
        &mut self,
        service: &mut TcpStream,
        into: &mut Vec<u8>,
    ) -> Result<usize, Fault> {
        if into.capacity() - into.len() < ROOM {
            into.reserve(BEGIN);
        }
        self.beside(|cx| poll_read_buf(Pin::new(service), cx, into))
            .await
    }

    /// Waits for the service to send something; meanwhile notes whether the client goes.
    async fn beside(
        &mut self,
        mut read: impl FnMut(&mut Context<'_>) -> Poll<std::io::Result<usize>>,
    ) -> Result<usize, Fault> {
        poll_fn(|cx| {
            if let Poll::Ready(read) = read(cx) {
                return Poll::Ready(read.map_err(|_| Fault::Closed(None)));
            }
            if self.client.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Fault::ClientGone));
            }
            if poll_over(self.lasting, self.ends.as_ref(), cx).is_ready() {
                return Poll::Ready(Err(Fault::Over));
            }
            self.deadline.poll(cx).map(|()| Err(Fault::Silent))
        })
        .await
    }
}

/// Ready when an answer has to end.
fn poll_over(
    lasting: &mut LastingWait,
    ends: Option<&Arc<Ending>>,
    cx: &mut Context<'_>,
) -> Poll<()> {
    match ends {
        Some(ends) => lasting.poll(cx, ends),
        None => Poll::Pending,
    }
}

/// The time in the form of RFC 9110 section 5.6.7.
fn date() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

async fn connect(address: SocketAddr, patience: Duration) -> Result<TcpStream, Fault> {
    let connected = timeout(patience, TcpStream::connect(address)).await;
    let late = Fault::Unconnected(pages::Answer::Timeout);
    let service = connected
        .map_err(|_| late)?
        .map_err(|_| Fault::Unconnected(pages::Answer::BadGateway))?;
    // Without it small requests would wait for nothing; where it fails they are only slower.
    let _ = service.set_nodelay(true);
    Ok(service)
}
