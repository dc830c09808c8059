//! A gateway for the tests.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use cara_api::ResourceVersion;
use cara_api::gateway::{
    Action, Backend, Certificate, Forward, GatewayState, Host, HostTls, PathMatch, Policy,
    Protocol, Rewrite, Route, StreamRoute, Target,
};
use cara_api::hostname::Hostname;
use cara_api::secret::Hidden;
use cara_api::tail::Feed;
use cara_gateway::{
    AccessLog, Config, DrainControl, Gateway, Listener, ListenerKind, TrustedRanges,
};
use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::authority::Leaf;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running gateway with an HTTP and an HTTPS listener.
pub struct Edge {
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub drains: DrainControl,
    state: watch::Sender<Arc<GatewayState>>,
    registry: Registry,
    token: CancellationToken,
    task: JoinHandle<()>,
}

/// What differs from a usual gateway.
pub struct Setup {
    pub config: Config,
    pub proxy_protocol: TrustedRanges,
    /// Where HTTPS differs from HTTP.
    pub https_proxy_protocol: Option<TrustedRanges>,
    pub access_log: AccessLog,
    pub tail: Arc<Feed>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: Config {
                connect_timeout: Duration::from_secs(3),
                upstream_timeout: Duration::from_secs(20),
                stream_timeout: Duration::from_secs(20),
                ..Config::default()
            },
            proxy_protocol: TrustedRanges::default(),
            https_proxy_protocol: None,
            access_log: AccessLog::off(),
            tail: Arc::default(),
        }
    }
}

impl Edge {
    pub async fn start(setup: Setup, state: GatewayState) -> Self {
        let registry = Registry::new();
        let gateway = Gateway::new(
            setup.config,
            setup.access_log,
            &[Handle::current()],
            &registry,
        )
        .with_tail(setup.tail);
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (http, https) = (bind(), bind());
        let addresses = [&http, &https].map(|socket| socket.local_addr().expect("an address"));
        let kinds = [(http, ListenerKind::Http), (https, ListenerKind::Https)];
        let https = setup.https_proxy_protocol.as_ref();
        let listeners = kinds.map(|(socket, kind)| Listener {
            socket,
            kind,
            proxy_protocol: match kind {
                ListenerKind::Https => https.unwrap_or(&setup.proxy_protocol).clone(),
                ListenerKind::Http | ListenerKind::Tcp => setup.proxy_protocol.clone(),
            },
        });
        let (state, receiver) = watch::channel(Arc::new(state));
        let token = CancellationToken::new();
        let drains = gateway.drain_control();
        let task = tokio::spawn(gateway.run(listeners.into(), receiver, token.clone()));
        let edge = Self {
            http: addresses[0],
            https: addresses[1],
            drains,
            state,
            registry,
            token,
            task,
        };
        edge.settle().await;
        edge
    }

    /// Publishes another state, and waits until it is served.
    pub async fn publish(&self, mut state: GatewayState) {
        let before = self.state.borrow().revision;
        state.revision = ResourceVersion(before.0 + 1);
        self.state.send_replace(Arc::new(state));
        self.settle().await;
    }

    /// Until the gateway has looked at the state: it looks again at once when it is sent again.
    async fn settle(&self) {
        let hosts = self.state.borrow().hosts.len();
        eventually("the state is served", async || {
            let routes = self.metric("cara_gateway_routes").await;
            (routes as usize == hosts).then_some(())
        })
        .await;
    }

    /// The sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> f64 {
        self.labelled(name, "").await
    }

    /// The same for the samples with a label of that value.
    pub async fn labelled(&self, name: &str, value: &str) -> f64 {
        tokio::task::yield_now().await;
        let families = self.registry.gather();
        let samples = families
            .iter()
            .filter(|family| family.name() == name)
            .flat_map(|family| family.get_metric());
        let samples = samples.filter(|sample| {
            value.is_empty()
                || sample
                    .get_label()
                    .iter()
                    .any(|label| label.value() == value)
        });
        samples
            .map(|s| s.get_gauge().get_value() + s.get_counter().get_value())
            .sum()
    }

    /// Waits until samples with a label of that value reach a sum.
    pub async fn counts(&self, name: &str, value: &str, at_least: f64) {
        eventually(&format!("{name} {value}"), async || {
            (self.labelled(name, value).await >= at_least).then_some(())
        })
        .await;
    }

    /// Tells the gateway to stop.
    pub fn stop(&self) {
        self.token.cancel();
    }

    /// Waits until it has.
    pub async fn stopped(self) {
        let ended = tokio::time::timeout(PATIENCE, self.task).await;
        ended.expect("the gateway stops").expect("no panic");
    }
}

/// Asks again and again until there is an answer.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await;
    answer.unwrap_or_else(|_| panic!("{what}: not in time"))
}

/// A state with one host for each name, all of the same service.
pub fn state(hosts: &[&str], endpoint: SocketAddr) -> GatewayState {
    let mut state = GatewayState {
        revision: ResourceVersion(1),
        ..GatewayState::default()
    };
    for name in hosts {
        let hostname = Hostname::parse(name).expect("a hostname");
        let host = host(endpoint, HostTls::default());
        state.hosts.insert(hostname, Arc::new(host));
    }
    state
}

/// A host that forwards everything.
pub fn host(endpoint: SocketAddr, tls: HostTls) -> Host {
    let target = Target {
        service: "web".into(),
        weight: 1,
        protocol: Protocol::Http1,
        backend: Backend::Ready {
            endpoints: vec![endpoint],
        },
    };
    let route = Route {
        project: "shop".into(),
        ingress: "web".into(),
        path: PathMatch::Prefix("/".into()),
        headers: Vec::new(),
        action: Action::Forward(Forward {
            targets: vec![target],
            rewrite: Rewrite::Keep,
        }),
        policy: Arc::new(Policy::default()),
    };
    Host {
        project: "shop".into(),
        tls,
        routes: vec![Arc::new(route)],
    }
}

/// Adds a host that does TLS in a way of its own.
pub fn with_tls(mut state: GatewayState, name: &str, to: SocketAddr, tls: HostTls) -> GatewayState {
    let hostname = Hostname::parse(name).expect("a hostname");
    let host = host(to, tls);
    state.hosts.insert(hostname, Arc::new(host));
    state
}

/// Adds a certificate.
pub fn with_certificate(mut state: GatewayState, name: &str, leaf: &Leaf) -> GatewayState {
    let certificate = Certificate {
        chain_pem: leaf.chain.clone(),
        key_pem: Hidden::new(leaf.key.clone()),
        is_default: name == "default",
    };
    state
        .certificates
        .insert(name.into(), Arc::new(certificate));
    state
}

/// A route for bytes.
pub fn stream_route(endpoint: SocketAddr) -> StreamRoute {
    StreamRoute {
        project: "shop".into(),
        ingress: "db".into(),
        service: "db".into(),
        allow: Vec::new(),
        backend: Backend::Ready {
            endpoints: vec![endpoint],
        },
    }
}
