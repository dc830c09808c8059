//! Cookies of others beside the one that keeps a client with its endpoint.

use cara_api::gateway::{Policy, Sticky};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Does, Edge, HOST, Service, rule};

#[tokio::test]
async fn a_cookie_beyond_ascii_parts_nobody_from_its_endpoint() {
    let [a, b] = [
        Service::start(Does::Answer(200)).await,
        Service::start(Does::Answer(200)).await,
    ];
    let policy = Policy {
        sticky: Some(Sticky {
            cookie: "keep".into(),
            max_age: None,
        }),
        ..Policy::default()
    };
    let edge = Edge::start(&[rule(&[a.address, b.address], policy)]).await;
    let first = edge.get("/", &[]).await;
    let cookie = first.header("set-cookie").expect("a cookie");
    let pair = cookie.split(';').next().unwrap_or_default();
    let head = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\ncookie: n=M");
    let asked = [head.as_bytes(), b"\xfcller; ", pair.as_bytes(), b"\r\n\r\n"].concat();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(edge.address).await.expect("connects");
        stream.write_all(&asked).await.expect("sent");
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer).await;
        read.expect("an answer");
        assert!(answer.ends_with(&first.body), "{answer}");
        assert!(!answer.contains("set-cookie"), "{answer}");
    }
}
