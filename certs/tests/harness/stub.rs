//! An HTTP server with canned answers, for what no real server can be made to say.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub head: String,
    pub body: String,
}

/// Status, further header lines (each with its end), and body.
pub type Answer = (u16, String, String);

/// The server.
pub struct Stub {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    _tasks: JoinSet<()>,
}

impl Stub {
    /// Starts one that answers by the function, which gets the server's address as well.
    pub async fn start(answer: fn(&Request, SocketAddr) -> Answer) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port");
        let address = listener.local_addr().expect("its address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let seen = Arc::clone(&requests);
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // One at a time: the clients of the tests ask one after the other.
                if let Some(request) = exchange(stream, address, answer).await {
                    seen.lock().expect("the requests").push(request);
                }
            }
        });
        Self {
            address,
            requests,
            _tasks: tasks,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("the requests").clone()
    }
}

async fn exchange(
    mut stream: TcpStream,
    address: SocketAddr,
    answer: fn(&Request, SocketAddr) -> Answer,
) -> Option<Request> {
    let request = read(&mut stream).await?;
    let (status, headers, body) = answer(&request, address);
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\nConnection: close\r\n\
         {headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.ok()?;
    Some(request)
}

async fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        let position = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        if let Some(position) = position {
            break position + 4;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let lower = head.to_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok())
        .unwrap_or(0);
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let mut words = head.split(' ');
    Some(Request {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        body: String::from_utf8_lossy(&bytes[end..end + length]).into_owned(),
        head,
    })
}
