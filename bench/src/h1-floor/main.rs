//! The floor of tokio: a proxy path for plain HTTP/1.1 requests, without pingora.
//!
//! Usage: `h1-floor LISTEN UPSTREAM`. One thread, one task for each client, idle connections to the
//! service in a list of the thread without tasks, one read and one write for each side of a request,
//! one look at the deadlines every 100 ms. It does what the gateway does for each request: finds the
//! host in a table, sets forwarding headers and an id, counts, and writes a line of the access log
//! (to /dev/null). What is not plain is answered 501; a product would hand it to pingora.

mod body;
mod head;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use head::{Hop, Refusal, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::io::poll_read_buf;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Room for a head; a longer one is not plain.
const HEAD_MAX: usize = 16 * 1024;
/// How long either side may be silent.
const SILENCE_MS: u64 = 60_000;
/// How long an idle connection to a service is kept.
const IDLE_MS: u64 = 30_000;
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Until when a connection may wait for what it waits for.
struct Deadline {
    at_ms: AtomicU64,
    passed: Notify,
}

impl Deadline {
    fn extend(&self) {
        self.at_ms
            .store(NOW_MS.get() + SILENCE_MS, Ordering::Relaxed);
    }
}

struct Idle {
    stream: TcpStream,
    since_ms: u64,
}

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
    static DEADLINES: RefCell<Vec<Weak<Deadline>>> = const { RefCell::new(Vec::new()) };
    static POOL: RefCell<HashMap<SocketAddr, Vec<Idle>>> = RefCell::default();
}

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static REQUESTS: AtomicU64 = AtomicU64::new(0);
static MICROSECONDS: AtomicU64 = AtomicU64::new(0);

/// Why a connection ends.
enum End {
    /// The client went, or asked for it.
    Client,
    /// Before an answer began, the service failed: the client is told so.
    Service,
    /// The client sent what is not served here.
    NotPlain,
    /// An answer broke off; only closing tells.
    Broken,
}

fn take(address: SocketAddr) -> Option<TcpStream> {
    POOL.with_borrow_mut(|pool| {
        let idle = pool.get_mut(&address)?;
        loop {
            let stream = idle.pop()?.stream;
            // No system call: tokio remembers whether anything happened to the socket.
            let read = stream.try_read(&mut [0]);
            if read.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock) {
                return Some(stream);
            }
        }
    })
}

fn put(address: SocketAddr, stream: TcpStream) {
    let since_ms = NOW_MS.get();
    POOL.with_borrow_mut(|pool| {
        pool.entry(address)
            .or_default()
            .push(Idle { stream, since_ms })
    });
}

async fn tick() {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    let mut out = std::fs::File::create("/dev/null").ok();
    let mut lines = Vec::new();
    loop {
        ticks.tick().await;
        let now = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        NOW_MS.set(now);
        DEADLINES.with_borrow_mut(|all| {
            all.retain(|one| match one.upgrade() {
                Some(one) if one.at_ms.load(Ordering::Relaxed) < now => {
                    one.passed.notify_one();
                    true
                }
                one => one.is_some(),
            });
        });
        POOL.with_borrow_mut(|pool| {
            pool.retain(|_, idle| {
                idle.retain(|one| one.since_ms + IDLE_MS > now);
                !idle.is_empty()
            });
        });
        std::mem::swap(
            &mut lines,
            &mut *LOG.lock().unwrap_or_else(PoisonError::into_inner),
        );
        if let Some(out) = &mut out {
            // It is /dev/null.
            let _ = out.write_all(&lines);
        }
        lines.clear();
    }
}

/// The client's side of an exchange.
struct Client<'a> {
    stream: &'a mut TcpStream,
    /// What it sent while it waited: the beginning of its next request.
    early: Vec<u8>,
    deadline: &'a Deadline,
}

/// What is sent to the service.
struct Outgoing<'a> {
    address: SocketAddr,
    message: &'a [u8],
    is_head: bool,
    id: &'a [u8],
}

/// What came of it.
struct Exchange {
    status: u16,
    bytes: usize,
}

