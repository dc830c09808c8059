//! What services speak: HTTP/2 with trailers, TLS known by its authority, certificates of our own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cara_api::gateway::{Policy, Protocol, Route, Timeouts, UpstreamTls};
use cara_api::secret::Hidden;
use http::{HeaderMap, HeaderValue, Request, Response};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::{Answer, Edge, HOST, eventually, route, target};

/// Answers every request of an HTTP/2 connection as a gRPC service does: a message, then trailers.
async fn serve_h2(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    let mut streams = JoinSet::new();
    while let Some(Ok((mut request, mut respond))) = connection.accept().await {
        streams.spawn(async move {
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            let mut message = Vec::new();
            while let Some(Ok(chunk)) = request.body_mut().data().await {
                let _ = request
                    .body_mut()
                    .flow_control()
                    .release_capacity(chunk.len());
                message.extend_from_slice(&chunk);
            }
            let head = Response::builder()
                .header("content-type", "application/grpc")
                .body(())
                .expect("an answer");
            let mut stream = respond.send_response(head, false).expect("sent");
            stream.send_data(message.into(), false).expect("sent");
            let trailers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                HeaderValue::from_static("0"),
            )]);
            stream.send_trailers(trailers).expect("sent");
        });
    }
}

#[tokio::test]
async fn a_call_that_was_refused_unseen_is_made_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
        let mut calls = 0;
        let mut streams = JoinSet::new();
        while let Some(Ok((mut request, mut respond))) = connection.accept().await {
            calls += 1;
            streams.spawn(async move {
                while let Some(Ok(_)) = request.body_mut().data().await {}
                if calls == 2 {
                    respond.send_reset(h2::Reason::REFUSED_STREAM);
                    return;
                }
                let head = Response::builder().header("calls", calls).body(());
                let head = head.expect("an answer");
                respond.send_response(head, true).expect("sent");
            });
        }
    });
    let mut spec = target("grpc", &[address]);
    spec.protocol = Protocol::H2c;
    let edge = Edge::start(&[route("web", vec![spec])]).await;
    let answer = edge.send("POST", "a body").await;
    assert_eq!((answer.status, answer.header("calls")), (200, Some("3")));
}

#[tokio::test]
async fn grpc_passes_with_its_trailers() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            connections.spawn(serve_h2(stream));
            assert!(connections.len() < 5, "streams share connections");
        }
    });
    let mut spec = target("grpc", &[address]);
    spec.protocol = Protocol::H2c;
    let edge = Edge::start(&[route("web", vec![spec])]).await;
    let stream = TcpStream::connect(edge.address).await.expect("the gateway");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tasks.spawn(async move { drop(connection.await) });
    for number in 0..50 {
        let request = Request::post(format!("http://{HOST}/package.Service/Call"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let mut client = client.clone().ready().await.expect("ready");
        let (answer, mut body) = client.send_request(request, false).expect("sent");
        let message = Bytes::from(format!("message {number}"));
        body.send_data(message.clone(), true).expect("sent");
        let mut answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let mut got = Vec::new();
        while let Some(chunk) = answer.body_mut().data().await {
            got.extend_from_slice(&chunk.expect("data"));
        }
        assert_eq!(got, message);
        let trailers = answer.body_mut().trailers().await.expect("no reset");
        assert_eq!(trailers.expect("trailers")["grpc-status"], "0");
    }
    assert!(tasks.try_join_next().is_none(), "the service has ended");
}

#[tokio::test]
async fn connections_that_end_after_an_answer_fail_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            connections.spawn(async move {
                let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                if let Some(Ok((_, mut respond))) = connection.accept().await {
                    respond
                        .send_response(Response::new(()), true)
                        .expect("sent");
                    // Long enough to send it; what comes meanwhile is cut.
                    let _ =
                        tokio::time::timeout(Duration::from_millis(20), connection.accept()).await;
                }
            });
        }
    });
    let mut spec = target("grpc", &[address]);
    spec.protocol = Protocol::H2c;
    let edge = Edge::start(&[route("web", vec![spec])]).await;
    for pause_ms in (0..30).chain(15..25) {
        let answer = edge.get("/", &[]).await;
        assert_eq!(answer.status, 200, "{pause_ms} {answer:?}");
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }
}

/// An authority and what it signed.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }
}

/// A TLS service; it says which protocol was chosen.
async fn tls_service(
    authority: &Authority,
    name: &str,
    clients: Option<&Authority>,
) -> (SocketAddr, JoinSet<()>) {
    let (chain, key) = authority.sign(name);
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .expect("a chain");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            let der = CertificateDer::from_pem_slice(clients.pem.as_bytes()).expect("a root");
            roots.add(der).expect("a root");
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            );
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let mut config = builder.with_single_cert(chain, key).expect("a certificate");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                    serve_h2(stream).await;
                }
            });
        }
    });
    (address, tasks)
}

fn tls_rule(address: SocketAddr, tls: UpstreamTls) -> Route {
    let mut spec = target("secure", &[address]);
    spec.protocol = Protocol::Tls(Arc::new(tls));
    route("web", vec![spec])
}

