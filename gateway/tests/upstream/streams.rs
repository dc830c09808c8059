//! A service with WebSockets and answers that do not end, and clients of both.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::{Edge, HOST, eventually};

/// A frame of a client, masked with zeros, which a service may send back as it is.
pub const FRAME: &[u8] = b"\x82\x84\0\0\0\0ping";
/// A close frame with status 1001, for a client and from one.
pub const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xE9];
/// Bytes of an answer that was waited for: more than is read at once.
pub const LATE: usize = 300 * 1024;
pub const CLIENT_GOING_AWAY: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE9];

/// What waits for `/late`.
#[derive(Debug, Default)]
struct Late {
    waiting: usize,
    is_answered: bool,
}

/// A service that sends back what comes through a WebSocket. Other requests get an answer without
/// end: its first piece, and and further ones when its path says `/talk`. Whoever asks for `/late`
/// waits until it is told to answer, and then gets what was asked for: a WebSocket, or [`LATE`]
/// bytes.
pub struct Streams {
    pub address: SocketAddr,
    /// What came through WebSockets.
    pub heard: Arc<Mutex<Vec<u8>>>,
    late: watch::Sender<Late>,
    cut: watch::Sender<bool>,
    _tasks: JoinSet<()>,
}

impl Streams {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let (cut, is_cut) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let late = watch::Sender::<Late>::default();
        let (theirs, waits) = (Arc::clone(&heard), late.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (heard, mut is_cut) = (Arc::clone(&theirs), is_cut.clone());
                let late = waits.clone();
                connections.spawn(async move {
                    tokio::select! {
                        _ = serve(stream, heard, late) => {}
                        _ = is_cut.wait_for(|cut| *cut) => {}
                    }
                });
            }
        });
        Self {
            address,
            heard,
            late,
            cut,
            _tasks: tasks,
        }
    }

    /// Closes all connections without a word.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Until so many requests wait for `/late`.
    pub async fn waiting(&self, count: usize) {
        let mut late = self.late.subscribe();
        let reached = late.wait_for(|late| late.waiting >= count);
        let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
        assert!(reached.is_ok(), "never: {count} requests wait");
    }

    /// Answers those who wait for `/late`, and who asks from then on.
    pub fn answer(&self) {
        self.late.send_modify(|late| late.is_answered = true);
    }
}

async fn serve(
    mut stream: TcpStream,
    heard: Arc<Mutex<Vec<u8>>>,
    late: watch::Sender<Late>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let is_late = head.contains("/late ");
    if is_late {
        late.send_modify(|late| late.waiting += 1);
        let _ = late.subscribe().wait_for(|late| late.is_answered).await;
    }
    if head.contains("upgrade: websocket") {
        let answer = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        stream.write_all(answer.as_bytes()).await?;
        let mut piece = vec![0; 4_096];
        loop {
            let count = stream.read(&mut piece).await?;
            if count == 0 {
                return Ok(());
            }
            heard.lock().expect("no panic").extend(&piece[..count]);
            stream.write_all(&piece[..count]).await?;
        }
    }
    if is_late {
        let head = format!("HTTP/1.1 200 X\r\ncontent-length: {LATE}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&vec![b'x'; LATE]).await?;
        // Closing with something unread would take the answer away.
        return tokio::io::copy(&mut stream, &mut tokio::io::sink())
            .await
            .map(drop);
    }
    let answer = "HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
    stream.write_all(answer.as_bytes()).await?;
    let mut piece = vec![0; 4_096];
    loop {
        let read = tokio::time::timeout(Duration::from_millis(50), stream.read(&mut piece));
        if let Ok(count) = read.await
            && count? == 0
        {
            return Ok(());
        }
        if head.contains("/talk ") || head.contains("/talk/") {
            stream.write_all(b"4\r\nmore\r\n").await?;
        }
    }
}

/// A WebSocket, once the route for its path is there.
pub async fn websocket(edge: &Edge, path: &str) -> TcpStream {
    eventually("the upgrade", async || upgraded(edge, path).await).await
}

/// A WebSocket; none when the answer is another one.
pub async fn upgraded(edge: &Edge, path: &str) -> Option<TcpStream> {
    let upgrade = format!(
        "GET {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut socket = TcpStream::connect(edge.address).await.ok()?;
    socket.write_all(upgrade.as_bytes()).await.ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.ok()?);
    }
    head.starts_with(b"HTTP/1.1 101").then_some(socket)
}

