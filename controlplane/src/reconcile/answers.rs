//! Sweeps up answers that are kept under idempotency keys, and counts those that there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cara_api::Timestamp;
use cara_store::{Entry, ReadError};
use tokio_util::sync::CancellationToken;

use super::{Written, write};
use crate::Shared;
use crate::plan::once::is_over;
use crate::repo;

const NAME: &str = "answers";
const EVERY: Duration = Duration::from_secs(5 * 60);
/// Most answers that are kept.
const COUNT_MAX: usize = 5_000;
/// Most bytes that they may have together, about.
const BYTES_MAX: usize = 32 << 20;

/// How much is kept, as far as this server knows; exact after each sweep.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl Tally {
    /// Whether another answer may be kept.
    pub(crate) fn has_room(&self) -> bool {
        self.count.load(Ordering::Relaxed) < COUNT_MAX
            && self.bytes.load(Ordering::Relaxed) < BYTES_MAX
    }

    /// Counts one that is kept now: none of its bytes when its key is taken, all when it is there.
    pub(crate) fn add(&self, bytes: usize) {
        if bytes == 0 {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn set(&self, kept: &[&Entry]) {
        let bytes = kept.iter().map(|entry| entry.value.len()).sum();
        self.count.store(kept.len(), Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }
}

/// Sweeps until cancelled.
pub(crate) async fn run(shared: Arc<Shared>, token: CancellationToken) {
    loop {
        if let Err(error) = sweep(&shared, Timestamp::now()).await {
            tracing::debug!(error = %error, "cannot sweep up answers: trying again later");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = token.cancelled() => return,
        }
    }
}

async fn sweep(shared: &Arc<Shared>, now: Timestamp) -> Result<(), ReadError> {
    let listing = shared.store.list(repo::ANSWERS.to_owned(), None).await?;
    let (over, kept): (Vec<&Entry>, Vec<&Entry>) = listing
        .entries
        .iter()
        .partition(|entry| repo::decode_answer(entry).is_ok_and(|answer| is_over(answer.at, now)));
    for entry in over {
        let batch = repo::delete_answer(entry.key.clone(), entry.modified);
        match write(shared, NAME, batch).await {
            // One that changed meanwhile is looked at the next time.
            Written::At(_) | Written::Again => {}
        }
    }
    shared.answers.set(&kept);
    Ok(())
}
