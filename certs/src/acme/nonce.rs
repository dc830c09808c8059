//! Requests whose nonce the server does not like (RFC 8555, 6.5): such a request had no effect.

use instant_acme::Error;

/// How often a request is sent again, on top of what the library does.
pub(super) const NONCE_ATTEMPTS: u32 = 5;

/// Sends a request again while the server does not like its nonce. (A macro, because the requests
/// borrow what they are made from.)
macro_rules! with_nonce {
    ($request:expr) => {{
        let mut attempts = 0;
        loop {
            match $request.await {
                Err(error) if is_bad_nonce(&error) && attempts < NONCE_ATTEMPTS => attempts += 1,
                outcome => break outcome,
            }
        }
    }};
}
pub(super) use with_nonce;

pub(super) fn is_bad_nonce(error: &Error) -> bool {
    is_kind(error, &["badNonce"])
}

/// Whether the server gave one of these types of problems.
pub(super) fn is_kind(error: &Error, kinds: &[&str]) -> bool {
    let Error::Api(problem) = error else {
        return false;
    };
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kinds
        .iter()
        .any(|wanted| kind.rsplit(':').next() == Some(*wanted))
}
