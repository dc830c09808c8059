//! Panics where tests want them, and what becomes of everything else then. Compiled for tests only.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cara_api::ResourceVersion;
use cara_api::gateway::{
    Action, Backend, Forward, GatewayState, Host, InFlight, PathMatch, Policy, Rewrite, Route,
    Target,
};
use cara_api::hostname::Hostname;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{AccessLog, Config, Gateway, Listener, ListenerKind, TrustedRanges};

const WANTED: &str = "panic-now";
const HOST: &str = "web.test";

/// Panics where a request's path, or a rule's project, says so.
pub(crate) fn panic_at(text: &str) {
    assert!(!text.contains(WANTED), "as the test wants it");
}

/// A gateway with a rule for the short way, and one for the long way below `/long`.
struct World {
    address: SocketAddr,
    service: SocketAddr,
    state: watch::Sender<Arc<GatewayState>>,
    served: watch::Receiver<ResourceVersion>,
    registry: prometheus::Registry,
    token: CancellationToken,
    tasks: JoinSet<()>,
}

impl World {
    async fn start() -> Self {
        let mut tasks = JoinSet::new();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let service = listener.local_addr().expect("an address");
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream));
            }
        });
        let registry = prometheus::Registry::new();
        let threads = [Handle::current()];
        let config = Config::default();
        let gateway = Gateway::new(config, AccessLog::off(), &threads, &registry);
        let served = gateway.served_revision();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let listener = Listener {
            socket,
            kind: ListenerKind::Http,
            proxy_protocol: TrustedRanges::default(),
        };
        let (state, receiver) = watch::channel(Arc::new(state(1, "shop", service)));
        let token = CancellationToken::new();
        tasks.spawn(gateway.run(vec![listener], receiver, token.clone()));
        let mut world = Self {
            address,
            service,
            state,
            served,
            registry,
            token,
            tasks,
        };
        world.is_served(1).await;
        world
    }

    async fn is_served(&mut self, revision: u64) {
        let served = self.served.wait_for(|served| served.0 >= revision);
        let served = tokio::time::timeout(Duration::from_secs(20), served).await;
        served.expect("in time").expect("the gateway runs");
    }

    fn in_flight(&self) -> f64 {
        let families = self.registry.gather();
        let name = "cara_gateway_requests_in_flight";
        let family = families.iter().find(|family| family.name() == name);
        let samples = family.map_or(&[][..], |family| family.get_metric());
        samples
            .iter()
            .map(|sample| sample.get_gauge().get_value())
            .sum()
    }

    async fn stop(mut self) {
        self.token.cancel();
        drop(self.state);
        self.tasks.shutdown().await;
    }
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut seen = Vec::new();
    loop {
        if stream.read_buf(&mut seen).await? == 0 {
            return Ok(());
        }
        if seen.ends_with(b"\r\n\r\n") {
            seen.clear();
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            stream.write_all(answer).await?;
        }
    }
}

fn state(revision: u64, project: &str, service: SocketAddr) -> GatewayState {
    let route = |path: &str, policy: Policy| {
        Arc::new(Route {
            project: project.into(),
            ingress: path.into(),
            path: PathMatch::Prefix(path.into()),
            headers: Vec::new(),
            action: Action::Forward(Forward {
                targets: vec![Target {
                    service: "web".into(),
                    weight: 1,
                    protocol: Default::default(),
                    backend: Backend::Ready {
                        endpoints: vec![service],
                    },
                }],
                rewrite: Rewrite::Keep,
            }),
            policy: Arc::new(policy),
        })
    };
    let limited = Policy {
        in_flight: Some(InFlight {
            max: 100,
            queue: 1,
            timeout: Duration::from_secs(1),
        }),
        ..Policy::default()
    };
    let host = Host {
        project: project.into(),
        tls: Default::default(),
        routes: vec![route("/", Policy::default()), route("/long", limited)],
    };
    let name = Hostname::parse(HOST).expect("a hostname");
    GatewayState {
        revision: ResourceVersion(revision),
        hosts: [(name, Arc::new(host))].into_iter().collect(),
        ..GatewayState::default()
    }
}

/// The status of an answer over HTTP/1; none when the connection ended without one.
async fn ask(stream: &mut TcpStream, path: &str) -> Option<String> {
    let text = format!("GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    stream.write_all(text.as_bytes()).await.ok()?;
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\nok") {
        if stream.read_buf(&mut seen).await.ok()? == 0 {
            return None;
        }
    }
    let text = String::from_utf8_lossy(&seen).into_owned();
    text.get(9..12).map(str::to_owned)
}

#[tokio::test]
async fn a_panic_in_one_request_over_http_1_kills_that_request_only() {
    let world = World::start().await;
    for way in ["/", "/long/"] {
        let mut neighbour = TcpStream::connect(world.address).await.expect("connects");
        assert_eq!(ask(&mut neighbour, way).await.as_deref(), Some("200"));
        let mut doomed = TcpStream::connect(world.address).await.expect("connects");
        let path = format!("{way}{WANTED}");
        assert_eq!(ask(&mut doomed, &path).await, None, "{way}");
        assert_eq!(ask(&mut neighbour, way).await.as_deref(), Some("200"));
        let mut next = TcpStream::connect(world.address).await.expect("connects");
        assert_eq!(ask(&mut next, way).await.as_deref(), Some("200"));
        assert_eq!(world.in_flight(), 0.0, "{way}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_panic_in_one_request_over_http_2_kills_that_request_only() {
    let world = World::start().await;
    let stream = TcpStream::connect(world.address).await.expect("connects");
    let (send, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        let _ = connection.await;
    });
    let ask = async |path: &str| {
        let uri = format!("http://{HOST}{path}");
        let request = http::Request::get(uri).body(()).expect("a request");
        let mut ready = send.clone().ready().await.ok()?;
        let (answer, _) = ready.send_request(request, true).ok()?;
        let mut body = answer.await.ok()?.into_body();
        let mut text = Vec::new();
        while let Some(part) = body.data().await {
            text.extend_from_slice(&part.ok()?);
        }
        Some(text)
    };
    let ok = Some(b"ok".to_vec());
    for way in ["/", "/long/"] {
        let doomed = format!("{way}{WANTED}");
        let (first, panicked, second) = tokio::join!(ask(way), ask(&doomed), ask(way));
        assert_eq!((&first, &panicked, &second), (&ok, &None, &ok), "{way}");
        assert_eq!(ask(way).await, ok, "{way}: the connection goes on");
        assert_eq!(world.in_flight(), 0.0, "{way}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_panic_over_a_state_leaves_the_last_one_and_the_next_is_taken_in() {
    let mut world = World::start().await;
    let send = |state| world.state.send_replace(Arc::new(state));
    send(state(2, WANTED, world.service));
    let mut client = TcpStream::connect(world.address).await.expect("connects");
    // It is looked at while these are served.
    for _ in 0..50 {
        assert_eq!(ask(&mut client, "/").await.as_deref(), Some("200"));
    }
    assert_eq!(world.served.borrow().0, 1);
    send(state(3, "shop", world.service));
    world.is_served(3).await;
    assert_eq!(ask(&mut client, "/long").await.as_deref(), Some("200"));
    world.stop().await;
}
