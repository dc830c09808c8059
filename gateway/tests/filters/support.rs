//! A gateway, a service that records what it gets byte for byte, and a client that sends bytes.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cara_api::ResourceVersion;
use cara_api::gateway::{
    Action, Backend, Forward, GatewayState, Host, PathMatch, Policy, Protocol, Rewrite, Route,
    Target,
};
use cara_api::hostname::Hostname;
use cara_gateway::{AccessLog, Config, Gateway, Listener, ListenerKind, TrustedRanges};
use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub const HOST: &str = "web.test";
/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running gateway.
pub struct Edge {
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub state: watch::Sender<Arc<GatewayState>>,
    registry: Registry,
    token: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Edge {
    pub async fn start(routes: Vec<Route>) -> Self {
        Self::configured(Config::default(), routes).await
    }

    pub async fn configured(config: Config, routes: Vec<Route>) -> Self {
        let config = Config {
            drain_timeout: Duration::from_secs(1),
            ..config
        };
        let registry = Registry::new();
        let threads = [Handle::current()];
        let gateway = Gateway::new(config, AccessLog::off(), &threads, &registry);
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (http, https) = (bind(), bind());
        let addresses = [&http, &https].map(|socket| socket.local_addr().expect("an address"));
        let kinds = [(http, ListenerKind::Http), (https, ListenerKind::Https)];
        let listeners = kinds.map(|(socket, kind)| Listener {
            socket,
            kind,
            proxy_protocol: TrustedRanges::default(),
        });
        let (state, receiver) = watch::channel(Arc::new(GatewayState::default()));
        let token = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(gateway.run(listeners.into(), receiver, token.clone()));
        let edge = Self {
            http: addresses[0],
            https: addresses[1],
            state,
            registry,
            token,
            _tasks: tasks,
        };
        edge.publish(|state| state.hosts = hosts(routes)).await;
        edge
    }

    /// Publishes a changed state and waits until it is served.
    pub async fn publish(&self, change: impl FnOnce(&mut GatewayState)) {
        let mut next = GatewayState::clone(&self.state.borrow());
        change(&mut next);
        next.revision = ResourceVersion(next.revision.0 + 1);
        let mark = format!("mark-{}", next.revision);
        next.challenges.insert(mark.clone(), mark.clone());
        self.state.send_replace(Arc::new(next));
        let path = format!("/.well-known/acme-challenge/{mark}");
        let asked = request("GET", &path, &[]);
        eventually("the state is served", async || {
            let answer = exchange(self.http, asked.as_bytes()).await;
            answer.contains(&mark).then_some(())
        })
        .await;
    }

    /// Requests that went the short way so far.
    pub fn plain(&self) -> f64 {
        self.metric("cara_gateway_plain_requests_total")
    }

    /// A metric without labels.
    pub fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(|family| family.get_metric());
        metrics.and_then(<[_]>::first).map_or(0.0, |m| {
            m.get_counter().get_value() + m.get_gauge().get_value()
        })
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let asked = request(method, path, headers);
        Answer::parse(&exchange(self.http, asked.as_bytes()).await)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[]).await
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// A request that ends its connection.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text + "Connection: close\r\n\r\n"
}

/// Sends bytes and reads until the gateway closes, or says nothing more for a moment.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    String::from_utf8_lossy(&exchange_bytes(address, bytes).await).into_owned()
}

pub async fn exchange_bytes(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    // The gateway may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    loop {
        let mut piece = vec![0; 16 * 1024];
        let quiet = if answer.is_empty() { 10_000 } else { 700 };
        let read = tokio::time::timeout(Duration::from_millis(quiet), stream.read(&mut piece));
        match read.await {
            Ok(Ok(count)) if count > 0 => answer.extend_from_slice(&piece[..count]),
            Ok(_) | Err(_) => return answer,
        }
    }
}

/// An answer, taken apart.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        Self {
            status: status.unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// The values of a header, joined.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// A request as a service got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    pub head: String,
    pub body: Vec<u8>,
}

impl Received {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        Answer::parse(&self.head).header(name)
    }
}

