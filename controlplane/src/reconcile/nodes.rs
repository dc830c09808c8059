//! Keeps the state of nodes in line with their signs of life, and with what is left on those that
//! are drained.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cara_api::Timestamp;
use cara_store::Revision;
use tokio_util::sync::CancellationToken;

use super::{CATCH_UP, RETRY, Written, pause_until, write};
use crate::Shared;
use crate::plan::{Action, node};
use crate::repo;

const NAME: &str = "nodes";

/// How often the process looks whether it was held up itself.
const PULSE: Duration = Duration::from_millis(500);

/// Reconciles nodes until cancelled.
pub(crate) async fn run(shared: Arc<Shared>, token: CancellationToken) {
    let mut heads = shared.cache.heads();
    let mut awake_at = Instant::now();
    loop {
        // A process that was stopped, or a machine that slept, heard nobody meanwhile.
        let gap = awake_at.elapsed().saturating_sub(PULSE);
        if gap > PULSE {
            tracing::warn!(?gap, "was held up; not counting that time against nodes");
            shared.liveness.excuse(gap);
        }
        let now = Timestamp::now();
        let pause = if shared.cache.is_live() {
            pass(&shared, now).await
        } else {
            RETRY
        };
        awake_at = Instant::now();
        tokio::select! {
            changed = heads.changed() => if changed.is_err() { return },
            () = shared.liveness.news.notified() => {}
            () = tokio::time::sleep(pause.min(PULSE)) => {}
            () = token.cancelled() => return,
        }
    }
}

/// Decides for every node and writes; how long to wait for the next moment.
async fn pass(shared: &Shared, now: Timestamp) -> Duration {
    let mut wake_at: Option<Timestamp> = None;
    let mut batches = Vec::new();
    shared.cache.read(|state| {
        for (name, found) in state.nodes() {
            let seen = shared.liveness.last(found, now);
            let projects = state.settled_on(name);
            let decision = node::settle(found, seen, projects, now);
            wake_at = [wake_at, decision.wake_at].into_iter().flatten().min();
            if let Action::Write(status) = decision.action {
                let (from, to) = (found.status.state, status.state);
                let mut changed = (**found).clone();
                changed.status = status;
                changed.metadata.updated_at = Some(now);
                batches.push((repo::replace_node(&changed), name.clone(), from, to));
            }
        }
    });
    let mut newest = Revision(0);
    let mut is_retry = false;
    for (batch, name, from, to) in batches {
        match write(shared, NAME, batch).await {
            Written::At(revision) => {
                newest = newest.max(revision);
                if from != to {
                    tracing::info!(node = %name, %from, %to, "state");
                }
            }
            Written::Again => is_retry = true,
        }
    }
    shared.cache.until(newest, CATCH_UP).await;
    if is_retry {
        RETRY
    } else {
        pause_until(wake_at, now)
    }
}
