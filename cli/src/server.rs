//! The role of a server: control plane and gateway in one process, an agent if wanted.

mod access;
mod acme;
mod api;
mod options;
mod parts;
mod rotate;
mod settings;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use cara_agent::Entry;
use cara_api::ResourceVersion;
use cara_api::client::{Credential, Trust};
use cara_api::gateway::GatewayState;
use cara_controlplane::vault::{KeySource, MasterKey};
use cara_controlplane::{ApiConfig, ApiTls, ControlPlane};
use cara_gateway::{AccessLog, Gateway, Listener, ListenerKind, Workers};
use cara_store::SqliteStore;
use cara_store::sqlite::OpenError;
use clap::ArgMatches;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::handover::{Hosting, Predecessor, Release, Sockets, take_over};
use crate::listen;
use crate::notify::{self, Milestone};
use crate::process::{self, within};
use crate::sockets::{Held, Purpose};
use crate::telemetry;
use parts::{PART_GRACE, Parts, Tokens};

pub use options::Options;
pub use rotate::{rotate_command, rotate_key};
pub use settings::SETTINGS;

/// Holds the key for secrets itself. Not a setting: flags and files show what they hold.
const SECRET_KEY: &str = "CARA_SECRET_KEY";

/// File in the data directory with the authority of the server.
const AUTHORITY: &str = "server-ca.crt";

/// How long the store of a server that was told to close it may stay locked.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// Pause between tries to open it.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// Pause after which idle streams carry a bookmark or keepalive.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Runs a server until a signal comes.
///
/// # Errors
/// The data directory is in use, an address is taken, or a part failed for good.
pub fn main(flags: &ArgMatches) -> anyhow::Result<()> {
    let held = Held::from_service_manager().context("LISTEN_FDS: not sockets of TCP")?;
    let mut options = Options::read(process::read_settings(SETTINGS, flags))?;
    if let Some(key) = key_of(SECRET_KEY)? {
        options.secret_key = KeySource::Given(key);
    }
    telemetry::install(options.log.0, &options.log.1)?;
    limit_connections(&mut options);
    let registry = Registry::new();
    // The gateway has threads of its own: a busy API cannot delay requests, nor the reverse.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = Workers::start(cores)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let started = Start::new(&options, held, &registry)?;
    let result = runtime.block_on(run(options, started, registry, &workers));
    runtime.shutdown_timeout(process::SHUTDOWN_GRACE);
    workers.stop();
    result
}

/// A master key that a variable holds.
fn key_of(variable: &'static str) -> anyhow::Result<Option<MasterKey>> {
    let text = process::variable(variable).map(Zeroizing::new);
    let key = text.map(|text| MasterKey::parse(&text).context(variable));
    key.transpose()
}

/// Allows no more connections than there can be open files.
fn limit_connections(options: &mut Options) {
    let limits = &mut options.gateway.limits;
    let files = process::raise_file_limit();
    let fits = listen::fit(limits, files);
    let connections = fits.connections;
    if connections < limits.connections && options.are_connections_given {
        tracing::warn!(
            wanted = limits.connections,
            connections,
            files,
            "max-connections is more than the open files that this process may have allow"
        );
    } else if connections < limits.connections {
        tracing::info!(
            connections,
            files,
            "as many connections as open files allow"
        );
    }
    *limits = fits;
}

/// What a server needs from outside.
struct Start {
    store: Arc<SqliteStore>,
    api: std::net::TcpListener,
    api_config: ApiConfig,
    listeners: Vec<Listener>,
    /// What the service manager holds sockets for.
    given: Vec<Purpose>,
    /// The server whose place this one takes, which has closed the store.
    predecessor: Option<Predecessor>,
}

impl Start {
    /// Opens the store and the sockets, or takes them over. What can fail fails before the running
    /// server gives anything up.
    fn new(options: &Options, mut held: Held, registry: &Registry) -> anyhow::Result<Self> {
        let mut predecessor = match options.takes_over {
            true => Predecessor::find(&options.data_dir)?,
            false => None,
        };
        let Some(before) = &mut predecessor else {
            let store = open_store(&options.data_dir, registry, Duration::ZERO)?;
            let (api, listeners) = bind(options, &mut held)?;
            return Ok(Self {
                store: Arc::new(store),
                api_config: api_config(options, &api)?,
                api,
                listeners,
                given: held.given_purposes(),
                predecessor: None,
            });
        };
        held.inherit(before.sockets()?);
        let (api, listeners) = bind(options, &mut held)?;
        let api_config = api_config(options, &api)?;
        before.release()?;
        let store = open_store(&options.data_dir, registry, LOCK_PATIENCE)?;
        Ok(Self {
            store: Arc::new(store),
            api,
            api_config,
            listeners,
            given: held.given_purposes(),
            predecessor,
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "waits for a condition with a deadline, before anything else runs"
)]
/// Opens the store; while another process has it, again and again until patience ends.
fn open_store(
    data_dir: &Path,
    registry: &Registry,
    patience: Duration,
) -> anyhow::Result<SqliteStore> {
    let deadline = Instant::now() + patience;
    loop {
        let options = cara_store::sqlite::Options::default();
        match SqliteStore::open(data_dir, options, registry) {
            Err(OpenError::InUse(_)) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_POLL);
            }
            opened => return Ok(opened?),
        }
    }
}

