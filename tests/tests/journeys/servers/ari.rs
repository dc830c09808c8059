//! An authority that says when to renew (RFC 9773), which pebble's release here does not: what it
//! lists is passed on with an address for renewal information beside it.

use std::net::SocketAddr;

use cara_api::Timestamp;
use cara_tests::acme::Pebble;
use cara_tests::eventually;
use jiff::ToSpan;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::World;

/// Serves the directory and the window, and tells of each question for it.
struct Authority {
    address: SocketAddr,
    asked: mpsc::Receiver<String>,
    _tasks: JoinSet<()>,
}

impl Authority {
    async fn start(mut directory: Value, window: [Timestamp; 2]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        directory["renewalInfo"] = json!(format!("http://{address}/renewal"));
        let [start, end] = window;
        let window = json!({"suggestedWindow": {"start": start, "end": end}});
        let (tell, asked) = mpsc::channel(16);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = answer(stream, [&directory, &window], &tell).await;
            }
        });
        Self {
            address,
            asked,
            _tasks: tasks,
        }
    }
}

async fn answer(
    mut stream: TcpStream,
    [directory, window]: [&Value; 2],
    tell: &mpsc::Sender<String>,
) -> std::io::Result<()> {
    let mut head = vec![0; 4_096];
    let count = stream.read(&mut head).await?;
    let head = String::from_utf8_lossy(&head[..count]).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let body = match path.strip_prefix("/renewal/") {
        Some(id) => {
            let _ = tell.send(id.to_owned()).await;
            window
        }
        None => directory,
    };
    let body = body.to_string();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nRetry-After: 3600\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_when_the_authority_says() {
    let pebble = Pebble::start(1).await;
    let mut world = World::new(&pebble, Some(pebble.dns_program()), 1);
    let root = world.acme.extra_roots_pem.clone().expect("a root");
    let root = reqwest::Certificate::from_pem(root.as_bytes()).expect("a certificate");
    let client = cara_tests::http_builder().add_root_certificate(root);
    let directory = client
        .build()
        .expect("a client")
        .get(pebble.directory_url());
    let directory = directory.send().await.expect("an answer").text().await;
    let directory: Value = serde_json::from_str(&directory.expect("a body")).expect("JSON");
    // Years before two thirds of what pebble's certificates live.
    let now = Timestamp::now();
    let window = [now + 24.hours(), now + 25.hours()];
    let mut authority = Authority::start(directory, window).await;
    world.acme.directory_url = format!("http://{}/dir", authority.address);

    let plane = world.plane().await;
    plane.claim("shop", "*.a.cara.test").await;
    plane.obtained("*.a.cara.test").await;
    let [start, end] = window.map(|moment| moment.as_millisecond());
    eventually("the next try is within the window", async || {
        let found = plane.certificate("*.a.cara.test").await?;
        let next: Timestamp = found["status"]["nextTry"].as_str()?.parse().ok()?;
        (start..=end).contains(&next.as_millisecond()).then_some(())
    })
    .await;
    // Once for each certificate; then not before `Retry-After` has passed.
    let mut asked = Vec::new();
    while let Ok(id) = authority.asked.try_recv() {
        asked.push(id);
    }
    let mut once = asked.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), asked.len(), "{asked:?}");
    assert!(!asked.is_empty());
    plane.stop().await;
}
