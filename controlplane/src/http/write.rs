//! How handlers reach the store: commit, then wait until the cache shows it; and read what is
//! not in the cache.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cara_api::problem::code;
use cara_api::{Resource, ResourceVersion};
use cara_store::{Batch, Entry, Key, Listing, Precondition, Revision, Watch, WriteError};

use super::App;
use super::failure::Failure;
use super::rehearse::Mode;
use crate::plan::claims::Claim;
use crate::repo;

/// How long a write may take to show in the cache before the answer is sent anyway.
const VISIBLE_WITHIN: Duration = Duration::from_secs(2);

impl App {
    /// Commits, so that what was written can be read right after the answer.
    /// In a dry run nothing is written; the revision is then zero, which is before the first write.
    pub(super) async fn commit(&self, batch: Batch) -> Result<Revision, WriteError> {
        if self.is_rehearsal() {
            self.rehearse(&batch).await?;
            return Ok(Revision(0));
        }
        let revision = self.shared.store.apply(batch).await?;
        self.shared.cache.until(revision, VISIBLE_WITHIN).await;
        Ok(revision)
    }

    /// True when nothing of what is asked for is kept.
    pub(super) fn is_rehearsal(&self) -> bool {
        self.mode == Mode::Rehearsal
    }

    /// Fails as the batch would fail now.
    async fn rehearse(&self, batch: &Batch) -> Result<(), WriteError> {
        for (key, when, _) in batch.steps() {
            if *when == Precondition::Any {
                continue;
            }
            let found = self.shared.store.get(key.clone()).await;
            let found = found.map_err(|error| WriteError::Unavailable(Arc::new(error)))?;
            let holds = match when {
                Precondition::Any => true,
                Precondition::Absent => found.is_none(),
                Precondition::Present => found.is_some(),
                Precondition::At(revision) => found.is_some_and(|e| e.modified == *revision),
            };
            if !holds {
                return Err(WriteError::Conflict { key: key.clone() });
            }
        }
        Ok(())
    }

    /// The same, at a revision that is greater than `beyond`, too.
    pub(super) async fn commit_beyond(
        &self,
        batch: Batch,
        beyond: Revision,
    ) -> Result<Revision, WriteError> {
        let revision = self.shared.store.apply_beyond(batch, beyond).await?;
        self.shared.cache.until(revision, VISIBLE_WITHIN).await;
        Ok(revision)
    }

    /// Waits until the cache shows what made a write fail.
    pub(super) async fn catch_up(&self) -> Result<(), Failure> {
        let head = self.store_answers().await?;
        self.shared.cache.until(head, VISIBLE_WITHIN).await;
        Ok(())
    }

    /// The newest revision, as a sign that the store is alive.
    pub(super) async fn store_answers(&self) -> Result<Revision, Failure> {
        let head = self.shared.store.head().await;
        head.map_err(|_| Failure::unavailable("the store is unavailable"))
    }

    /// Commits what the cache does not show.
    pub(super) async fn write_beside(&self, batch: Batch) -> Result<Revision, WriteError> {
        self.shared.store.apply(batch).await
    }

    /// What is stored under a key and not cached.
    pub(super) async fn get_stored(&self, key: Key) -> Result<Option<Entry>, Failure> {
        let found = self.shared.store.get(key).await;
        found.map_err(|_| Failure::unavailable("the store is unavailable"))
    }

    /// What is stored under a prefix and not cached.
    pub(super) async fn list_stored(&self, prefix: String) -> Result<Listing, Failure> {
        let listing = self.shared.store.list(prefix, None).await;
        listing.map_err(|_| Failure::unavailable("the store is unavailable"))
    }

    /// A join token as it is stored, if there is one of that id.
    pub(super) async fn stored_token(&self, id: &str) -> Result<Option<Entry>, Failure> {
        let Some(key) = repo::join_token_key(id) else {
            return Ok(None);
        };
        let read = self.shared.store.get(key).await;
        read.map_err(|_| Failure::unavailable("the store is unavailable"))
    }

    /// Every later change of what is stored under a prefix.
    pub(super) fn watch_stored(&self, prefix: String, after: Revision) -> Watch {
        self.shared.store.watch(prefix, after)
    }

    /// 503 until everything was read from the store once.
    pub(super) fn must_be_live(&self) -> Result<(), Failure> {
        if self.shared.cache.is_live() {
            return Ok(());
        }
        Err(Failure::unavailable(
            "the server is starting, or its store is unavailable: try again",
        ))
    }

    /// The answer for a claim that another project holds.
    pub(super) fn claim_taken(&self, key: &Key) -> Option<Failure> {
        let claim = repo::claim_of(key.as_str())?;
        let owner = self
            .shared
            .cache
            .read(|state| state.claims().get(&claim).cloned());
        let owner = owner.map_or_else(
            || "another project".to_owned(),
            |name| format!("project {:?}", name.as_str()),
        );
        let taken = Failure::conflict(format!("{claim} is already used by {owner}"));
        Some(taken.coded(code::HOST_TAKEN))
    }

    /// Refuses claims that other projects hold as far as the cache knows, and names them all; of
    /// those that are taken meanwhile, the write finds the first.
    pub(super) fn must_be_free(
        &self,
        claims: &BTreeSet<Claim>,
        project: &str,
    ) -> Result<(), Failure> {
        let taken: Vec<String> = self.shared.cache.read(|state| {
            let owned = claims
                .iter()
                .filter_map(|claim| Some((claim, state.claims().get(claim)?.as_str())));
            let others = owned.filter(|(_, owner)| *owner != project);
            others
                .map(|(claim, owner)| format!("{claim} is already used by project {owner:?}"))
                .collect()
        });
        match taken.is_empty() {
            true => Ok(()),
            false => Err(Failure::conflict(taken.join("; ")).coded(code::HOST_TAKEN)),
        }
    }
}

/// The object with the revision at which it was written; as it was, if that was only tried.
pub(super) fn at<T: Resource>(mut object: T, revision: Revision) -> T {
    if revision != Revision(0) {
        object.meta_mut().resource_version = ResourceVersion(revision.0);
    }
    object
}
