//! The thread that writes: checks preconditions, groups commits, forgets old history.

use std::collections::BTreeSet;
use std::sync::Arc;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot, watch};

use super::reader::{compacted, newest, newest_revision, to_sql};
use super::{OpenError, Options};
use crate::{Batch, Precondition, Revision, Step, WriteError};

/// Requests that may wait for the writer; more wait in their callers.
pub(super) const QUEUE: usize = 1_024;
/// Requests that one transaction takes.
const GROUP_MAX: usize = 256;
/// History is cut after this many new revisions.
const COMPACT_EVERY: u64 = 1_000;

type Reply<T> = oneshot::Sender<Result<T, WriteError>>;

/// What callers ask for.
pub(super) enum Request {
    Apply {
        batch: Batch,
        /// Its revision is greater than this one, too.
        beyond: Revision,
        reply: Reply<Revision>,
    },
    Compact {
        revision: Revision,
        reply: Reply<()>,
    },
}

struct Metrics {
    commit_seconds: Histogram,
    batches: IntCounter,
    conflicts: IntCounter,
    revision: IntGauge,
}

impl Metrics {
    fn register(registry: &Registry) -> prometheus::Result<Self> {
        let buckets = prometheus::exponential_buckets(0.000_25, 2.0, 14)?;
        let commit = HistogramOpts::new(
            "cara_store_commit_seconds",
            "Duration of a commit to the store",
        )
        .buckets(buckets);
        let metrics = Self {
            commit_seconds: Histogram::with_opts(commit)?,
            batches: IntCounter::new("cara_store_batches_total", "Batches written to the store")?,
            conflicts: IntCounter::new(
                "cara_store_conflicts_total",
                "Batches refused for a precondition",
            )?,
            revision: IntGauge::new("cara_store_revision", "Newest revision of the store")?,
        };
        registry.register(Box::new(metrics.commit_seconds.clone()))?;
        registry.register(Box::new(metrics.batches.clone()))?;
        registry.register(Box::new(metrics.conflicts.clone()))?;
        registry.register(Box::new(metrics.revision.clone()))?;
        Ok(metrics)
    }
}

/// Owner of the writing connection.
pub(super) struct Writer {
    connection: Connection,
    head: watch::Sender<Revision>,
    compacted: Revision,
    /// The head before and after the last batch that left revisions out.
    leap: Option<(Revision, Revision)>,
    options: Options,
    metrics: Metrics,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        options: Options,
        registry: &Registry,
    ) -> Result<(Self, watch::Receiver<Revision>), OpenError> {
        let newest = newest_revision(&connection)?;
        let compacted = compacted(&connection)?;
        let (head, receiver) = watch::channel(newest);
        let metrics = Metrics::register(registry).expect("the store's metrics are registered once");
        metrics.revision.set(to_sql(newest));
        Ok((
            Self {
                connection,
                head,
                compacted,
                leap: None,
                options,
                metrics,
            },
            receiver,
        ))
    }

    /// Serves requests until every sender is gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        while let Some(first) = queue.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP_MAX {
                let Ok(next) = queue.try_recv() else { break };
                group.push(next);
            }
            self.serve(group);
            self.forget_old_history();
        }
    }

    fn serve(&mut self, group: Vec<Request>) {
        let mut applies = Vec::with_capacity(group.len());
        for request in group {
            match request {
                Request::Apply {
                    batch,
                    beyond,
                    reply,
                } => applies.push(((batch, beyond), reply)),
                Request::Compact { revision, reply } => {
                    let done = self.compact(revision).map_err(unavailable);
                    // A caller that went away needs no answer, here and below.
                    let _ = reply.send(done);
                }
            }
        }
        if applies.is_empty() {
            return;
        }
        let (batches, replies): (Vec<(Batch, Revision)>, Vec<Reply<Revision>>) =
            applies.into_iter().unzip();
        let timer = self.metrics.commit_seconds.start_timer();
        let committed = self.commit(&batches);
        timer.observe_duration();
        match committed {
            Ok((results, newest)) => {
                let last = *self.head.borrow();
                // A batch takes one revision at most.
                if newest.0.saturating_sub(last.0) > results.len() as u64 {
                    self.leap = Some((last, newest));
                }
                self.metrics.revision.set(to_sql(newest));
                self.head
                    .send_if_modified(|head| std::mem::replace(head, newest) != newest);
                for (reply, result) in replies.into_iter().zip(results) {
                    match &result {
                        Ok(_) => self.metrics.batches.inc(),
                        Err(_) => self.metrics.conflicts.inc(),
                    }
                    let _ = reply.send(result);
                }
            }
            Err(error) => {
                tracing::error!(error = %error, batches = batches.len(), "commit to the store failed");
                let error = unavailable(error);
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// Each batch's result, and the new head.
    fn commit(
        &mut self,
        batches: &[(Batch, Revision)],
    ) -> rusqlite::Result<(Vec<Result<Revision, WriteError>>, Revision)> {
        let mut head = *self.head.borrow();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut results = Vec::with_capacity(batches.len());
        for (batch, beyond) in batches {
            results.push(apply(&transaction, batch, *beyond, &mut head)?);
        }
        transaction.commit()?;
        Ok((results, head))
    }

    fn forget_old_history(&mut self) {
        let keep_from = keep_from(*self.head.borrow(), self.leap, self.options.history);
        if keep_from.0 < self.compacted.0.saturating_add(COMPACT_EVERY) {
            return;
        }
        if let Err(error) = self.compact(keep_from) {
            tracing::warn!(error = %error, "cannot forget old history; trying again later");
        }
    }

    fn compact(&mut self, revision: Revision) -> rusqlite::Result<()> {
        let up_to = revision.min(*self.head.borrow());
        if up_to <= self.compacted {
            return Ok(());
        }
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "DELETE FROM log WHERE revision <= ?1 AND (value IS NULL OR EXISTS
                 (SELECT 1 FROM log AS newer
                  WHERE newer.key = log.key AND newer.revision > log.revision AND newer.revision <= ?1))",
            [to_sql(up_to)],
        )?;
        transaction.execute(
            "UPDATE state SET value = ?1 WHERE name = 'compacted'",
            [to_sql(up_to)],
        )?;
        transaction.commit()?;
        self.compacted = up_to;
        Ok(())
    }
}

