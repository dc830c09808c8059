//! A gateway on a port of its own, services that record what they get, and a plain client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use cara_api::ResourceVersion;
use cara_api::gateway::{
    Action, Backend, Forward, GatewayState, Host, PathMatch, Policy, Protocol, Rewrite, Route,
    Target,
};
use cara_api::hostname::Hostname;
use cara_gateway::{AccessLog, Config, Gateway, Listener, ListenerKind, TrustedRanges, Workers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub const HOST: &str = "web.test";

/// A gateway that follows what the test publishes.
pub struct Edge {
    pub address: SocketAddr,
    state: watch::Sender<Arc<GatewayState>>,
    revision: AtomicU64,
    registry: prometheus::Registry,
    token: CancellationToken,
    workers: Option<Workers>,
}

impl Edge {
    pub async fn start(routes: &[Route]) -> Self {
        Self::configured(|_| {}, routes).await
    }

    /// With settings that the test changes.
    pub async fn configured(change: impl FnOnce(&mut Config), routes: &[Route]) -> Self {
        let workers = Workers::start(2).expect("threads");
        let registry = prometheus::Registry::new();
        let mut config = Config {
            connect_timeout: Duration::from_secs(2),
            upstream_timeout: Duration::from_secs(20),
            stream_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(1),
            ..Config::default()
        };
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let token = CancellationToken::new();
        let (state, receiver) = watch::channel(Arc::new(GatewayState::default()));
        let listener = listener.into_std().expect("a listener");
        let gateway = Gateway::new(config, AccessLog::off(), workers.handles(), &registry)
            .with_background(workers.background().clone());
        let stop = token.clone();
        workers.handles()[0].spawn(async move {
            let listener = Listener {
                socket: listener,
                kind: ListenerKind::Http,
                proxy_protocol: TrustedRanges::default(),
            };
            gateway.run(vec![listener], receiver, stop).await;
        });
        let edge = Self {
            address,
            state,
            revision: AtomicU64::new(1),
            registry,
            token,
            workers: Some(workers),
        };
        edge.publish(routes);
        eventually("the routes are known", async || {
            let body = edge.get("/", &[]).await.body;
            (!body.contains("is starting")).then_some(())
        })
        .await;
        edge
    }

    /// Publishes what the host serves from now on, and a host that nobody asks for.
    pub fn publish(&self, routes: &[Route]) {
        self.publish_beside(routes, &[route("other", Vec::new())]);
    }

    pub fn publish_beside(&self, routes: &[Route], others: &[Route]) {
        let revision = self.revision.fetch_add(1, Ordering::SeqCst);
        let hosts = [(HOST, routes), ("other.test", others)].map(|(name, routes)| {
            let hostname = Hostname::parse(name).expect("a hostname");
            let host = Host {
                project: "project".into(),
                tls: Default::default(),
                routes: routes.iter().cloned().map(Arc::new).collect(),
            };
            (hostname, Arc::new(host))
        });
        self.state.send_replace(Arc::new(GatewayState {
            revision: ResourceVersion(revision),
            hosts: hosts.into_iter().collect(),
            ..GatewayState::default()
        }));
    }

    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.address, "GET", path, headers, "").await
    }

    pub async fn send(&self, method: &str, body: &str) -> Answer {
        ask(self.address, method, "/", &[], body).await
    }

    /// The sum of a metric over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let found = families.iter().filter(|family| family.name() == name);
        found
            .flat_map(|family| family.get_metric())
            .map(|m| m.get_counter().get_value() + m.get_gauge().get_value())
            .sum()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.token.cancel();
        if let Some(workers) = self.workers.take() {
            workers.stop();
        }
    }
}

pub fn target(service: &str, endpoints: &[SocketAddr]) -> Target {
    Target {
        service: service.into(),
        weight: 1,
        protocol: Protocol::Http1,
        backend: Backend::Ready {
            endpoints: endpoints.to_vec(),
        },
    }
}

pub fn route(ingress: &str, targets: Vec<Target>) -> Route {
    Route {
        project: "project".into(),
        ingress: ingress.into(),
        path: PathMatch::Prefix("/".into()),
        headers: Vec::new(),
        action: Action::Forward(Forward {
            targets,
            rewrite: Rewrite::Keep,
        }),
        policy: Arc::default(),
    }
}

/// A rule for one service with these endpoints.
pub fn rule(endpoints: &[SocketAddr], policy: Policy) -> Route {
    Route {
        policy: Arc::new(policy),
        ..route("web", vec![target("web", endpoints)])
    }
}

