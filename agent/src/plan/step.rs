//! What to do next.
//!
//! A step is a set of actions that can run at the same time, beside those that are under way.
//! After each one the engine is looked at again, and the next step follows from what it shows;
//! an action that was cut off or failed is simply decided again.
//!
//! How a service is replaced:
//!
//! ```text
//! image missing            pull, the old container runs on
//! writes to a volume       remove old -> run new
//! else, old one serves     run new beside it -> new ready, reported -> drain -> remove old -> rename
//! ```

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cara_api::agent::Goal;
use cara_api::project::RestartPolicy;

use super::action::{Action, Step};
use super::{Container, ContainerState, Memory, Observed, Presence, Subject, View, Wanted};

/// Older containers of a service that may run while a new one starts: one that serves, and one
/// that it replaced a moment ago.
const OLD_MAX: usize = 3;
/// How soon to look again while a report is on its way.
const DELIVERY: Duration = Duration::from_millis(100);

/// What to do next for a project.
pub fn next(wanted: &Wanted, observed: &Observed, memory: &Memory, now: Instant) -> Step {
    let mut step = Step::default();
    let duplicates = &observed.duplicate_networks;
    let actions = match wanted.goal {
        _ if !duplicates.is_empty() => duplicates
            .iter()
            .cloned()
            .map(Action::RemoveDuplicate)
            .collect(),
        Goal::Run | Goal::Remove if has_earlier(observed) => remove_earlier(observed),
        Goal::Run => run(wanted, observed, memory, now, &mut step),
        Goal::Remove => remove(observed, wanted.reported.is_some()),
    };
    for action in actions {
        let subject = action.subject();
        step.subjects.insert(subject.clone());
        let is_pulled =
            matches!(&action, Action::Pull { image, .. } if memory.pulling(image).is_some());
        if is_pulled || memory.is_busy(&subject) {
            continue;
        }
        match blocked_until(&action, memory, now) {
            Some(until) => step.wake(until),
            None => step.actions.push(action),
        }
    }
    step
}

/// Until when an action must wait because it failed, or because its container exited.
fn blocked_until(action: &Action, memory: &Memory, now: Instant) -> Option<Instant> {
    let failed = memory.failure(&action.subject()).map(|f| f.retry_at);
    let exited = match action {
        Action::Start { service, .. } => memory.exit(service).map(|e| e.failure.retry_at),
        _ => None,
    };
    let away = memory.waits_for_engine(&action.subject());
    failed.max(exited).max(away).filter(|at| *at > now)
}

fn run(
    wanted: &Wanted,
    observed: &Observed,
    memory: &Memory,
    now: Instant,
    step: &mut Step,
) -> Vec<Action> {
    let mut actions = Vec::new();
    if observed.network == Presence::Absent {
        actions.push(Action::CreateNetwork);
    }
    let volume = |name: &str| observed.volumes.get(name).copied().unwrap_or_default();
    let absent = wanted
        .volumes
        .iter()
        .filter(|(name, _)| volume(name) == Presence::Absent);
    actions.extend(absent.map(|(name, life)| Action::CreateVolume(name.clone(), *life)));
    let views: Vec<View<'_>> = wanted
        .services
        .iter()
        .map(|service| View::of(service, observed))
        .collect();
    // A rollout may be taken back: what the earlier generation needs goes when the newer one runs
    // and the control plane knows.
    let is_settled = views
        .iter()
        .all(|view| view.is_ready(memory) || view.is_completed(memory));
    if !wanted.is_rollout || (is_settled && memory.delivered_at().is_some()) {
        actions.extend(extras(wanted, observed));
    } else if is_settled {
        step.wake(now + DELIVERY);
    }
    let mut pulled = BTreeSet::new();
    for view in &views {
        let context = Context {
            wanted,
            observed,
            memory,
            views: &views,
            now,
        };
        match context.service_action(view, step) {
            Some(Action::Pull { image, .. }) if !pulled.insert(image.clone()) => {}
            Some(action) => actions.push(action),
            None => {}
        }
    }
    let is_quiet = actions.is_empty() && is_settled && views.iter().all(|v| v.old.is_empty());
    if is_quiet {
        let is_extra = |name: &&String| {
            !wanted.volumes.contains_key(*name)
                && volume(name) == Presence::Ours
                && !observed.persistent.contains(*name)
        };
        let mut extra = observed.volumes.keys().filter(is_extra).peekable();
        if memory.delivered_at().is_some() {
            actions.extend(extra.cloned().map(Action::RemoveVolume));
        } else if extra.peek().is_some() {
            step.wake(now + DELIVERY);
        }
    }
    actions
}