/// A service that reads what arrives strictly, records it, and answers each request alike.
#[derive(Clone)]
pub struct Service {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    _tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Service {
    pub async fn start(answer: impl Into<Vec<u8>>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let received = Arc::new(Mutex::new(Vec::new()));
        let answer: Arc<[u8]> = answer.into().into();
        let record = Arc::clone(&received);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&record), Arc::clone(&answer)));
            }
        });
        Self {
            address,
            received,
            _tasks: Arc::new(Mutex::new(tasks)),
        }
    }

    /// What arrived so far; forgets it.
    pub fn take(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().expect("no panic"))
    }
}

async fn serve(mut stream: TcpStream, record: Arc<Mutex<Vec<Received>>>, answer: Arc<[u8]>) {
    let mut buffer = Vec::new();
    loop {
        let Some(end) = find(&buffer, b"\r\n\r\n") else {
            if !more(&mut stream, &mut buffer).await {
                // A head without an end counts too: somebody's bytes got through.
                if !buffer.is_empty() {
                    let head = String::from_utf8_lossy(&buffer).into_owned();
                    let body = b"(incomplete)".to_vec();
                    record
                        .lock()
                        .expect("no panic")
                        .push(Received { head, body });
                }
                return;
            }
            continue;
        };
        let rest = buffer.split_off(end + 4);
        let head = String::from_utf8_lossy(&buffer).into_owned();
        buffer = rest;
        let place = {
            let mut all = record.lock().expect("no panic");
            let body = Vec::new();
            let head = head.clone();
            all.push(Received { head, body });
            all.len() - 1
        };
        let Some(body) = body(&mut stream, &mut buffer, &head).await else {
            return;
        };
        if let Some(received) = record.lock().expect("no panic").get_mut(place) {
            received.body = body;
        }
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn body(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: &str) -> Option<Vec<u8>> {
    let head = Answer::parse(head);
    if head.header("transfer-encoding").is_some() {
        let end = loop {
            if let Some(end) = find(buffer, b"0\r\n\r\n") {
                break end + 5;
            }
            if !more(stream, buffer).await {
                return None;
            }
        };
        let rest = buffer.split_off(end);
        return Some(std::mem::replace(buffer, rest));
    }
    let length = head.header("content-length");
    let length: usize = length.map_or(0, |text| text.parse().expect("one plain number"));
    while buffer.len() < length {
        if !more(stream, buffer).await {
            return None;
        }
    }
    let rest = buffer.split_off(length);
    Some(std::mem::replace(buffer, rest))
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    matches!(stream.read_buf(buffer).await, Ok(count) if count > 0)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A rule for a part of the host.
pub fn route_at(path: &str, action: Action, policy: Policy) -> Route {
    Route {
        path: PathMatch::Prefix(path.into()),
        ..route(action, policy)
    }
}

/// A rule for everything of the host.
pub fn route(action: Action, policy: Policy) -> Route {
    Route {
        project: "project".into(),
        ingress: "web".into(),
        path: PathMatch::Prefix("/".into()),
        headers: Vec::new(),
        action,
        policy: Arc::new(policy),
    }
}

pub fn forward(address: SocketAddr) -> Action {
    forward_with(address, Protocol::Http1, Rewrite::Keep)
}

pub fn forward_with(address: SocketAddr, protocol: Protocol, rewrite: Rewrite) -> Action {
    Action::Forward(Forward {
        targets: vec![Target {
            service: "app".into(),
            weight: 1,
            protocol,
            backend: Backend::Ready {
                endpoints: vec![address],
            },
        }],
        rewrite,
    })
}

pub fn hosts(routes: Vec<Route>) -> imbl::OrdMap<Hostname, Arc<Host>> {
    let hostname = Hostname::parse(HOST).expect("a hostname");
    let host = Host {
        project: "project".into(),
        tls: Default::default(),
        routes: routes.into_iter().map(Arc::new).collect(),
    };
    imbl::OrdMap::unit(hostname, Arc::new(host))
}

/// Waits until something is there.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < until, "{what} in vain");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
