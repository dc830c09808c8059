//! Stands between an agent and its engine, and makes the engine slow or lets it vanish.
//!
//! Passes bytes on; it reads no more of them than the first line of a request, which begins
//! with a write of its own since clients of engines do not send the next request early.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the engine seems to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// As it is.
    Good,
    /// Takes so long to tell about one container; everything else is as fast as ever.
    SlowInspect(Duration),
    /// Takes no connections, and the ones that there were are cut.
    Away,
}

/// The proxy; ends when dropped.
pub struct EngineProxy {
    directory: TempDir,
    mood: watch::Sender<Mood>,
    _serving: JoinSet<()>,
}

impl EngineProxy {
    /// Starts a proxy for the engine behind a socket.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(engine: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("docker.sock")).expect("a socket");
        let (mood, follower) = watch::channel(Mood::Good);
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, engine.to_owned(), follower));
        Self {
            directory,
            mood,
            _serving: serving,
        }
    }

    /// Changes what the engine seems to be like, from the next request on.
    pub fn set(&self, mood: Mood) {
        self.mood.send_replace(mood);
    }

    /// Address of the engine as it seems.
    pub fn docker_host(&self) -> String {
        format!(
            "unix://{}",
            self.directory.path().join("docker.sock").display()
        )
    }
}

async fn serve(listener: UnixListener, engine: PathBuf, mood: watch::Receiver<Mood>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                connections.spawn(connection(client, engine.clone(), mood.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(client: UnixStream, engine: PathBuf, mood: watch::Receiver<Mood>) {
    let mut leaving = mood.clone();
    tokio::select! {
        _ = relay(client, engine, &mood) => {}
        _ = leaving.wait_for(|mood| *mood == Mood::Away) => {}
    }
}

async fn relay(
    client: UnixStream,
    engine: PathBuf,
    mood: &watch::Receiver<Mood>,
) -> std::io::Result<()> {
    let engine = UnixStream::connect(engine).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_engine, mut to_engine) = engine.into_split();
    let requests = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let length = from_client.read(&mut buffer).await?;
            let bytes = &buffer[..length];
            if length == 0 {
                return to_engine.shutdown().await;
            }
            let now = *mood.borrow();
            if let Mood::SlowInspect(delay) = now
                && is_inspect(bytes)
            {
                tokio::time::sleep(delay).await;
            }
            to_engine.write_all(bytes).await?;
        }
    };
    let answers = tokio::io::copy(&mut from_engine, &mut to_client);
    tokio::pin!(answers);
    tokio::select! {
        ended = requests => ended?,
        copied = &mut answers => return copied.map(drop),
    }
    // The client asks nothing more, but may still wait for an answer.
    answers.await.map(drop)
}

/// Whether a write begins a request for what is known of one container.
fn is_inspect(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or(bytes);
    let line = String::from_utf8_lossy(line);
    let Some(path) = line
        .strip_prefix("GET ")
        .and_then(|rest| rest.split([' ', '?']).next())
    else {
        return false;
    };
    path.split_once("/containers/")
        .is_some_and(|(_, rest)| rest.ends_with("/json"))
}

#[cfg(test)]
mod tests {
    use super::is_inspect;

    #[test]
    fn only_a_look_at_one_container_is_an_inspect() {
        for (request, expected) in [
            ("GET /v1.41/containers/abc/json HTTP/1.1\r\nhost: x", true),
            ("GET /containers/a-b/json?size=1 HTTP/1.1\r\n", true),
            ("GET /v1.41/containers/json?all=1 HTTP/1.1\r\n", false),
            ("POST /v1.41/containers/abc/start HTTP/1.1\r\n", false),
            ("GET /v1.41/images/abc/json HTTP/1.1\r\n", false),
            ("{\"body\": 1}", false),
        ] {
            assert_eq!(is_inspect(request.as_bytes()), expected, "{request}");
        }
    }
}
