//! Asks endpoints how they are, for rules that want it.
//!
//! One task for each endpoint, owned by [`Probes`], which lives in the task that follows the rules
//! and ends with it. Probes go the way that requests go: the same protocol, TLS and address.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cara_api::gateway::{HealthProbe, Protocol, Route};
use cara_routes::health::Health;
use pingora_core::connectors::ConnectorOptions;
use pingora_core::connectors::http::Connector;
use pingora_core::server::configuration::ServerConf;
use pingora_error::Result;
use pingora_http::RequestHeader;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use super::endpoint::Endpoint;
use super::peer::{self, Times};
use super::targets;
use super::tls::{Material, roots_file};

/// Probes at once, over all rules.
const AT_ONCE: usize = 64;

/// An endpoint that is to be asked.
pub(crate) struct Wanted {
    pub(super) route: Arc<Route>,
    /// Place of the service among the rule's targets.
    pub(super) place: usize,
    /// A host of the rule.
    pub(super) host: String,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) tls: Option<Arc<Material>>,
    pub(super) group: u64,
}

/// The tasks that ask.
#[derive(Default)]
pub(crate) struct Probes {
    tasks: JoinSet<()>,
    /// By the address of the endpoint's state, which the entry keeps alive.
    running: HashMap<usize, Running>,
    shared: Option<Arc<Client>>,
}

struct Running {
    route: Arc<Route>,
    endpoint: Arc<Endpoint>,
    task: AbortHandle,
}

struct Client {
    connector: Connector,
    slots: Semaphore,
}

impl Probes {
    /// Begins and ends tasks, so that exactly what is wanted is asked.
    pub(crate) fn follow(&mut self, wanted: impl Iterator<Item = Wanted>) {
        let mut kept = HashMap::new();
        for wanted in wanted {
            let key = Arc::as_ptr(&wanted.endpoint) as usize;
            if kept.contains_key(&key) {
                continue;
            }
            let running = match self.running.remove(&key) {
                Some(running) if is_same(&running.route, &wanted) => running,
                other => {
                    if let Some(other) = other {
                        other.task.abort();
                    }
                    self.begin(wanted)
                }
            };
            kept.insert(key, running);
        }
        for (_, running) in std::mem::replace(&mut self.running, kept) {
            running.task.abort();
            running.endpoint.unchecked();
        }
    }

    fn begin(&mut self, wanted: Wanted) -> Running {
        let client = Arc::clone(self.shared.get_or_insert_with(|| Arc::new(Client::new())));
        let (route, endpoint) = (Arc::clone(&wanted.route), Arc::clone(&wanted.endpoint));
        let task = self.tasks.spawn(ask_again_and_again(client, wanted));
        Running {
            route,
            endpoint,
            task,
        }
    }

    /// Waits for a task to end, which only happens when it was ended or panicked; for ever when
    /// there is none. Cancel-safe.
    pub(crate) async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(error = %error, "a health check panicked");
            }
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}

/// Whether a task that runs for `old` does what is wanted.
fn is_same(old: &Arc<Route>, wanted: &Wanted) -> bool {
    let protocol = |route: &Route| targets(route).get(wanted.place).map(|t| t.protocol.clone());
    Arc::ptr_eq(old, &wanted.route)
        || (old.policy.health == wanted.route.policy.health
            && protocol(old) == protocol(&wanted.route))
}

impl Client {
    fn new() -> Self {
        let conf = ServerConf {
            ca_file: roots_file(),
            ..ServerConf::default()
        };
        Self {
            connector: Connector::new(Some(ConnectorOptions::from_server_conf(&conf))),
            slots: Semaphore::new(AT_ONCE),
        }
    }
}

async fn ask_again_and_again(client: Arc<Client>, wanted: Wanted) {
    let Some(policy) = wanted.route.policy.health.clone() else {
        return;
    };
    loop {
        let is_well = match client.slots.acquire().await {
            Ok(_slot) => {
                tokio::time::timeout(policy.timeout, ask(&client.connector, &wanted, &policy))
                    .await
                    .is_ok_and(|answer| answer.is_ok_and(|status| (200..400).contains(&status)))
            }
            Err(_) => return,
        };
        if let Some(health) = wanted.endpoint.checked(&policy, is_well) {
            note(&wanted, health);
        }
        tokio::time::sleep(pause(policy.interval)).await;
    }
}

fn note(wanted: &Wanted, health: Health) {
    let (project, ingress) = (&wanted.route.project, &wanted.route.ingress);
    let endpoint = wanted.endpoint.address;
    match health {
        Health::Down => {
            tracing::warn!(project, ingress, %endpoint, "an endpoint fails its checks and is left out");
        }
        Health::Up | Health::Unknown => {
            tracing::info!(project, ingress, %endpoint, "an endpoint passes its checks");
        }
    }
}

/// The time to the next probe: a tenth more or less, so that probes do not come in step.
fn pause(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// One request; its answer's status.
async fn ask(connector: &Connector, wanted: &Wanted, policy: &HealthProbe) -> Result<u16> {
    let protocol = targets(&wanted.route)
        .get(wanted.place)
        .map_or(&Protocol::Http1, |target| &target.protocol);
    let times = Times {
        connect: policy.timeout,
        read: policy.timeout,
        write: policy.timeout,
    };
    let address = wanted.endpoint.address;
    let tls = wanted.tls.as_deref();
    let (host, group) = (&wanted.host, wanted.group);
    let Some(peer) = peer::build(address, protocol, tls, host, group, times, false) else {
        return Ok(0);
    };
    let (mut session, _) = connector.get_http_session(&peer).await?;
    session.set_read_timeout(Some(policy.timeout));
    let mut head = RequestHeader::build("GET", policy.path.as_bytes(), Some(2))?;
    head.insert_header("host", host.as_str())?;
    head.insert_header("user-agent", "cara-health")?;
    session.write_request_header(Box::new(head)).await?;
    session.finish_request_body().await?;
    session.read_response_header().await?;
    let status = session
        .response_header()
        .map_or(0, |head| head.status.as_u16());
    session.shutdown().await;
    Ok(status)
}
