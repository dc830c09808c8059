//! Brings the claims on hostnames and ports in line with environment and base domain, once at the start:
//! while the server runs, claims are written together with their projects.

use std::sync::Arc;

use bytes::Bytes;
use cara_store::{Batch, Precondition};
use tokio_util::sync::CancellationToken;

use super::{RETRY, Written, write};
use crate::Shared;
use crate::plan::claims::repair;
use crate::repo;

const NAME: &str = "claims";

/// Repairs the claims, then ends.
pub(crate) async fn run(shared: Arc<Shared>, token: CancellationToken) {
    loop {
        if shared.cache.is_live() && is_repaired(&shared).await {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = token.cancelled() => return,
        }
    }
}

async fn is_repaired(shared: &Shared) -> bool {
    let domain = &shared.config.domain;
    let repair = shared.cache.read(|state| {
        repair(
            state.projects().values().map(|project| &**project),
            state.claims(),
            domain,
        )
    });
    let mut done = true;
    let removals = repair
        .remove
        .iter()
        .map(|claim| Batch::new().delete(repo::claim_key(claim), Precondition::Any));
    let additions = repair.add.iter().map(|(claim, owner)| {
        let value = Bytes::copy_from_slice(owner.as_str().as_bytes());
        let batch = Batch::new().put(repo::claim_key(claim), value, Precondition::Any);
        batch.require(repo::project_key(owner), Precondition::Present)
    });
    for batch in removals.chain(additions) {
        done &= matches!(write(shared, NAME, batch).await, Written::At(_));
    }
    done
}
