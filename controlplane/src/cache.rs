//! All objects in memory, fed by one watch of the store.
//!
//! Reads are served from here. The recent history is kept as well, so that watchers and
//! reconcilers ask "what changed since revision N" instead of holding queues of their own; one
//! that falls behind the history is told so and reads everything again.

mod access;
mod follow;
mod history;
mod map;
mod state;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use cara_store::Revision;
use tokio::sync::watch;

pub(crate) use access::{Access, tokens_of};
pub(crate) use follow::follow;
pub(crate) use history::{Change, Object, TooOld};
pub(crate) use state::State;

/// The objects at one revision, and how they came there.
pub(crate) struct Cache {
    // Written by the follower alone; readers hold it for one lookup or one pure decision.
    state: RwLock<State>,
    head: watch::Sender<Revision>,
    /// The newest revision that changed more than the history of events: what reads objects is
    /// not woken by what is only told about them.
    news: watch::Sender<Revision>,
    is_live: AtomicBool,
}

impl Cache {
    pub(crate) fn new() -> Self {
        let (head, _) = watch::channel(Revision(0));
        let (news, _) = watch::channel(Revision(0));
        Self {
            state: RwLock::new(State::default()),
            head,
            news,
            is_live: AtomicBool::new(false),
        }
    }

    /// Looks at a consistent state. The closure must be short: writers wait for it.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells of every new revision that changed an object, the current one first.
    pub(crate) fn heads(&self) -> watch::Receiver<Revision> {
        let mut heads = self.news.subscribe();
        heads.mark_changed();
        heads
    }

    /// Tells of every new revision, also of those that changed no object.
    pub(crate) fn revisions(&self) -> watch::Receiver<Revision> {
        self.head.subscribe()
    }

    /// True once everything was read and while the store's watch lives.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live.load(Ordering::Acquire) && self.read(State::is_whole)
    }

    /// Waits until the cache shows `revision`, so that a writer reads its own write. False when
    /// the deadline passed: the write is durable, only not visible here yet.
    pub(crate) async fn until(&self, revision: Revision, deadline: Duration) -> bool {
        let mut heads = self.head.subscribe();
        let reached = heads.wait_for(|head| *head >= revision);
        tokio::time::timeout(deadline, reached)
            .await
            .is_ok_and(|r| r.is_ok())
    }

    /// The newest revision that changed an object.
    pub(crate) fn newest_change(&self) -> Revision {
        *self.news.borrow()
    }

    /// Takes in the changes of a revision; `has_news` says whether any object is among them.
    fn update(&self, revision: Revision, has_news: bool, change: impl FnOnce(&mut State)) {
        {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            change(&mut state);
            state.set_revision(revision);
        }
        // Who waits for the head finds that this was news, if it was.
        if has_news {
            self.news.send_replace(revision);
        }
        self.head.send_replace(revision);
    }

    fn set_live(&self, is_live: bool) {
        if self.is_live.swap(is_live, Ordering::AcqRel) != is_live {
            // Whoever waited for this looks again.
            self.news.send_modify(|_| {});
        }
    }
}
