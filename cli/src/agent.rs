//! The role of an agent: settings and wiring.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use cara_agent::plan::{Defaults, Timing};
use cara_agent::{Agent, Config, Entry, EntryError};
use cara_api::client::{Backoff, Trust};
use cara_api::join::JoinToken;
use cara_api::{NodeName, quantity};
use clap::ArgMatches;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::notify::{self, Milestone};
use crate::process;
use crate::settings::{Reader, Setting, SettingsError, WEB, common, without_slash};
use crate::telemetry::{self, LogFormat};

/// Settings of `cara-agent`.
pub static SETTINGS: &[Setting] = &[
    Setting {
        key: "server",
        value: "URL",
        default: "http://127.0.0.1:8080",
        help: "URL of the server; with https:// the node shows a certificate, for which it has to join once",
    },
    JOIN_FILE,
    common::NODE_NAME,
    Setting {
        key: "advertise-ip",
        value: "IP",
        default: "",
        help: "Address at which gateways and the server reach this node; on a loopback address they run on this host and reach containers directly, on any other, ports are published on it. If not given, the address from which the node reaches an https:// server, and 127.0.0.1 with an http:// server",
    },
    Setting {
        key: "data-dir",
        value: "DIR",
        default: "/var/lib/caravanserai-agent",
        help: "Directory for the agent's data",
    },
    common::DOCKER_HOST,
    common::FILES_DIR,
    common::ALLOW_HOST_PATH,
    common::DEFAULT_MEMORY_LIMIT,
    common::DEFAULT_PIDS_LIMIT,
    common::DRAIN_PERIOD,
    common::PROGRESS_DEADLINE,
    common::HEARTBEAT_INTERVAL,
    Setting {
        key: "listen",
        value: "ADDRESS",
        default: "",
        help: "Address of the agent's own API, which asks nobody who they are; if not given, port 9090 of the advertised address, and of loopback for a node that joined",
    },
    common::LOG_FORMAT,
    common::LOG_LEVEL,
];

/// Where a join token is read from.
const JOIN_FILE: Setting = Setting {
    key: "join-file",
    value: "FILE",
    default: "",
    help: "File with the join token of this node, - for standard input; used once; it may be removed when the node has joined. The variable CARA_JOIN, the token itself, takes its place",
};

/// Holds the join token itself. Not a setting: flags and files show what they hold.
const JOIN: &str = "CARA_JOIN";

/// Longest join token that is read, in bytes.
const JOIN_MAX: u64 = 4 * 1024;

/// Port of the agent's API unless another is asked for, as in the older system.
const DEFAULT_PORT: u16 = 9090;

/// How long the agent may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings of an agent process, checked.
pub struct Options {
    config: Config,
    join_file: Option<String>,
    /// None: the address from which the server is reached.
    advertise_ip: Option<IpAddr>,
    listen: Option<SocketAddr>,
    log: (LogFormat, String),
}

impl Options {
    /// Checks the settings.
    ///
    /// # Errors
    /// All faults.
    pub fn read(mut reader: Reader) -> Result<Self, SettingsError> {
        let server = server_url(&mut reader);
        let advertise_ip = advertise_ip(&mut reader, &server);
        let node = node_name(&mut reader);
        let options = Self {
            join_file: reader.text(JOIN_FILE.key),
            config: Config {
                server,
                ..node_config(&mut reader, node)
            },
            advertise_ip,
            listen: reader.with("listen", |text| {
                text.parse()
                    .map_err(|_| "must be an address such as 10.0.0.5:9090")
            }),
            log: log_options(&mut reader),
        };
        reader.finish(options)
    }
}

