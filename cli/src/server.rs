//! The role of a server: control plane and gateway in one process, an agent if wanted.

mod acme;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use cara_api::hostname::{Domain, Hostname};
use cara_controlplane::plan::Patience;
use cara_controlplane::vault::{self, KeySource, MasterKey};
use cara_controlplane::{AcmeConfig, ControlPlane, audit};
use cara_gateway::{AccessLog, Gateway, Limits, Listener, ListenerKind, TlsVersion, Workers};
use cara_store::SqliteStore;
use cara_store::sqlite::OpenError;
use clap::ArgMatches;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::agent::{log_options, node_config, node_name};
use crate::handover::{Hosting, Predecessor, Release, Sockets, take_over};
use crate::listen::{self, ListenOptions, limits};
use crate::settings::{Reader, Setting, SettingsError, common};
use crate::sockets::{Held, Purpose};
use crate::telemetry::{self, LogFormat};
use crate::{observe, process};

/// Settings of `cara-server`.
pub static SETTINGS: &[Setting] = &[
    Setting {
        key: "data-dir",
        value: "DIR",
        default: "/var/lib/caravanserai",
        help: "Directory of the store",
    },
    Setting {
        key: "api-listen",
        value: "ADDRESS",
        default: "127.0.0.1:8080",
        help: "Address of the API",
    },
    Setting {
        key: "http-listen",
        value: "ADDRESSES",
        default: "0.0.0.0:80",
        help: "Addresses of the gateway for HTTP, separated by commas",
    },
    Setting {
        key: "https-listen",
        value: "ADDRESSES",
        default: "",
        help: "Addresses of the gateway for HTTPS, such as 0.0.0.0:443, separated by commas; none if not given",
    },
    Setting {
        key: "https-port",
        value: "PORT",
        default: "",
        help: "Port at which clients reach HTTPS, if it is not that of https-listen, such as behind a load balancer",
    },
    Setting {
        key: "tls-min-version",
        value: "VERSION",
        default: "1.2",
        help: "Lowest version of TLS that clients may speak: 1.2 or 1.3",
    },
    Setting {
        key: "proxy-protocol-from",
        value: "RANGES",
        default: "",
        help: "Load balancers that send a PROXY header, as ranges such as 10.0.0.0/8 separated by commas; if given, HTTP and HTTPS take connections from nobody else",
    },
    Setting {
        key: "tcp-ports",
        value: "PORTS",
        default: "",
        help: "Ports that projects may open for plain TCP, such as 30000-32767, on the first address of http-listen; none if not given",
    },
    Setting {
        key: "environment",
        value: "NAME",
        default: "dev",
        help: "Middle part of hostnames: {host}.{environment}.{base-domain}",
    },
    Setting {
        key: "base-domain",
        value: "DOMAIN",
        default: "localhost",
        help: "Last part of hostnames",
    },
    Setting {
        key: "with-agent",
        value: "BOOL",
        default: "false",
        help: "Also run an agent for this host",
    },
    common::NODE_NAME,
    common::DOCKER_HOST,
    common::FILES_DIR,
    common::ALLOW_HOST_PATH,
    common::DEFAULT_MEMORY_LIMIT,
    common::DEFAULT_PIDS_LIMIT,
    common::DRAIN_PERIOD,
    common::PROGRESS_DEADLINE,
    common::HEARTBEAT_INTERVAL,
    Setting {
        key: "node-timeout",
        value: "DURATION",
        default: "15s",
        help: "How long a node counts as ready after its agent's last sign of life",
    },
    Setting {
        key: "plain-node-timeout",
        value: "DURATION",
        default: "90s",
        help: "The same for nodes that only send heartbeats, as agents of the older system do",
    },
    Setting {
        key: "reschedule-grace",
        value: "DURATION",
        default: "3m",
        help: "How long a node may be not ready before what runs there is placed elsewhere",
    },
    Setting {
        key: "force-terminate-after",
        value: "DURATION",
        default: "10m",
        help: "How long a node may be not ready before projects that are being deleted there count as removed",
    },
    Setting {
        key: "connect-timeout",
        value: "DURATION",
        default: "3s",
        help: "How long a service may take to accept a connection of the gateway",
    },
    Setting {
        key: "upstream-timeout",
        value: "DURATION",
        default: "60s",
        help: "How long a service may be silent during a request",
    },
    Setting {
        key: "stream-timeout",
        value: "DURATION",
        default: "1h",
        help: "How long a WebSocket or event stream may be silent",
    },
    Setting {
        key: "drain-timeout",
        value: "DURATION",
        default: "10s",
        help: "How long requests under way may take to end when the server stops",
    },
    Setting {
        key: "header-timeout",
        value: "DURATION",
        default: "15s",
        help: "How long a client may take for a TLS handshake, and for the head of a request once it has begun",
    },
    Setting {
        key: "client-write-timeout",
        value: "DURATION",
        default: "60s",
        help: "How long a client may take nothing of an answer",
    },
    Setting {
        key: "max-connections",
        value: "NUMBER",
        default: "50000",
        help: "Connections of clients that are open at once; further ones are closed",
    },
    Setting {
        key: "max-connections-per-ip",
        value: "NUMBER",
        default: "0",
        help: "The same for one IPv4 address or one /64 of IPv6; 0 for no limit",
    },
    Setting {
        key: "auth-host",
        value: "HOST",
        default: "",
        help: "Host that login services send browsers back to, one for all projects; auth.{environment}.{base-domain} if not given",
    },
    Setting {
        key: "auth-ca-file",
        value: "FILE",
        default: "",
        help: "Authorities of login services beside those of the system, PEM",
    },
    Setting {
        key: "take-over",
        value: "BOOL",
        default: "false",
        help: "Take the place of the server that runs on this data directory, without losing a connection; start as usual when none does",
    },
    Setting {
        key: "handover-drain",
        value: "DURATION",
        default: "1h",
        help: "How long connections may go on in a server whose place another one has taken",
    },
    Setting {
        key: "access-log",
        value: "TARGET",
        default: "stdout",
        help: "Where the gateway writes its access log: stdout, off, or a file",
    },
    observe::ACCESS_LOG_SAMPLE,
    observe::ACCESS_LOG_SLOW,
    observe::ACCESS_LOG_REDACT,
    observe::ACCESS_LOG_HEADERS,
    observe::OTLP_ENDPOINT,
    observe::TRACE_SAMPLE,
    observe::TRACE_FOLLOW_PARENT,
    Setting {
        key: "error-pages",
        value: "DIRECTORY",
        default: "",
        help: "Error pages of your own: 404.html, 4xx.html, 5xx.html, default.html",
    },
    Setting {
        key: "audit-log",
        value: "TARGET",
        default: "",
        help: "Where accepted changes are recorded: a file, or off; audit.jsonl in the data directory if not given",
    },
    Setting {
        key: "secret-key-file",
        value: "FILE",
        default: "",
        help: "File with the key that secrets are encrypted with, made at the first start; secret.key in the data directory if not given. The variable CARA_SECRET_KEY, 32 bytes in base64, takes its place",
    },
    acme::DIRECTORY,
    acme::AGREE,
    acme::EMAIL,
    acme::CA,
    acme::EAB_KEY_ID,
    acme::EAB_KEY_FILE,
    acme::DNS,
    acme::DNS_SERVER,
    acme::DNS_SECONDARIES,
    acme::DNS_KEY_NAME,
    acme::DNS_KEY_ALGORITHM,
    acme::DNS_KEY_FILE,
    acme::DNS_PROGRAM,
    acme::DNS_URL,
    acme::DNS_TOKEN_FILE,
    acme::DNS_TIMEOUT,
    common::LOG_FORMAT,
    common::LOG_LEVEL,
];

