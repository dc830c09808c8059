//! Places projects, moves them, lets them expire, and forgets them when they are gone.
//!
//! One pass decides for all projects that may need it, one after the other over a common count
//! of what is on each node, and then writes all decisions at once: sixty projects that arrive
//! together spread evenly and share commits.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cara_api::project::ProjectStatus;
use cara_api::{NodeName, Project, ProjectName, Timestamp};
use cara_store::{Batch, Revision};
use futures_util::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::{CATCH_UP, PARALLEL_WRITES, RESYNC, RETRY, Written, pause_until, write};
use crate::Shared;
use crate::cache::{Change, Object, State};
use crate::plan::{Action, World, evict, project};
use crate::repo;

const NAME: &str = "projects";

/// Keys to look at, and moments to look again.
#[derive(Default)]
struct Agenda {
    dirty: BTreeSet<ProjectName>,
    wake_at: BTreeMap<ProjectName, Timestamp>,
    seen: Revision,
    /// Room or a node may have become free for those who wait.
    has_room: bool,
}

/// Reconciles projects until cancelled.
pub(crate) async fn run(shared: Arc<Shared>, token: CancellationToken) {
    let mut heads = shared.cache.heads();
    let mut agenda = Agenda::default();
    let mut resync_at = tokio::time::Instant::now();
    loop {
        if tokio::time::Instant::now() >= resync_at && shared.cache.is_live() {
            agenda.dirty.extend(
                shared
                    .cache
                    .read(|state| state.projects().keys().cloned().collect::<Vec<_>>()),
            );
            resync_at = tokio::time::Instant::now() + RESYNC;
        }
        let now = Timestamp::now();
        shared.cache.read(|state| agenda.note_changes(state));
        agenda.note_moments(now);
        let is_retry = shared.cache.is_live()
            && !agenda.dirty.is_empty()
            && !pass(&shared, &mut agenda, now).await;
        let pause = if is_retry {
            RETRY
        } else {
            pause_until(agenda.wake_at.values().min().copied(), now)
        };
        let pause = pause.min(
            resync_at
                .saturating_duration_since(tokio::time::Instant::now())
                .max(RETRY),
        );
        tokio::select! {
            changed = heads.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
            () = token.cancelled() => return,
        }
    }
}

impl Agenda {
    fn note_changes(&mut self, state: &State) {
        match state.changes_since(self.seen) {
            Ok(changes) => changes.iter().for_each(|change| self.note(change, state)),
            Err(crate::cache::TooOld) => self.dirty.extend(state.projects().keys().cloned()),
        }
        if std::mem::take(&mut self.has_room) {
            let all = state.projects().values();
            let waiting = all.filter(|p| project::is_waiting(p));
            self.dirty.extend(waiting.map(|p| p.name()));
        }
        self.seen = state.revision();
    }

    fn note(&mut self, change: &Change, state: &State) {
        match (&change.before, &change.after) {
            (before, Some(Object::Project(project))) => {
                self.dirty.insert(project.name());
                if let Some(Object::Project(old)) = before {
                    self.note_freed(old, Some(project), state);
                }
            }
            (Some(Object::Project(project)), None) => {
                self.dirty.remove(&project.name());
                self.wake_at.remove(&project.name());
                self.note_freed(project, None, state);
            }
            // Agents get the values with their assignments; nothing is decided by them.
            // Certificates are no concern of theirs.
            (_, Some(Object::Secret(_) | Object::Certificate(_)))
            | (Some(Object::Secret(_) | Object::Certificate(_)), None) => {}
            // A node came, went or changed: whoever waits for a place or is bound to it cares.
            (before, after) => {
                for node in [before, after].into_iter().flatten() {
                    if let Object::Node(node) = node {
                        let name = node.name();
                        let here = state.bound_to(&name).chain(state.arriving_at(&name));
                        self.dirty.extend(here.map(|p| p.name()));
                    }
                }
                self.has_room = true;
            }
        }
    }

