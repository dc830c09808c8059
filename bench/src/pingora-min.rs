//! The floor of the stack: the least that pingora's own server needs to proxy to one address.
//!
//! Usage: `pingora-min LISTEN UPSTREAM`. No routes, no headers, no log, no metrics, and no
//! timeouts; pingora's standard listener, connection pool and runtime with one thread.

use std::net::SocketAddr;

use async_trait::async_trait;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::Result;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};

struct Minimal(SocketAddr);

#[async_trait]
impl ProxyHttp for Minimal {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(upstream)) = (args.next(), args.next()) else {
        eprintln!("usage: pingora-min LISTEN UPSTREAM");
        return;
    };
    let Ok(upstream) = upstream.parse() else {
        eprintln!("{upstream} is not an address such as 127.0.0.1:80");
        return;
    };
    let conf = ServerConf {
        threads: 1,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Minimal(upstream));
    service.add_tcp(&listen);
    server.add_service(service);
    server.run_forever();
}