/// Holds the key for secrets itself. Not a setting: flags and files show what they hold.
const SECRET_KEY: &str = "CARA_SECRET_KEY";

/// How long the store of a server that was told to close it may stay locked.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
/// Pause between tries to open it.
const LOCK_POLL: Duration = Duration::from_millis(5);

/// Pause after which idle streams carry a bookmark or keepalive.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Settings of a server process, checked.
pub struct Options {
    data_dir: PathBuf,
    api_listen: SocketAddr,
    listen: ListenOptions,
    takes_over: bool,
    handover_drain: Duration,
    domain: Domain,
    node_timeout: Duration,
    plain_node_timeout: Duration,
    patience: Patience,
    gateway: cara_gateway::Config,
    access_log: String,
    audit_log: Option<PathBuf>,
    secret_key: KeySource,
    acme: Option<AcmeConfig>,
    log: (LogFormat, String),
    agent: Option<cara_agent::Config>,
}

impl Options {
    /// Checks the settings.
    ///
    /// # Errors
    /// All faults.
    pub fn read(mut reader: Reader) -> Result<Self, SettingsError> {
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        let data_dir = PathBuf::from(reader.text("data-dir").unwrap_or_default());
        let with_agent = reader.switch("with-agent");
        let agent = with_agent.then(|| {
            let node = node_name(&mut reader);
            node_config(&mut reader, node)
        });
        let listen = ListenOptions::read(&mut reader);
        let tcp = listen.tcp.clone();
        let options = Self {
            api_listen: reader.value("api-listen", "an address such as 127.0.0.1:8080", any),
            listen,
            takes_over: reader.switch("take-over"),
            handover_drain: reader.duration("handover-drain"),
            domain: domain(&mut reader),
            node_timeout: reader.duration("node-timeout"),
            plain_node_timeout: reader.duration("plain-node-timeout"),
            patience: Patience {
                reschedule_grace: reader.duration("reschedule-grace"),
                force_terminate_after: reader.duration("force-terminate-after"),
            },
            gateway: cara_gateway::Config {
                connect_timeout: reader.duration("connect-timeout"),
                upstream_timeout: reader.duration("upstream-timeout"),
                stream_timeout: reader.duration("stream-timeout"),
                drain_timeout: reader.duration("drain-timeout"),
                limits: limits(&mut reader),
                tls_min_version: reader.value("tls-min-version", "1.2 or 1.3", TlsVersion::V1_2),
                tcp,
                https_port: reader.with("https-port", str::parse),
                log: observe::log_rules(&mut reader),
                traces: observe::traces(&mut reader),
                error_pages: reader.text("error-pages").map(PathBuf::from),
                access: access(&mut reader),
            },
            access_log: reader.text("access-log").unwrap_or_default(),
            audit_log: match reader.text("audit-log").as_deref() {
                None => Some(data_dir.join(audit::FILE_NAME)),
                Some("off") => None,
                Some(path) => Some(PathBuf::from(path)),
            },
            secret_key: KeySource::File(
                reader
                    .text("secret-key-file")
                    .map_or_else(|| data_dir.join(vault::FILE_NAME), PathBuf::from),
            ),
            acme: acme::read(&mut reader),
            log: log_options(&mut reader),
            agent,
            data_dir,
        };
        reader.finish(options)
    }
}