/// Reads from the service; meanwhile notes what the client sends and whether it goes.
async fn read_beside(
    service: &mut TcpStream,
    into: &mut Vec<u8>,
    client: &mut Client<'_>,
) -> Result<usize, End> {
    poll_fn(|cx| {
        if let Poll::Ready(read) = poll_read_buf(Pin::new(service), cx, into) {
            return Poll::Ready(read.map_err(|_| End::Service));
        }
        while client.early.len() < HEAD_MAX && client.stream.poll_read_ready(cx).is_ready() {
            match poll_read_buf(Pin::new(client.stream), cx, &mut client.early) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(End::Client)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        Poll::Pending
    })
    .await
}

/// Sends a request and waits for the first bytes of its answer.
async fn send(
    out: &Outgoing<'_>,
    client: &mut Client<'_>,
    buffer: &mut Vec<u8>,
) -> Result<TcpStream, End> {
    loop {
        let (mut service, is_reused) = match take(out.address) {
            Some(service) => (service, true),
            None => {
                let connected = TcpStream::connect(out.address).await;
                (connected.map_err(|_| End::Service)?, false)
            }
        };
        let sent = match service.set_nodelay(true) {
            Ok(()) => service.write_all(out.message).await,
            Err(error) => Err(error),
        };
        let count = match sent {
            Ok(()) => read_beside(&mut service, buffer, client).await,
            Err(_) => Err(End::Service),
        };
        match count {
            Ok(count) if count > 0 => return Ok(service),
            Err(End::Client) => return Err(End::Client),
            // It was closed while idle: not one byte came, so another may be tried.
            Ok(_) | Err(_) if is_reused => {}
            Ok(_) | Err(_) => return Err(End::Service),
        }
    }
}

/// Sends a request and passes the answer on.
async fn exchange(out: &Outgoing<'_>, client: &mut Client<'_>) -> Result<Exchange, End> {
    let mut buffer = Vec::with_capacity(HEAD_MAX);
    let mut head = Vec::with_capacity(HEAD_MAX / 4);
    let mut service = send(out, client, &mut buffer).await?;
    let mut answer = loop {
        match head::answer(&buffer, out.is_head, out.id, &mut head) {
            Ok(answer) if answer.status < 200 => {
                let written = client.stream.write_all(&head).await;
                written.map_err(|_| End::Client)?;
                buffer.drain(..answer.len);
            }
            Ok(answer) => break answer,
            Err(Refusal::Partial) if buffer.len() < HEAD_MAX => {
                if read_beside(&mut service, &mut buffer, client).await? == 0 {
                    return Err(End::Service);
                }
            }
            Err(_) => return Err(End::Service),
        }
        head.clear();
    };
    let rest = buffer.get(answer.len..).unwrap_or_default();
    let mut count = answer.framing.feed(rest).map_err(|_| End::Service)?;
    let mut is_clean = count == rest.len();
    head.extend_from_slice(rest.get(..count).unwrap_or_default());
    let mut bytes = count;
    let written = client.stream.write_all(&head).await;
    written.map_err(|_| End::Client)?;
    while !answer.framing.is_done() {
        client.deadline.extend();
        buffer.clear();
        if read_beside(&mut service, &mut buffer, client).await? == 0 {
            return match answer.framing {
                body::Framing::UntilClose => Err(End::Client),
                body::Framing::Length(_) | body::Framing::Chunked(_) => Err(End::Broken),
            };
        }
        count = answer.framing.feed(&buffer).map_err(|_| End::Broken)?;
        is_clean = count == buffer.len();
        bytes += count;
        let part = buffer.get(..count).unwrap_or_default();
        let written = client.stream.write_all(part).await;
        written.map_err(|_| End::Client)?;
    }
    if answer.keeps && is_clean {
        put(out.address, service);
    }
    Ok(Exchange {
        status: answer.status,
        bytes,
    })
}

async fn serve(
    stream: &mut TcpStream,
    peer: SocketAddr,
    hosts: &HashMap<String, SocketAddr>,
    deadline: &Deadline,
) -> End {
    let peer = peer.ip().to_string();
    let mut input: Vec<u8> = Vec::with_capacity(HEAD_MAX);
    let mut message = Vec::with_capacity(HEAD_MAX / 4);
    loop {
        deadline.extend();
        let id = format!("{:032x}", fastrand::u128(..));
        let hop = Hop {
            client: peer.as_bytes(),
            id: id.as_bytes(),
            scheme: b"http",
        };
        message.clear();
        let parsed = head::request(&input, &hop, &mut message);
        let is_whole = parsed.as_ref().is_ok_and(|r| r.end() <= input.len());
        let request = match parsed {
            Ok(request) if is_whole => request,
            Ok(_) | Err(Refusal::Partial) if input.len() < HEAD_MAX => {
                match stream.read_buf(&mut input).await {
                    Ok(0) | Err(_) => return End::Client,
                    Ok(_) => continue,
                }
            }
            Ok(_) | Err(_) => return End::NotPlain,
        };
        let started = Instant::now();
        let name = request.host.split(':').next().unwrap_or_default();
        let Some(address) = hosts.get(name).or_else(|| hosts.get("*")) else {
            return End::NotPlain;
        };
        let used = request.end();
        message.extend_from_slice(input.get(request.len..used).unwrap_or_default());
        let out = Outgoing {
            address: *address,
            message: &message,
            is_head: request.method == "HEAD",
            id: id.as_bytes(),
        };
        let mut client = Client {
            stream,
            early: Vec::new(),
            deadline,
        };
        match exchange(&out, &mut client).await {
            Ok(done) => note(&request, &done, &peer, &id, started.elapsed()),
            Err(end) => return end,
        }
        let mut early = client.early;
        input.drain(..used);
        input.append(&mut early);
    }
}

fn note(request: &Request<'_>, done: &Exchange, peer: &str, id: &str, took: Duration) {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    REQUESTS.fetch_add(1, Ordering::Relaxed);
    MICROSECONDS.fetch_add(micros, Ordering::Relaxed);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    // Writing to a vector does not fail.
    let _ = writeln!(
        log,
        r#"{{"time":"{}","id":"{id}","client":"{peer}","method":"{}","host":"{}","path":"{}","status":{},"bytes":{},"duration_us":{micros}}}"#,
        now.as_millis(),
        request.method,
        request.host,
        request.path,
        done.status,
        done.bytes,
    );
}

async fn connection(
    mut client: TcpStream,
    peer: SocketAddr,
    hosts: Arc<HashMap<String, SocketAddr>>,
) {
    let deadline = Arc::new(Deadline {
        at_ms: AtomicU64::new(u64::MAX),
        passed: Notify::new(),
    });
    DEADLINES.with_borrow_mut(|all| all.push(Arc::downgrade(&deadline)));
    let end = tokio::select! {
        biased;
        end = serve(&mut client, peer, &hosts, &deadline) => end,
        () = deadline.passed.notified() => End::Broken,
    };
    let status = match end {
        End::Client | End::Broken => return,
        End::Service => "502 Bad Gateway",
        End::NotPlain => "501 Not Implemented",
    };
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    // The client may be gone.
    let _ = client.write_all(text.as_bytes()).await;
}

async fn run(listen: SocketAddr, upstream: SocketAddr) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let hosts = Arc::new(HashMap::from([("*".to_owned(), upstream)]));
    let mut tasks = JoinSet::new();
    tasks.spawn(tick());
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (client, peer) = accepted?;
                client.set_nodelay(true)?;
                tasks.spawn(connection(client, peer, Arc::clone(&hosts)));
            }
            Some(_) = tasks.join_next() => {}
        }
    }
}

fn main() -> std::io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, upstream] = args.as_slice() else {
        eprintln!("usage: h1-floor LISTEN UPSTREAM");
        return Ok(());
    };
    let (Ok(listen), Ok(upstream)) = (listen.parse(), upstream.parse()) else {
        eprintln!("{listen} or {upstream} is not an address such as 127.0.0.1:80");
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(listen, upstream))
}
