//! The client of an exchange, whatever protocol it speaks.

use std::task::{Context, Poll};

use pingora_http::ResponseHeader;

use super::head::Head;
use crate::pipe::Pipe;

/// The client went away, or takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// Who gets an answer.
///
/// None of the futures may be dropped half-way and the client used again: a part of an answer
/// could be missing.
pub(super) trait Client: Send {
    /// Heads as the client reads them.
    type Head: Head;
    /// As logs name the protocol.
    const PROTOCOL: &'static str;
    /// An answer may be the last of its connection, and says so.
    const ENDS_WITH_ANSWERS: bool;

    /// Sends a head that comes before that of the answer.
    fn hint(&mut self, head: &Self::Head) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends the head of the answer and the beginning of its body, which may be all of it.
    fn begin(
        &mut self,
        head: Self::Head,
        first: &[u8],
        is_whole: bool,
    ) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Sends a part of the body, perhaps the last one, which may be empty.
    fn part(&mut self, data: &[u8], is_last: bool)
    -> impl Future<Output = Result<(), Gone>> + Send;

    /// Whether bodies may come through a pipe.
    fn takes_pipes(&self) -> bool;

    /// Sends some of what a pipe holds, as a part of the body, to a client that takes pipes.
    fn poll_part(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe<'_>) -> Poll<Result<(), Gone>>;

    /// Sends an answer of the gateway's own, as the last one where that can be said.
    fn page(
        &mut self,
        head: ResponseHeader,
        body: &[u8],
    ) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Ready when the client has gone, while a service is waited for.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ends an answer that cannot be sent to its end, so that the client can tell.
    fn cut(&mut self);
}
