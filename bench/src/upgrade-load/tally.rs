//! What happened, and how long it took.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Counts requests and messages.
#[derive(Default)]
pub(crate) struct Tally(Mutex<State>);

#[derive(Default)]
struct State {
    requests: BTreeMap<&'static str, Row>,
    messages: Vec<Duration>,
    closed: BTreeMap<String, usize>,
    behind: Vec<Duration>,
}

#[derive(Default)]
struct Row {
    times: Vec<Duration>,
    failed: BTreeMap<String, usize>,
}

impl Tally {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How late a request is begun that was due at a moment.
    pub(crate) fn behind(&self, due: Instant) {
        self.state().behind.push(due.elapsed());
    }

    /// How long a request took, or why it failed.
    pub(crate) fn request(&self, way: &'static str, outcome: Result<Duration, String>) {
        let mut state = self.state();
        let row = state.requests.entry(way).or_default();
        match outcome {
            Ok(time) => row.times.push(time),
            Err(cause) => *row.failed.entry(cause).or_default() += 1,
        }
    }

    /// A message was there and back.
    pub(crate) fn message(&self, time: Duration) {
        self.state().messages.push(time);
    }

    /// A WebSocket was closed, and not by its client.
    pub(crate) fn socket_closed(&self, how: String) {
        *self.state().closed.entry(how).or_default() += 1;
    }

    /// Everything about so many requests that were due, as JSON; times in milliseconds.
    pub(crate) fn report(&self, due: usize, spent: Duration) -> Value {
        let mut state = self.state();
        let mut all: Vec<Duration> = Vec::new();
        let mut failed = 0;
        let mut rows = Vec::new();
        for (way, row) in &mut state.requests {
            all.extend(&row.times);
            failed += row.failed.values().sum::<usize>();
            let count = row.times.len() + row.failed.values().sum::<usize>();
            rows.push(json!({"way": way, "requests": count, "failed": row.failed, "ms": spread(&mut row.times)}));
        }
        let unheard = due.saturating_sub(all.len() + failed);
        #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
        let rate = (all.len() + failed) as f64 / spent.as_secs_f64();
        json!({
            "rate": rate,
            "requests": due,
            "failed": failed + unheard,
            "unheard": unheard,
            "ms": spread(&mut all),
            "ways": rows,
            "messages": state.messages.len(),
            "messages_ms": spread(&mut state.messages),
            "sockets_closed": state.closed,
            "behind_ms": spread(&mut state.behind),
        })
    }
}

/// Median, 99th percentile and the longest, in milliseconds; null when there is none.
fn spread(times: &mut [Duration]) -> Value {
    times.sort_unstable();
    let at = |share: usize| {
        let place = (times.len() * share / 100).min(times.len().checked_sub(1)?);
        times.get(place).map(|time| time.as_secs_f64() * 1_000.0)
    };
    json!({"p50": at(50), "p99": at(99), "max": at(100)})
}
