//! Two control planes over one store: what one of them alone may do is done by one at a time.

mod ari;
mod authority;
mod limits;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cara_api::certificate::ManagedBy;
use cara_api::gateway::GatewayState;
use cara_api::hostname::Domain;
use cara_api::paths;
use cara_controlplane::plan::Patience;
use cara_controlplane::vault::KeySource;
use cara_controlplane::{AccessConfig, AcmeConfig, Config, ControlPlane, DnsConfig};
use cara_store::sqlite::{Options, SqliteStore};
use cara_tests::acme::{Pebble, free_port};
use cara_tests::eventually;
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Where all of them put their things.
struct World {
    directory: tempfile::TempDir,
    store: Arc<SqliteStore>,
    acme: AcmeConfig,
    http_port: u16,
}

/// A control plane without a gateway of its own.
struct Plane {
    api: SocketAddr,
    registry: Registry,
    state: watch::Receiver<Arc<GatewayState>>,
    token: CancellationToken,
    tasks: JoinSet<std::io::Result<()>>,
}

impl World {
    fn new(pebble: &Pebble, dns: Option<PathBuf>, http_port: u16) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = SqliteStore::open(directory.path(), Options::default(), &Registry::new());
        let exec = |program| DnsConfig::Exec {
            program,
            variables: Vec::new(),
            timeout: Duration::from_secs(20),
        };
        let root = std::fs::read_to_string(pebble.root()).expect("a root");
        Self {
            store: Arc::new(store.expect("a store")),
            acme: AcmeConfig {
                directory_url: pebble.directory_url(),
                extra_roots_pem: Some(root),
                contacts: Vec::new(),
                external_account: None,
                dns: dns.map(exec),
            },
            directory,
            http_port,
        }
    }

    async fn plane(&self) -> Plane {
        let config = Config {
            domain: Domain {
                environment: "dev".into(),
                base: "cara.test".into(),
            },
            reserved: Vec::new(),
            http_port: self.http_port,
            https_port: None,
            node_timeout: Duration::from_secs(15),
            plain_node_timeout: Duration::from_secs(90),
            patience: Patience {
                reschedule_grace: Duration::from_secs(300),
                force_terminate_after: Duration::from_secs(300),
            },
            keepalive: Duration::from_secs(15),
            audit_log: None,
            data_dir: None,
            secret_key: KeySource::File(self.directory.path().join("secret.key")),
            acme: Some(self.acme.clone()),
            api: cara_controlplane::ApiConfig::default(),
            access: AccessConfig::default(),
        };
        let (registry, token) = (Registry::new(), CancellationToken::new());
        let store = Arc::clone(&self.store);
        let plane = ControlPlane::open(config, store, &registry).await;
        let plane = plane.expect("a control plane");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let api = listener.local_addr().expect("an address");
        let state = plane.gateway_state();
        let mut tasks = JoinSet::new();
        tasks.spawn(plane.run(listener, token.clone()));
        Plane {
            api,
            registry,
            state,
            token,
            tasks,
        }
    }
}

