//! The embedded engine: one SQLite file.
//!
//! Every version of every key is a row of the table `log`, as in etcd's own storage; that makes
//! a list at an old revision and a watch from an old revision ordinary queries. One thread owns
//! the writing connection and commits all batches that wait together in one transaction (one
//! `fsync` for all of them); readers use connections of their own, which WAL lets them do
//! without waiting.
//!
//! Invariants: a reply to a writer comes after the commit; the published head never runs ahead
//! of what a reader can see; a data directory belongs to one process at a time.

mod reader;
mod schema;
mod writer;

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use prometheus::Registry;
use tokio::sync::{mpsc, watch};

use crate::{Batch, Changes, Entry, Key, Listing, ReadError, Revision, Store, Watch, WriteError};
use reader::Readers;
use writer::{Request, Writer};

/// File name of the database in the data directory.
pub const FILE_NAME: &str = "cara.db";
const LOCK_NAME: &str = "cara.lock";

/// Why the engine cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses the directory.
    #[error("data directory {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The directory or the lock file cannot be made or opened.
    #[error("cannot use data directory {}", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file was written by a newer version.
    #[error(
        "the database has format {found}, this version reads up to {known}: use the version that wrote it"
    )]
    Format {
        /// Format of the file.
        found: i64,
        /// Newest format that is known.
        known: i64,
    },
    /// SQLite refused.
    #[error("cannot open the database")]
    Database(#[from] rusqlite::Error),
}

/// Limits of the engine.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How many revisions of history are kept for watchers; at least 1.
    pub history: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { history: 10_000 }
    }
}

/// The embedded engine. Dropping it finishes the writes that were handed over.
pub struct SqliteStore {
    requests: Option<mpsc::Sender<Request>>,
    readers: Arc<Readers>,
    head: watch::Receiver<Revision>,
    thread: Mutex<Option<JoinHandle<()>>>,
    _lock: File,
}

impl SqliteStore {
    /// Opens or makes the database in `directory`, and registers the engine's metrics.
    ///
    /// Blocks for disk access: call it before the runtime does other work.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        directory: &Path,
        options: Options,
        registry: &Registry,
    ) -> Result<Self, OpenError> {
        let on_directory = |source| OpenError::Directory {
            path: directory.to_owned(),
            source,
        };
        // Documents hold passwords: the directory is for its owner alone.
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(on_directory)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(directory.join(LOCK_NAME))
            .map_err(on_directory)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(OpenError::InUse(directory.to_owned()));
            }
            Err(std::fs::TryLockError::Error(source)) => return Err(on_directory(source)),
        }
        let path = directory.join(FILE_NAME);
        let connection = schema::open(&path)?;
        let (writer, head) = Writer::new(connection, options, registry)?;
        let (requests, queue) = mpsc::channel(writer::QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(queue))
            .map_err(on_directory)?;
        Ok(Self {
            requests: Some(requests),
            readers: Arc::new(Readers::new(path)),
            head,
            thread: Mutex::new(Some(thread)),
            _lock: lock,
        })
    }

    async fn send<T>(
        &self,
        make: impl FnOnce(tokio::sync::oneshot::Sender<Result<T, WriteError>>) -> Request,
    ) -> Result<T, WriteError> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        let requests = self.requests.as_ref().ok_or_else(stopped)?;
        requests.send(make(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }
}

fn stopped() -> WriteError {
    WriteError::Unavailable(Arc::new(std::io::Error::other("the writer has stopped")))
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.requests = None;
        let thread = self.thread.get_mut().ok().and_then(Option::take);
        if thread.is_some_and(|t| t.join().is_err()) {
            tracing::error!("the store's writer panicked");
        }
    }
}

impl Store for SqliteStore {
    fn head(&self) -> BoxFuture<'_, Result<Revision, ReadError>> {
        let is_closed = self.requests.as_ref().is_none_or(mpsc::Sender::is_closed);
        let readers = Arc::clone(&self.readers);
        async move {
            if is_closed {
                let stopped = std::io::Error::other("the writer has stopped");
                return Err(ReadError::Unavailable(Arc::new(stopped)));
            }
            readers.run(reader::head).await
        }
        .boxed()
    }

    fn get(&self, key: Key) -> BoxFuture<'_, Result<Option<Entry>, ReadError>> {
        Arc::clone(&self.readers)
            .run(move |connection| reader::get(connection, &key))
            .boxed()
    }

    fn list(
        &self,
        prefix: String,
        revision: Option<Revision>,
    ) -> BoxFuture<'_, Result<Listing, ReadError>> {
        let at = revision.unwrap_or(*self.head.borrow());
        Arc::clone(&self.readers)
            .run(move |connection| reader::list(connection, &prefix, at))
            .boxed()
    }

    fn apply(&self, batch: Batch) -> BoxFuture<'_, Result<Revision, WriteError>> {
        self.apply_beyond(batch, Revision(0))
    }

    fn apply_beyond(
        &self,
        batch: Batch,
        beyond: Revision,
    ) -> BoxFuture<'_, Result<Revision, WriteError>> {
        let request = move |reply| Request::Apply {
            batch,
            beyond,
            reply,
        };
        self.send(request).boxed()
    }

    fn watch(&self, prefix: String, after: Revision) -> Watch {
        let state = Follower {
            readers: Arc::clone(&self.readers),
            head: self.head.clone(),
            prefix: prefix.into(),
            after,
        };
        let pages = stream::unfold(Some(state), |state| async {
            let mut state = state?;
            match state.next_page().await {
                Ok(Some(page)) => Some((page.into_iter().map(Ok).collect(), Some(state))),
                Ok(None) => None,
                Err(error) => Some((vec![Err(error)], None)),
            }
        });
        pages.flat_map(stream::iter).boxed()
    }

    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), WriteError>> {
        self.send(move |reply| Request::Compact { revision, reply })
            .boxed()
    }
}

/// A watch reads the log itself whenever the head moved: the file is the buffer, so a slow
/// reader can neither lose events nor hold memory.
struct Follower {
    readers: Arc<Readers>,
    head: watch::Receiver<Revision>,
    prefix: Arc<str>,
    after: Revision,
}

impl Follower {
    /// The next changes, at most a page of them; none when the store is closed.
    async fn next_page(&mut self) -> Result<Option<Vec<Changes>>, ReadError> {
        loop {
            let head = *self.head.borrow_and_update();
            if head > self.after {
                let (prefix, after) = (Arc::clone(&self.prefix), self.after);
                let readers = Arc::clone(&self.readers);
                let page = readers
                    .run(move |c| reader::changes(c, &prefix, after, head))
                    .await?;
                self.after = page.read_to;
                if !page.changes.is_empty() {
                    return Ok(Some(page.changes));
                }
                continue;
            }
            if self.head.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests;
