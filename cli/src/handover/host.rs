//! The predecessor's side.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Weak;
use std::time::Duration;

use cara_store::SqliteStore;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::{path_in, wire};
use crate::sockets::Purpose;

/// How long control plane and agent may take to stop.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between looks at the store.
const RELEASE_POLL: Duration = Duration::from_millis(10);
/// How long a successor may take between two words: it opens the store in between.
const WORD_TIMEOUT: Duration = Duration::from_secs(120);

/// What a successor makes a server give up, in order.
pub struct Release {
    /// Ends control plane and agent.
    pub control: CancellationToken,
    /// The store; gone when nobody uses it any more.
    pub store: Weak<SqliteStore>,
    /// Ends the gateway.
    pub gateway: CancellationToken,
}

/// Waits for a successor.
pub struct Host {
    listener: UnixListener,
}

impl Host {
    /// Listens in a data directory, of which this process has the store.
    ///
    /// # Errors
    /// The system refuses; there can be no handover then.
    pub fn bind(data_dir: &Path) -> std::io::Result<Self> {
        let path = path_in(data_dir);
        // Left behind by a server that is gone, or by the one whose place this one has taken.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        Ok(Self { listener })
    }

    /// Serves successors, one at a time, until one has taken over; `before` is called before the
    /// gateway is told to stop.
    pub async fn run(
        self,
        release: &Release,
        sockets: impl Fn() -> Vec<(Purpose, TcpListener)>,
        before: impl FnOnce(),
    ) {
        loop {
            let Ok((stream, _)) = self.listener.accept().await else {
                tokio::time::sleep(RELEASE_POLL).await;
                continue;
            };
            match converse(stream, release, &sockets).await {
                Ok(Outcome::Serving) => {
                    tracing::info!("another server has taken over: draining");
                    before();
                    release.gateway.cancel();
                    return;
                }
                Ok(Outcome::Gone) | Err(_) if release.control.is_cancelled() => tracing::error!(
                    "the server that was to take over went away: serving the last routes; start one with --take-over"
                ),
                Ok(Outcome::Gone) => {}
                Err(error) => tracing::warn!(error = %error, "a handover failed"),
            }
        }
    }
}

/// How a conversation ended.
enum Outcome {
    /// The successor serves.
    Serving,
    /// It went before that.
    Gone,
}

async fn converse(
    stream: UnixStream,
    release: &Release,
    sockets: &impl Fn() -> Vec<(Purpose, TcpListener)>,
) -> std::io::Result<Outcome> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        let read = tokio::time::timeout(WORD_TIMEOUT, stream.read_line(&mut line)).await;
        if read?? == 0 {
            return Ok(Outcome::Gone);
        }
        match line.trim_end() {
            wire::SOCKETS => {
                let sockets = sockets();
                let socket = stream.get_ref();
                socket.writable().await?;
                socket.try_io(Interest::WRITABLE, || {
                    Ok(wire::send_sockets(socket, &sockets)?)
                })?;
            }
            wire::RELEASE => {
                tracing::info!("another server takes over: closing the store");
                release.control.cancel();
                is_closed(&release.store).await?;
                let answer = format!("{}\n", wire::RELEASED);
                stream.get_mut().write_all(answer.as_bytes()).await?;
            }
            wire::SERVING => return Ok(Outcome::Serving),
            _ => return Err(std::io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Waits until nobody uses the store any more.
async fn is_closed(store: &Weak<SqliteStore>) -> std::io::Result<()> {
    let closed = async {
        while store.strong_count() > 0 {
            tokio::time::sleep(RELEASE_POLL).await;
        }
    };
    Ok(tokio::time::timeout(RELEASE_TIMEOUT, closed).await?)
}
