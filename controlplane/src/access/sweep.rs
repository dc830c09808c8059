//! Removes tokens, and tokens by which nodes join, some time after they ended, and people who logged in and
//! have no token left, so that logins and jobs do not pile up.

use std::sync::Arc;
use std::time::Duration;

use cara_api::Timestamp;
use cara_store::ReadError;
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
            _ = every.tick() => {
                sweep(&shared).await;
                sweep_people(&shared).await;
                if let Err(error) = sweep_joins(&shared, Timestamp::now()).await {
                    tracing::debug!(%error, "cannot look for join tokens that ended");
                }
            }
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

/// The same for people whom no token names. A login writes its person again together with its token, so
/// whoever logs in at this moment is not removed: the record is not the one that was read.
async fn sweep_people(shared: &Shared) {
    let left = shared
        .cache
        .read(|state| state.access().people_without_tokens());
    for person in left {
        match shared.store.apply(repo::delete_person(&person)).await {
            Ok(_) => tracing::debug!(person = %person.metadata.name, "removed: no token is left"),
            Err(error) => {
                tracing::debug!(person = %person.metadata.name, %error, "not removed");
            }
        }
    }
}

/// The same for tokens by which nodes join.
async fn sweep_joins(shared: &Shared, now: Timestamp) -> Result<(), ReadError> {
    let listing = shared.store.list(repo::join_tokens(), None).await?;
    for entry in &listing.entries {
        let token = repo::decode_join_token(entry);
        if !token.is_ok_and(|token| has_ended(token.expires_at, now)) {
            continue;
        }
        match shared.store.apply(repo::delete_join_token(entry)).await {
            Ok(_) => tracing::debug!(key = %entry.key, "removed: it has ended"),
            Err(error) => tracing::debug!(key = %entry.key, %error, "not removed"),
        }
    }
    Ok(())
}

fn is_over(token: &StoredToken, now: Timestamp) -> bool {
    let end = token.status.expires_at;
    end.is_some_and(|end| has_ended(end, now))
}

fn has_ended(end: Timestamp, now: Timestamp) -> bool {
    now.duration_since(end) > KEPT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_is_shown_for_a_day() {
        let at = |hour: i64| Timestamp::from_second(hour * 3_600).expect("a time");
        for (now, expected) in [(0, false), (100, false), (124, false), (125, true)] {
            assert_eq!(has_ended(at(100), at(now)), expected, "{now}");
        }
    }
}