#[tokio::test]
async fn a_service_is_known_by_its_certificate_and_knows_ours() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let ours = authority.sign("gateway");
    let theirs = stranger.sign("gateway");
    let (service, _first) = tls_service(&authority, HOST, None).await;
    let (renamed, _second) = tls_service(&authority, "inside.test", None).await;
    let (asking, _third) = tls_service(&authority, HOST, Some(&authority)).await;
    let known = || UpstreamTls {
        ca_pem: Some(authority.pem.clone()),
        ..UpstreamTls::default()
    };
    let shows = |(chain, key): &(String, String)| UpstreamTls {
        identity: Some((chain.clone(), Hidden::new(key.clone()))),
        ..known()
    };
    let named = UpstreamTls {
        server_name: Some("inside.test".into()),
        ..known()
    };
    let of_stranger = UpstreamTls {
        ca_pem: Some(stranger.pem.clone()),
        ..UpstreamTls::default()
    };
    let insecure = UpstreamTls {
        is_insecure: true,
        ..UpstreamTls::default()
    };
    let broken = UpstreamTls {
        ca_pem: Some("nonsense".into()),
        is_insecure: true,
        ..UpstreamTls::default()
    };
    let edge = Edge::start(&[]).await;
    for (what, address, tls, expected) in [
        ("its authority is known", service, known(), 200),
        ("another authority", service, of_stranger, 502),
        ("after a refusal", service, known(), 200),
        ("none of the host's", service, UpstreamTls::default(), 502),
        ("another name", renamed, known(), 502),
        ("the name that is expected", renamed, named, 200),
        ("anything goes", renamed, insecure, 200),
        ("what cannot be read", renamed, broken, 502),
        ("no certificate of ours", asking, known(), 502),
        ("a stranger's", asking, shows(&theirs), 502),
        ("ours", asking, shows(&ours), 200),
        (
            "none again, and no connection that was kept",
            asking,
            known(),
            502,
        ),
    ] {
        edge.publish(&[]);
        gone(&edge).await;
        edge.publish(&[tls_rule(address, tls)]);
        let answer: Answer = eventually("the rule is known", async || {
            let answer = edge.get("/", &[]).await;
            (answer.status != 404).then_some(answer)
        })
        .await;
        assert_eq!(answer.status, expected, "{what}: {answer:?}");
    }
}

/// What a client sends in ten pieces, over `takes` in all.
struct Upload {
    path: &'static str,
    /// Headers, with the end of each.
    headers: &'static str,
    piece: &'static [u8],
    takes: Duration,
    end: &'static [u8],
}

#[tokio::test]
async fn an_upload_over_http_2_may_take_longer_than_its_answer() {
    const RESPONSE: Duration = Duration::from_secs(2);
    const LONG: Duration = Duration::from_secs(4);
    const CHUNK: &[u8] = b"5\r\nhello\r\n";
    let authority = Authority::new();
    let (service, _tasks) = tls_service(&authority, HOST, None).await;
    let tls = UpstreamTls {
        ca_pem: Some(authority.pem.clone()),
        ..UpstreamTls::default()
    };
    let policy = Policy {
        timeouts: Timeouts {
            response: Some(RESPONSE),
            ..Timeouts::default()
        },
        ..Policy::default()
    };
    let route = Route {
        policy: Arc::new(policy),
        ..tls_rule(service, tls)
    };
    let edge = Edge::start(&[route]).await;
    let upload = |path, headers, piece, takes, end| Upload {
        path,
        headers,
        piece,
        takes,
        end,
    };
    let (none, soon) = (b"".as_slice(), RESPONSE / 10);
    let chunked = "transfer-encoding: chunked\r\n";
    for (what, upload, status) in [
        (
            "of any length",
            upload("/", chunked, CHUNK, LONG, b"0\r\n\r\n"),
            200,
        ),
        (
            "of a large one",
            upload(
                "/",
                "content-length: 200000\r\n",
                &[b'x'; 20_000],
                LONG,
                none,
            ),
            200,
        ),
        (
            "that stops",
            upload("/", "content-length: 1000\r\n", b"x", soon, none),
            408,
        ),
        (
            "to who is silent",
            upload("/never", "content-length: 10\r\n", b"x", soon, none),
            504,
        ),
        (
            "of calls to who is silent",
            upload(
                "/never",
                "transfer-encoding: chunked\r\ncontent-type: application/grpc\r\n",
                CHUNK,
                soon,
                none,
            ),
            504,
        ),
        (
            "that waits to be told to begin",
            upload(
                "/never",
                "content-length: 10\r\nexpect: 100-continue\r\n",
                none,
                soon,
                none,
            ),
            504,
        ),
    ] {
        let mut stream = TcpStream::connect(edge.address).await.expect("the gateway");
        let (path, headers) = (upload.path, upload.headers);
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        for _ in 0..10 {
            tokio::time::sleep(upload.takes / 10).await;
            stream.write_all(upload.piece).await.expect("sent");
        }
        stream.write_all(upload.end).await.expect("sent");
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let read = tokio::time::timeout(10 * RESPONSE, read).await;
        read.expect("in time").expect("an answer");
        let answer = String::from_utf8_lossy(&answer);
        let answer = answer.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
        let expected = format!("HTTP/1.1 {status} ");
        assert!(answer.starts_with(&expected), "{what}: {answer:.300}");
    }
    let failures = edge.metric("cara_gateway_upstream_errors_total");
    assert_eq!(failures, 3.0, "those who were silent");
}

async fn gone(edge: &Edge) {
    eventually("the rule is gone", async || {
        (edge.get("/", &[]).await.status == 404).then_some(())
    })
    .await;
}
