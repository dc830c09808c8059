//! Bytes that are passed on: TLS passthrough and plain TCP ports.

use std::sync::Arc;

use cara_api::gateway::HostTls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, Leaf};
use crate::client::{Tls, closed, get, in_time};
use crate::service;
use crate::support::{Edge, Setup, eventually, state, stream_route, with_certificate, with_tls};

/// A service that speaks TLS itself and greets.
async fn tls_service(leaf: &Leaf) -> std::net::SocketAddr {
    let (chain, key) = leaf.der();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let _ = stream.write_all(b"own").await;
                let _ = stream.shutdown().await;
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_passed_on_by_server_name_alone() {
    let (authority, own) = (Authority::new("ca"), Authority::new("own"));
    let to = service::start().await;
    let backend = tls_service(&own.leaf(&["own.test"])).await;
    let state = state(&["a.test"], to);
    let state = with_certificate(state, "all", &authority.leaf(&["a.test", "own.test"]));
    let tls = HostTls {
        passthrough: Some(Arc::new(stream_route(backend))),
        ..HostTls::default()
    };
    let edge = Edge::start(Setup::default(), with_tls(state, "own.test", to, tls)).await;
    let mut stream = Tls::new(&own, &[])
        .connect(edge.https, "own.test")
        .await
        .expect("its own TLS");
    let mut text = String::new();
    in_time(stream.read_to_string(&mut text))
        .await
        .expect("a greeting");
    assert_eq!(text, "own");
    edge.counts("cara_gateway_tls_handshakes_total", "passthrough", 1.0)
        .await;
    let client = Tls::new(&authority, &[]);
    let mut stream = client.connect(edge.https, "a.test").await.expect("TLS");
    assert_eq!(get(&mut stream, "a.test").await.expect("an answer").0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_open_and_close_with_the_state_and_bytes_pass_both_ways() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let to = service::echo().await;
    let mut setup = Setup::default();
    let range = port.to_string().parse().expect("a range");
    setup.config.tcp = Some(([127, 0, 0, 1].into(), range));
    setup.config.drain_timeout = std::time::Duration::from_secs(2);
    let closed_state = state(&[], to);
    let mut open_state = closed_state.clone();
    open_state.ports.insert(port, Arc::new(stream_route(to)));
    // Not allowed, so not opened: no port below 1024 can be had by chance.
    open_state.ports.insert(9, Arc::new(stream_route(to)));
    let edge = Edge::start(setup, open_state).await;
    let mut stream = eventually("the port is open", async || {
        TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
    let mut echo = [0; 4];
    stream.write_all(b"ping").await.expect("sent");
    in_time(stream.read_exact(&mut echo))
        .await
        .expect("an echo");
    // Half of it closed: the other half goes on.
    stream.shutdown().await.expect("half closed");
    let mut rest = String::new();
    in_time(stream.read_to_string(&mut rest))
        .await
        .expect("the rest");
    assert_eq!(rest, " end");
    let mut lasting = TcpStream::connect(("127.0.0.1", port))
        .await
        .expect("a connection");
    lasting.write_all(b"ping").await.expect("sent");
    in_time(lasting.read_exact(&mut echo))
        .await
        .expect("an echo");
    edge.publish(closed_state).await;
    eventually("the port is closed", async || {
        TcpStream::connect(("127.0.0.1", port)).await.err()
    })
    .await;
    // What is open gets time to end.
    lasting.write_all(b"ping").await.expect("sent");
    in_time(lasting.read_exact(&mut echo))
        .await
        .expect("an echo");
    let took = closed(&mut lasting).await.expect("closed in order");
    assert!(took.as_secs() < 10, "{took:?}");
    edge.stop();
    edge.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_allowed_clients_are_passed_on() {
    let (authority, own) = (Authority::new("ca"), Authority::new("own"));
    let to = tls_service(&own.leaf(&["own.test"])).await;
    let state = with_certificate(state(&[], to), "all", &authority.leaf(&["own.test"]));
    let mut route = stream_route(to);
    route.allow = vec!["192.0.2.0/24".parse().expect("a network")];
    let tls = HostTls {
        passthrough: Some(Arc::new(route)),
        ..HostTls::default()
    };
    let edge = Edge::start(Setup::default(), with_tls(state, "own.test", to, tls)).await;
    assert!(
        Tls::new(&own, &[])
            .connect(edge.https, "own.test")
            .await
            .is_err()
    );
    edge.counts("cara_gateway_refused_total", "not_allowed", 1.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_passed_through_ends_some_time_after_its_endpoint_left() {
    let authority = Authority::new("ca");
    let (old, next) = (service::echo().await, service::echo().await);
    let leading = |leaving, staying| {
        let base = with_certificate(state(&[], old), "all", &authority.leaf(&["own.test"]));
        let passing = |to| HostTls {
            passthrough: Some(Arc::new(stream_route(to))),
            ..HostTls::default()
        };
        let base = with_tls(base, "own.test", leaving, passing(leaving));
        let base = with_tls(base, "also.test", leaving, passing(leaving));
        let mut other = stream_route(staying);
        other.ingress = "other".into();
        let other = HostTls {
            passthrough: Some(Arc::new(other)),
            ..HostTls::default()
        };
        with_tls(base, "other.test", staying, other)
    };
    let mut setup = Setup::default();
    let drain = std::time::Duration::from_millis(1_500);
    setup.config.endpoint_drain = drain;
    let edge = Edge::start(setup, leading(old, old)).await;
    // The service sends back what a client says at first: its name among it.
    let open = async |name: &str| {
        let mut stream = TcpStream::connect(edge.https).await.expect("a connection");
        let hello = hello(name);
        stream.write_all(&hello).await.expect("sent");
        let mut back = vec![0; hello.len()];
        in_time(stream.read_exact(&mut back))
            .await
            .expect("an echo");
        assert_eq!(back, hello);
        stream
    };
    let mut leaving = open("own.test").await;
    let mut staying = open("other.test").await;
    let one_name_fewer = {
        let mut state = leading(old, old);
        let name = cara_api::hostname::Hostname::parse("own.test").expect("a name");
        state.hosts.remove(&name);
        state
    };
    edge.publish(one_name_fewer).await;
    let says = async |stream: &mut TcpStream| {
        let mut echo = [0; 4];
        stream.write_all(b"ping").await.expect("sent");
        in_time(stream.read_exact(&mut echo))
            .await
            .expect("an echo");
    };
    let since = std::time::Instant::now();
    while since.elapsed() < drain * 2 {
        says(&mut leaving).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let started = std::time::Instant::now();
    edge.publish(leading(next, old)).await;
    says(&mut leaving).await;
    let mut rest = Vec::new();
    let _ = in_time(leaving.read_to_end(&mut rest)).await;
    assert!(started.elapsed() >= drain, "{:?}", started.elapsed());
    says(&mut staying).await;
    edge.stop();
    edge.stopped().await;
}

/// The first bytes of a client of TLS that asks for a name.
fn hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("written");
    bytes
}
