//! The predecessor's side.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Weak;
use std::time::Duration;

use anyhow::bail;
use cara_store::SqliteStore;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{path_in, wire};
use crate::sockets::Role;

/// How long control plane and agent may take to stop.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause between looks at the store.
const RELEASE_POLL: Duration = Duration::from_millis(10);
/// How long a successor may take between two words: it opens the store in between.
const WORD_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a server that has given up its control plane waits for the next successor, after one
/// has failed.
const SUCCESSOR_TIMEOUT: Duration = Duration::from_secs(60);

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
    /// See [`SUCCESSOR_TIMEOUT`].
    patience: Duration,
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
        Ok(Self {
            listener,
            patience: SUCCESSOR_TIMEOUT,
        })
    }

    /// Serves successors, one at a time, until one has taken over; `before` is called before the
    /// gateway is told to stop.
    ///
    /// # Errors
    /// A successor made this server give up its control plane and failed, and none came after it.
    pub async fn run(
        self,
        release: &Release,
        sockets: impl Fn() -> std::io::Result<Vec<(Role, TcpListener)>>,
        before: impl FnOnce(),
    ) -> anyhow::Result<()> {
        let mut deadline: Option<Instant> = None;
        loop {
            let accepted = match deadline {
                None => self.listener.accept().await,
                Some(deadline) => {
                    match tokio::time::timeout_at(deadline, self.listener.accept()).await {
                        Ok(accepted) => accepted,
                        Err(_) => bail!("the control plane was given up, and no server took over"),
                    }
                }
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(RELEASE_POLL).await;
                continue;
            };
            match converse(stream, release, &sockets).await {
                Ok(Outcome::Serving) => {
                    tracing::info!("another server has taken over: draining");
                    before();
                    release.gateway.cancel();
                    return Ok(());
                }
                ended @ (Ok(Outcome::Gone) | Err(_)) if release.control.is_cancelled() => {
                    deadline.get_or_insert_with(|| Instant::now() + self.patience);
                    let error = ended.err().map(tracing::field::display);
                    tracing::error!(
                        error,
                        patience_s = self.patience.as_secs(),
                        "the server that was to take over failed: serving the last routes for a while; start one with --take-over"
                    );
                }
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
    sockets: &impl Fn() -> std::io::Result<Vec<(Role, TcpListener)>>,
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
                let sockets = sockets()?;
                let sent = send_all(stream.get_ref(), &sockets);
                tokio::time::timeout(WORD_TIMEOUT, sent).await??;
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

async fn send_all(to: &UnixStream, sockets: &[(Role, TcpListener)]) -> std::io::Result<()> {
    for part in wire::parts(sockets) {
        to.async_io(Interest::WRITABLE, || Ok(wire::send_part(to, &part)?))
            .await?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    /// A host in a directory of its own.
    fn host(name: &str, patience: Duration) -> (Host, PathBuf) {
        let name = format!("cara-host-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        let host = Host::bind(&directory).expect("a socket");
        (Host { patience, ..host }, directory)
    }

    fn release() -> Release {
        Release {
            control: CancellationToken::new(),
            store: Weak::new(),
            gateway: CancellationToken::new(),
        }
    }

    /// Has the store released, says one more word, and goes away.
    async fn succeed(directory: &Path, last: &str) {
        let stream = UnixStream::connect(path_in(directory)).await;
        let mut stream = BufReader::new(stream.expect("a connection"));
        let word = format!("{}\n", wire::RELEASE);
        let said = stream.get_mut().write_all(word.as_bytes()).await;
        said.expect("it is said");
        let mut answer = String::new();
        stream.read_line(&mut answer).await.expect("an answer");
        assert_eq!(answer.trim_end(), wire::RELEASED);
        let said = stream.get_mut().write_all(last.as_bytes()).await;
        said.expect("it is said");
    }

    #[tokio::test]
    async fn without_a_successor_after_a_failed_one_it_ends_with_an_error() {
        let (host, directory) = host("orphaned", Duration::from_millis(50));
        let release = release();
        let (ended, ()) = tokio::join!(
            host.run(&release, || Ok(Vec::new()), || panic!("nobody serves")),
            succeed(&directory, ""),
        );
        assert!(ended.is_err());
        assert!(release.control.is_cancelled() && !release.gateway.is_cancelled());
        std::fs::remove_dir_all(&directory).expect("removed");
    }

    #[tokio::test]
    async fn the_next_successor_may_come_after_a_failed_one() {
        let (host, directory) = host("next", Duration::from_secs(20));
        let release = release();
        let successors = async {
            succeed(&directory, "").await;
            succeed(&directory, &format!("{}\n", wire::SERVING)).await;
        };
        let (ended, ()) = tokio::join!(host.run(&release, || Ok(Vec::new()), || {}), successors,);
        ended.expect("it was replaced");
        assert!(release.gateway.is_cancelled());
        std::fs::remove_dir_all(&directory).expect("removed");
    }
}
