//! Idle connections to services, of one thread. No task watches over each: whether the service has
//! closed one shows when it is taken, and one task of the thread throws old ones away.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How long an idle connection to a service is kept.
const IDLE: Duration = Duration::from_secs(30);
/// How often old ones are thrown away.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Idle connections of one endpoint that are kept.
const EACH: usize = 128;

/// To whom connections lead, and who may share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) address: SocketAddr,
    /// Connections of other groups are never used, even to the same address.
    pub(crate) group: u64,
}

#[derive(Debug)]
struct Idle {
    stream: TcpStream,
    since: Instant,
}

/// The idle connections of a thread.
#[derive(Debug)]
pub(crate) struct Pool {
    // Only the thread's own tasks lock it, each for a moment.
    idle: Mutex<Known>,
    max: usize,
}

#[derive(Debug)]
struct Known {
    /// By when an endpoint was used last; the oldest of each first.
    by_key: LruCache<Key, VecDeque<Idle>>,
    count: usize,
}

impl Known {
    /// Drops the oldest connection of the endpoint that nobody used for longest, in constant time:
    /// with many services the pool is always full.
    fn drop_one(&mut self) {
        while let Some((key, mut idle)) = self.by_key.pop_lru() {
            if idle.pop_front().is_none() {
                continue;
            }
            self.count = self.count.saturating_sub(1);
            if !idle.is_empty() {
                self.by_key.put(key, idle);
                self.by_key.demote(&key);
            }
            return;
        }
    }
}

impl Pool {
    /// Keeps at most `max` connections.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            idle: Mutex::new(Known {
                by_key: LruCache::unbounded(),
                count: 0,
            }),
            max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that was used last and that the service has not closed.
    pub(crate) fn take(&self, key: Key) -> Option<TcpStream> {
        let mut known = self.lock();
        loop {
            let stream = known.by_key.get_mut(&key)?.pop_back()?.stream;
            known.count = known.count.saturating_sub(1);
            if is_silent(&stream) {
                return Some(stream);
            }
        }
    }

    /// Keeps a connection for the next request, where it must be in place of one that was not
    /// needed for long.
    pub(crate) fn put(&self, key: Key, stream: TcpStream, now: Instant) {
        let mut known = self.lock();
        let is_full = known
            .by_key
            .get(&key)
            .is_some_and(|idle| idle.len() >= EACH);
        if is_full || self.max == 0 {
            return;
        }
        if known.count >= self.max {
            known.drop_one();
        }
        let of_key = known.by_key.get_or_insert_mut(key, VecDeque::new);
        of_key.push_back(Idle { stream, since: now });
        known.count += 1;
    }

    /// Throws old connections and those that services have closed away, until cancelled.
    pub(crate) async fn keep_tidy(&self, token: CancellationToken) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                now = ticks.tick() => self.sweep(now),
                () = token.cancelled() => return,
            }
        }
    }

    fn sweep(&self, now: Instant) {
        let mut known = self.lock();
        if known.by_key.is_empty() {
            return;
        }
        let (mut unused, mut count) = (Vec::new(), 0);
        for (key, idle) in &mut known.by_key {
            idle.retain(|one| now < one.since + IDLE && is_silent(&one.stream));
            count += idle.len();
            if idle.is_empty() {
                unused.push(*key);
            }
        }
        for key in &unused {
            known.by_key.pop(key);
        }
        known.count = count;
    }
}

/// Whether a service has neither closed an idle connection nor said anything on it, which nobody
/// asked for. Takes no system call: tokio remembers whether anything happened to the socket.
fn is_silent(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn connect(listener: &TcpListener) -> (TcpStream, TcpStream) {
        let address = listener.local_addr().expect("an address");
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (ours.expect("connects"), theirs.expect("accepts").0)
    }

    fn key(group: u64) -> Key {
        Key {
            address: ([127, 0, 0, 1], 80).into(),
            group,
        }
    }

    async fn until(mut is_so: impl FnMut() -> bool) {
        let patience = Duration::from_secs(10);
        let wait = async {
            while !is_so() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(patience, wait).await.expect("in time");
    }

    #[tokio::test]
    async fn a_connection_is_used_again_by_its_own_group_only() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let (ours, _theirs) = connect(&listener).await;
        let pool = Pool::new(8);
        pool.put(key(1), ours, Instant::now());
        assert!(pool.take(key(2)).is_none());
        assert!(pool.take(key(1)).is_some());
        assert!(pool.take(key(1)).is_none());
    }

    #[tokio::test]
    async fn a_connection_that_was_closed_or_speaks_unasked_is_not_used() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let pool = Pool::new(8);
        let (ours, theirs) = connect(&listener).await;
        drop(theirs);
        ours.readable().await.expect("the end is there");
        pool.put(key(1), ours, Instant::now());
        assert!(pool.take(key(1)).is_none());
        let (ours, mut theirs) = connect(&listener).await;
        pool.put(key(1), ours, Instant::now());
        theirs
            .write_all(b"HTTP/1.1 200 OK\r\n")
            .await
            .expect("sent");
        until(|| {
            pool.sweep(Instant::now());
            pool.lock().count == 0
        })
        .await;
    }

    #[tokio::test]
    async fn there_are_never_more_than_allowed_and_old_ones_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let pool = Pool::new(3);
        let mut theirs = Vec::new();
        let now = Instant::now();
        for group in [1, 2, 1, 3, 4] {
            let (one, other) = connect(&listener).await;
            pool.put(key(group), one, now);
            theirs.push(other);
        }
        assert_eq!(pool.lock().count, 3);
        // The second was used before the first, which then lost its older connection.
        assert!(pool.take(key(2)).is_none());
        for group in [1, 3, 4] {
            let one = pool.take(key(group)).expect("kept");
            pool.put(key(group), one, now);
        }
        pool.sweep(now);
        assert_eq!(pool.lock().count, 3);
        pool.sweep(now + IDLE);
        assert_eq!(pool.lock().count, 0);
        assert!(pool.lock().by_key.is_empty());
    }
}
