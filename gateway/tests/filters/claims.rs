//! Headers by which a client could pretend to be a proxy, on both ways and over both versions.

use crate::fastpath::both_ways;
use crate::support::{Edge, OK, Received, Service};

/// None of them reaches a service.
const CLAIMS: [&str; 13] = [
    "X-Forwarded-Ssl",
    "X-Forwarded-Scheme",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Groups",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Access-Token",
    "X-Forwarded-By",
    "X-Forwarded-Port",
    "X-Forwarded-Server",
    "X-Forwarded-Prefix",
    "X-Real-IP",
    "Forwarded",
];

/// What a service gets of claims that were made: the gateway's own words alone.
fn check(received: &[Received], way: &str) {
    let [received] = received else {
        panic!("one request by {way}: {received:?}");
    };
    assert!(!received.head.contains("evil"), "{way}: {}", received.head);
    let value = |name: &str| received.header(name);
    assert_eq!(value("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(value("x-forwarded-host").as_deref(), Some("web.test"));
    assert_eq!(value("x-forwarded-proto").as_deref(), Some("http"));
    // It only begins like one.
    assert_eq!(value("x-forwardedness").as_deref(), Some("kept"));
}

async fn ask_over_http_1(edge: &Edge, path: &str, claims: &[String]) {
    let mut headers: Vec<(&str, &str)> = claims.iter().map(|name| (&**name, "evil")).collect();
    headers.push(("x-forwardedness", "kept"));
    assert_eq!(edge.ask("GET", path, &headers).await.status, 200);
}

/// The head of an answer over HTTP/2, on a connection of its own.
pub async fn over_http_2(
    edge: &Edge,
    path: &str,
    headers: &[(&str, &str)],
) -> http::Response<h2::RecvStream> {
    let stream = tokio::net::TcpStream::connect(edge.http).await;
    let (send, connection) = h2::client::handshake(stream.expect("connects"))
        .await
        .expect("HTTP/2");
    let mut task = tokio::task::JoinSet::new();
    task.spawn(async move {
        // It ends with the test.
        let _ = connection.await;
    });
    let mut request = http::Request::get(format!("http://web.test{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(()).expect("a request");
    let mut ready = send.ready().await.expect("ready");
    let (answer, _) = ready.send_request(request, true).expect("sent");
    answer.await.expect("an answer")
}

async fn ask_over_http_2(edge: &Edge, path: &str, claims: &[String]) {
    let lower: Vec<String> = claims
        .iter()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    let mut headers: Vec<(&str, &str)> = lower.iter().map(|name| (&**name, "evil")).collect();
    headers.push(("x-forwardedness", "kept"));
    assert_eq!(over_http_2(edge, path, &headers).await.status(), 200);
}

#[tokio::test]
async fn nobody_pretends_to_be_a_proxy() {
    let service = Service::start(OK).await;
    let edge = both_ways(&service).await;
    let claims = CLAIMS.map(str::to_owned);
    for (path, is_plain) in [("/plain", 1.0), ("/other", 0.0)] {
        let before = edge.plain();
        ask_over_http_1(&edge, path, &claims).await;
        check(&service.take(), &format!("HTTP/1 {path}"));
        assert_eq!(edge.plain() - before, is_plain, "{path}");
        ask_over_http_2(&edge, path, &claims).await;
        check(&service.take(), &format!("HTTP/2 {path}"));
        assert_eq!(edge.plain() - before, 2.0 * is_plain, "{path}");
    }
    // Many services take `_` for `-`.
    let spelled = CLAIMS.map(|name| name.replace('-', "_"));
    let mixed = CLAIMS.map(|name| name.replacen('-', "_", 1));
    for claims in [&spelled, &mixed].map(|all| {
        let odd = all.iter().filter(|name| name.contains('_'));
        odd.cloned().collect::<Vec<String>>()
    }) {
        ask_over_http_1(&edge, "/plain", &claims).await;
        check(&service.take(), "HTTP/1 with _");
        ask_over_http_2(&edge, "/plain", &claims).await;
        check(&service.take(), "HTTP/2 with _");
    }
}
