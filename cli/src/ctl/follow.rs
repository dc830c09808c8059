//! Watches that outlive their connection: opened again when they end, with a snapshot first.
//!
//! Owns reconnecting and its pauses. It refuses to know what is watched, and for how long: the
//! caller stops asking.

use std::marker::PhantomData;
use std::time::Duration;

use cara_api::client::{Backoff, Client, Lines};
use cara_api::{Resource, WatchEvent, WatchKind};

use super::failure::Failure;

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a watch says.
#[derive(Debug)]
pub enum Change<T> {
    /// A new stream begins with everything there is; what was known before may be gone.
    Begin,
    /// The object is there, in this state.
    Seen(Box<T>),
    /// The object left what is watched; this is its newest state.
    Gone(Box<T>),
    /// Everything there is was told, and nothing has changed since.
    Complete,
}

/// A watch of a path, opened again whenever it ends.
pub struct Follow<T> {
    client: Client,
    action: String,
    path: String,
    query: Vec<(&'static str, String)>,
    lines: Option<Lines>,
    backoff: Backoff,
    kind: PhantomData<fn() -> T>,
}

impl<T: Resource> Follow<T> {
    /// A watch of `path`, narrowed by `query`; `action` begins the message of a failure.
    pub fn new(
        client: &Client,
        action: &str,
        path: String,
        query: Vec<(&'static str, String)>,
    ) -> Self {
        Self {
            client: client.clone(),
            action: action.to_owned(),
            path,
            query,
            lines: None,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            kind: PhantomData,
        }
    }

    /// What happens next; waits as long as the server does not answer.
    ///
    /// Cancel-safe: nothing that arrived is lost.
    ///
    /// # Errors
    /// The server refuses the watch.
    pub async fn next(&mut self) -> Result<Change<T>, Failure> {
        loop {
            let Some(lines) = &mut self.lines else {
                if self.open().await? {
                    return Ok(Change::Begin);
                }
                continue;
            };
            match lines.next::<WatchEvent<serde_json::Value>>().await {
                Ok(Some(event)) => match event.kind {
                    WatchKind::Added | WatchKind::Modified => {
                        return self.object(event.object).map(Change::Seen);
                    }
                    WatchKind::Deleted => return self.object(event.object).map(Change::Gone),
                    WatchKind::Bookmark => {
                        self.backoff.reset();
                        return Ok(Change::Complete);
                    }
                    WatchKind::Error => self.lines = None,
                },
                Ok(None) | Err(_) => self.lines = None,
            }
        }
    }

    /// Whether the stream could be opened; pauses before another try.
    async fn open(&mut self) -> Result<bool, Failure> {
        if !self.backoff.is_fresh() {
            tokio::time::sleep(self.backoff.clone().pause()).await;
        }
        let mut query: Vec<(&str, &str)> =
            self.query.iter().map(|(k, v)| (*k, v.as_str())).collect();
        query.push(("watch", "true"));
        let opened = self.client.follow(&self.path, &query).await;
        // Counted also after a success: only a bookmark shows that the stream is worth something.
        self.backoff.pause();
        match opened {
            Ok(lines) => {
                self.lines = Some(lines);
                Ok(true)
            }
            Err(error) if error.is_retryable() || error.status() == Some(410) => Ok(false),
            Err(error) => Err(Failure::of(&self.action, &error)),
        }
    }

    fn object(&self, value: serde_json::Value) -> Result<Box<T>, Failure> {
        serde_json::from_value(value)
            .map(Box::new)
            .map_err(|error| Failure::other(format!("{}: {error}", self.action)))
    }
}