fn bind(
    options: &Options,
    held: &mut Held,
) -> anyhow::Result<(std::net::TcpListener, Vec<Listener>)> {
    let api = match held.take_given(Purpose::Api).pop() {
        Some(socket) => socket,
        None => listen::bind(held, Purpose::Api, &[options.api_listen], "api-listen")?
            .pop()
            .context("the API has an address")?,
    };
    api.set_nonblocking(true)?;
    Ok((api, options.listen.bind(held)?))
}

/// How the API is served at the address that it got.
fn api_config(options: &Options, api: &std::net::TcpListener) -> anyhow::Result<ApiConfig> {
    let inside = options.agent.as_ref().map(|agent| agent.node.clone());
    options.api.settle(api.local_addr()?, inside)
}

async fn run(
    options: Options,
    start: Start,
    registry: Registry,
    workers: &Workers,
) -> anyhow::Result<()> {
    let tokens = Tokens::new();
    let signals = process::cancel_on_signal(&tokens.whole)?;
    let Start {
        store,
        api,
        api_config,
        listeners,
        given,
        predecessor,
    } = start;
    let api_address = api_config.address;
    let http_address = listen::address_of(&listeners, ListenerKind::Http)?;
    let https_address = listen::address_of(&listeners, ListenerKind::Https)?;
    let mut sockets = Sockets::new(&api, &listeners, &given)?;
    let release = Release {
        control: tokens.control.clone(),
        store: Arc::downgrade(&store),
        gateway: tokens.gateway.clone(),
    };
    let config = cara_controlplane::Config {
        domain: options.domain,
        reserved: cara_controlplane::reserved_hosts(
            options.gateway.access.auth_host.as_ref(),
            &api_config,
            &options.access,
        ),
        http_port: http_address.map_or(80, |address| address.port()),
        https_port: https_address.map(|address| address.port()),
        node_timeout: options.node_timeout,
        plain_node_timeout: options.plain_node_timeout,
        patience: options.patience,
        keepalive: KEEPALIVE,
        audit_log: options.audit_log,
        data_dir: Some(options.data_dir.clone()),
        secret_key: options.secret_key,
        acme: options.acme,
        api: api_config.clone(),
        access: options.access,
    };
    let control = ControlPlane::open(config, store, &registry).await?;
    let authority = control.authority_pem().to_owned();
    if api_config.tls != ApiTls::Off {
        publish_authority(&options.data_dir, &authority)?;
    }
    let log = access_log(&options.access_log)?;
    let drain = options.gateway.drain_timeout;
    let settings = cara_gateway::Config {
        // What clients see may be another port; then the operator says so.
        https_port: options
            .gateway
            .https_port
            .or_else(|| https_address.map(|address| address.port())),
        ..options.gateway
    };
    let threads = workers.handles();
    let gateway = Gateway::new(settings, log, threads, &registry)
        .with_tail(control.tail())
        .with_served(control.served())
        .with_background(workers.background().clone());
    let edge = threads.first().context("the gateway has a thread")?;
    let drains = gateway.drain_control();
    sockets.ports = gateway.port_sockets();
    let hosting = Hosting {
        data_dir: options.data_dir,
        release,
        sockets,
        handover_drain: options.handover_drain,
        drain,
        drains,
    };
    let served = gateway.served_revision();
    let edge_part = EdgePart {
        gateway,
        listeners,
        routes: control.gateway_state(),
        predecessor,
        drain,
        longest_drain: options.handover_drain.max(drain),
    };
    let mut parts = Parts::new(tokens);
    let serving = edge_part.add_to(&mut parts, edge);
    let whole = parts.tokens.whole.clone();
    parts.add("the handover", &whole.clone(), async move {
        // Not before: until then, others find the predecessor.
        if serving.await.is_ok() {
            tokio::join!(hosting.run(&whole), say_ready(served, &whole)).0?;
        }
        Ok(())
    });
    let (token, api) = (parts.tokens.control.clone(), TcpListener::from_std(api)?);
    parts.add("the control plane", &token.clone(), async move {
        control.run(api, token).await.context("the API ended")
    });
    let [http, https] =
        [http_address, https_address].map(|address| address.map(tracing::field::display));
    tracing::info!(api = %api_address, http, https, "server listens");
    if let Some(agent) = options.agent {
        let agent = inside_agent(agent, &api_config, authority);
        let listen = SocketAddr::new(agent.advertise_ip, 0);
        let token = parts.tokens.control.clone();
        // The API of the agent is there for this server only: nobody waits for it.
        let (listens, _) = oneshot::channel();
        let run = crate::agent::start(agent, listen, token.clone(), listens);
        parts.add("the agent", &token, run);
    }
    let whole = parts.tokens.whole.clone();
    parts.add("the signals", &whole, async move {
        signals.await;
        Ok(())
    });
    parts.wait().await
}

