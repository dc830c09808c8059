//! What containers use, at a moment.

use std::collections::HashMap;

use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::{ListContainersOptionsBuilder, StatsOptionsBuilder};
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::engine::Engine;
use super::error::{Error, found};
use super::names;

/// A container that runs, and what it used up to a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) id: String,
    pub(crate) project: String,
    pub(crate) service: String,
    /// None when the engine did not tell in time.
    pub(crate) reading: Option<Reading>,
}

/// What the engine told about a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) at: Instant,
    /// Time of all cores together since it started.
    pub(crate) cpu_ns: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) memory_limit_bytes: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
}

impl Engine {
    /// Looks at all containers of projects that run here, up to a moment: what the engine did not tell
    /// by then is unknown. All are asked at once, because the engine may look once a second only.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(crate) async fn samples(&self, deadline: Instant) -> Result<Vec<Sample>, Error> {
        let filters = HashMap::from([("label", vec![names::PROJECT])]);
        let list = ListContainersOptionsBuilder::default()
            .filters(&filters)
            .build();
        let listed = self.docker.list_containers(Some(list)).await;
        let listed = listed.map_err(|e| Error::new("list containers", "EngineUnavailable", e))?;
        let mine = listed.into_iter().filter_map(|container| {
            let mut labels = container.labels?;
            let node = labels.remove(names::NODE);
            if node.is_some_and(|node| node != self.node) {
                return None;
            }
            Some(Sample {
                id: container.id?,
                project: labels.remove(names::PROJECT)?,
                service: labels.remove(names::SERVICE)?,
                ..Sample::default()
            })
        });
        let looks = mine.map(|sample| self.look(sample, deadline));
        let all = join_all(looks.collect::<Vec<_>>()).await;
        Ok(all.into_iter().flatten().collect())
    }

    /// Fills in what the engine says; none when the container is gone.
    async fn look(&self, sample: Sample, deadline: Instant) -> Option<Sample> {
        let options = StatsOptionsBuilder::default()
            .stream(false)
            .one_shot(true)
            .build();
        let mut answers = Box::pin(self.docker.stats(&sample.id, Some(options)));
        // One container that the engine does not tell about must not hide the others.
        let answer = tokio::time::timeout_at(deadline, answers.next()).await;
        let stats = match answer {
            Ok(Some(answer)) => found(answer).map(|stats| stats.map(Some)),
            Ok(None) | Err(_) => Ok(Some(None)),
        };
        let stats = stats.unwrap_or_else(|error| {
            tracing::debug!(%error, "the engine does not say what a container uses");
            Some(None)
        })?;
        let reading = stats.map(|stats| reading(stats, Instant::now()));
        Some(Sample { reading, ..sample })
    }
}

fn reading(stats: ContainerStatsResponse, at: Instant) -> Reading {
    let memory = stats.memory_stats.unwrap_or_default();
    // What the system can take back at any time is not needed: the page cache that nobody used of late.
    let inner = memory.stats.unwrap_or_default();
    let idle = ["inactive_file", "total_inactive_file"];
    let idle = idle
        .iter()
        .find_map(|key| inner.get(*key))
        .copied()
        .unwrap_or(0);
    let networks = stats.networks.unwrap_or_default();
    Reading {
        at,
        cpu_ns: stats
            .cpu_stats
            .and_then(|c| c.cpu_usage?.total_usage)
            .unwrap_or(0),
        memory_bytes: memory.usage.unwrap_or(0).saturating_sub(idle),
        memory_limit_bytes: memory.limit.unwrap_or(0),
        received_bytes: networks.values().filter_map(|n| n.rx_bytes).sum(),
        sent_bytes: networks.values().filter_map(|n| n.tx_bytes).sum(),
    }
}