/// What a service does with a request.
#[derive(Debug, Clone)]
pub enum Does {
    Answer(u16),
    AnswerAfter(Duration),
    /// Closes the connection without a word.
    Cut,
    /// The same, once; then it answers.
    CutOnce,
}

/// What a service got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Got {
    pub method: String,
    pub path: String,
    pub body: String,
}

/// A service that records what it gets and says who it is.
pub struct Service {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    does: Arc<Mutex<BTreeMap<String, Does>>>,
    at_once: Arc<AtOnce>,
    /// Ends with the service.
    _tasks: JoinSet<()>,
}

/// Requests that a service has at once.
#[derive(Debug, Default)]
struct AtOnce {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl AtOnce {
    fn begin(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn end(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Service {
    pub async fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let got: Arc<Mutex<Vec<Got>>> = Arc::default();
        let does = Arc::new(Mutex::new(BTreeMap::from([(String::new(), does)])));
        let at_once: Arc<AtOnce> = Arc::default();
        let (theirs, plan) = (Arc::clone(&got), Arc::clone(&does));
        let counted = Arc::clone(&at_once);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                connections.spawn(serve(
                    stream,
                    address,
                    Arc::clone(&theirs),
                    Arc::clone(&plan),
                    Arc::clone(&counted),
                ));
            }
        });
        Self {
            address,
            got,
            does,
            at_once,
            _tasks: tasks,
        }
    }

    pub fn does(&self, does: Does) {
        self.does_at("", does);
    }

    pub fn does_at(&self, path: &str, does: Does) {
        let mut all = self.does.lock().expect("no panic");
        all.insert(path.into(), does);
    }

    pub fn got(&self) -> Vec<Got> {
        self.got.lock().expect("no panic").clone()
    }

    /// How many requests it had at once at most.
    pub fn most_at_once(&self) -> usize {
        self.at_once.most.load(Ordering::SeqCst)
    }

    /// How often it was checked.
    pub fn checks(&self) -> usize {
        let got = self.got();
        got.iter().filter(|got| got.path == "/health").count()
    }

    /// Requests that were no checks.
    pub fn count(&self) -> usize {
        let got = self.got();
        got.iter().filter(|got| got.path != "/health").count()
    }
}

async fn serve(
    mut stream: TcpStream,
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    does: Arc<Mutex<BTreeMap<String, Does>>>,
    at_once: Arc<AtOnce>,
) {
    let mut buffer = Vec::new();
    loop {
        let Some((head, body)) = read_message(&mut stream, &mut buffer).await else {
            return;
        };
        let mut words = head.split(' ');
        let request = Got {
            method: words.next().unwrap_or_default().into(),
            path: words.next().unwrap_or_default().into(),
            body,
        };
        let does = {
            let mut all = does.lock().expect("no panic");
            let path = if all.contains_key(&request.path) {
                request.path.as_str()
            } else {
                ""
            };
            match all.get(path).cloned().unwrap_or(Does::Cut) {
                Does::CutOnce => {
                    all.insert(path.into(), Does::Answer(200));
                    Does::Cut
                }
                does => does,
            }
        };
        got.lock().expect("no panic").push(request);
        at_once.begin();
        let status = match does {
            Does::Answer(status) => Some(status),
            Does::AnswerAfter(time) => {
                tokio::time::sleep(time).await;
                Some(200)
            }
            Does::Cut | Does::CutOnce => None,
        };
        at_once.end();
        let Some(status) = status else {
            return;
        };
        let body = address.to_string();
        let answer = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Head and body of a message with a content length or chunks; none at the end.
async fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(String, String)> {
    loop {
        let text = String::from_utf8_lossy(buffer).into_owned();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let lower = head.to_lowercase();
            let length = lower
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            let is_chunked = lower.contains("transfer-encoding: chunked");
            let is_whole = match length {
                Some(length) => rest.len() >= length,
                None => !is_chunked || rest.ends_with("0\r\n\r\n"),
            };
            if is_whole {
                buffer.clear();
                return Some((head.to_owned(), rest.to_owned()));
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// One request on a connection of its own.
pub async fn ask(
    gateway: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(gateway).await.expect("the gateway");
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("content-length: {}\r\n", body.len());
    }
    let text = head + "\r\n" + body;
    stream.write_all(text.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // A reset after the answer is no fault.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
    Answer {
        status: status.unwrap_or(0),
        head: head.into(),
        body: body.into(),
    }
}

/// Tries until something is there, for at most 20 seconds.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
