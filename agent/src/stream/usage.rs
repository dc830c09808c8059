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
use crate::runtime::{Engine, Error, Sample};

/// How long what was seen counts as now.
const FRESH: Duration = Duration::from_secs(1);
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
    at: Instant,
    samples: Vec<Sample>,
    usage: Vec<ContainerUsage>,
}

/// What each container uses.
pub(super) async fn usage(State(streams): State<Streams>) -> Result<Json<NodeUsage>, Response> {
    let containers = streams.sampler.usage(&streams.engine).await;
    let containers = containers.map_err(|error| refused(&error))?;
    let machine = streams.engine.machine().await;
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
        if self.last(USEFUL).is_none() {
            self.look(engine).await?;
            tokio::time::sleep(FIRST_SPAN).await;
        }
        self.look(engine).await
    }

    async fn look(&self, engine: &Engine) -> Result<Vec<ContainerUsage>, Error> {
        let before = self.last(USEFUL);
        let at = Instant::now();
        let samples = engine.samples().await?;
        let span = before.as_ref().map(|seen| at.duration_since(seen.at));
        let usage = compare(before.map(|seen| seen.samples).as_deref(), &samples, span);
        let seen = Seen {
            at,
            samples,
            usage: usage.clone(),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        Ok(usage)
    }
}

/// What containers used between two looks.
fn compare(
    before: Option<&[Sample]>,
    now: &[Sample],
    span: Option<Duration>,
) -> Vec<ContainerUsage> {
    let earlier: HashMap<&str, u64> = before
        .unwrap_or_default()
        .iter()
        .map(|sample| (sample.id.as_str(), sample.cpu_ns))
        .collect();
    let span_us = span.map_or(0, |span| {
        u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
    });
    let usage = now.iter().map(|sample| {
        let cpu_ns = earlier.get(sample.id.as_str());
        let used_ns = cpu_ns.and_then(|before| sample.cpu_ns.checked_sub(*before));
        ContainerUsage {
            project: sample.project.clone(),
            service: sample.service.clone(),
            container: sample.id.get(..SHORT).unwrap_or(&sample.id).to_owned(),
            // Nanoseconds in microseconds are thousandths.
            cpu_millis: used_ns.and_then(|ns| ns.checked_div(span_us)),
            memory_bytes: sample.memory_bytes,
            memory_limit_bytes: sample.memory_limit_bytes,
            received_bytes: sample.received_bytes,
            sent_bytes: sample.sent_bytes,
        }
    });
    let mut usage: Vec<_> = usage.collect();
    usage.sort_by(|a, b| (&a.project, &a.service).cmp(&(&b.project, &b.service)));
    usage
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(id: &str, cpu_ns: u64) -> Sample {
        Sample {
            id: id.to_owned(),
            cpu_ns,
            ..Sample::default()
        }
    }

    #[test]
    fn use_is_what_was_added_over_the_time() {
        let check = |before: u64, now: u64, expected| {
            let found = compare(
                Some(&[sample("a", before)]),
                &[sample("a", now)],
                Some(Duration::from_secs(2)),
            );
            assert_eq!(found.first().map(|c| c.cpu_millis), Some(expected));
        };
        check(0, 1_000_000_000, Some(500));
        check(5, 5, Some(0));
        // It was started anew.
        check(9, 5, None);
        let found = compare(None, &[sample("a", 9)], None);
        assert_eq!(found.first().and_then(|c| c.cpu_millis), None);
    }
}
