//! An authority that says what pebble's release here never does: one resource of the directory
//! that pebble lists is answered here, all others are pebble's own.

use std::net::SocketAddr;

use cara_tests::acme::Pebble;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What is said to a request: status and body. Each answer asks to be left alone for an hour.
pub(super) type Said = (u16, Value);

/// Serves the directory and one resource, and tells of each request for that.
pub(super) struct Authority {
    address: SocketAddr,
    asked: mpsc::Receiver<String>,
    _tasks: JoinSet<()>,
}

impl Authority {
    /// Answers `resource` (`newOrder`, ...) by what `says` makes of the rest of the path.
    pub(super) async fn start(
        pebble: &Pebble,
        resource: &str,
        says: impl Fn(&str) -> Said + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut directory = listed(pebble).await;
        directory[resource] = json!(format!("http://{address}/asked"));
        let (tell, asked) = mpsc::channel(256);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = answer(stream, &directory, &says, &tell).await;
            }
        });
        Self {
            address,
            asked,
            _tasks: tasks,
        }
    }

    pub(super) fn directory_url(&self) -> String {
        format!("http://{}/dir", self.address)
    }

    /// The requests since the last look, each by the rest of its path.
    pub(super) fn asked(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.asked.try_recv().ok()).collect()
    }
}

/// The directory of pebble.
async fn listed(pebble: &Pebble) -> Value {
    let root = std::fs::read(pebble.root()).expect("a root");
    let root = reqwest::Certificate::from_pem(&root).expect("a certificate");
    let client = cara_tests::http_builder().add_root_certificate(root);
    let asked = client
        .build()
        .expect("a client")
        .get(pebble.directory_url());
    let answer = asked.send().await.expect("an answer").text().await;
    serde_json::from_str(&answer.expect("a body")).expect("JSON")
}

async fn answer(
    mut stream: TcpStream,
    directory: &Value,
    says: &(impl Fn(&str) -> Said + Sync),
    tell: &mpsc::Sender<String>,
) -> std::io::Result<()> {
    let head = request(&mut stream).await?;
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match path.strip_prefix("/asked") {
        Some(rest) => {
            let _ = tell.send(rest.trim_start_matches('/').to_owned()).await;
            says(rest.trim_start_matches('/'))
        }
        None => (200, directory.clone()),
    };
    let body = body.to_string();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nRetry-After: 3600\r\n\
         Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await
}

/// Reads a whole request; its head.
async fn request(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let lines = head.to_ascii_lowercase();
            let length = lines
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"))
                .and_then(|length| length.trim().parse::<usize>().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return Ok(head);
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}
