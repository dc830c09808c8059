//! What a request can get from the gateway in place of a service's answer. How it is made and sent is
//! up to `phases::send`.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use pingora_error::{Error, ErrorSource, ErrorType};

use crate::pages::Answer;

/// Why a request goes no further.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It gets one of the gateway's pages.
    Page(Answer),
    /// The same, with headers that belong to it, such as a challenge.
    PageWith(Answer, Vec<(HeaderName, HeaderValue)>),
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

/// What to tell the client about a failure; none when it is gone.
pub(crate) fn to_error(error: &Error) -> Option<Answer> {
    use ErrorType as T;
    match (error.esource(), error.etype()) {
        (_, T::HTTPStatus(502)) => Some(Answer::BadGateway),
        (_, T::HTTPStatus(408)) => Some(Answer::BodyMissing),
        (_, T::HTTPStatus(413)) => Some(Answer::BodyTooLarge { limit: None }),
        (ErrorSource::Downstream, T::ReadTimedout) => Some(Answer::BodyMissing),
        (ErrorSource::Downstream, T::WriteError | T::ReadError | T::ConnectionClosed) => None,
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
                T::ReadTimedout,
                Some(Answer::BodyMissing),
            ),
            (
                ErrorSource::Upstream,
                T::HTTPStatus(408),
                Some(Answer::BodyMissing),
            ),
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
