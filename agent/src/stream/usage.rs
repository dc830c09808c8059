//! What the containers of this node use, looked at no more often than once a second however many ask.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use cara_api::stream::{ContainerUsage, NodeUsage};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{Streams, refused};
use crate::runtime::{Engine, Error, Reading, Sample};

/// How long what was seen counts as now.
const FRESH: Duration = Duration::from_secs(1);
/// How long all looks for one answer may take; the server waits a bit longer.
const LIMIT: Duration = Duration::from_millis(2400);
/// How long what was seen of a container stands for what the engine does not tell now.
const RECENT: Duration = Duration::from_secs(3);
/// How long it can be compared with.
const USEFUL: Duration = Duration::from_secs(30);
/// Pause between two looks when there is nothing to compare with.
const FIRST_SPAN: Duration = Duration::from_millis(500);
const SHORT: usize = 12;

/// What was seen last, and how it differed from what was seen before.
pub(super) struct Sampler {
    seen: Mutex<Option<Seen>>,
    turn: Semaphore,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
            turn: Semaphore::new(1),
        }
    }
}

#[derive(Clone)]
struct Seen {
    /// When the look ended: whoever waited for it is answered from it.
    at: Instant,
    samples: Vec<Sample>,
    usage: Vec<ContainerUsage>,
}

/// What each container uses.
pub(super) async fn usage(State(streams): State<Streams>) -> Result<Json<NodeUsage>, Response> {
    let (containers, machine) = tokio::join!(
        streams.sampler.usage(&streams.engine),
        streams.engine.machine(),
    );
    let containers = containers.map_err(|error| refused(&error))?;
    let machine = machine.map_err(|error| refused(&error))?;
    Ok(Json(NodeUsage {
        node: String::new(),
        cpu_capacity_millis: machine.cpus.saturating_mul(1000),
        memory_capacity_bytes: machine.memory_bytes,
        streams: streams.open.load(Ordering::Relaxed),
        containers,
        error: None,
    }))
}

impl Sampler {
    fn last(&self, within: Duration) -> Option<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone().filter(|seen| seen.at.elapsed() < within)
    }

    async fn usage(&self, engine: &Engine) -> Result<Vec<ContainerUsage>, Error> {
        // Never closed; if it were, looking twice at once does no harm.
        let _turn = self.turn.acquire().await;
        if let Some(seen) = self.last(FRESH) {
            return Ok(seen.usage);
        }
        let deadline = Instant::now() + LIMIT;
        if self.last(USEFUL).is_none() {
            let usage = self.look(engine, deadline).await?;
            if Instant::now() + FIRST_SPAN >= deadline {
                return Ok(usage);
            }
            tokio::time::sleep(FIRST_SPAN).await;
        }
        self.look(engine, deadline).await
    }

    async fn look(&self, engine: &Engine, deadline: Instant) -> Result<Vec<ContainerUsage>, Error> {
        let before = self.last(USEFUL).map(|seen| seen.samples);
        let before = before.unwrap_or_default();
        let samples = engine.samples(deadline).await?;
        let now = Instant::now();
        let samples = with_earlier(samples, &before, now);
        let usage = compare(&before, &samples, now);
        let seen = Seen {
            at: now,
            samples,
            usage: usage.clone(),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(usage)
    }
}

fn readings(samples: &[Sample]) -> HashMap<&str, Reading> {
    let known = samples.iter();
    known
        .filter_map(|sample| Some((sample.id.as_str(), sample.reading?)))
        .collect()
}

/// What was not told now is what was told before, as long as that can be compared with.
fn with_earlier(samples: Vec<Sample>, before: &[Sample], now: Instant) -> Vec<Sample> {
    let before = readings(before);
    let samples = samples.into_iter().map(|sample| {
        let earlier = before.get(sample.id.as_str()).copied();
        let earlier = earlier.filter(|earlier| now.duration_since(earlier.at) < USEFUL);
        Sample {
            reading: sample.reading.or(earlier),
            ..sample
        }
    });
    samples.collect()
}