/// The gateway, and the server that it relieves.
struct EdgePart {
    gateway: Gateway,
    listeners: Vec<Listener>,
    routes: watch::Receiver<Arc<GatewayState>>,
    predecessor: Option<Predecessor>,
    /// How long connections may go on when the process is told to stop.
    drain: Duration,
    /// How long they ever may.
    longest_drain: Duration,
}

impl EdgePart {
    /// Takes over, then serves on a thread of the gateway. Tells when it does.
    fn add_to(self, parts: &mut Parts, thread: &Handle) -> oneshot::Receiver<()> {
        let (whole, serve) = (parts.tokens.whole.clone(), parts.tokens.gateway.clone());
        let (is_serving, serving) = oneshot::channel();
        let (drain, longest_drain) = (self.drain, self.longest_drain);
        let part = async move {
            let run = async {
                if let Some(predecessor) = self.predecessor {
                    tokio::select! {
                        taken_over = take_over(predecessor, self.routes.clone()) => taken_over?,
                        () = whole.cancelled() => {}
                    }
                }
                let _ = is_serving.send(());
                let listeners = self.listeners;
                self.gateway
                    .run(listeners, self.routes, serve.clone())
                    .await;
                Ok(())
            };
            // It may have been told to drain for longer, and to stop on the way.
            let run = within("the gateway", &serve, longest_drain + PART_GRACE, run);
            let run = within("the gateway", &whole, drain + PART_GRACE, Box::pin(run));
            let ended = Box::pin(run).await;
            whole.cancel();
            ended
        };
        parts.add_on(thread, part);
        serving
    }
}

/// Tells the service manager when the first routes are served.
async fn say_ready(mut served: watch::Receiver<ResourceVersion>, whole: &CancellationToken) {
    let known = async {
        let known = served.wait_for(|revision| !revision.is_zero()).await;
        known.is_ok()
    };
    tokio::select! {
        true = known => notify::tell(Milestone::Ready).await,
        () = whole.cancelled() => {}
    }
}

/// Puts the authority where those who control this machine find it, and says how nodes join.
fn publish_authority(data_dir: &Path, authority: &str) -> anyhow::Result<()> {
    let path = data_dir.join(AUTHORITY);
    std::fs::write(&path, authority).with_context(|| format!("cannot write {}", path.display()))?;
    tracing::info!(authority = %path.display(), "nodes join by the line that `caractrl node join-token` prints");
    Ok(())
}

/// The agent of this process: it reaches the API as any other does, and shows by a secret of this
/// process who it is, where that is asked for.
fn inside_agent(
    agent: cara_agent::Config,
    api: &ApiConfig,
    authority: String,
) -> cara_agent::Config {
    let (scheme, authority) = match api.tls {
        ApiTls::Off => ("http", None),
        ApiTls::Internal | ApiTls::Files { .. } => ("https", Some(authority)),
    };
    let credential = match &api.inside {
        Some(inside) => Credential::Inside(inside.secret.clone()),
        None => Credential::None,
    };
    cara_agent::Config {
        server: format!("{scheme}://{}", reachable(api.address)),
        entry: Entry::Given(Trust {
            authority,
            credential,
        }),
        ..agent
    }
}

/// The address by which this process reaches itself.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => address,
        IpAddr::V4(_) => SocketAddr::from(([127, 0, 0, 1], address.port())),
        IpAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, address.port())),
    }
}

fn access_log(target: &str) -> anyhow::Result<AccessLog> {
    match target {
        "off" => Ok(AccessLog::off()),
        "stdout" => Ok(AccessLog::to(std::io::stdout())?),
        path => {
            let file = std::fs::File::options()
                .create(true)
                .append(true)
                .open(path);
            Ok(AccessLog::to(file.with_context(|| {
                format!("access-log: cannot write {path}")
            })?)?)
        }
    }
}
