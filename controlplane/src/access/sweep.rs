//! Removes tokens some time after they ended, so that logins and jobs do not pile up.

use std::sync::Arc;
use std::time::Duration;

use cara_api::Timestamp;
use jiff::SignedDuration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::repo::{self, StoredToken};

/// Pause between two looks.
const EVERY: Duration = Duration::from_secs(600);
/// How long one that ended is still shown.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// Looks until cancelled.
pub(crate) async fn run(shared: Arc<Shared>, token: CancellationToken) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = every.tick() => sweep(&shared).await,
            () = token.cancelled() => return,
        }
    }
}

async fn sweep(shared: &Shared) {
    let now = Timestamp::now();
    let ended: Vec<Arc<StoredToken>> = shared.cache.read(|state| {
        let tokens = state.access().tokens().values();
        tokens.filter(|t| is_over(t, now)).cloned().collect()
    });
    for token in ended {
        match shared.store.apply(repo::delete_token(&token)).await {
            Ok(_) => tracing::debug!(token = %token.metadata.name, "removed: it has ended"),
            // The next look finds it again.
            Err(error) => tracing::debug!(token = %token.metadata.name, %error, "not removed"),
        }
    }
}

fn is_over(token: &StoredToken, now: Timestamp) -> bool {
    let end = token.status.expires_at;
    end.is_some_and(|end| now.duration_since(end) > KEPT)
}
