//! The answer on its way from the service to the client: in pieces, or through a pipe.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{Begun, End, Exchange, Then, poll_over};
use crate::deadline::{Ending, LastingWait};
use crate::fastpath::client::{Client, Gone};
use crate::fastpath::head::Head;
use crate::fastpath::passage::Passage;
use crate::fastpath::pool::Key;
use crate::pages;
use crate::phases::tries;
use crate::pipe;

/// What is read of a body at once.
const PIECE: usize = 64 * 1024;
/// A body of which this much is left is worth a pipe.
const LONG: u64 = 64 * 1024;

impl<C: Client> Exchange<'_, C> {
    /// Passes an answer on, from its head to its end.
    pub(super) async fn relay(&mut self, begun: Begun<C::Head>, key: Key) -> Result<Then, End> {
        let Begun {
            mut service,
            answer,
            head,
            mut buffer,
        } = begun;
        let rest = buffer.get(answer.bytes..).unwrap_or_default();
        let mut room = Vec::new();
        let is_framed = C::Head::IS_FRAMED;
        let passage = Passage::new(answer.framing, answer.coding, answer.length, is_framed);
        let Ok(mut passage) = passage else {
            return Err(End::Failed(pages::Answer::Internal));
        };
        let Ok((first, taken)) = passage.pass(rest, &mut room) else {
            self.count("other");
            return Err(End::Failed(pages::Answer::BadGateway));
        };
        let mut is_clean = taken == rest.len();
        self.client.begin(head, first, passage.is_done()).await?;
        self.status = answer.status;
        self.body_bytes = passage.bytes;
        let silence = self.ctx.rule.as_ref().map_or(Duration::ZERO, |rule| {
            tries::times(&self.lane.edge, &rule.route.policy, false).read
        });
        if !passage.is_done() {
            self.ends = self.ctx.upstream.ending().cloned();
            self.pass_by(&service, &mut passage, silence).await?;
        }
        while !passage.is_done() {
            buffer.clear();
            buffer.reserve(PIECE);
            self.deadline.set(Instant::now() + silence);
            match self.read_beside(&mut service, &mut buffer).await {
                Ok(0) if passage.is_until_close() => {
                    let last = passage.close(&mut room);
                    let last = last.map_err(|_| self.broken("other"))?;
                    self.part(last, true).await?;
                    self.body_bytes = passage.bytes;
                    is_clean = false;
                    break;
                }
                Ok(0) => return Err(self.broken("reset")),
                Ok(_) => {}
                Err(fault) => return Err(self.broken_by(&fault)),
            }
            let passed = passage.pass(&buffer, &mut room);
            let (part, taken) = passed.map_err(|_| self.broken("other"))?;
            is_clean = taken == buffer.len();
            self.part(part, passage.is_done()).await?;
            self.body_bytes = passage.bytes;
        }
        if answer.keeps && is_clean {
            self.lane.pool.put(key, service, Instant::now());
        }
        Ok(if self.closes { Then::Close } else { Then::GoOn })
    }

    /// Passes a long body on through a pipe, as far as that can be done.
    async fn pass_by(
        &mut self,
        service: &TcpStream,
        passage: &mut Passage,
        silence: Duration,
    ) -> Result<(), End> {
        if !self.client.takes_pipes() || passage.left().is_none_or(|left| left < LONG) {
            return Ok(());
        }
        let lane = self.lane;
        let Some(mut pipe) = lane.pipes.lend() else {
            return Ok(());
        };
        while let Some(left @ 1..) = passage.left() {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let mut is_unsupported = false;
            self.deadline.set(Instant::now() + silence);
            let filled = self.beside(|cx| {
                pipe.poll_fill(cx, service, most).map_err(|error| {
                    is_unsupported = pipe::is_unsupported(&error);
                    error
                })
            });
            let filled = filled.await;
            if is_unsupported {
                return Ok(());
            }
            match filled {
                Ok(0) => return Err(self.broken("reset")),
                Ok(_) => {}
                Err(fault) => return Err(self.broken_by(&fault)),
            }
            while pipe.held() > 0 {
                let held = pipe.held();
                let (client, ends) = (&mut *self.client, self.ends.as_ref());
                let part = |cx: &mut Context<'_>| client.poll_part(cx, &mut pipe);
                sending(self.lasting, ends, part).await?;
                let sent = held - pipe.held();
                passage.went_by(sent);
                self.body_bytes = passage.bytes;
                lane.edge.metrics.piped_bytes.inc_by(sent as u64);
            }
        }
        Ok(())
    }

    /// Sends a part of the body, unless the answer has to end.
    async fn part(&mut self, data: &[u8], is_last: bool) -> Result<(), End> {
        let mut part = pin!(self.client.part(data, is_last));
        let sent = |cx: &mut Context<'_>| part.as_mut().poll(cx);
        sending(self.lasting, self.ends.as_ref(), sent).await
    }
}

/// Waits until something was sent, unless the answer has to end.
async fn sending(
    lasting: &mut LastingWait,
    ends: Option<&Arc<Ending>>,
    mut sent: impl FnMut(&mut Context<'_>) -> Poll<Result<(), Gone>>,
) -> Result<(), End> {
    poll_fn(|cx| {
        if ends.is_some_and(|ends| ends.has_come()) {
            return Poll::Ready(Err(End::Broken));
        }
        if let Poll::Ready(sent) = sent(cx) {
            return Poll::Ready(sent.map_err(End::from));
        }
        poll_over(lasting, ends, cx).map(|()| Err(End::Broken))
    })
    .await
}
