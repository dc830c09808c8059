//! Reports on their way to the control plane.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use cara_api::ProjectName;
use cara_api::agent::Report;
use tokio::sync::Notify;

/// Reports that go into one request: with the last lines of logs in them a hundred stay well below
/// what the control plane takes in one body.
const AT_ONCE: usize = 100;

/// The latest report of each project, and which ones the control plane does not have yet.
#[derive(Default)]
pub(crate) struct Outbox {
    // Held for map operations only.
    state: Mutex<OutboxState>,
    news: Notify,
}

#[derive(Default)]
struct OutboxState {
    latest: BTreeMap<ProjectName, Report>,
    unsent: BTreeSet<ProjectName>,
    /// Taken to be sent; the answer is still out.
    sending: BTreeSet<ProjectName>,
}

impl Outbox {
    /// Takes a report, if it says something new.
    pub(crate) fn put(&self, report: Report) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.latest.get(&report.project) == Some(&report) {
            return;
        }
        state.unsent.insert(report.project.clone());
        state.latest.insert(report.project.clone(), report);
        drop(state);
        self.news.notify_one();
    }

    /// Forgets a project that is no longer assigned.
    pub(crate) fn forget(&self, project: &ProjectName) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.latest.remove(project);
        state.unsent.remove(project);
    }

    /// Sends everything again: the control plane may have lost it.
    pub(crate) fn mark_all(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.unsent = state.latest.keys().cloned().collect();
        drop(state);
        self.news.notify_one();
    }

    /// Whether the control plane has the latest report of a project.
    pub(crate) fn is_delivered(&self, project: &ProjectName) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.latest.contains_key(project)
            && !state.unsent.contains(project)
            && !state.sending.contains(project)
    }

    /// Notes that what was taken arrived. More may be waiting.
    pub(crate) fn delivered(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sending.clear();
        let is_more = !state.unsent.is_empty();
        drop(state);
        if is_more {
            self.news.notify_one();
        }
    }

    /// Waits until there may be something to send.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Makes [`Outbox::news`] return again.
    pub(crate) fn retry(&self) {
        self.news.notify_one();
    }

    /// Takes what the control plane does not have yet.
    pub(crate) fn take(&self) -> Vec<Report> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let names: BTreeSet<ProjectName> = state.unsent.iter().take(AT_ONCE).cloned().collect();
        state.unsent.retain(|name| !names.contains(name));
        state.sending.clone_from(&names);
        names
            .iter()
            .filter_map(|name| state.latest.get(name))
            .cloned()
            .collect()
    }

    /// Returns what could not be sent. A newer report of the same project takes its place.
    pub(crate) fn put_back(&self, reports: &[Report]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let names = reports.iter().map(|r| r.project.clone());
        let known: Vec<ProjectName> = names
            .filter(|name| state.latest.contains_key(name))
            .collect();
        state.unsent.extend(known);
        state.sending.clear();
    }
}
