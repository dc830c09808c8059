//! The node agent: runs what the control plane assigned to this node, and reports.
//!
//! ```text
//! control plane --assignments--> link -> supervisor -> work (one task a project) -> runtime
//!               <---reports----- link <-----------------'   asks plan what to do
//! ```
//!
//! Heartbeats, following and work are separate tasks: a slow pull delays neither. Stopping the
//! agent touches no container. It refuses to know about routes, placement and the store.

mod config;
mod cut;
mod dial;
mod http;
mod identity;
mod images;
mod link;
mod machine;
mod outbox;
pub mod plan;
mod problem;
mod runtime;
mod stream;
mod supervisor;
mod tunnel;
mod work;

use std::sync::Arc;
use std::time::Duration;

use cara_api::client::{self, Client, Trust};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{Config, Entry};
pub use identity::{EntryError, Identity, enter, has_joined};
pub use runtime::Error as EngineError;

use images::Images;
use outbox::Outbox;
use runtime::Engine;

/// How long log streams may take to end when the agent stops.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// Why an agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The container engine cannot be reached.
    #[error("cannot reach the container engine at {host}")]
    Engine {
        /// The address that was tried.
        host: String,
        /// Why.
        #[source]
        source: EngineError,
    },
    /// The HTTP client cannot be set up.
    #[error("cannot set up the client of the server")]
    Client(#[from] client::Error),
}

/// The agent, ready to run.
pub struct Agent {
    config: Arc<Config>,
    engine: Arc<Engine>,
    client: Client,
    /// What the node shows and renews, if it joined.
    identity: Option<Identity>,
    http: client::Prober,
}

impl Agent {
    /// Connects to the container engine. The identity is what [`enter`] gave.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn new(config: Config, identity: Option<Identity>) -> Result<Self, StartError> {
        let engine = Engine::connect(&config)
            .await
            .map_err(|source| StartError::Engine {
                host: config.docker_host.clone(),
                source,
            })?;
        let trust = match (&identity, &config.entry) {
            (Some(identity), _) => identity.trust(),
            (None, Entry::Given(trust)) => trust.clone(),
            (None, Entry::Joined(_)) => Trust::default(),
        };
        let client = Client::with_trust(&config.server, &trust)?;
        Ok(Self {
            config: Arc::new(config),
            engine: Arc::new(engine),
            client,
            identity,
            http: client::Prober::new()?,
        })
    }

    /// Serves logs on `listener` and does the agent's work until `token` is cancelled. Containers
    /// keep running.
    ///
    /// # Errors
    /// The listener failed for good.
    pub async fn run(self, listener: TcpListener, token: CancellationToken) -> std::io::Result<()> {
        let port = listener.local_addr()?.port();
        let (assigned, assignments) = watch::channel(None);
        let outbox = Arc::new(Outbox::default());
        let link = Arc::new(link::Link {
            config: Arc::clone(&self.config),
            client: self.client,
            registers: self.identity.is_none(),
            outbox: Arc::clone(&outbox),
        });
        let images = Arc::new(Images::open(&self.config.data_dir));
        let tasks = TaskTracker::new();
        tasks.spawn(link::follow(Arc::clone(&link), assigned, token.clone()));
        tasks.spawn(link::report(Arc::clone(&link), token.clone()));
        if let Some(identity) = self.identity {
            tasks.spawn(identity.keep(Arc::clone(&link), token.clone()));
        }
        let streams = stream::Streams::new(
            Arc::clone(&self.engine),
            &self.config.data_dir,
            tasks.clone(),
            token.clone(),
        );
        let own = http::router(Arc::clone(&self.engine), tasks.clone(), token.clone());
        let reached = stream::routes::add_to(own, streams);
        tasks.spawn(tunnel::keep(
            Arc::clone(&link),
            reached,
            tasks.clone(),
            token.clone(),
        ));
        let (pressed, pressure) = watch::channel(plan::machine::Pressure::default());
        let node = machine::Node {
            link,
            engine: Arc::clone(&self.engine),
            port,
        };
        tasks.spawn(machine::beat(node, pressed, token.clone()));
        tasks.spawn(machine::prune(
            Arc::clone(&self.engine),
            Arc::clone(&images),
            assignments.clone(),
            pressure,
            token.clone(),
        ));
        let supervisor = supervisor::Supervisor::new(supervisor::Parts {
            config: Arc::clone(&self.config),
            engine: Arc::clone(&self.engine),
            images,
            http: self.http,
            outbox,
        });
        tasks.spawn(supervisor.run(assignments, token.clone()));
        let stop = token.clone().cancelled_owned();
        let router = http::router(self.engine, tasks.clone(), token.clone())
            .layer(axum::middleware::from_fn(http::pages::refuse));
        let serve = axum::serve(listener, router).with_graceful_shutdown(stop);
        let overdue = async {
            token.cancelled().await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        let served = tokio::select! {
            served = serve => served,
            () = overdue => Ok(()),
        };
        token.cancel();
        tasks.close();
        tasks.wait().await;
        served
    }
}