fn domain(reader: &mut Reader) -> Domain {
    let environment = reader.with("environment", |text| {
        cara_api::names::check_label(text)
            .map(|()| text.to_owned())
            .map_err(|_| "must be a DNS label such as dev or pr-42")
    });
    let base = reader.with("base-domain", |text| {
        Hostname::parse(text).map(|h| h.to_string())
    });
    Domain {
        environment: environment.unwrap_or_default(),
        base: base.unwrap_or_default(),
    }
}

/// The auth host follows the domain where it is not given.
fn access(reader: &mut Reader) -> cara_gateway::AccessConfig {
    let text = |key: &str| reader.text(key).unwrap_or_default();
    let derived = format!("auth.{}.{}", text("environment"), text("base-domain"));
    let given = reader.with("auth-host", Hostname::parse);
    cara_gateway::AccessConfig {
        auth_host: given.or_else(|| Hostname::parse(&derived).ok()),
        issuer_authorities: reader.with("auth-ca-file", |path| std::fs::read_to_string(path)),
    }
}

/// Runs a server until a signal comes.
///
/// # Errors
/// The data directory is in use, an address is taken, or a part failed for good.
pub fn main(flags: &ArgMatches) -> anyhow::Result<()> {
    let held = Held::from_service_manager().context("LISTEN_FDS: not sockets of TCP")?;
    let mut options = Options::read(process::read_settings(SETTINGS, flags))?;
    if let Some(text) = process::variable(SECRET_KEY).map(Zeroizing::new) {
        let key = MasterKey::parse(&text).context(SECRET_KEY)?;
        options.secret_key = KeySource::Given(key);
    }
    telemetry::install(options.log.0, &options.log.1)?;
    limit_connections(&mut options.gateway.limits);
    let registry = Registry::new();
    // The gateway has threads of its own: a busy API cannot delay requests, nor the reverse.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = Workers::start(cores)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let started = Start::new(&options, held, &registry)?;
    let result = runtime.block_on(run(options, started, registry, workers.handles()));
    runtime.shutdown_timeout(process::SHUTDOWN_GRACE);
    workers.stop();
    result
}

/// Allows no more connections than there can be open files.
fn limit_connections(limits: &mut Limits) {
    let files = process::raise_file_limit();
    let connections = listen::connections_for(limits.connections, files);
    if connections < limits.connections {
        tracing::warn!(
            wanted = limits.connections,
            connections,
            files,
            "max-connections is more than the open files that this process may have allow"
        );
        limits.connections = connections;
    }
}

