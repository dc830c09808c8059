//! Which requests go the short way: those by rules that only forward, to hosts that ask nothing of
//! clients. Whatever else there is to decide is decided in one place, by `phases::filter`.

use std::sync::Arc;

use super::request::Request;
use crate::access;
use crate::edge::Edge;
use crate::listen::client::ClientInfo;
use crate::live::LiveRule;
use crate::phases::challenge;

/// The rule by which a request goes the short way; none when it does not.
pub(crate) fn rule(
    edge: &Edge,
    client: &ClientInfo,
    request: &Request<'_>,
) -> Option<Arc<LiveRule>> {
    let host = cara_routes::host::normalize(request.host)?;
    let path = cara_routes::path::normalize(request.path())?;
    if is_own(edge, &host, &path, request.query()) || !may_ask(edge, client, &host) {
        return None;
    }
    let table = edge.live.table();
    let rule = table.find(&host)?.plain_rule(&path)?;
    let policy = &rule.route.policy;
    let is_redirected =
        policy.redirect_https && client.tls.is_none() && edge.config.https_port.is_some();
    let is_small = |limit: u64| request.body_bytes <= limit;
    let fits = policy.body.is_none_or(|limit| is_small(limit.bytes));
    (!is_redirected && fits).then(|| Arc::clone(rule))
}

/// Whether a request may be one that the gateway answers, or takes something out of.
fn is_own(edge: &Edge, host: &str, path: &str, query: Option<&str>) -> bool {
    path.starts_with(challenge::PREFIX)
        || edge.access.is_own(host, path)
        || query.is_some_and(access::has_link)
}

/// Whether the connection was made for the host, and the host asks nothing of clients.
fn may_ask(edge: &Edge, client: &ClientInfo, host: &str) -> bool {
    let names = edge.names.load();
    match &client.tls {
        Some(tls) => names.allows(tls, host),
        None => !names.requires_certificate(host),
    }
}
