//! What `caractrl` says of URLs, while the gateway is slower than everything else: a control plane
//! in this process, and a gateway that takes in routes when the test says so.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use cara_api::agent::{Outcome, Report, Reports};
use cara_api::client::{Client, Method};
use cara_api::gateway::GatewayState;
use cara_api::hostname::Domain;
use cara_api::project::{Endpoint, ProjectPhase, ServiceState, ServiceStatus};
use cara_api::{Node, Project, ResourceVersion, paths};
use cara_controlplane::plan::Patience;
use cara_controlplane::vault::KeySource;
use cara_controlplane::{Config, ControlPlane};
use cara_store::SqliteStore;
use prometheus::Registry;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything that must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long nobody may come.
const QUIET: Duration = Duration::from_millis(500);
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

struct World {
    directory: tempfile::TempDir,
    client: Client,
    /// What clients connect to as the gateway.
    gateway: TcpListener,
    states: watch::Receiver<Arc<GatewayState>>,
    served: watch::Sender<ResourceVersion>,
    token: CancellationToken,
    tasks: JoinSet<()>,
}

fn config(directory: &Path, http_port: u16) -> Config {
    let minute = Duration::from_secs(60);
    Config {
        domain: Domain {
            environment: "dev".into(),
            base: "localhost".into(),
        },
        reserved: Vec::new(),
        http_port,
        https_port: None,
        node_timeout: minute,
        plain_node_timeout: minute,
        patience: Patience {
            reschedule_grace: minute,
            force_terminate_after: minute,
        },
        keepalive: Duration::from_secs(5),
        audit_log: None,
        data_dir: None,
        secret_key: KeySource::File(directory.join("secret.key")),
        acme: None,
        api: cara_controlplane::ApiConfig::default(),
        access: cara_controlplane::AccessConfig::default(),
    }
}

/// Tries again until there is a value.
async fn eventually<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let tries = async {
        loop {
            match check().await {
                Some(value) => return value,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, tries).await;
    found.unwrap_or_else(|_| panic!("not in time: {what}"))
}

impl World {
    async fn start() -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let directory = tempfile::tempdir().expect("a directory");
        let gateway = TcpListener::bind(any).await.expect("a port");
        let port = gateway.local_addr().expect("an address").port();
        let registry = Registry::new();
        let store = SqliteStore::open(directory.path(), Default::default(), &registry);
        let store = Arc::new(store.expect("a store"));
        let config = config(directory.path(), port);
        let control = ControlPlane::open(config, store, &registry).await;
        let control = control.expect("a control plane");
        let api = TcpListener::bind(any).await.expect("a port");
        let url = format!("http://{}", api.local_addr().expect("an address"));
        let (states, served) = (control.gateway_state(), control.served());
        let token = CancellationToken::new();
        let stop = token.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { control.run(api, stop).await.expect("it runs") });
        let world = Self {
            directory,
            client: Client::new(&url).expect("a client"),
            gateway,
            states,
            served,
            token,
            tasks,
        };
        world.add_node().await;
        world
    }

    async fn add_node(&self) {
        let node = json!({"metadata": {"name": "a"}});
        eventually("the node is known", async || {
            let written = self
                .client
                .write::<Node, _>(Method::POST, paths::NODES, &node);
            written.await.ok()
        })
        .await;
        let beat = paths::fill(paths::NODE_HEARTBEAT, &["a"]);
        let ready = json!({"state": "Ready"});
        self.client.post(&beat, &ready).await.expect("a heartbeat");
    }

    /// A manifest of the project in some version.
    fn manifest(&self, version: &str) -> PathBuf {
        let service = json!({"name": "web", "image": format!("web:{version}")});
        let rule = json!({"name": "web", "target": {"service": "web", "port": 80}});
        let document = json!({"kind": "Project", "metadata": {"name": "shop"},
            "spec": {"services": [service], "ingress": [rule]}});
        let file = self.directory.path().join(format!("{version}.yaml"));
        std::fs::write(&file, document.to_string()).expect("written");
        file
    }

    fn caractrl(&self, args: &[&str]) -> Child {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_caractrl"))
            .args(args)
            .env("CARA_SERVER", self.client.base())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("caractrl runs")
    }

    /// Says that a generation runs at an address of its own, as its node does.
    async fn runs(&self, generation: u64) {
        let path = paths::fill(paths::PROJECT, &["shop"]);
        eventually("the generation runs", async || {
            let project: Project = self.client.get(&path).await.ok()?;
            let status = &project.status;
            let is_up =
                status.phase == ProjectPhase::Running && status.observed_generation.0 == generation;
            let is_bound = !status.node_ref.is_empty();
            if !is_up && is_bound && project.metadata.generation.0 == generation {
                self.report(&project).await;
            }
            is_up.then_some(())
        })
        .await;
    }

    async fn report(&self, project: &Project) {
        let generation = project.metadata.generation;
        let last = u8::try_from(generation.0).expect("a small number");
        let endpoint = Endpoint {
            port: 80,
            address: ([10, 0, 0, last], 80).into(),
            ready: true,
        };
        let report = Report {
            project: project.name(),
            epoch: project.status.binding_epoch,
            generation,
            outcome: Outcome::Running,
            services: vec![ServiceStatus {
                name: "web".into(),
                state: ServiceState::Running,
                ready: true,
                endpoints: vec![endpoint],
                ..ServiceStatus::default()
            }],
            progress: String::new(),
        };
        let reports = Reports {
            session: generation.0.to_string(),
            sequence: generation.0,
            reports: vec![report],
        };
        let path = paths::fill(paths::NODE_REPORTS, &["a"]);
        let sent = self.client.post(&path, &reports).await;
        sent.expect("the report is taken");
    }

    /// Takes in the routes that are published now, and answers until the command has ended.
    async fn serve(&self, command: Child) -> Output {
        let revision = self.states.borrow().revision;
        self.served.send_replace(revision);
        let answer = async {
            loop {
                let (mut client, _) = self.gateway.accept().await.expect("a client");
                let mut request = [0; 1024];
                let _ = client.read(&mut request).await;
                client.write_all(ANSWER).await.expect("sent");
            }
        };
        let ended = async {
            let ended = tokio::time::timeout(PATIENCE, command.wait_with_output()).await;
            ended.expect("in time").expect("an output")
        };
        tokio::select! {
            ended = ended => ended,
            () = answer => unreachable!("it answers for ever"),
        }
    }
}

#[tokio::test]
async fn a_url_is_asked_when_the_gateway_serves_what_runs_now() {
    let mut world = World::start().await;
    let manifests = ["1", "2"].map(|version| world.manifest(version).display().to_string());
    let commands: [&[&str]; 3] = [
        &["apply", "--wait", "-f", &manifests[0]],
        &["apply", "--wait", "-f", &manifests[1]],
        &["rollback", "shop"],
    ];
    for (command, generation) in commands.into_iter().zip(1..) {
        let child = world.caractrl(command);
        world.runs(generation).await;
        let early = tokio::time::timeout(QUIET, world.gateway.accept()).await;
        assert!(
            early.is_err(),
            "{command:?}: asked a gateway that does not know generation {generation} yet"
        );
        let output = world.serve(child).await;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {told}");
        assert!(told.contains("answered 200 after"), "{command:?}: {told}");
    }
    world.token.cancel();
    while let Some(ended) = world.tasks.join_next().await {
        ended.expect("no panic");
    }
}
