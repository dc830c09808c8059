//! Sessions that are taken up again.

use std::sync::Arc;

use cara_api::gateway::{ClientAuthorities, HostTls};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use crate::authority::Authority;
use crate::client::{Tls, get};
use crate::service;
use crate::support::{Edge, Setup, state, with_certificate, with_tls};

/// Asks for a page, so that tickets have arrived; says how the handshake went.
async fn visit(client: &Tls, edge: &Edge, name: &str) -> Option<HandshakeKind> {
    let mut stream = client.connect(edge.https, name).await.ok()?;
    get(&mut stream, name).await.ok()?;
    stream.get_ref().1.handshake_kind()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_resumes_also_after_300_others_and_a_new_certificate() {
    let authority = Authority::new("ca");
    let to = service::start().await;
    let state = state(&["a.test"], to);
    let served = with_certificate(state.clone(), "a", &authority.leaf(&["a.test"]));
    let edge = Edge::start(Setup::default(), served).await;
    for version in [&TLS12, &TLS13] {
        let client = Tls::with(&authority, &["http/1.1"], &[version], None);
        let first = visit(&client, &edge, "a.test").await;
        assert_eq!(first, Some(HandshakeKind::Full), "{version:?}");
        // More than the 256 sessions that rustls would remember by itself.
        for _ in 0..300 {
            let other = Tls::with(&authority, &[], &[version], None);
            other.connect(edge.https, "a.test").await.expect("TLS");
        }
        let renewed = with_certificate(state.clone(), "a", &authority.leaf(&["a.test"]));
        edge.publish(renewed).await;
        let second = visit(&client, &edge, "a.test").await;
        assert_eq!(second, Some(HandshakeKind::Resumed), "{version:?}");
    }
    edge.counts("cara_gateway_tls_handshakes_total", "resumed", 2.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_a_client_with_a_certificate_resumes_only_where_it_was_begun() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let to = service::start().await;
    let leaf = authority.leaf(&["a.test", "b.test"]);
    let state = with_certificate(state(&["a.test"], to), "ab", &leaf);
    let tls = HostTls {
        clients: Some(ClientAuthorities {
            ca_pem: Arc::from(clients.pem.as_str()),
            is_optional: false,
        }),
        ..HostTls::default()
    };
    let edge = Edge::start(Setup::default(), with_tls(state, "b.test", to, tls)).await;
    let known = clients.client("ci");
    let client = Tls::with(&authority, &[], rustls::DEFAULT_VERSIONS, Some(&known));
    for (name, expected) in [
        ("b.test", HandshakeKind::Full),
        ("b.test", HandshakeKind::Resumed),
        ("a.test", HandshakeKind::Full),
        ("a.test", HandshakeKind::Resumed),
    ] {
        assert_eq!(visit(&client, &edge, name).await, Some(expected), "{name}");
    }
}