fn unavailable(error: rusqlite::Error) -> WriteError {
    WriteError::Unavailable(Arc::new(error))
}

/// Applies one batch inside the transaction; a refused batch leaves no row behind.
fn apply(
    transaction: &Transaction<'_>,
    batch: &Batch,
    beyond: Revision,
    head: &mut Revision,
) -> rusqlite::Result<Result<Revision, WriteError>> {
    let mut seen = BTreeSet::new();
    let mut rows = Vec::with_capacity(batch.steps().len());
    for (key, when, step) in batch.steps() {
        if !seen.insert(key) {
            return Ok(Err(WriteError::DuplicateKey { key: key.clone() }));
        }
        let current = newest(transaction, key.as_str())?.filter(|(_, _, is_live)| *is_live);
        let holds = match when {
            Precondition::Any => true,
            Precondition::Absent => current.is_none(),
            Precondition::Present => current.is_some(),
            Precondition::At(revision) => {
                current.is_some_and(|(modified, _, _)| modified == *revision)
            }
        };
        if !holds {
            return Ok(Err(WriteError::Conflict { key: key.clone() }));
        }
        let created = current.map(|(_, created, _)| created);
        match (step, created) {
            (Step::Require, _) | (Step::Delete, None) => {}
            (Step::Put(value), created) => rows.push((key, Some(value.as_ref()), created)),
            (Step::Delete, created @ Some(_)) => rows.push((key, None, created)),
        }
    }
    if rows.is_empty() {
        return Ok(Ok(*head));
    }
    let revision = Revision(head.0.max(beyond.0).saturating_add(1));
    let mut insert = transaction.prepare_cached("INSERT INTO log VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (seq, (key, value, created)) in (0_i64..).zip(rows) {
        let created = created.unwrap_or(revision);
        insert.execute(params![
            to_sql(revision),
            seq,
            key.as_str(),
            value,
            to_sql(created)
        ])?;
    }
    *head = revision;
    Ok(Ok(revision))
}

/// The revision up to which nothing is kept but the newest values: `history` revisions before the
/// head. Those that a leap left out do not count, or all who watch would lose their place by it.
fn keep_from(head: Revision, leap: Option<(Revision, Revision)>, history: u64) -> Revision {
    match leap {
        Some((before, after)) if head.0.saturating_sub(after.0) < history => {
            let since = head.0.saturating_sub(after.0);
            Revision(before.0.saturating_sub(history.saturating_sub(since)))
        }
        _ => Revision(head.0.saturating_sub(history)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leap_forgets_no_history() {
        let leap = Some((Revision(500), Revision(9_000)));
        for (head, leap, expected) in [
            (50, None, 0),
            (500, None, 400),
            (9_000, leap, 400),
            (9_060, leap, 460),
            (9_099, leap, 499),
            (9_100, leap, 9_000),
            (9_300, leap, 9_200),
        ] {
            let kept = keep_from(Revision(head), leap, 100);
            assert_eq!(kept, Revision(expected), "{head} {leap:?}");
        }
    }
}
