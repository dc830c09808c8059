//! A connection to an endpoint, as pingora wants it described.

use std::net::SocketAddr;
use std::time::Duration;

use cara_api::gateway::Protocol;
use pingora_core::upstreams::peer::HttpPeer;

use super::tls::Material;
use super::upgrade;

/// How long an idle connection to a service is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Requests at once on one HTTP/2 connection, as most servers allow.
const H2_STREAMS: usize = 100;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// For a connection.
    pub(crate) connect: Duration,
    /// Silence of the service.
    pub(crate) read: Duration,
    /// Until the service takes what it is sent.
    pub(crate) write: Duration,
}

/// Describes connections to `address`. `host` is the name that the client asked for; `is_upgrade`
/// asks for HTTP/1.1, since only that can be upgraded. None when the service's TLS cannot be used.
pub(super) fn build(
    address: SocketAddr,
    protocol: &Protocol,
    tls: Option<&Material>,
    host: &str,
    group: u64,
    times: Times,
    is_upgrade: bool,
) -> Option<HttpPeer> {
    let mut peer = match (protocol, tls) {
        (Protocol::Http1 | Protocol::H2c, _) => HttpPeer::new(address, false, String::new()),
        (Protocol::Tls(_), Some(tls)) if !tls.is_broken => {
            let name = tls.server_name.as_deref().unwrap_or(host);
            let name = name.trim_start_matches('[').trim_end_matches(']');
            let mut peer = HttpPeer::new(address, true, name.to_owned());
            peer.options.ca.clone_from(&tls.authorities);
            peer.client_cert_key.clone_from(&tls.identity);
            peer.options.verify_cert = !tls.is_insecure;
            peer.options.verify_hostname = !tls.is_insecure;
            peer
        }
        (Protocol::Tls(_), _) => return None,
    };
    match protocol {
        Protocol::Http1 => {}
        Protocol::H2c => {
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = H2_STREAMS;
        }
        Protocol::Tls(_) if is_upgrade => {}
        Protocol::Tls(_) => {
            peer.options.set_http_version(2, 1);
            peer.options.max_h2_streams = H2_STREAMS;
        }
    }
    peer.group_key = group;
    if is_upgrade {
        peer.group_key = upgrade::group(group);
        peer.options.custom_l4 = Some(upgrade::dialer(times.connect));
    }
    peer.options.connection_timeout = Some(times.connect);
    peer.options.total_connection_timeout = Some(times.connect);
    peer.options.read_timeout = Some(times.read);
    peer.options.write_timeout = Some(times.write);
    peer.options.idle_timeout = Some(IDLE);
    Some(peer)
}
