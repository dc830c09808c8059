//! Pingora's HTTP, with our limits: what connections are handed to that speak more than plain
//! HTTP/1.1. Refuses to know how they were accepted, and what becomes of their requests.

use std::sync::Arc;

use pingora_core::apps::HttpServerOptions;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;

use crate::edge::Edge;
use crate::proxy::Phases;
use crate::upstream;

/// Idle connections to services that pingora keeps, over all services: those that speak HTTP/2 or
/// TLS, and those of requests that the short way does not serve.
const UPSTREAM_POOL: usize = 1_024;
/// Bound on tries at a service whatever rules allow, which is less.
const MAX_RETRIES: usize = 8;
/// Requests that an HTTP/2 connection may have under way.
const H2_STREAMS: u32 = 128;
/// Bytes of a head, decoded.
const H2_HEADER_LIST: u32 = 64 * 1024;
/// Bytes of one upload that may wait for its service.
const H2_STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes of all uploads of a connection that may wait for their services.
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Streams that a client may open and reset before the gateway looks at them.
const H2_EARLY_RESETS: usize = 20;
/// Streams that a client may make the gateway reset.
const H2_FORCED_RESETS: usize = 256;
/// The proxy for all protocols.
pub(super) fn proxy(edge: Arc<Edge>) -> HttpProxy<Phases> {
    let conf = ServerConf {
        max_retries: MAX_RETRIES,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        ca_file: upstream::roots_file(),
        ..ServerConf::default()
    };
    let mut proxy = HttpProxy::new(Phases(edge), Arc::new(conf));
    proxy.server_options = Some(http_options());
    proxy.handle_init_modules();
    proxy
}

/// Pingora's options. `CONNECT` is let through to our phases, which refuse it with a page.
fn http_options() -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    // Our own phases refuse it, with a page that says so.
    options.allow_connect_method_proxying = true;
    options
}

/// Limits of an HTTP/2 connection. Floods of settings and pings need none: h2 answers each before
/// it reads on.
pub(super) fn h2_options() -> H2Options {
    let mut options = default_h2_options();
    options
        .max_header_list_size(H2_HEADER_LIST)
        .max_concurrent_streams(H2_STREAMS)
        .initial_window_size(H2_STREAM_WINDOW)
        .initial_connection_window_size(H2_CONNECTION_WINDOW)
        .max_pending_accept_reset_streams(H2_EARLY_RESETS)
        .max_local_error_reset_streams(Some(H2_FORCED_RESETS));
    options
}
