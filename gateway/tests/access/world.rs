//! A gateway before a service that shows what reaches it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cara_api::ResourceVersion;
use cara_api::gateway::{
    Access, Action, Backend, Certificate, Forward, GatewayState, Host, Keys, Oidc, PathMatch,
    Policy, Protocol, Rewrite, Route, Target,
};
use cara_api::hostname::Hostname;
use cara_api::secret::Hidden;
use cara_gateway::{
    AccessConfig, AccessLog, Config, Gateway, Listener, ListenerKind, TrustedRanges,
};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::browser::Browser;
use super::issuer::{CLIENT, Issuer, SECRET};

pub const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub const AUTH: &str = "auth.dev.localhost";
pub const A: &str = "a.dev.localhost";
pub const B: &str = "b.dev.localhost";
const NONE: &str = "none.dev.localhost";

pub struct World {
    pub gateway: SocketAddr,
    scheme: &'static str,
    pub issuer: Issuer,
    service: SocketAddr,
    state: watch::Sender<Arc<GatewayState>>,
    _stop: tokio_util::sync::DropGuard,
    _tasks: JoinSet<()>,
}

impl World {
    /// Hosts `a` and `b` with these settings.
    pub async fn start(access: impl FnOnce(&Issuer) -> Access) -> Self {
        Self::start_with(Issuer::start().await, None, access).await
    }

    /// The same over HTTPS.
    pub async fn start_with_tls(access: impl FnOnce(&Issuer) -> Access) -> Self {
        Self::start_as(ListenerKind::Https, Issuer::start().await, None, access).await
    }

    /// The same with an issuer, and the authorities that the gateway knows beside the system's.
    pub async fn start_with(
        issuer: Issuer,
        authorities: Option<String>,
        access: impl FnOnce(&Issuer) -> Access,
    ) -> Self {
        Self::start_as(ListenerKind::Http, issuer, authorities, access).await
    }

    async fn start_as(
        kind: ListenerKind,
        issuer: Issuer,
        authorities: Option<String>,
        access: impl FnOnce(&Issuer) -> Access,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let service = listener.local_addr().unwrap();
        tasks.spawn(serve(listener));
        let access = access(&issuer);
        let first = state(1, service, &access);
        let (sender, receiver) = watch::channel(Arc::new(first));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let gateway = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tasks.spawn(run((listener, kind), receiver, stop.clone(), authorities));
        let world = Self {
            gateway,
            scheme: match kind {
                ListenerKind::Https => "https",
                ListenerKind::Http | ListenerKind::Tcp => "http",
            },
            issuer,
            service,
            state: sender,
            _stop: stop.drop_guard(),
            _tasks: tasks,
        };
        world.wait().await;
        world
    }

    /// Until the gateway knows its routes.
    async fn wait(&self) {
        let mut browser = self.browser();
        for _ in 0..500 {
            let page = browser.get(&self.url(NONE, "/")).await;
            if page.status == 404 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the gateway does not serve");
    }

    pub fn publish(&self, access: &Access) {
        let revision = self.state.borrow().revision.0 + 1;
        let next = state(revision, self.service, access);
        self.state.send_replace(Arc::new(next));
    }

    pub fn browser(&self) -> Browser {
        let hosts = [A, B, AUTH, NONE];
        Browser::new(&hosts, self.gateway)
    }

    pub fn url(&self, host: &str, path: &str) -> String {
        format!("{}://{host}:{}{path}", self.scheme, self.gateway.port())
    }
}

/// What an ingress with a login has.
pub fn oidc(issuer: &Issuer) -> Access {
    Access {
        oidc: Some(Oidc {
            issuer: issuer.url.clone(),
            client_id: CLIENT.into(),
            client_secret: Some(Hidden::new(SECRET)),
            scopes: vec!["openid".into(), "email".into()],
            emails: Vec::new(),
            groups: Vec::new(),
            session: Duration::from_secs(3_600),
        }),
        ..Access::default()
    }
}

async fn run(
    (listener, kind): (TcpListener, ListenerKind),
    state: watch::Receiver<Arc<GatewayState>>,
    stop: CancellationToken,
    authorities: Option<String>,
) {
    let config = Config {
        connect_timeout: Duration::from_secs(3),
        upstream_timeout: Duration::from_secs(10),
        stream_timeout: Duration::from_secs(60),
        drain_timeout: Duration::from_secs(1),
        access: AccessConfig {
            auth_host: Hostname::parse(AUTH).ok(),
            issuer_authorities: authorities,
        },
        ..Config::default()
    };
    let registry = prometheus::Registry::new();
    let gateway = Gateway::new(config, AccessLog::off(), &[], &registry);
    let listener = Listener {
        socket: listener.into_std().expect("a socket"),
        kind,
        proxy_protocol: TrustedRanges::default(),
    };
    gateway.run(vec![listener], state, stop).await;
}

fn state(revision: u64, service: SocketAddr, access: &Access) -> GatewayState {
    let host = |name: &str| {
        let hostname = Hostname::parse(name).unwrap();
        let target = Target {
            service: "web".into(),
            weight: 1,
            protocol: Protocol::Http1,
            backend: Backend::Ready {
                endpoints: vec![service],
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
            policy: Arc::new(Policy {
                access: access.clone(),
                ..Policy::default()
            }),
        };
        let host = Host {
            project: "shop".into(),
            tls: Default::default(),
            routes: vec![Arc::new(route)],
        };
        (hostname, Arc::new(host))
    };
    GatewayState {
        revision: ResourceVersion(revision),
        hosts: [host(A), host(B)].into_iter().collect(),
        keys: Arc::new(Keys {
            signing: Some(Hidden::new(KEY)),
        }),
        certificates: [("all".to_owned(), certificate())].into_iter().collect(),
        ..GatewayState::default()
    }
}

/// For all hosts of the tests.
fn certificate() -> Arc<Certificate> {
    let names = [A, B, AUTH, NONE].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    Arc::new(Certificate {
        chain_pem: made.cert.pem(),
        key_pem: Hidden::new(made.signing_key.serialize_pem()),
        is_default: true,
    })
}

/// Answers with the request's headers as JSON, and its URL under `:path`.
async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let service = service_fn(|request: Request<Incoming>| async move {
            let mut seen = Map::new();
            for (name, value) in request.headers() {
                let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                seen.insert(name.to_string(), Value::String(value));
            }
            seen.insert(":path".into(), request.uri().to_string().into());
            let body = Full::<Bytes>::from(Value::Object(seen).to_string());
            Ok::<_, Infallible>(Response::new(body))
        });
        let http = hyper::server::conn::http1::Builder::new();
        let connection = http.serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move { drop(connection.await) });
    }
}