    /// A project that let go of a node makes room there, and it is the next one's turn to leave.
    fn note_freed(&mut self, before: &Project, after: Option<&Project>, state: &State) {
        let node_ref = before.status.node_ref.as_str();
        if node_ref.is_empty() {
            return;
        }
        let stays = after.is_some_and(|p| p.status.node_ref == node_ref && p.spec == before.spec);
        self.has_room |= !stays;
        let had_moved = after.is_none_or(|p| p.status.moving != before.status.moving);
        let node = state.node(node_ref);
        if (!stays || had_moved) && node.is_some_and(|node| evict::drives_out(node)) {
            let name = NodeName::trusted(node_ref);
            self.dirty.extend(state.bound_to(&name).map(|p| p.name()));
        }
    }

    fn note_moments(&mut self, now: Timestamp) {
        let due: Vec<ProjectName> = self
            .wake_at
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            self.wake_at.remove(&name);
            self.dirty.insert(name);
        }
    }
}

/// Decides for all dirty projects and writes. False when some must be tried again later.
async fn pass(shared: &Shared, agenda: &mut Agenda, now: Timestamp) -> bool {
    let timer = shared
        .metrics
        .reconcile_seconds
        .with_label_values(&[NAME])
        .start_timer();
    let names = std::mem::take(&mut agenda.dirty);
    let batches = shared
        .cache
        .read(|state| decide(shared, state, &names, now, &mut agenda.wake_at));
    let writes = stream::iter(batches)
        .map(|(name, batch)| async move { (name, write(shared, NAME, batch).await) });
    let results: Vec<(ProjectName, Written)> =
        writes.buffer_unordered(PARALLEL_WRITES).collect().await;
    let mut newest = Revision(0);
    for (name, result) in results {
        match result {
            Written::At(revision) => newest = newest.max(revision),
            Written::Again => {
                agenda.dirty.insert(name);
            }
        }
    }
    // The next pass must count what this one placed.
    shared.cache.until(newest, CATCH_UP).await;
    timer.observe_duration();
    agenda.dirty.is_empty()
}

fn decide(
    shared: &Shared,
    state: &State,
    names: &BTreeSet<ProjectName>,
    now: Timestamp,
    wake_at: &mut BTreeMap<ProjectName, Timestamp>,
) -> Vec<(ProjectName, Batch)> {
    let mut fleet = Cow::Borrowed(state.fleet());
    let mut batches = Vec::new();
    for name in names {
        let Some(project) = state.project(name.as_str()) else {
            wake_at.remove(name);
            continue;
        };
        let world = World {
            now,
            fleet: &fleet,
            stable: state.stable(project).map(|r| &**r),
            patience: shared.config.patience,
        };
        let decision = project::next(project, &world);
        match decision.wake_at {
            Some(at) => wake_at.insert(name.clone(), at),
            None => wake_at.remove(name),
        };
        match decision.action {
            Action::Keep => shared.metrics.count(NAME, "done"),
            Action::Write(status) => {
                let changed = with_status(project, status, now);
                if has_moved(project, &changed) {
                    fleet.to_mut().change(Some(project), Some(&changed));
                }
                batches.push((name.clone(), repo::write_project_status(&changed)));
            }
            Action::Forget => {
                let hosts = state.owned_claims(project, &shared.config.domain);
                tracing::info!(project = %name, "forgotten");
                let stored = state.revisions(name.as_str()).into_iter().flatten();
                let generations = stored.map(|(generation, _)| *generation);
                let batch = repo::delete_project(project, &hosts, generations);
                batches.push((name.clone(), batch));
            }
        }
    }
    batches
}

/// True when a decision changes what is on the nodes.
fn has_moved(before: &Project, after: &Project) -> bool {
    let (before, after) = (&before.status, &after.status);
    before.node_ref != after.node_ref || before.moving != after.moving
}

fn with_status(project: &Project, status: ProjectStatus, now: Timestamp) -> Project {
    let (from, to) = (project.status.phase, status.phase);
    if from != to {
        tracing::info!(project = %project.metadata.name, %from, %to, node = %status.node_ref, "phase");
    }
    let mut changed = project.clone();
    changed.status = status;
    changed.metadata.updated_at = Some(now);
    changed
}
