//! The control plane: API server, scheduler and reconcilers over one store.
//!
//! ```text
//! clients -> http -> repo -> store -> cache -> reconcile -> repo
//!                                       |          `-> gateway state (routes)
//!                                       `-> http watches, agents' assignments
//! ```
//!
//! Everything that is decided is decided in [`plan`], from values. The rest reads, asks `plan`
//! and writes back on condition that nothing changed meanwhile; several control planes may run
//! over one store. It refuses to know about containers and proxying.

mod access;
pub mod audit;
mod authority;
mod backup;
mod cache;
mod config;
mod http;
mod listen;
mod liveness;
mod metrics;
mod order;
mod peers;
pub mod plan;
mod reach;
mod reconcile;
mod repo;
mod signing;
mod tunnels;
pub mod vault;

use std::sync::Arc;
use std::time::Duration;

use cara_api::ResourceVersion;
use cara_api::gateway::{GatewayState, Keys};
use cara_api::tail::Feed;
use cara_certs::ca::CertificateAuthority;
use cara_store::Store;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use access::bootstrap::{BootstrapError, FILE_NAME as BOOTSTRAP_FILE};
pub use authority::AuthorityError;
pub use config::{
    AccessConfig, AcmeConfig, ApiConfig, ApiTls, Config, DnsConfig, Inside, LoginConfig,
    reserved_hosts,
};
pub use http::openapi;
pub use listen::tls::TlsError;

use audit::Audit;
use cache::Cache;
use listen::ApiListener;
use listen::tls::ServerTls;
use liveness::Liveness;
use metrics::Metrics;
use peers::Peers;
use plan::admission::Auth;
use reach::Reach;
use reconcile::answers::Tally;
use reconcile::certs::acme::Acme;
use tunnels::Tunnels;
use vault::{MasterKey, StoredKey, UnlockError};

/// How long API requests under way may take to end when the server stops.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// What every handler and reconciler shares.
struct Shared {
    config: Config,
    store: Arc<dyn Store>,
    cache: Cache,
    liveness: Liveness,
    order: order::Order,
    metrics: Metrics,
    registry: Registry,
    key: MasterKey,
    /// What gateways sign with.
    keys: Arc<Keys>,
    audit: Audit,
    /// How many answers are kept for those who ask again.
    answers: Tally,
    /// Requests that may write: they go on without their clients.
    writes: TaskTracker,
    /// Held alone while a backup is restored, and shared by every request that may write and by
    /// those who keep something of the store in memory. Counts the restores: what was kept from
    /// before one is to be read again.
    restores: tokio::sync::RwLock<u64>,
    /// Where certificates are ordered, if they are.
    acme: Option<Acme>,
    /// Requests as gateways see them end, for those who look on.
    tail: Arc<Feed>,
    /// What gateways are told to serve.
    published: watch::Receiver<Arc<GatewayState>>,
    /// How far requests follow the store.
    reach: Reach,
    /// Issues certificates to nodes and to the server itself.
    authority: Arc<CertificateAuthority>,
    /// Connections of nodes.
    peers: Arc<Peers>,
    /// Who makes requests.
    access: access::Access,
    /// How people and jobs log in.
    logins: access::login::Logins,
    /// Speaks to agents, for streams that pass through the server.
    /// The connections that agents opened, for streams that pass through the server.
    tunnels: Tunnels,
    /// Speaks to agents that open none.
    agents: cara_api::client::Client,
}

