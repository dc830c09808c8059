//! The lease that makes orders one at a time over all servers of a store.

use std::time::Duration;

use cara_api::Timestamp;
use cara_store::{ReadError, Revision, WriteError};
use jiff::SignedDuration;
use tokio::sync::Mutex;
use tokio::time::MissedTickBehavior;

use crate::Shared;
use crate::repo;

/// How long a lease lasts unless it is renewed.
const LIFE: SignedDuration = SignedDuration::from_secs(60);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(15);

/// A lease that this process holds.
pub(super) struct Lease {
    holder: uuid::Uuid,
    /// As it was written last.
    revision: Mutex<Revision>,
}

/// Why there is no telling who holds it.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaseError {
    #[error("cannot read the store")]
    Read(#[from] ReadError),
    #[error("cannot write the store")]
    Write(#[from] WriteError),
}

impl Lease {
    /// Takes the lease; none while another process holds it. The cache then shows all that its
    /// last holder wrote.
    pub(super) async fn take(
        shared: &Shared,
        holder: uuid::Uuid,
    ) -> Result<Option<Self>, LeaseError> {
        let entry = shared.store.get(repo::lease_key()).await?;
        let now = Timestamp::now();
        let held = entry.as_ref().and_then(|e| repo::decode_lease(e).ok());
        // One that ends far in the future was written by a clock that was wrong.
        let is_taken = held.is_some_and(|l| {
            l.holder != holder && l.expires_at > now && l.expires_at <= now + LIFE + LIFE
        });
        if is_taken {
            return Ok(None);
        }
        let batch = repo::write_lease(&lease(holder), entry.map(|e| e.modified));
        let revision = match shared.store.apply(batch).await {
            Ok(revision) => revision,
            Err(WriteError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !shared.cache.until(revision, super::super::CATCH_UP).await {
            return Ok(None);
        }
        Ok(Some(Self {
            holder,
            revision: Mutex::new(revision),
        }))
    }

    /// Renews it until that fails: then another one may hold it.
    pub(super) async fn keep(&self, shared: &Shared) {
        let mut ticks = tokio::time::interval(RENEW);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let mut revision = self.revision.lock().await;
            let batch = repo::write_lease(&lease(self.holder), Some(*revision));
            match shared.store.apply(batch).await {
                Ok(written) => *revision = written,
                Err(error) => {
                    tracing::warn!(error = %error, "lost the lease for orders");
                    return;
                }
            }
        }
    }

    /// Gives it back, if it is still held.
    pub(super) async fn release(self, shared: &Shared) {
        let batch = repo::release_lease(self.revision.into_inner());
        if let Err(error) = shared.store.apply(batch).await {
            tracing::debug!(error = %error, "cannot give the lease for orders back: it will end");
        }
    }
}

fn lease(holder: uuid::Uuid) -> repo::Lease {
    repo::Lease {
        holder,
        expires_at: Timestamp::now() + LIFE,
    }
}