/// What containers used between two looks.
fn compare(before: &[Sample], samples: &[Sample], now: Instant) -> Vec<ContainerUsage> {
    let earlier = readings(before);
    let usage = samples.iter().map(|sample| {
        let reading = sample.reading;
        let shown = reading.filter(|reading| now.duration_since(reading.at) < RECENT);
        let before = earlier.get(sample.id.as_str());
        ContainerUsage {
            project: sample.project.clone(),
            service: sample.service.clone(),
            container: sample.id.get(..SHORT).unwrap_or(&sample.id).to_owned(),
            cpu_millis: before
                .zip(shown)
                .and_then(|(before, shown)| cpu_millis(before, &shown)),
            memory_bytes: shown.map(|reading| reading.memory_bytes),
            memory_limit_bytes: shown.map(|reading| reading.memory_limit_bytes),
            received_bytes: shown.map(|reading| reading.received_bytes),
            sent_bytes: shown.map(|reading| reading.sent_bytes),
        }
    });
    let mut usage: Vec<_> = usage.collect();
    usage.sort_by(|a, b| (&a.project, &a.service).cmp(&(&b.project, &b.service)));
    usage
}

/// Thousandths of a core; none of a container that was started anew, and between a reading and itself.
fn cpu_millis(before: &Reading, now: &Reading) -> Option<u64> {
    let span_us = u64::try_from(now.at.duration_since(before.at).as_micros()).ok()?;
    // Nanoseconds in microseconds are thousandths.
    let used_ns = now.cpu_ns.checked_sub(before.cpu_ns)?;
    used_ns.checked_div(span_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(read: Option<(Instant, u64)>) -> Sample {
        let reading = read.map(|(at, cpu_ns)| Reading {
            at,
            cpu_ns,
            memory_bytes: 7,
            memory_limit_bytes: 0,
            received_bytes: 0,
            sent_bytes: 0,
        });
        Sample {
            id: "a".to_owned(),
            reading,
            ..Sample::default()
        }
    }

    fn one(before: &[Sample], samples: &[Sample], now: Instant) -> (Option<u64>, Option<u64>) {
        let found = compare(before, samples, now);
        assert_eq!(found.len(), 1, "no row is lost");
        let row = found.into_iter().next().unwrap_or_default();
        (row.cpu_millis, row.memory_bytes)
    }

    #[test]
    fn use_is_what_was_added_over_the_time() {
        let start = Instant::now();
        let later = start + Duration::from_secs(2);
        let check = |before: u64, now: u64, expected| {
            let (before, now) = (Some((start, before)), Some((later, now)));
            let found = one(&[sample(before)], &[sample(now)], later);
            assert_eq!(found, (expected, Some(7)));
        };
        check(0, 1_000_000_000, Some(500));
        check(5, 5, Some(0));
        // It was started anew.
        check(9, 5, None);
        let found = one(&[], &[sample(Some((start, 9)))], start);
        assert_eq!(found, (None, Some(7)));
    }

    #[test]
    fn what_the_engine_does_not_tell_in_time_has_a_row() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(one(&[], &[sample(None)], start), (None, None));
        let before = [sample(Some((start, 0)))];
        for (seconds, memory) in [(2, Some(7)), (9, None)] {
            let now = with_earlier(vec![sample(None)], &before, after(seconds));
            assert_eq!(one(&before, &now, after(seconds)), (None, memory));
            // The next look is compared with the last that was answered, over all the time since.
            let next = [sample(Some((after(10), 1_000_000_000)))];
            assert_eq!(one(&now, &next, after(10)), (Some(100), Some(7)));
        }
        let now = with_earlier(vec![sample(None)], &before, after(31));
        assert_eq!(now, [sample(None)]);
    }
}
