//! The least that pingora's own server needs to proxy to one address.
//!
//! Usage: `pingora-min LISTEN UPSTREAM [TLS-LISTEN CERTIFICATE KEY SOCKETS]`. No routes (but `/ws`
//! goes to SOCKETS), no headers, no log, no metrics, and no timeouts; pingora's standard listeners,
//! connection pool and runtime with one thread.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Minimal {
    upstream: SocketAddr,
    sockets: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Minimal {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        let address = match session.req_header().uri.path() {
            "/ws" => self.sockets,
            _ => self.upstream,
        };
        Ok(Box::new(HttpPeer::new(address, false, String::new())))
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream, tls @ ..] = args.as_slice() else {
        eprintln!("usage: pingora-min LISTEN UPSTREAM [TLS-LISTEN CERTIFICATE KEY SOCKETS]");
        return;
    };
    let sockets = tls.get(3).unwrap_or(upstream);
    let (Ok(upstream), Ok(sockets)) = (upstream.parse(), sockets.parse()) else {
        eprintln!("{upstream} or {sockets} is not an address such as 127.0.0.1:80");
        return;
    };
    let conf = ServerConf {
        threads: 1,
        upstream_keepalive_pool_size: 256,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Minimal { upstream, sockets });
    service.add_tcp(listen);
    if let [listen, certificate, key, ..] = tls {
        let mut settings = match TlsSettings::intermediate(certificate, key) {
            Ok(settings) => settings,
            Err(error) => {
                eprintln!("{certificate}, {key}: {error}");
                return;
            }
        };
        settings.enable_h2();
        service.add_tls_with_settings(listen, None, settings);
    }
    server.add_service(service);
    server.run_forever();
}