/// Containers of the project whose service is no longer in the spec.
fn extras<'a>(wanted: &'a Wanted, observed: &'a Observed) -> impl Iterator<Item = Action> + 'a {
    let found = observed
        .containers
        .iter()
        .filter(|(_, c)| c.is_ours && wanted.service(&c.service).is_none());
    found.map(|(name, c)| extra(name, c))
}

fn extra(name: &str, container: &Container) -> Action {
    Action::Remove {
        name: name.to_owned(),
        id: container.id.clone(),
        grace: container.stop_grace,
    }
}

/// What the decision about one service is made from.
struct Context<'a> {
    wanted: &'a Wanted,
    observed: &'a Observed,
    memory: &'a Memory,
    views: &'a [View<'a>],
    now: Instant,
}

impl Context<'_> {
    fn service_action(&self, view: &View<'_>, step: &mut Step) -> Option<Action> {
        match view.new {
            Some((name, container)) => self
                .keep_up(view, container, step)
                .or_else(|| self.finish_replacing(view, name, container, step)),
            None if view.is_taken && view.old.is_empty() => None,
            None => self.create(view),
        }
    }

    /// The container of the wanted definition does not exist.
    fn create(&self, view: &View<'_>) -> Option<Action> {
        let service = view.service;
        let name = || service.name.clone();
        if self.observed.images.get(&service.definition.image) == Some(&false) {
            return Some(Action::Pull {
                service: name(),
                image: service.definition.image.clone(),
            });
        }
        if !service.missing.is_empty() || !self.may_start(view) {
            return None;
        }
        // An engine makes a volume that is missing by itself, without labels, and mounts one of
        // somebody else without a word.
        let is_volume_there = |name: &str| self.observed.volumes.get(name) == Some(&Presence::Ours);
        if !service.definition.volumes().all(is_volume_there) {
            return None;
        }
        if let Some((old_name, old)) = self.least_useful(view) {
            if old.is_running() && !service.is_exclusive && view.old.len() < OLD_MAX {
                return (self.observed.network == Presence::Ours)
                    .then(|| Action::RunBeside(name()));
            }
            return Some(extra(old_name, old));
        }
        match self.observed.network {
            Presence::Ours => Some(Action::Run(name())),
            // The network is made in the same step; starting waits for it. One that is being made
            // since an earlier step comes with the next look.
            Presence::Absent if !self.memory.is_busy(&Subject::Network) => {
                Some(Action::Make(name()))
            }
            Presence::Absent | Presence::Earlier | Presence::Foreign => None,
        }
    }

    /// Whether an older container is not needed although the new one is not ready: another older
    /// one serves, for long enough that nobody is sent here any more.
    fn is_spare(&self, view: &View<'_>, old: &Container, step: &mut Step) -> bool {
        let serving = view.serving(self.memory).filter(|c| c.id != old.id);
        let Some(serving) = serving.filter(|c| view.is_container_ready(c, self.memory)) else {
            return false;
        };
        let Some(delivered_at) = self.memory.delivered_at() else {
            step.wake(self.now + DELIVERY);
            return false;
        };
        // How long it runs says nothing: it may have taken over a moment ago.
        let memory = self.memory;
        let since = memory.serving_since(&view.service.name, &serving.start());
        let due = since.unwrap_or(self.now).max(delivered_at) + self.wanted.timing.drain;
        if due > self.now {
            step.wake(due);
        }
        due <= self.now
    }

    /// The older container that is to go first: one that serves goes last.
    fn least_useful<'v>(&self, view: &View<'v>) -> Option<(&'v str, &'v Container)> {
        let use_of = |c: &Container| {
            let is_ready = view.is_container_ready(c, self.memory);
            let has_served = view.served_last(c, self.memory);
            (c.is_running(), is_ready, has_served, c.started_at.clone())
        };
        view.old.iter().copied().min_by_key(|(_, c)| use_of(c))
    }

    /// Whether the services that this one depends on have come far enough.
    fn may_start(&self, view: &View<'_>) -> bool {
        view.service.depends_on.iter().all(|(name, until)| {
            let other = self.views.iter().find(|v| v.service.name == *name);
            other.is_none_or(|other| other.has_come(*until, self.memory))
        })
    }

    /// Keeps the container of the wanted definition up, as its restart policy asks for.
    fn keep_up(&self, view: &View<'_>, container: &Container, step: &mut Step) -> Option<Action> {
        let service = view.service;
        let start = || Action::Start {
            service: service.name.clone(),
            id: container.id.clone(),
        };
        match container.state {
            ContainerState::Running { since } => {
                let left = view.probation(self.memory).saturating_sub(since);
                if !left.is_zero() {
                    step.wake(self.now + left);
                }
                let is_condemned = self.memory.health.condemned(&container.start()).is_some();
                is_condemned.then(|| Action::Stop {
                    service: service.name.clone(),
                    id: container.id.clone(),
                    grace: container.stop_grace,
                })
            }
            ContainerState::Other => None,
            _ if self.observed.network != Presence::Ours => None,
            // What writes to the same volume goes first.
            _ if service.is_exclusive && !view.old.is_empty() => None,
            ContainerState::Created => self.may_start(view).then(start),
            ContainerState::Exited { .. } if self.memory.is_excused(&container.start()) => {
                Some(start())
            }
            // Stopped for a check that failed: it did not end as it should, whatever its code is.
            ContainerState::Exited { .. }
                if service.restart == RestartPolicy::OnFailure
                    && self.memory.health.condemned(&container.start()).is_some() =>
            {
                Some(start())
            }
            ContainerState::Exited { code, .. } => {
                let is_over = match service.restart {
                    RestartPolicy::Always => false,
                    RestartPolicy::OnFailure => code == 0,
                    RestartPolicy::Never => true,
                };
                (!is_over).then(start)
            }
            // One on its way out does not count as the wanted one.
            ContainerState::Dead => None,
        }
    }

    /// Removes older containers when their time is over, then takes over their name.
    fn finish_replacing(
        &self,
        view: &View<'_>,
        name: &str,
        container: &Container,
        step: &mut Step,
    ) -> Option<Action> {
        let service = view.service;
        let Some((old_name, old)) = self.least_useful(view) else {
            let is_free = !self.observed.containers.contains_key(&service.container);
            return (name != service.container && is_free).then(|| Action::Rename {
                service: service.name.clone(),
                id: container.id.clone(),
            });
        };
        if service.is_exclusive || !old.is_running() {
            return Some(extra(old_name, old));
        }
        if !view.is_ready(self.memory) && !view.is_completed(self.memory) {
            return self.is_spare(view, old, step).then(|| extra(old_name, old));
        }
        // Requests go elsewhere from the moment at which the control plane knows of the new one.
        let Some(delivered_at) = self.memory.delivered_at() else {
            step.wake(self.now + DELIVERY);
            return None;
        };
        let switched_at = self.memory.switched_at(&service.name).unwrap_or(self.now);
        let due = switched_at.max(delivered_at) + self.wanted.timing.drain;
        if due > self.now {
            step.wake(due);
            return None;
        }
        Some(extra(old_name, old))
    }
}