/// Why the control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The HTTP client for agents cannot be set up.
    #[error("cannot set up the client for agents")]
    Client(#[from] cara_api::client::Error),
    /// The store cannot be read.
    #[error("cannot read the store")]
    Store(#[from] cara_store::ReadError),
    /// The signing key cannot be stored.
    #[error("cannot store the signing key")]
    Signing(#[source] cara_store::WriteError),
    /// A secret cannot be read.
    #[error("cannot read secret {0:?}")]
    Secret(String),
    /// There is no authority for the server and its nodes.
    #[error("cannot take up the authority of the server")]
    Authority(#[from] AuthorityError),
    /// The API cannot be served by TLS.
    #[error("cannot serve the API by TLS")]
    Tls(#[from] TlsError),
    /// The audit log cannot be opened.
    #[error("cannot open the audit log {path}")]
    Audit {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The means to change the DNS cannot be used.
    #[error("cannot set up changes of the DNS")]
    Dns(#[from] cara_certs::ChallengeError),
    /// The first token cannot be made.
    #[error("cannot make the first token")]
    Bootstrap(#[from] access::bootstrap::BootstrapError),
    /// The secrets cannot be opened.
    #[error("cannot open the secrets")]
    Secrets(#[from] UnlockError),
}

/// The control plane, ready to run.
pub struct ControlPlane {
    shared: Arc<Shared>,
    gateway: watch::Sender<Arc<GatewayState>>,
    tls: Option<Arc<ServerTls>>,
}

impl ControlPlane {
    /// A control plane over `store`. `registry` is served at `/metrics`, whatever registers there.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn open(
        config: Config,
        store: Arc<dyn Store>,
        registry: &Registry,
    ) -> Result<Self, StartError> {
        let stored = stored_keys(&*store).await?;
        let key = vault::unlock(&config.secret_key, &stored)?;
        let signing = Some(signing::key(&*store, &key).await?);
        let authority = authority::take_up(&*store, &key, jiff::Timestamp::now()).await?;
        let tls = ServerTls::new(
            &config.api.tls,
            http::server_names(&config.api),
            config.api.certificate_life,
            &authority,
        )?;
        let path = config.audit_log.as_deref();
        let audit = Audit::open(path, registry).map_err(|source| StartError::Audit {
            path: path.map(ToOwned::to_owned).unwrap_or_default(),
            source,
        })?;
        let acme = config.acme.as_ref().map(Acme::of).transpose()?;
        if config.api.auth == Auth::On {
            access::bootstrap::run(&config.access, &*store).await?;
        }
        let (gateway, published) = watch::channel(Arc::new(GatewayState::default()));
        let shared = Shared {
            acme,
            access: access::Access::default(),
            logins: access::login::Logins::new(config.access.issuer_authorities.clone()),
            tail: Arc::default(),
            published,
            reach: Reach::default(),
            liveness: Liveness::new(&config, jiff::Timestamp::now()),
            order: order::Order::default(),
            metrics: Metrics::register(registry),
            cache: Cache::new(),
            authority,
            peers: Arc::default(),
            tunnels: Tunnels::new(registry),
            agents: cara_api::client::Client::new("http://agent.invalid")?,
            registry: registry.clone(),
            config,
            store,
            key,
            keys: Arc::new(Keys { signing }),
            audit,
            answers: Tally::default(),
            writes: TaskTracker::new(),
            restores: tokio::sync::RwLock::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
            gateway,
            tls: tls.map(Arc::new),
        })
    }

    /// The authority that the server's own certificate comes from, PEM.
    pub fn authority_pem(&self) -> &str {
        self.shared.authority.certificate_pem()
    }

    /// What gateways shall serve, from now on.
    pub fn gateway_state(&self) -> watch::Receiver<Arc<GatewayState>> {
        self.gateway.subscribe()
    }

    /// Where a gateway in this process tells of requests, for those who look on.
    pub fn tail(&self) -> Arc<Feed> {
        Arc::clone(&self.shared.tail)
    }

    /// Where a gateway in this process says which state it serves by: until it does,
    /// nobody is told that requests follow what was written.
    pub fn served(&self) -> watch::Sender<ResourceVersion> {
        self.shared.reach.served()
    }

    /// Serves the API on `listener` and reconciles until `token` is cancelled, then lets running
    /// requests end.
    ///
    /// # Errors
    /// The listener failed for good.
    pub async fn run(self, listener: TcpListener, token: CancellationToken) -> std::io::Result<()> {
        let tasks = TaskTracker::new();
        let shared = &self.shared;
        tasks.spawn(cache::follow(Arc::clone(shared), token.clone()));
        tasks.spawn(reconcile::projects::run(Arc::clone(shared), token.clone()));
        tasks.spawn(reconcile::nodes::run(Arc::clone(shared), token.clone()));
        tasks.spawn(reconcile::events::run(Arc::clone(shared), token.clone()));
        tasks.spawn(reconcile::claims::run(Arc::clone(shared), token.clone()));
        tasks.spawn(peers::follow(Arc::clone(shared), token.clone()));
        if let Some(tls) = &self.tls {
            tasks.spawn(Arc::clone(tls).keep(token.clone()));
        }
        tasks.spawn(access::sweep::run(Arc::clone(shared), token.clone()));
        tasks.spawn(reconcile::answers::run(Arc::clone(shared), token.clone()));
        tasks.spawn(reconcile::certs::run(Arc::clone(shared), token.clone()));
        tasks.spawn(reconcile::certs::acme::run(
            Arc::clone(shared),
            self.gateway.subscribe(),
            token.clone(),
        ));
        tasks.spawn(reconcile::gateway::run(
            Arc::clone(shared),
            self.gateway,
            token.clone(),
        ));
        // Told to end after the last request did.
        let is_served = CancellationToken::new();
        if let Some(writer) = shared.audit.take_writer() {
            tasks.spawn(audit::run(writer, is_served.clone()));
        }
        tasks.close();
        let router = http::router(Arc::clone(shared), token.clone())
            .into_make_service_with_connect_info::<listen::Connection>();
        let listener = ApiListener::new(listener, self.tls, Arc::clone(&shared.peers));
        let stop = token.clone().cancelled_owned();
        let serve = axum::serve(listener, router).with_graceful_shutdown(stop);
        // A client that stops half-way in a request must not hold up the end.
        let overdue = async {
            token.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        let served = tokio::select! {
            served = serve => served,
            () = overdue => {
                tracing::warn!("cutting API requests that did not end in time");
                Ok(())
            }
        };
        token.cancel();
        shared.tunnels.end(STOP_GRACE).await;
        shared.writes.close();
        let finished = tokio::time::timeout(STOP_GRACE, shared.writes.wait());
        if finished.await.is_err() {
            tracing::warn!("leaving API requests that may write and did not end in time");
        }
        is_served.cancel();
        tasks.wait().await;
        served
    }
}

/// Which key each stored secret is sealed with.
async fn stored_keys(store: &dyn Store) -> Result<Vec<StoredKey>, StartError> {
    let listing = store.list(repo::SECRETS.to_owned(), None).await?;
    let read = |entry: &cara_store::Entry| {
        let secret: repo::SealedSecret =
            repo::decode(entry).map_err(|_| StartError::Secret(entry.key.to_string()))?;
        Ok(StoredKey {
            secret: secret.metadata.name,
            key: secret.sealed.key_id,
        })
    };
    let secrets = listing.entries.iter().map(read);
    let mut stored: Vec<StoredKey> = secrets.collect::<Result<_, StartError>>()?;
    stored.extend(reconcile::certs::stored_keys(store).await?);
    Ok(stored)
}