impl Plane {
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.api)
    }

    /// A project that runs nowhere but owns a hostname.
    async fn claim(&self, name: &str, host: &str) {
        let spec = json!({"services": [{"name": "web", "image": "cara-test/app:1"}],
            "ingress": [{"name": "web", "host": host,
                "target": {"service": "web", "port": 8080}}]});
        let body = json!({"metadata": {"name": name}, "spec": spec}).to_string();
        eventually("the project is accepted", async || {
            let request = cara_tests::http().post(self.url(paths::PROJECTS));
            let answer = request.body(body.clone()).send().await.ok()?;
            (answer.status() == 201).then_some(())
        })
        .await;
    }

    /// The Certificate that is ordered for a hostname.
    async fn certificate(&self, host: &str) -> Option<Value> {
        let name = ManagedBy::Acme.certificate_name(host);
        let path = paths::fill(paths::CERTIFICATE, &[name.as_str()]);
        let answer = cara_tests::http().get(self.url(&path)).send().await.ok()?;
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }

    /// The fingerprint of a certificate that was ordered, once it is there.
    async fn obtained(&self, host: &str) -> String {
        eventually(&format!("{host} is obtained"), async || {
            let found = self.certificate(host).await?;
            let error = found["status"]["lastError"].as_str();
            assert_eq!(error, None, "{host}");
            found["status"]["fingerprint"].as_str().map(str::to_owned)
        })
        .await
    }

    /// How many orders it did, and how many failed.
    fn orders(&self) -> (f64, f64) {
        let families = self.registry.gather();
        let orders = families
            .iter()
            .filter(|f| f.name() == "cara_acme_orders_total");
        let series = orders.flat_map(prometheus::proto::MetricFamily::get_metric);
        let (mut done, mut failed) = (0.0, 0.0);
        for one in series {
            let is_done = one.get_label().iter().any(|label| label.value() == "done");
            let count = if is_done { &mut done } else { &mut failed };
            *count += one.get_counter().get_value();
        }
        (done, failed)
    }

    async fn stop(mut self) {
        self.token.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no panic").expect("the API");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_one_orders_at_a_time() {
    let pebble = Pebble::start(1).await;
    let world = World::new(&pebble, Some(pebble.dns_program()), 1);
    let (first, second) = tokio::join!(world.plane(), world.plane());
    let hosts = ["a", "b", "c", "d"].map(|name| format!("*.{name}.cara.test"));
    for (number, host) in hosts.iter().enumerate() {
        let plane = [&first, &second][number % 2];
        plane.claim(&format!("p{number}"), host).await;
    }
    let all: Vec<&str> = hosts
        .iter()
        .map(String::as_str)
        .chain(["*.dev.cara.test"])
        .collect();
    for host in &all {
        // Both see the same one.
        let (one, other) = tokio::join!(first.obtained(host), second.obtained(host));
        assert_eq!(one, other, "{host}");
    }
    assert_eq!(pebble.orders(), all.len());
    let (done, more) = (first.orders(), second.orders());
    assert_eq!((done.0 + more.0, done.1 + more.1), (5.0, 0.0));
    // An order changes the DNS from its beginning to its end: none began within another.
    let changes = pebble.dns_changes();
    let mut kinds = Vec::new();
    for pair in changes.chunks(2) {
        let [begin, end] = pair else {
            panic!("an order has no end: {changes:?}");
        };
        let begun = begin.strip_prefix("present ");
        assert_eq!(begun, end.strip_prefix("cleanup "), "{changes:?}");
        assert!(begun.is_some(), "{changes:?}");
        kinds.push(begun);
    }
    assert_eq!(kinds.len(), all.len(), "{changes:?}");
    // Who stops gives the lease back: the other one goes on at once.
    first.stop().await;
    second.claim("p9", "*.e.cara.test").await;
    second.obtained("*.e.cara.test").await;
    assert_eq!(pebble.orders(), all.len() + 1);
    second.stop().await;
}

/// Answers challenges as the gateways of both control planes would: with what both know.
async fn answer(
    listener: TcpListener,
    states: [watch::Receiver<Arc<GatewayState>>; 2],
    token: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { return };
                tasks.spawn(answer_one(stream, states.clone()));
            }
            () = token.cancelled() => return,
        }
    }
}

async fn answer_one(mut stream: TcpStream, states: [watch::Receiver<Arc<GatewayState>>; 2]) {
    let mut head = vec![0; 4_096];
    let count = stream.read(&mut head).await.unwrap_or(0);
    let head = String::from_utf8_lossy(&head[..count]).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let token = path.rsplit('/').next().unwrap_or_default();
    let mut answers = Vec::new();
    for mut state in states {
        let known = state.wait_for(|state| state.challenges.contains_key(token));
        let known = tokio::time::timeout(cara_tests::PATIENCE, known).await;
        let known = known.expect("known in time").expect("published");
        answers.push(known.challenges[token].clone());
    }
    assert_eq!(answers[0], answers[1]);
    let body = answers.remove(0);
    let length = body.len();
    let text =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    // The authority judges.
    let _ = stream.write_all(text.as_bytes()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_of_both_servers_answer_whichever_orders() {
    let port = free_port();
    let pebble = Pebble::start(port).await;
    let world = World::new(&pebble, None, port);
    let (first, second) = tokio::join!(world.plane(), world.plane());
    let listener = TcpListener::bind(("127.0.0.1", port))
        .await
        .expect("the port");
    let token = CancellationToken::new();
    let states = [first.state.clone(), second.state.clone()];
    let mut tasks = JoinSet::new();
    tasks.spawn(answer(listener, states, token.clone()));
    for (plane, name) in [(&first, "shop"), (&second, "news")] {
        plane.claim(name, &format!("{name}.cara.test")).await;
    }
    for host in ["shop.cara.test", "news.cara.test"] {
        let (one, other) = tokio::join!(first.obtained(host), second.obtained(host));
        assert_eq!(one, other, "{host}");
    }
    assert_eq!(pebble.orders(), 2);
    for plane in [&first, &second] {
        let name = ManagedBy::Acme.certificate_name("shop.cara.test");
        eventually("both gateways get it", async || {
            let state = plane.state.borrow().clone();
            let is_there = state.certificates.contains_key(&name);
            (is_there && state.challenges.is_empty()).then_some(())
        })
        .await;
    }
    token.cancel();
    while tasks.join_next().await.is_some() {}
    first.stop().await;
    second.stop().await;
}
