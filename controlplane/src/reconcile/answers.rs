//! Sweeps up answers that are kept under idempotency keys, and counts those that there are.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cara_api::Timestamp;
use cara_store::{Entry, ReadError};
use tokio_util::sync::CancellationToken;

use super::{Written, write};
use crate::Shared;
use crate::plan::once::is_over;
use crate::plan::shares::{Sharer, Shares, Short};
use crate::repo;

const NAME: &str = "answers";
const EVERY: Duration = Duration::from_secs(5 * 60);
/// Most answers that are kept; those of one caller are a share of them.
const COUNT_MAX: usize = 5_000;
/// Most bytes that they may have together, about; shared in the same way.
const BYTES_MAX: usize = 32 << 20;

/// How much is kept and whose it is, as far as this server knows; exact after each sweep.
#[derive(Debug)]
pub(crate) struct Tally(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    count: Shares,
    bytes: Shares,
}

impl Default for Tally {
    fn default() -> Self {
        Self(Mutex::new(Kept::new()))
    }
}

impl Kept {
    fn new() -> Self {
        Self {
            count: Shares::new(COUNT_MAX),
            bytes: Shares::new(BYTES_MAX),
        }
    }

    fn add(&mut self, by: &str, count: usize, bytes: usize) {
        let by = sharer(by);
        self.count.take(&by, count);
        self.bytes.take(&by, bytes);
    }
}

/// Who sent a request, by the digest that is kept.
fn sharer(by: &str) -> Sharer {
    match by {
        "" => Sharer::Everybody,
        by => Sharer::One(by.into()),
    }
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another answer of somebody may be kept.
    pub(crate) fn room(&self, by: &str) -> Result<(), Short> {
        let (kept, by) = (self.lock(), sharer(by));
        kept.count.room(&by)?;
        kept.bytes.room(&by)
    }

    /// Counts one that will be kept, as its key is taken.
    pub(crate) fn begin(&self, by: &str) {
        self.lock().add(by, 1, 0);
    }

    /// Counts its bytes, when it is there.
    pub(crate) fn keep(&self, by: &str, bytes: usize) {
        self.lock().add(by, 0, bytes);
    }

    /// One is not kept after all.
    pub(crate) fn free(&self, by: &str) {
        self.lock().count.give_back(&sharer(by), 1);
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
    let mut tally = Kept::new();
    let mut over: Vec<&Entry> = Vec::new();
    for entry in &listing.entries {
        match repo::decode_answer(entry) {
            Ok(answer) if is_over(answer.at, now) => over.push(entry),
            Ok(answer) => tally.add(&answer.by, 1, entry.value.len()),
            // Of a newer server, which sweeps it up.
            Err(_) => {}
        }
    }
    for entry in over {
        let batch = repo::delete_answer(entry.key.clone(), entry.modified);
        match write(shared, NAME, batch).await {
            // One that changed meanwhile is looked at the next time.
            Written::At(_) | Written::Again => {}
        }
    }
    *shared.answers.lock() = tally;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_sends_very_much_leaves_room_for_others() {
        let tally = Tally::default();
        for _ in 0..COUNT_MAX / 4 {
            assert_eq!(tally.room("a"), Ok(()));
            tally.begin("a");
        }
        assert_eq!(tally.room("a"), Err(Short::Own));
        assert_eq!(tally.room("b"), Ok(()));
        tally.free("a");
        assert_eq!(tally.room("a"), Ok(()));
        tally.keep("b", BYTES_MAX / 4);
        assert_eq!(tally.room("b"), Err(Short::Own));
        // Where nobody is asked there is nobody to share with.
        tally.keep("", BYTES_MAX / 2);
        assert_eq!(tally.room(""), Ok(()));
    }
}
