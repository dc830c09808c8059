//! The gateway's own pages, for plain requests that failed.

use http::header;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::RequestHeader;

use super::client::Client;
use super::request::Request;
use crate::answer::Stop;
use crate::ctx::Ctx;
use crate::edge::Edge;
use crate::pages::Answer;
use crate::phases::send::{Whole, assemble};

/// Tells the client why it gets no answer. Gives the status and the
/// bytes of the body.
///
/// # Errors
/// The client is gone.
pub(super) async fn send<C: Client>(
    edge: &Edge,
    client: &mut C,
    request: &Request<'_>,
    ctx: &mut Ctx,
    answer: Answer,
) -> Result<(u16, usize)> {
    let stop = Stop::from(answer);
    ctx.stopped(&edge.metrics, &stop);
    let Whole { head, body } = assemble(edge, &head(request)?, ctx, stop)?;
    let status = head.status.as_u16();
    let is_head = request.method == "HEAD";
    let body = if is_head { &[] } else { &body[..] };
    let sent = client.page(head, body).await;
    sent.map_err(|_| Error::explain(ErrorType::WriteError, "a page for a client"))?;
    Ok((status, body.len()))
}

/// As much of the request as pages look at, which is not its target.
fn head(request: &Request<'_>) -> Result<RequestHeader> {
    let mut head = RequestHeader::build(request.method, b"/", None)?;
    head.insert_header(header::HOST, request.host)?;
    if let Some(accept) = request.accept {
        head.insert_header(header::ACCEPT, accept)?;
    }
    Ok(head)
}
