//! One server takes the place of another on the same data directory, and no connection is lost.
//!
//! ```text
//! successor                    predecessor
//!   | -- sockets ------------->  | copies of its listening sockets
//!   | -- release ------------->  | control plane and agent stop, the store is closed;
//!   | <------------- released -- | the gateway goes on with its last routes
//!   | opens the store,           |
//!   | knows all routes           |
//!   | -- serving ------------->  | the gateway accepts no more and drains; the process ends
//! ```
//!
//! The two speak over a Unix socket in the data directory, which is for its owner alone. New
//! connections wait in the sockets' own queues while neither accepts. When the successor fails
//! between `release` and `serving`, the predecessor goes on serving its last routes, and the next
//! successor may try. When none does so in time the predecessor drains and ends with an error: it
//! has no control plane any more, and whoever started it may start it again.

mod host;
mod predecessor;
mod wire;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use cara_api::gateway::GatewayState;
use cara_gateway::{Drain, DrainControl, Listener, ListenerKind, PortSockets};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::notify::{self, Milestone};
use crate::sockets::{Origin, Purpose, Role};
use host::Host;
pub use host::Release;
pub use predecessor::Predecessor;

/// How long the routes may take to be known, after the store was opened. Meanwhile the predecessor
/// serves its own.
const ROUTES_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a client's HTTP/1 connection between two requests is kept for one more, in the server
/// that was replaced: as long as connections without requests are kept anyway.
const IDLE: Duration = Duration::from_secs(60);

/// Where the server of a data directory listens for its successor.
fn path_in(data_dir: &Path) -> PathBuf {
    data_dir.join("handover.sock")
}

/// Waits until all routes are known, then tells the predecessor.
///
/// # Errors
/// The routes are not known in time: the predecessor goes on serving.
pub async fn take_over(
    predecessor: Predecessor,
    mut routes: watch::Receiver<Arc<GatewayState>>,
) -> anyhow::Result<()> {
    let known = async {
        let known = routes.wait_for(|state| !state.revision.is_zero()).await;
        known.map(drop)
    };
    tokio::time::timeout(ROUTES_TIMEOUT, known)
        .await
        .context("cannot take over: the routes are not known in time")?
        .context("cannot take over: the routes will never be known")?;
    // Before the predecessor can end: a service manager would take its end for that of the service.
    notify::tell(Milestone::Main).await;
    match predecessor.serving() {
        Ok(()) => tracing::info!("took over from the server that ran before"),
        Err(error) => tracing::warn!("the server that ran before has ended: {error:#}"),
    }
    Ok(())
}

/// Copies of all listening sockets of this process.
pub struct Sockets {
    fixed: Vec<(Role, TcpListener)>,
    /// Those that come and go.
    pub ports: PortSockets,
}

impl Sockets {
    /// Copies those that stay; `given` says which of them the service manager holds.
    ///
    /// # Errors
    /// There are no file descriptors left.
    pub fn new(
        api: &TcpListener,
        listeners: &[Listener],
        given: &[Purpose],
    ) -> std::io::Result<Self> {
        let role = |purpose| Role {
            purpose,
            origin: match given.contains(&purpose) {
                true => Origin::ServiceManager,
                false => Origin::Settings,
            },
        };
        let mut fixed = vec![(role(Purpose::Api), api.try_clone()?)];
        for listener in listeners {
            let purpose = match listener.kind {
                ListenerKind::Http => Purpose::Http,
                ListenerKind::Https => Purpose::Https,
                ListenerKind::Tcp => continue,
            };
            fixed.push((role(purpose), listener.socket.try_clone()?));
        }
        Ok(Self {
            fixed,
            ports: PortSockets::default(),
        })
    }

    /// Copies of all that are open now: a successor that misses one would not listen there.
    fn copies(&self) -> std::io::Result<Vec<(Role, TcpListener)>> {
        let mut copies = Vec::new();
        for (role, socket) in &self.fixed {
            copies.push((*role, socket.try_clone()?));
        }
        let port = Role {
            purpose: Purpose::Tcp,
            origin: Origin::Settings,
        };
        let ports = self.ports.copies()?.into_iter();
        copies.extend(ports.map(|socket| (port, socket)));
        Ok(copies)
    }
}

/// What a server needs to give its place to another one.
pub struct Hosting {
    /// The data directory, of which this process has the store.
    pub data_dir: PathBuf,
    /// What is given up.
    pub release: Release,
    /// What is handed over.
    pub sockets: Sockets,
    /// How long connections may go on afterwards.
    pub handover_drain: Duration,
    /// How long they may when the process is told to stop.
    pub drain: Duration,
    /// Tells the gateway.
    pub drains: DrainControl,
}

impl Hosting {
    /// Waits for a successor; after it has taken over, until the process is told to stop, which
    /// shortens the drain. Without a socket there is no handover, and nothing else is lost.
    ///
    /// # Errors
    /// The control plane was given up, and nobody took over. The whole process is told to stop.
    pub async fn run(self, whole: &CancellationToken) -> anyhow::Result<()> {
        let Self {
            data_dir,
            release,
            sockets,
            handover_drain,
            drain,
            drains,
        } = self;
        let host = match Host::bind(&data_dir) {
            Ok(host) => host,
            Err(error) => {
                tracing::warn!(error = %error, "no other server can take over from this one");
                whole.cancelled().await;
                notify::tell(Milestone::Stopping).await;
                return Ok(());
            }
        };
        let before = || {
            drains.set(Drain {
                patience: handover_drain,
                idle: IDLE,
            });
        };
        let handed_over = tokio::select! {
            handed_over = host.run(&release, || sockets.copies(), before) => handed_over,
            () = whole.cancelled() => {
                notify::tell(Milestone::Stopping).await;
                return Ok(());
            }
        };
        // Else the ports would stay open for as long as this process drains.
        drop(sockets);
        match handed_over {
            // The service goes on in the other process: this one's end is none.
            Ok(()) => whole.cancelled().await,
            Err(_) => notify::tell(Milestone::Stopping).await,
        }
        drains.set(Drain {
            patience: drain,
            idle: Drain::ON_ITS_WAY,
        });
        // When nobody took over this is what ends the rest.
        whole.cancel();
        handed_over
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    use cara_api::ResourceVersion;

    use super::*;

    #[tokio::test]
    async fn a_successor_that_knows_no_routes_does_not_say_that_it_serves() {
        let name = format!("cara-take-over-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        let listener = UnixListener::bind(path_in(&directory)).expect("a socket");
        for (revision, is_taken_over, expected) in [(0, false, ""), (1, true, "serving\n")] {
            let predecessor = Predecessor::find(&directory).expect("it can be reached");
            let predecessor = predecessor.expect("it is there");
            let (mut stream, _) = listener.accept().expect("a connection");
            let state = GatewayState {
                revision: ResourceVersion(revision),
                ..GatewayState::default()
            };
            // The control plane has ended: it tells nothing any more.
            let (_, routes) = watch::channel(Arc::new(state));
            let taken_over = take_over(predecessor, routes).await;
            assert_eq!(taken_over.is_ok(), is_taken_over, "{taken_over:?}");
            let mut said = String::new();
            stream.read_to_string(&mut said).expect("it has hung up");
            assert_eq!(said, expected);
        }
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}
