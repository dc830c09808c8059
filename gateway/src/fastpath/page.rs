//! The gateway's own pages, for plain requests that failed.

use http::header;
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::RequestHeader;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::request::Request;
use super::text::push;
use crate::answer::Stop;
use crate::ctx::Ctx;
use crate::edge::Edge;
use crate::listen::connection::Connection;
use crate::pages::Answer;
use crate::phases::send::assemble;

/// Tells the client why it gets no answer, as the connection's last one. Gives the status and the
/// bytes of the body.
///
/// # Errors
/// The client is gone.
pub(super) async fn send<S: AsyncRead + AsyncWrite + Unpin>(
    edge: &Edge,
    client: &mut Connection<S>,
    request: &Request<'_>,
    ctx: &mut Ctx,
    answer: Answer,
) -> Result<(u16, usize)> {
    let stop = Stop::from(answer);
    ctx.stopped(&edge.metrics, &stop);
    let whole = assemble(edge, &head(request)?, ctx, stop)?;
    let (status, body) = (whole.head.status, &whole.body);
    let mut out = Vec::with_capacity(1_024 + body.len());
    let reason = status.canonical_reason().unwrap_or_default().as_bytes();
    push(
        &mut out,
        &[
            b"HTTP/1.1 ",
            status.as_str().as_bytes(),
            b" ",
            reason,
            b"\r\n",
        ],
    );
    for (name, value) in &whole.head.headers {
        let name = name.as_str().as_bytes();
        push(&mut out, &[name, b": ", value.as_bytes(), b"\r\n"]);
    }
    push(&mut out, &[b"connection: close\r\n\r\n"]);
    let is_head = request.method == "HEAD";
    let body = if is_head { &[] } else { &body[..] };
    push(&mut out, &[body]);
    let sent = async {
        client.write_all(&out).await?;
        client.flush().await
    };
    sent.await
        .or_err(ErrorType::WriteError, "a page for a client")?;
    Ok((status.as_u16(), body.len()))
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
