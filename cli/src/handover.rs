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
//! successor may try.

mod host;
mod predecessor;
mod wire;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cara_api::gateway::GatewayState;
use cara_gateway::{Drain, DrainControl, Listener, ListenerKind, PortSockets};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::sockets::Purpose;
use host::Host;
pub use host::Release;
pub use predecessor::Predecessor;

/// How long the routes may take to be known, after the store was opened.
const ROUTES_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client's HTTP/1 connection between two requests is kept for one more, in the server
/// that was replaced: as long as connections without requests are kept anyway.
const IDLE: Duration = Duration::from_secs(60);

/// Where the server of a data directory listens for its successor.
fn path_in(data_dir: &Path) -> PathBuf {
    data_dir.join("handover.sock")
}

/// Waits until all routes are known, then tells the predecessor.
pub async fn take_over(predecessor: Predecessor, mut routes: watch::Receiver<Arc<GatewayState>>) {
    let known = routes.wait_for(|state| !state.revision.is_zero());
    if tokio::time::timeout(ROUTES_TIMEOUT, known).await.is_err() {
        tracing::warn!("the routes are not known yet");
    }
    match predecessor.serving() {
        Ok(()) => tracing::info!("took over from the server that ran before"),
        Err(error) => tracing::warn!("the server that ran before has ended: {error:#}"),
    }
}

/// Copies of all listening sockets of this process.
pub struct Sockets {
    fixed: Vec<(Purpose, TcpListener)>,
    /// Those that come and go.
    pub ports: PortSockets,
}

impl Sockets {
    /// Copies those that stay.
    ///
    /// # Errors
    /// There are no file descriptors left.
    pub fn new(api: &TcpListener, listeners: &[Listener]) -> std::io::Result<Self> {
        let mut fixed = vec![(Purpose::Api, api.try_clone()?)];
        for listener in listeners {
            let purpose = match listener.kind {
                ListenerKind::Http => Purpose::Http,
                ListenerKind::Https => Purpose::Https,
                ListenerKind::Tcp => continue,
            };
            fixed.push((purpose, listener.socket.try_clone()?));
        }
        Ok(Self {
            fixed,
            ports: PortSockets::default(),
        })
    }

    /// Copies of all that are open now.
    fn copies(&self) -> Vec<(Purpose, TcpListener)> {
        let fixed = self.fixed.iter();
        let fixed = fixed.filter_map(|(of, socket)| Some((*of, socket.try_clone().ok()?)));
        let ports = self.ports.copies().into_iter();
        fixed
            .chain(ports.map(|socket| (Purpose::Tcp, socket)))
            .collect()
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
    pub async fn run(self, whole: &CancellationToken) {
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
                return;
            }
        };
        let before = || {
            drains.set(Drain {
                patience: handover_drain,
                idle: IDLE,
            });
        };
        tokio::select! {
            () = host.run(&release, || sockets.copies(), before) => {}
            () = whole.cancelled() => return,
        }
        // Else the ports would stay open for as long as this process drains.
        drop(sockets);
        whole.cancelled().await;
        drains.set(Drain {
            patience: drain,
            idle: Duration::ZERO,
        });
    }
}
