//! Whether a request came over a connection that was made for its host.

use std::borrow::Cow;

use arc_swap::ArcSwap;
use pingora_proxy::Session;

use crate::listen::client::client_info;
use crate::listen::names::Names;
use crate::request;

/// Whether a request came over a TLS connection that was made for another host, by the rules of
/// [`Names::allows`]. A request without a usable host is left to others.
pub(super) fn is_misdirected(session: &Session, names: &ArcSwap<Names>) -> bool {
    let tls = client_info(session).and_then(|client| client.tls.as_ref());
    tls.is_some_and(|tls| host_of(session).is_some_and(|host| !names.load().allows(tls, &host)))
}

/// Whether a request came without TLS although its host requires a certificate of clients. To be
/// asked after a redirect to HTTPS had its chance.
pub(super) fn lacks_certificate(session: &Session, names: &ArcSwap<Names>) -> bool {
    let names = names.load();
    let is_plain = client_info(session).is_none_or(|client| client.tls.is_none());
    is_plain
        && names.asks_clients()
        && host_of(session).is_some_and(|host| names.requires_certificate(&host))
}

fn host_of(session: &Session) -> Option<Cow<'_, str>> {
    let host = request::host(session.req_header());
    host.and_then(cara_routes::host::normalize)
}
