//! The task that feeds the cache: list, then watch; list again when the history is gone.

use std::sync::Arc;
use std::time::Duration;

use cara_api::client::Backoff;
use cara_store::{Event, Listing, ReadError, Revision, Store};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::repo;

/// Revisions before the newest that are read at the start, so that watchers can resume over a
/// restart of the server. No more changes fit into the history ([`super::history`]), fewer when
/// objects are large; revisions that change no object take no room there.
const LOOK_BACK: u64 = 4_000;

/// Feeds the cache until cancelled.
pub(crate) async fn follow(shared: Arc<Shared>, token: CancellationToken) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut position = None;
    while !token.is_cancelled() {
        let step = async {
            match position {
                None => list(&shared).await.map(Some),
                Some(after) => watch(&shared, after, &mut backoff).await,
            }
        };
        let result = tokio::select! {
            result = step => result,
            () = token.cancelled() => return,
        };
        match result {
            Ok(next) => position = next,
            Err(ReadError::Compacted { oldest }) => {
                tracing::warn!(%oldest, "the store's history is gone; reading everything again");
                position = None;
            }
            Err(ReadError::Unavailable(error)) => {
                shared.cache.set_live(false);
                position = position.map(|_| shared.cache.read(crate::cache::State::revision));
                let pause = backoff.pause();
                tracing::warn!(%error, ?pause, "cannot read the store; trying again");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = token.cancelled() => return,
                }
            }
        }
    }
}

/// Reads everything; at the first time as of a little earlier, and the rest by the watch.
async fn list(shared: &Shared) -> Result<Revision, ReadError> {
    let newest = shared.store.list(String::new(), None).await?;
    let listing = match shared.cache.read(crate::cache::State::revision) {
        Revision(0) => earlier(&*shared.store, newest).await?,
        _ => newest,
    };
    let revision = listing.revision;
    shared.cache.update(revision, true, |state| {
        state.load_listing(&listing.entries, revision)
    });
    Ok(revision)
}

async fn earlier(store: &dyn Store, newest: Listing) -> Result<Listing, ReadError> {
    let wanted = Revision(newest.revision.0.saturating_sub(LOOK_BACK));
    match store.list(String::new(), Some(wanted)).await {
        Ok(listing) => Ok(listing),
        Err(ReadError::Compacted { .. }) => Ok(newest),
        Err(error @ ReadError::Unavailable(_)) => Err(error),
    }
}

/// Takes in changes until the stream ends; where to go on, or none to list again.
async fn watch(
    shared: &Shared,
    after: Revision,
    backoff: &mut Backoff,
) -> Result<Option<Revision>, ReadError> {
    let head = shared.store.head().await?;
    let mut changes = shared.store.watch(String::new(), after);
    if after >= head {
        shared.cache.set_live(true);
    }
    while let Some(item) = changes.next().await {
        let item = item?;
        backoff.reset();
        let has_news = item.events.iter().any(|event| !is_told_only(event));
        shared.cache.update(item.revision, has_news, |state| {
            for event in &item.events {
                state.take(item.revision, event);
            }
        });
        if item.revision >= head {
            shared.cache.set_live(true);
        }
    }
    let ended = std::io::Error::other("the store's watch ended");
    Err(ReadError::Unavailable(Arc::new(ended)))
}

/// True for what nobody follows: what is told about objects, what certificates are issued and
/// ordered with, who may do what, and answers that may be asked for again.
fn is_told_only(event: &Event) -> bool {
    let key = match event {
        Event::Put(entry) => &entry.key,
        Event::Delete(key) => key,
    };
    [repo::EVENTS, repo::ISSUING, repo::ACCESS, repo::ANSWERS]
        .iter()
        .any(|prefix| key.as_str().starts_with(prefix))
}