/// Reads what every agent has, whether it runs by itself or inside a server.
pub fn node_config(reader: &mut Reader, node: NodeName) -> Config {
    let roots = reader.text("allow-host-path").unwrap_or_default();
    let roots = roots
        .split(',')
        .map(str::trim)
        .filter(|root| !root.is_empty());
    let read_memory = |text: &str| match (text, quantity::milli(text)) {
        ("0", _) => Ok(0),
        (_, Some(milli)) if milli >= 1_000 => Ok(u64::try_from(milli / 1_000).unwrap_or(u64::MAX)),
        _ => Err("must be an amount such as 512Mi or 1Gi, or 0"),
    };
    let files = PathBuf::from(reader.text("files-dir").unwrap_or_default());
    Config {
        server: String::new(),
        entry: Entry::Given(Trust::default()),
        hostname: process::hostname(),
        advertise_ip: IpAddr::from([127, 0, 0, 1]),
        docker_host: reader.text("docker-host").unwrap_or_default(),
        data_dir: PathBuf::from(reader.text("data-dir").unwrap_or_default()),
        // Agents of several nodes may share a host.
        files_dir: files.join(node.as_str()),
        host_paths: roots.map(PathBuf::from).collect(),
        defaults: Defaults {
            memory_bytes: reader
                .with("default-memory-limit", read_memory)
                .unwrap_or(0),
            pids: reader.value("default-pids-limit", "a number of processes", 1),
        },
        timing: Timing {
            drain: reader.duration("drain-period"),
            progress: reader.duration("progress-deadline"),
        },
        heartbeat: reader.duration("heartbeat-interval"),
        node,
    }
}

fn advertise_ip(reader: &mut Reader, server: &str) -> Option<IpAddr> {
    let read = |text: &str| match text.parse::<IpAddr>() {
        Ok(ip) if !ip.is_unspecified() => Ok(ip),
        Ok(_) | Err(_) => Err("must be the address at which others reach this node"),
    };
    let fallback = (!server.starts_with("https://")).then_some(IpAddr::from([127, 0, 0, 1]));
    reader.with("advertise-ip", read).or(fallback)
}

/// The address from which this machine reaches the server. Nothing is sent for it.
async fn own_address(server: &str) -> anyhow::Result<IpAddr> {
    let host = server.split("://").nth(1).unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    let with_port = match host.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
        Some(_) | None => format!("{host}:443"),
    };
    let server = tokio::net::lookup_host(&with_port)
        .await?
        .next()
        .with_context(|| format!("{host} has no address"))?;
    let any: IpAddr = match server.ip() {
        IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = tokio::net::UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    Ok(socket.local_addr()?.ip())
}

fn server_url(reader: &mut Reader) -> String {
    let url = reader.url("server", &WEB, "http://10.0.0.1:8080");
    url.map(without_slash).unwrap_or_default()
}

/// Reads the node's name, or takes the host's.
pub fn node_name(reader: &mut Reader) -> NodeName {
    if reader.text("node-name").is_some() {
        return reader
            .with("node-name", NodeName::parse)
            .unwrap_or_else(|| NodeName::trusted("invalid"));
    }
    let host = process::hostname();
    NodeName::parse(&host).unwrap_or_else(|error| {
        reader.fault(
            "node-name",
            format!("the host name {host:?} cannot be used ({error}): give a name"),
        );
        NodeName::trusted("invalid")
    })
}

/// Reads form and level of the log.
pub fn log_options(reader: &mut Reader) -> (LogFormat, String) {
    let format = reader.value("log-format", "text or json", LogFormat::Text);
    let level = reader.with("log-level", |text| {
        telemetry::check(text).map(|()| text.to_owned())
    });
    (format, level.unwrap_or_default())
}

/// Runs an agent until a signal comes.
///
/// # Errors
/// The engine cannot be reached, or the address is taken.
pub fn main(flags: &ArgMatches) -> anyhow::Result<()> {
    let options = Options::read(process::read_settings(SETTINGS, flags))?;
    telemetry::install(options.log.0, &options.log.1)?;
    let data_dir = &options.config.data_dir;
    std::fs::create_dir_all(data_dir)
        .with_context(|| format!("data-dir: cannot make {}", data_dir.display()))?;
    let mut options = options;
    options.config.entry = entry(&options.config, options.join_file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let token = CancellationToken::new();
        let signals = process::cancel_on_signal(&token)?;
        let (listens, listening) = oneshot::channel();
        let agent = async {
            let run = run(options, token.clone(), listens);
            let result = process::within("the agent", &token, STOP_TIMEOUT, run).await;
            token.cancel();
            result
        };
        let told = async {
            if listening.await.is_ok() {
                notify::tell(Milestone::Ready).await;
                token.cancelled().await;
                notify::tell(Milestone::Stopping).await;
            }
        };
        tokio::join!(agent, signals, told).0
    });
    runtime.shutdown_timeout(process::SHUTDOWN_GRACE);
    result
}

