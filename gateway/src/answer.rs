//! How the gateway answers in place of a service.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::ctx::Ctx;
use crate::pages::Answer;
use crate::request;

/// Why a request goes no further.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It gets one of the gateway's pages.
    Page(Answer),
    /// It gets what its rule says.
    Reply(Box<Reply>),
}

impl From<Answer> for Stop {
    fn from(answer: Answer) -> Self {
        Self::Page(answer)
    }
}

impl From<Reply> for Stop {
    fn from(reply: Reply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

/// Sends what stopped a request.
///
/// # Errors
/// The client is gone.
pub(crate) async fn send(session: &mut Session, ctx: &Ctx, stop: Stop) -> Result<()> {
    let reply = match stop {
        Stop::Page(answer) => page(session, ctx, &answer),
        Stop::Reply(reply) => *reply,
    };
    write(session, ctx, reply).await
}

fn page(session: &Session, ctx: &Ctx, answer: &Answer) -> Reply {
    let as_html = request::wants_html(&session.req_header().headers);
    let page = answer.render(as_html, ctx.id());
    let mut headers = vec![
        (
            http::header::CONTENT_TYPE,
            HeaderValue::from_static(page.content_type),
        ),
        (
            http::header::CACHE_CONTROL,
            HeaderValue::from_static("no-store"),
        ),
    ];
    if let Some(seconds) = page.retry_after_s {
        headers.push((http::header::RETRY_AFTER, HeaderValue::from(seconds)));
    }
    Reply {
        status: StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers,
        body: page.body,
    }
}

async fn write(session: &mut Session, ctx: &Ctx, reply: Reply) -> Result<()> {
    let mut head = ResponseHeader::build(reply.status, Some(reply.headers.len() + 2))?;
    for (name, value) in reply.headers {
        head.append_header(name, value)?;
    }
    head.insert_header("content-length", HeaderValue::from(reply.body.len()))?;
    head.insert_header("x-request-id", ctx.id.clone())?;
    let is_head = session.req_header().method == Method::HEAD;
    session
        .write_response_header(Box::new(head), is_head)
        .await?;
    if !is_head {
        session.write_response_body(Some(reply.body), true).await?;
    }
    Ok(())
}

/// What to tell the client about a failure; none when it is gone.
pub(crate) fn to_error(error: &Error) -> Option<Answer> {
    use ErrorType as T;
    match (error.esource(), error.etype()) {
        (_, T::HTTPStatus(502)) => Some(Answer::BadGateway),
        (
            ErrorSource::Downstream,
            T::WriteError | T::ReadError | T::ConnectionClosed | T::ReadTimedout,
        ) => None,
        (ErrorSource::Downstream, _) => Some(Answer::BadRequest),
        (_, T::ConnectTimedout | T::ReadTimedout | T::WriteTimedout) => Some(Answer::Timeout),
        (ErrorSource::Upstream, _) => Some(Answer::BadGateway),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(Answer::Internal),
    }
}

/// The failure as a label of metrics.
pub(crate) fn kind_of(error: &Error) -> &'static str {
    use ErrorType as T;
    match error.etype() {
        T::ConnectTimedout | T::ReadTimedout | T::WriteTimedout => "timeout",
        T::ConnectionClosed | T::ReadError | T::WriteError => "reset",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_become_the_right_answer() {
        use ErrorType as T;
        for (source, kind, expected) in [
            (
                ErrorSource::Upstream,
                T::ConnectRefused,
                Some(Answer::BadGateway),
            ),
            (
                ErrorSource::Upstream,
                T::ConnectTimedout,
                Some(Answer::Timeout),
            ),
            (
                ErrorSource::Upstream,
                T::ReadTimedout,
                Some(Answer::Timeout),
            ),
            (
                ErrorSource::Upstream,
                T::ConnectionClosed,
                Some(Answer::BadGateway),
            ),
            (ErrorSource::Downstream, T::ReadError, None),
            (
                ErrorSource::Downstream,
                T::InvalidHTTPHeader,
                Some(Answer::BadRequest),
            ),
            (
                ErrorSource::Internal,
                T::InternalError,
                Some(Answer::Internal),
            ),
        ] {
            let mut error = Error::new(kind);
            error.esource = source;
            assert_eq!(to_error(&error), expected, "{error}");
        }
    }
}
