//! The shells around [`crate::plan`]: read, decide, write on condition, wait.
//!
//! Each loop is level-triggered: a change of the cache only says *that* something happened, the
//! pass reads what *is*. A write that lost a race is decided again from the newer state.

pub(crate) mod answers;
pub(crate) mod certs;
pub(crate) mod claims;
pub(crate) mod events;
pub(crate) mod gateway;
pub(crate) mod nodes;
pub(crate) mod projects;

use std::time::Duration;

use cara_api::Timestamp;
use cara_store::{Batch, Revision, WriteError};

use crate::Shared;

/// Longest time between two looks at the wall clock while something waits for a moment, so that
/// a clock that was set is noticed.
const CLOCK_CHECK: Duration = Duration::from_secs(1);
/// Everything is looked at again this often, whatever the watches said.
const RESYNC: Duration = Duration::from_secs(300);
/// How long a pass waits until the cache shows what it wrote.
const CATCH_UP: Duration = Duration::from_secs(5);
/// Pause before a pass is tried again after the store failed.
const RETRY: Duration = Duration::from_secs(1);
/// Writes that are under way at once in a pass; the store commits them together.
const PARALLEL_WRITES: usize = 64;

/// What became of a write of a reconciler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    At(Revision),
    /// Somebody else wrote first, or the store cannot be reached: decide again.
    Again,
}

async fn write(shared: &Shared, name: &'static str, batch: Batch) -> Written {
    match shared.store.apply(batch).await {
        Ok(revision) => {
            shared.metrics.count(name, "changed");
            Written::At(revision)
        }
        Err(WriteError::Conflict { key }) => {
            shared.metrics.count(name, "conflict");
            tracing::debug!(%key, "lost a race; deciding again");
            Written::Again
        }
        Err(error) => {
            shared.metrics.count(name, "failed");
            tracing::error!(error = %error, "cannot write a decision");
            Written::Again
        }
    }
}

/// How long to wait for a moment, at most [`CLOCK_CHECK`]; without a moment, until [`RESYNC`].
fn pause_until(moment: Option<Timestamp>, now: Timestamp) -> Duration {
    let Some(moment) = moment else { return RESYNC };
    Duration::try_from(moment.duration_since(now))
        .unwrap_or(Duration::ZERO)
        .min(CLOCK_CHECK)
}
