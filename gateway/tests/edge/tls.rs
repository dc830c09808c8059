//! Versions, ALPN, certificates by name, hot swaps, certificates of clients.

use std::sync::Arc;

use cara_api::gateway::{ClientAuthorities, HostTls};
use cara_gateway::TlsVersion;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, Error};
use tokio::io::AsyncReadExt;

use crate::authority::Authority;
use crate::client::{Tls, get};
use crate::service;
use crate::support::{Edge, Setup, host, state, with_certificate, with_tls};

fn error_of(error: &std::io::Error) -> Option<&Error> {
    error.get_ref().and_then(|e| e.downcast_ref())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_and_both_protocols_are_spoken() {
    let authority = Authority::new("ca");
    let to = service::start().await;
    let state = with_certificate(state(&["a.test"], to), "a", &authority.leaf(&["a.test"]));
    let edge = Edge::start(Setup::default(), state).await;
    for versions in [&[&TLS12][..], &[&TLS13][..]] {
        for (offered, expected) in [
            (&["h2", "http/1.1"][..], Some("h2")),
            (&["http/1.1"][..], Some("http/1.1")),
            (&[][..], None),
        ] {
            let client = Tls::with(&authority, offered, versions, None);
            let stream = client.connect(edge.https, "a.test").await.expect("TLS");
            let session = stream.get_ref().1;
            assert_eq!(session.alpn_protocol(), expected.map(str::as_bytes));
            assert_eq!(session.protocol_version(), Some(versions[0].version));
        }
    }
    // What is not offered is refused, `acme-tls/1` among it.
    let client = Tls::new(&authority, &["acme-tls/1"]);
    let error = client
        .connect(edge.https, "a.test")
        .await
        .expect_err("no common protocol");
    let alert = AlertDescription::NoApplicationProtocol;
    assert_eq!(error_of(&error), Some(&Error::AlertReceived(alert)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_minimum_refuses_older_clients() {
    let authority = Authority::new("ca");
    let to = service::start().await;
    let state = with_certificate(state(&["a.test"], to), "a", &authority.leaf(&["a.test"]));
    let mut setup = Setup::default();
    setup.config.tls_min_version = TlsVersion::V1_3;
    let edge = Edge::start(setup, state).await;
    let old = Tls::with(&authority, &[], &[&TLS12], None);
    let error = old
        .connect(edge.https, "a.test")
        .await
        .expect_err("too old");
    let alert = AlertDescription::ProtocolVersion;
    assert_eq!(error_of(&error), Some(&Error::AlertReceived(alert)));
    let new = Tls::with(&authority, &[], &[&TLS13], None);
    new.connect(edge.https, "a.test").await.expect("TLS 1.3");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_over_tls_are_https_and_the_certificate_is_that_of_the_name() {
    let authority = Authority::new("ca");
    let to = service::start().await;
    let state = state(&["a.test", "b.test", "c.wild.test", "xn--wb-bja.test"], to);
    let state = with_certificate(state, "a", &authority.leaf(&["a.test"]));
    let state = with_certificate(state, "b", &authority.leaf(&["b.test"]));
    let state = with_certificate(state, "x", &authority.leaf(&["xn--wb-bja.test"]));
    let state = with_certificate(state, "w", &authority.leaf(&["*.wild.test"]));
    let edge = Edge::start(Setup::default(), state).await;
    let client = Tls::new(&authority, &["http/1.1"]);
    for name in [
        "a.test",
        "b.test",
        "c.wild.test",
        "xn--wb-bja.test",
        "XN--WB-BJA.test",
    ] {
        let mut stream = client
            .connect(edge.https, name)
            .await
            .expect("its certificate");
        let (status, body) = get(&mut stream, name).await.expect("an answer");
        assert_eq!(status, 200);
        assert!(body.contains("x-forwarded-proto: https\r\n"), "{body}");
        assert!(body.contains("x-forwarded-for: 127.0.0.1\r\n"), "{body}");
    }
    // Nobody here has that name, and there is no default.
    let error = client
        .connect(edge.https, "d.test")
        .await
        .expect_err("no certificate");
    let alert = AlertDescription::UnrecognisedName;
    assert_eq!(error_of(&error), Some(&Error::AlertReceived(alert)));
    edge.counts("cara_gateway_tls_handshakes_total", "unknown_name", 1.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_certificate_answers_names_that_have_none() {
    let authority = Authority::new("ca");
    let to = service::start().await;
    let state = with_certificate(
        state(&["a.test"], to),
        "default",
        &authority.leaf(&["a.test"]),
    );
    let edge = Edge::start(Setup::default(), state).await;
    let client = Tls::new(&authority, &[]);
    let error = client
        .connect(edge.https, "other.test")
        .await
        .expect_err("not covered");
    assert!(
        matches!(error_of(&error), Some(Error::InvalidCertificate(_))),
        "{error}"
    );
    // An address is no server name: the default answers, and refuses on its own side.
    let error = client
        .connect(edge.https, "127.0.0.1")
        .await
        .expect_err("not covered");
    assert!(
        matches!(error_of(&error), Some(Error::InvalidCertificate(_))),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_serves_new_connections_and_closes_no_open_one() {
    let authority = Authority::new("ca");
    let to = service::start().await;
    let (first, second) = (authority.leaf(&["a.test"]), authority.leaf(&["a.test"]));
    let state = state(&["a.test"], to);
    let edge = Edge::start(
        Setup::default(),
        with_certificate(state.clone(), "a", &first),
    )
    .await;
    let client = Tls::new(&authority, &["http/1.1"]);
    let mut open = client.connect(edge.https, "a.test").await.expect("TLS");
    assert_eq!(get(&mut open, "a.test").await.expect("an answer").0, 200);
    edge.publish(with_certificate(state, "a", &second)).await;
    let expected = second.der().0;
    crate::support::eventually("the new certificate is served", async || {
        let fresh = Tls::new(&authority, &[]);
        let stream = fresh.connect(edge.https, "a.test").await.expect("TLS");
        (stream.get_ref().1.peer_certificates() == Some(&expected[..])).then_some(())
    })
    .await;
    assert_eq!(get(&mut open, "a.test").await.expect("an answer").0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_certificate_disturbs_no_other() {
    let authority = Authority::new("ca");
    let to = service::start().await;
    let state = with_certificate(state(&["a.test"], to), "a", &authority.leaf(&["a.test"]));
    let edge = Edge::start(Setup::default(), state.clone()).await;
    let mut broken = authority.leaf(&["b.test"]);
    broken.key = authority.leaf(&["b.test"]).key;
    edge.publish(with_certificate(state, "b", &broken)).await;
    let client = Tls::new(&authority, &[]);
    let mut stream = client.connect(edge.https, "a.test").await.expect("TLS");
    assert_eq!(get(&mut stream, "a.test").await.expect("an answer").0, 200);
}

fn clients_of(authority: &Authority, is_optional: bool) -> HostTls {
    HostTls {
        clients: Some(ClientAuthorities {
            ca_pem: Arc::from(authority.pem.as_str()),
            is_optional,
        }),
        ..HostTls::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_a_certificate_where_a_host_asks_for_one() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let stranger = Authority::new("strangers").client("eve");
    let to = service::start().await;
    let names = ["open.test", "closed.test", "asking.test"];
    let state = with_certificate(state(&["open.test"], to), "all", &authority.leaf(&names));
    let state = with_tls(state, "closed.test", to, clients_of(&clients, false));
    let state = with_tls(state, "asking.test", to, clients_of(&clients, true));
    let edge = Edge::start(Setup::default(), state).await;
    let known = clients.client("ci");
    let status = async |identity, name: &'static str, host: &str| {
        let client = Tls::with(&authority, &[], rustls::DEFAULT_VERSIONS, identity);
        let mut stream = client.connect(edge.https, name).await?;
        get(&mut stream, host).await.map(|(status, _)| status)
    };
    for (identity, name, host, expected) in [
        (None, "open.test", "open.test", Some(200)),
        (Some(&known), "closed.test", "closed.test", Some(200)),
        (None, "closed.test", "closed.test", None),
        (Some(&stranger), "closed.test", "closed.test", None),
        (None, "asking.test", "asking.test", Some(200)),
        (Some(&known), "asking.test", "asking.test", Some(200)),
        (Some(&stranger), "asking.test", "asking.test", None),
        // The way round the demand: ask for one host, name the other.
        (None, "open.test", "closed.test", Some(421)),
        (Some(&known), "closed.test", "open.test", Some(421)),
        (None, "asking.test", "closed.test", Some(421)),
    ] {
        let status = status(identity, name, host).await;
        assert_eq!(status.ok(), expected, "{name} {host}");
    }
    edge.counts(
        "cara_gateway_tls_handshakes_total",
        "client_certificate",
        2.0,
    )
    .await;
    // Nor does it help to go without TLS.
    for (host, expected) in [
        ("open.test", 200),
        ("asking.test", 200),
        ("closed.test", 421),
    ] {
        let mut stream = tokio::net::TcpStream::connect(edge.http)
            .await
            .expect("a connection");
        let (status, _) = get(&mut stream, host).await.expect("an answer");
        assert_eq!(status, expected, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_told_what_a_client_showed_also_when_its_session_resumes() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let to = service::start().await;
    let names = ["open.test", "asking.test"];
    let state = with_certificate(state(&["open.test"], to), "all", &authority.leaf(&names));
    let state = with_tls(state, "asking.test", to, clients_of(&clients, true));
    let edge = Edge::start(Setup::default(), state).await;
    let known = clients.client("ci");
    let pem: String = known
        .chain
        .lines()
        .filter(|l| !l.starts_with('-'))
        .collect();
    let expected = format!("client-cert: :{pem}:\r\n").to_ascii_lowercase();
    for version in [&TLS12, &TLS13] {
        let with = |identity| Tls::with(&authority, &[], &[version], identity);
        let (nobody, ci) = (with(None), with(Some(&known)));
        let claims = "client-cert: :ZXZpbA==:\r\nclient-cert-chain: :ZXZpbA==:\r\n\
                      x_ssl_client_verify: SUCCESS\r\n";
        for (client, host, is_told, claims) in [
            (&nobody, "asking.test", false, claims),
            (&ci, "open.test", false, claims),
            (&ci, "asking.test", true, ""),
            (&ci, "asking.test", true, claims),
        ] {
            let mut stream = client.connect(edge.https, host).await.expect("TLS");
            let asked = format!("GET / HTTP/1.1\r\nhost: {host}\r\n{claims}\r\n");
            tokio::io::AsyncWriteExt::write_all(&mut stream, asked.as_bytes())
                .await
                .expect("sent");
            let answer = crate::client::in_time(crate::client::answer(&mut stream)).await;
            let (status, body) = answer.expect("an answer");
            assert_eq!(status, 200);
            assert_eq!(body.contains(&expected), is_told, "{host}: {body}");
            let told = body.lines().filter(|line| line.contains("client"));
            assert_eq!(told.count(), usize::from(is_told), "{host}: {body}");
        }
    }
    edge.counts("cara_gateway_tls_handshakes_total", "resumed", 2.0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_that_cannot_be_read_let_nobody_in_and_break_nothing() {
    let authority = Authority::new("ca");
    let to = service::start().await;
    let state = with_certificate(
        state(&["a.test"], to),
        "all",
        &authority.leaf(&["a.test", "b.test"]),
    );
    let tls = HostTls {
        clients: Some(ClientAuthorities {
            ca_pem: Arc::from("no certificate"),
            is_optional: true,
        }),
        ..HostTls::default()
    };
    let edge = Edge::start(Setup::default(), with_tls(state, "b.test", to, tls)).await;
    let client = Tls::new(&authority, &[]);
    assert!(client.connect(edge.https, "b.test").await.is_err());
    let mut stream = client.connect(edge.https, "a.test").await.expect("TLS");
    assert_eq!(get(&mut stream, "a.test").await.expect("an answer").0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_the_certificate_does_not_cover_is_misdirected() {
    let authority = Authority::new("ca");
    let to = service::start().await;
    let state = state(&["a.test", "b.test", "c.test"], to);
    let state = with_certificate(state, "ab", &authority.leaf(&["a.test", "b.test"]));
    let state = with_certificate(state, "c", &authority.leaf(&["c.test"]));
    let edge = Edge::start(Setup::default(), state).await;
    let client = Tls::new(&authority, &["http/1.1"]);
    let mut stream = client.connect(edge.https, "a.test").await.expect("TLS");
    for (host, expected) in [
        ("a.test", 200),
        ("A.Test.:443", 200),
        ("b.test", 200),
        ("c.test", 421),
        ("a.test", 200),
    ] {
        let (status, _) = get(&mut stream, host).await.expect("an answer");
        assert_eq!(status, expected, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_that_asks_clients_leaves_hosts_of_their_own_alone() {
    let (authority, clients) = (Authority::new("ca"), Authority::new("clients"));
    let to = service::start().await;
    let state = with_certificate(state(&[], to), "w", &authority.leaf(&["*.x.test"]));
    let state = with_tls(state, "*.x.test", to, clients_of(&clients, false));
    let edge = Edge::start(Setup::default(), state.clone()).await;
    let client = Tls::new(&authority, &[]);
    let works = async || {
        let mut stream = client.connect(edge.https, "own.x.test").await.ok()?;
        get(&mut stream, "own.x.test").await.ok()
    };
    assert_eq!(works().await, None);
    let mut next = state.clone();
    let hostname = cara_api::hostname::Hostname::parse("own.x.test").expect("a hostname");
    let own = host(to, HostTls::default());
    next.hosts.insert(hostname, Arc::new(own));
    edge.publish(next).await;
    crate::support::eventually("the host is its own", works).await;
    edge.publish(state).await;
    crate::support::eventually("the wildcard's demand counts again", async || {
        works().await.is_none().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_tls_is_told_so() {
    let authority = Authority::new("ca");
    let to = service::start().await;
    let state = with_certificate(state(&["a.test"], to), "a", &authority.leaf(&["a.test"]));
    let edge = Edge::start(Setup::default(), state).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"[..],
        &[0x16; 40_000],
    ] {
        let mut stream = tokio::net::TcpStream::connect(edge.https)
            .await
            .expect("a connection");
        // The gateway may have closed before everything was sent.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, bytes).await;
        let mut answer = Vec::new();
        let _ = crate::client::in_time(stream.read_to_end(&mut answer)).await;
        assert!(
            answer.is_empty() || answer.first() == Some(&21),
            "{answer:?}"
        );
    }
}
