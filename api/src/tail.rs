//! Requests as they end, for those who look on: between a gateway and an API server in one
//! process.
//!
//! Costs a gateway one load of an atomic while nobody listens. Each listener has a queue of its
//! own; what does not fit is counted, and the listener is told. It refuses to know what a line
//! says: gateways render it, with secrets left out, as they do for their access log.

mod filter;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc;

pub use filter::{BadStatus, Filter, Statuses};

/// Listeners that there may be at once.
pub const LISTENERS_MAX: usize = 32;
/// Lines that may wait for one listener.
const QUEUE: usize = 1_024;

/// Where gateways hand over requests that ended.
#[derive(Debug, Default)]
pub struct Feed {
    is_wanted: AtomicBool,
    // Held to hand a line to all listeners, which never waits.
    listeners: Mutex<Vec<Listener>>,
    next_id: AtomicU64,
}

#[derive(Debug)]
struct Listener {
    id: u64,
    filter: Filter,
    queue: mpsc::Sender<Bytes>,
    lost: Arc<AtomicU64>,
}

/// As many listen as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{LISTENERS_MAX} others are looking on already")]
pub struct TooMany;

/// What a listener gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A request: a JSON object with its newline.
    Line(Bytes),
    /// So many requests did not fit into the queue.
    Lost(u64),
}

/// What filters look at.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The host, normalised; empty when the request named none.
    pub host: &'a str,
    /// The project whose rule took it; empty when none did.
    pub project: &'a str,
    /// The status of the answer; 0 when none was sent.
    pub status: u16,
}

impl Feed {
    /// True while somebody listens.
    pub fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// Hands a request to those who want it; `render` is asked once, and only then.
    pub fn publish(&self, about: About<'_>, render: impl FnOnce() -> Bytes) {
        let listeners = self.lock();
        let mut wanted = listeners.iter().filter(|l| l.filter.selects(about));
        let Some(first) = wanted.next() else { return };
        let line = render();
        for listener in std::iter::once(first).chain(wanted) {
            if listener.queue.try_send(line.clone()).is_err() {
                listener.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Listens from now on, until the result is dropped.
    ///
    /// # Errors
    /// [`LISTENERS_MAX`] others do already.
    pub fn listen(self: &Arc<Self>, filter: Filter) -> Result<Lines, TooMany> {
        let (queue, lines) = mpsc::channel(QUEUE);
        let lost = Arc::default();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let listener = Listener {
            id,
            filter,
            queue,
            lost: Arc::clone(&lost),
        };
        let mut listeners = self.lock();
        if listeners.len() >= LISTENERS_MAX {
            return Err(TooMany);
        }
        listeners.push(listener);
        self.is_wanted.store(true, Ordering::Relaxed);
        drop(listeners);
        Ok(Lines {
            feed: Arc::clone(self),
            id,
            lines,
            lost,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Listener>> {
        self.listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The requests that one listener gets.
#[derive(Debug)]
pub struct Lines {
    feed: Arc<Feed>,
    id: u64,
    lines: mpsc::Receiver<Bytes>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// What comes next. Cancel-safe.
    pub async fn next(&mut self) -> Item {
        // The queue was full, so there are lines from before the loss; it is told among them.
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            return Item::Lost(lost);
        }
        match self.lines.recv().await {
            Some(line) => Item::Line(line),
            // The feed keeps the other end until this is dropped.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let mut listeners = self.feed.lock();
        listeners.retain(|listener| listener.id != self.id);
        let is_wanted = !listeners.is_empty();
        self.feed.is_wanted.store(is_wanted, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: About<'_> = About {
        host: "shop.dev.localhost",
        project: "shop",
        status: 200,
    };

    fn line(text: &'static str) -> impl FnOnce() -> Bytes {
        move || Bytes::from_static(text.as_bytes())
    }

    #[tokio::test]
    async fn a_listener_gets_what_it_asked_for() {
        let feed = Arc::new(Feed::default());
        assert!(!feed.is_wanted());
        feed.publish(SHOP, || panic!("nobody listens"));
        let of = |project: &str| Filter {
            project: Some(project.to_owned()),
            ..Filter::default()
        };
        let mut shop = feed.listen(of("shop")).expect("room");
        let blog = feed.listen(of("blog")).expect("room");
        assert!(feed.is_wanted());
        feed.publish(SHOP, line("1"));
        assert_eq!(shop.next().await, Item::Line(Bytes::from_static(b"1")));
        drop(shop);
        feed.publish(SHOP, || panic!("nobody wants it"));
        assert!(feed.is_wanted());
        drop(blog);
        assert!(!feed.is_wanted());
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_how_many_it_lost() {
        let feed = Arc::new(Feed::default());
        let mut lines = feed.listen(Filter::default()).expect("room");
        for _ in 0..QUEUE + 7 {
            feed.publish(SHOP, line("x"));
        }
        assert_eq!(lines.next().await, Item::Lost(7));
        assert_eq!(lines.next().await, Item::Line(Bytes::from_static(b"x")));
    }

    #[test]
    fn there_is_a_limit_to_listeners() {
        let feed = Arc::new(Feed::default());
        let all: Vec<Lines> = (0..LISTENERS_MAX)
            .map(|_| feed.listen(Filter::default()).expect("room"))
            .collect();
        assert_eq!(feed.listen(Filter::default()).err(), Some(TooMany));
        drop(all);
        assert!(feed.listen(Filter::default()).is_ok());
    }
}