/// What a server needs from outside.
struct Start {
    store: Arc<SqliteStore>,
    api: std::net::TcpListener,
    listeners: Vec<Listener>,
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
                api,
                listeners,
                predecessor: None,
            });
        };
        held.inherit(before.sockets()?);
        let (api, listeners) = bind(options, &mut held)?;
        before.release()?;
        let store = open_store(&options.data_dir, registry, LOCK_PATIENCE)?;
        Ok(Self {
            store: Arc::new(store),
            api,
            listeners,
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

/// The parts of a server, and what ends them.
struct Tokens {
    /// The process.
    whole: CancellationToken,
    /// Control plane and agent.
    control: CancellationToken,
    /// The gateway.
    gateway: CancellationToken,
}

impl Tokens {
    fn new() -> Self {
        let whole = CancellationToken::new();
        Self {
            control: whole.child_token(),
            gateway: whole.child_token(),
            whole,
        }
    }

    /// Control plane and agent were given up for another server, and the gateway goes on.
    fn are_handed_over(&self) -> bool {
        self.control.is_cancelled() && !self.whole.is_cancelled()
    }
}

async fn run(
    options: Options,
    start: Start,
    registry: Registry,
    threads: &[Handle],
) -> anyhow::Result<()> {
    let tokens = Tokens::new();
    let signals = process::cancel_on_signal(&tokens.whole)?;
    let Start {
        store,
        api,
        listeners,
        predecessor,
    } = start;
    let api_address = api.local_addr()?;
    let http_address = listen::address_of(&listeners, ListenerKind::Http)?;
    let https_address = listen::address_of(&listeners, ListenerKind::Https)?;
    let mut sockets = Sockets::new(&api, &listeners)?;
    let release = Release {
        control: tokens.control.clone(),
        store: Arc::downgrade(&store),
        gateway: tokens.gateway.clone(),
    };
    let config = cara_controlplane::Config {
        domain: options.domain,
        http_port: http_address.map_or(80, |address| address.port()),
        https_port: https_address.map(|address| address.port()),
        node_timeout: options.node_timeout,
        plain_node_timeout: options.plain_node_timeout,
        patience: options.patience,
        keepalive: KEEPALIVE,
        audit_log: options.audit_log,
        secret_key: options.secret_key,
        acme: options.acme,
    };
    let control = ControlPlane::open(config, store, &registry).await?;
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
    let gateway = Gateway::new(settings, log, threads, &registry).with_tail(control.tail());
    let edge = threads.first().context("the gateway has a thread")?;
    let drains = gateway.drain_control();
    sockets.ports = gateway.port_sockets();
    let mut parts: JoinSet<anyhow::Result<()>> = JoinSet::new();
    let hosting = Hosting {
        data_dir: options.data_dir,
        release,
        sockets,
        handover_drain: options.handover_drain,
        drain,
        drains,
    };
    let routes = control.gateway_state();
    let (whole, serve) = (tokens.whole.clone(), tokens.gateway.clone());
    let (is_serving, serving) = tokio::sync::oneshot::channel();
    parts.spawn_on(
        async move {
            if let Some(predecessor) = predecessor {
                tokio::select! {
                    () = take_over(predecessor, routes.clone()) => {}
                    () = whole.cancelled() => {}
                }
            }
            let _ = is_serving.send(());
            gateway.run(listeners, routes, serve).await;
            whole.cancel();
            Ok(())
        },
        edge,
    );
    let whole = tokens.whole.clone();
    parts.spawn(async move {
        // Not before: until then, others find the predecessor.
        if serving.await.is_ok() {
            hosting.run(&whole).await;
        }
        Ok(())
    });
    let serve = tokens.control.clone();
    let api = TcpListener::from_std(api)?;
    parts.spawn(async move { control.run(api, serve).await.context("the API ended") });
    let [http, https] =
        [http_address, https_address].map(|address| address.map(tracing::field::display));
    tracing::info!(api = %api_address, http, https, "server listens");
    if let Some(agent) = options.agent {
        let agent = cara_agent::Config {
            server: format!("http://{}", reachable(api_address)),
            ..agent
        };
        let listen = SocketAddr::new(agent.advertise_ip, 0);
        parts.spawn(crate::agent::start(agent, listen, tokens.control.clone()));
    }
    parts.spawn(async move {
        signals.await;
        Ok(())
    });
    wait(parts, &tokens).await
}

/// Waits for all parts. Whatever ends first takes the others with it, unless it was handed over to
/// another server.
async fn wait(mut parts: JoinSet<anyhow::Result<()>>, tokens: &Tokens) -> anyhow::Result<()> {
    let mut result = Ok(());
    while let Some(ended) = parts.join_next().await {
        if !tokens.are_handed_over() {
            tokens.whole.cancel();
        }
        let ended = ended
            .context("a part of the server panicked")
            .and_then(|r| r);
        if result.is_ok() {
            result = ended;
        }
    }
    result
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
