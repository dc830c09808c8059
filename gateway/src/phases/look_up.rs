//! Which rule takes a request, by the newest table.

use std::sync::Arc;

use cara_api::gateway::ClientAuthorities;
use pingora_http::RequestHeader;

use crate::live::{Live, LiveRule};
use crate::pages::Answer;
use crate::request;

/// What takes a request, all from one table.
pub(super) struct Found {
    pub(super) rule: Arc<LiveRule>,
    /// Who must vouch for clients of the host.
    pub(super) clients: Option<ClientAuthorities>,
}

/// The rule that takes a request.
///
/// # Errors
/// None does.
pub(super) fn look_up(live: &Live, head: &RequestHeader) -> Result<Found, Answer> {
    let host = request::host(head).ok_or(Answer::BadHost)?;
    let host = cara_routes::host::normalize(host).ok_or(Answer::BadHost)?;
    let path = cara_routes::path::normalize(head.uri.path()).ok_or(Answer::BadPath)?;
    let table = live.table();
    match table.find(&host) {
        Some(found) => match found.rule(&path, &head.headers) {
            Some(rule) if found.is_ambiguous(rule, &path, &head.headers) => Err(Answer::BadPath),
            Some(rule) => Ok(Found {
                rule: Arc::clone(rule),
                clients: found.clients().cloned(),
            }),
            None => Err(Answer::UnknownPath {
                host: host.into_owned(),
            }),
        },
        None if table.revision().is_zero() => Err(Answer::Starting),
        None => Err(Answer::UnknownHost {
            host: host.into_owned(),
        }),
    }
}