/// Whether anything is left of an earlier project of the same name.
pub(super) fn has_earlier(observed: &Observed) -> bool {
    observed.network == Presence::Earlier
        || observed.containers.values().any(|c| c.is_earlier)
        || observed.volumes.values().any(|v| *v == Presence::Earlier)
}

/// Takes away what an earlier project of the same name left: nothing of it is used again.
fn remove_earlier(observed: &Observed) -> Vec<Action> {
    let containers = observed.containers.iter().filter(|(_, c)| c.is_earlier);
    let containers: Vec<Action> = containers.map(|(name, c)| extra(name, c)).collect();
    if !containers.is_empty() {
        return containers;
    }
    let volumes = observed.volumes.iter();
    let volumes = volumes.filter(|(_, presence)| **presence == Presence::Earlier);
    let mut actions: Vec<Action> = volumes
        .map(|(name, _)| Action::RemoveVolume(name.clone()))
        .collect();
    if observed.network == Presence::Earlier {
        actions.push(Action::RemoveNetwork);
    }
    actions
}

/// Takes everything away; of a project that is no longer assigned, all but Persistent volumes.
fn remove(observed: &Observed, is_deleted: bool) -> Vec<Action> {
    let ours = observed.containers.iter().filter(|(_, c)| c.is_ours);
    let containers: Vec<Action> = ours.map(|(name, c)| extra(name, c)).collect();
    if !containers.is_empty() {
        return containers;
    }
    let volumes = observed.volumes.iter().filter(|(name, presence)| {
        **presence == Presence::Ours && (is_deleted || !observed.persistent.contains(*name))
    });
    let mut actions: Vec<Action> = volumes
        .map(|(name, _)| Action::RemoveVolume(name.clone()))
        .collect();
    if observed.network == Presence::Ours {
        actions.push(Action::RemoveNetwork);
    }
    actions
}

/// Projects that left something on the engine although they are not assigned to this node.
pub fn orphans(found: BTreeSet<String>, assigned: &BTreeSet<String>) -> Vec<String> {
    found
        .into_iter()
        .filter(|name| !assigned.contains(name))
        .collect()
}

#[cfg(test)]
mod tests;