/// Finds out what was not given, then starts.
async fn run(
    options: Options,
    token: CancellationToken,
    listens: oneshot::Sender<()>,
) -> anyhow::Result<()> {
    let mut config = options.config;
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
    config.advertise_ip = match options.advertise_ip {
        Some(ip) => ip,
        None => loop {
            match own_address(&config.server).await {
                Ok(ip) => break ip,
                Err(error) => tracing::warn!(server = config.server, "{error:#}; trying again"),
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                () = token.cancelled() => return Ok(()),
            }
        },
    };
    let ip = match &config.entry {
        Entry::Given(_) => config.advertise_ip,
        // That API asks nobody who they are, and the server reaches the agent without it.
        Entry::Joined(_) => IpAddr::from([127, 0, 0, 1]),
    };
    let listen = options.listen.unwrap_or(SocketAddr::new(ip, DEFAULT_PORT));
    start(config, listen, token, listens).await
}

/// Who reaches the server by HTTPS shows a certificate there.
fn entry(config: &Config, join_file: Option<&str>) -> anyhow::Result<Entry> {
    let has_joined = cara_agent::has_joined(&config.data_dir);
    // Compose files set variables that nobody gave to nothing.
    let given = process::variable(JOIN).filter(|text| !text.trim().is_empty());
    let token = match (given.map(Zeroizing::new), join_file) {
        (Some(text), _) => Some(JoinToken::parse(&text).context(JOIN)?),
        (None, Some(path)) => match read_token(path) {
            // Used, and removed: as it should be.
            Ok(text) if text.trim().is_empty() && has_joined => None,
            Err(error) if error.kind() == ErrorKind::NotFound && has_joined => None,
            read => {
                let read = read.with_context(|| format!("join-file: {path}"))?;
                Some(JoinToken::parse(&read).with_context(|| format!("join-file: {path}"))?)
            }
        },
        (None, None) => None,
    };
    if token.is_none() && config.server.starts_with("http://") {
        return Ok(Entry::Given(Trust::default()));
    }
    Ok(Entry::Joined(token))
}

fn read_token(path: &str) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    if path == "-" {
        std::io::stdin().take(JOIN_MAX).read_to_string(&mut text)?;
    } else {
        std::fs::File::open(path)?
            .take(JOIN_MAX)
            .read_to_string(&mut text)?;
    }
    Ok(text)
}

/// Joins if that is asked for, connects, binds and runs an agent. While the engine does not answer, it is tried again: a
/// machine may start its engine after this process. `listens` is told when the API can be asked.
///
/// # Errors
/// The address is taken, or the node cannot show who it is.
pub async fn start(
    config: Config,
    listen: SocketAddr,
    token: CancellationToken,
    listens: oneshot::Sender<()>,
) -> anyhow::Result<()> {
    let identity = match cara_agent::enter(&config, &token).await {
        Ok(identity) => identity,
        Err(EntryError::Stopped) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));
    let agent = loop {
        let error = tokio::select! {
            agent = Agent::new(config.clone(), identity.clone()) => match agent {
                Ok(agent) => break agent,
                Err(error) => anyhow::Error::new(error),
            },
            () = token.cancelled() => return Ok(()),
        };
        tracing::warn!("{error:#}; is Docker running? Trying again");
        tokio::select! {
            () = tokio::time::sleep(backoff.pause()) => {}
            () = token.cancelled() => return Ok(()),
        }
    };
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen} for the agent's API"))?;
    tracing::info!(address = %listener.local_addr()?, "agent listens");
    // Inside a server nobody waits for it.
    let _ = listens.send(());
    agent
        .run(listener, token)
        .await
        .context("the agent's API ended")
}
