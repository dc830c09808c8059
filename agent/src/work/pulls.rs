//! Pulls that go on beside the rounds of a project.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tracing::Instrument;

use super::{Shared, lock, note_result};
use crate::plan::{Action, Wanted};
use crate::runtime::{Engine, Error};

/// Shortest time between two reports of a pull's progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// The pulls of one project; dropping it ends them.
pub(super) struct Pulls {
    engine: Arc<Engine>,
    memory: Shared,
    news: Arc<Notify>,
    running: JoinSet<(Action, Result<(), Error>)>,
    images: BTreeMap<String, AbortHandle>,
}

impl Pulls {
    pub(super) fn new(engine: Arc<Engine>, memory: Shared, news: Arc<Notify>) -> Self {
        Self {
            engine,
            memory,
            news,
            running: JoinSet::new(),
            images: BTreeMap::new(),
        }
    }

    /// Starts a pull, unless the image is being pulled already.
    pub(super) fn start(&mut self, pull: Action) {
        let Action::Pull { image, .. } = &pull else {
            return;
        };
        let image = image.clone();
        if self.images.contains_key(&image) {
            return;
        }
        lock(&self.memory).set_pulling(&image, "starting".to_owned());
        let (engine, memory, news) = (
            Arc::clone(&self.engine),
            Arc::clone(&self.memory),
            Arc::clone(&self.news),
        );
        let name = image.clone();
        let task = async move {
            let mut told_at: Option<Instant> = None;
            let tell = |progress: String| {
                lock(&memory).set_pulling(&name, progress);
                if told_at.is_none_or(|at| at.elapsed() >= PROGRESS_EVERY) {
                    told_at = Some(Instant::now());
                    news.notify_one();
                }
            };
            let result = engine.pull(&name, tell).await;
            (pull, result)
        };
        let handle = self.running.spawn(task.in_current_span());
        self.images.insert(image, handle);
    }

    /// Waits until a pull ended; for ever when there is none. Cancel-safe.
    pub(super) async fn one_ended(&mut self) {
        match self.running.join_next().await {
            Some(ended) => self.note(ended),
            None => std::future::pending().await,
        }
    }

    /// Takes in the pulls that ended, and ends those of images that nobody wants any more.
    pub(super) fn settle(&mut self, wanted: &Wanted) {
        while let Some(ended) = self.running.try_join_next() {
            self.note(ended);
        }
        let is_wanted = |image: &String| wanted.services.iter().any(|s| s.image == *image);
        let memory = &self.memory;
        self.images.retain(|image, handle| {
            let keep = is_wanted(image);
            if !keep {
                handle.abort();
                lock(memory).set_pulling(image, String::new());
            }
            keep
        });
    }

    fn note(&mut self, ended: Result<(Action, Result<(), Error>), tokio::task::JoinError>) {
        match ended {
            Ok((pull, result)) => {
                if let Action::Pull { image, .. } = &pull {
                    self.images.remove(image);
                    lock(&self.memory).set_pulling(image, String::new());
                }
                note_result(&self.memory, &pull, result);
            }
            Err(error) if error.is_cancelled() => {}
            Err(error) => tracing::error!(error = %error, "a pull panicked"),
        }
    }
}