/// Says something through a WebSocket, and hears it.
pub async fn echoes(socket: &mut TcpStream) {
    socket.write_all(FRAME).await.expect("sent");
    let mut echo = vec![0; FRAME.len()];
    socket.read_exact(&mut echo).await.expect("an echo");
    assert_eq!(echo, FRAME);
}

/// What a client reads up to the end, which may be a break.
pub async fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let read = socket.read_to_end(&mut rest);
    let ended = tokio::time::timeout(Duration::from_secs(20), read).await;
    let _ = ended.expect("it ends");
    rest
}

/// The body of an answer over HTTP/2, on a connection of its own.
async fn asked(edge: &Edge, path: &str, accept: &str) -> (h2::RecvStream, JoinSet<()>) {
    let socket = TcpStream::connect(edge.address).await.expect("connects");
    let (send, connection) = h2::client::handshake(socket).await.expect("HTTP/2");
    let mut task = JoinSet::new();
    task.spawn(async move {
        let _ = connection.await;
    });
    let request = http::Request::get(format!("http://{HOST}{path}"))
        .header("accept", accept)
        .body(())
        .expect("a request");
    let mut ready = send.ready().await.expect("ready");
    let (answer, _) = ready.send_request(request, true).expect("sent");
    let body = answer.await.expect("an answer").into_body();
    (body, task)
}

/// How much of an answer over HTTP/2 comes, and whether it ends in order.
pub async fn whole_http2(edge: &Edge, path: &str) -> (usize, bool) {
    let (mut body, _connection) = asked(edge, path, "*/*").await;
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let Ok(data) = data else {
            return (bytes, false);
        };
        bytes += data.len();
        let _ = body.flow_control().release_capacity(data.len());
    }
    (bytes, true)
}

/// An answer of which the first piece came.
pub enum Begun {
    Http1(TcpStream),
    Http2 {
        body: Box<h2::RecvStream>,
        _connection: JoinSet<()>,
    },
}

impl Begun {
    pub async fn http1(edge: &Edge, path: &str, accept: &str) -> Self {
        let mut socket = TcpStream::connect(edge.address).await.expect("connects");
        let text = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\naccept: {accept}\r\n\r\n");
        socket.write_all(text.as_bytes()).await.expect("sent");
        let mut seen = Vec::new();
        while !seen.ends_with(b"first\r\n") {
            seen.push(socket.read_u8().await.expect("the first piece"));
        }
        Self::Http1(socket)
    }

    pub async fn http2(edge: &Edge, path: &str, accept: &str) -> Self {
        let (mut body, task) = asked(edge, path, accept).await;
        let first = body.data().await.expect("a piece").expect("a piece");
        assert!(first.starts_with(b"first"), "{first:?}");
        Self::Http2 {
            body: Box::new(body),
            _connection: task,
        }
    }

    /// Waits until the answer ends; true when the client can tell that it broke off.
    pub async fn breaks_off(&mut self) -> bool {
        match self {
            Self::Http1(socket) => !rest(socket).await.ends_with(b"0\r\n\r\n"),
            Self::Http2 { body, .. } => loop {
                let data = tokio::time::timeout(Duration::from_secs(20), body.data());
                match data.await.expect("it ends") {
                    Some(Ok(data)) => {
                        let _ = body.flow_control().release_capacity(data.len());
                    }
                    Some(Err(_)) => return true,
                    None => return false,
                }
            },
        }
    }

    /// Whether another piece comes.
    pub async fn goes_on(&mut self) {
        match self {
            Self::Http1(socket) => {
                socket.read_u8().await.expect("a piece");
            }
            Self::Http2 { body, .. } => {
                let data = body.data().await.expect("a piece").expect("a piece");
                let _ = body.flow_control().release_capacity(data.len());
            }
        }
    }
}
