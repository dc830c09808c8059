//! What containers use, at a moment.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::ContainerStatsResponse;
use bollard::query_parameters::{ListContainersOptionsBuilder, StatsOptionsBuilder};
use futures_util::{StreamExt, stream};

use super::engine::Engine;
use super::error::Error;
use super::names;

/// Containers that the engine is asked about at once.
const PARALLEL: usize = 8;

/// How long the engine may take to tell about one.
const LOOK_LIMIT: Duration = Duration::from_secs(1);

/// What a container used up to a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) id: String,
    pub(crate) project: String,
    pub(crate) service: String,
    /// Time of all cores together since it started.
    pub(crate) cpu_ns: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) memory_limit_bytes: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
}

impl Engine {
    /// Looks at all containers of projects that run here.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(crate) async fn samples(&self) -> Result<Vec<Sample>, Error> {
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
        let looks = stream::iter(mine.collect::<Vec<_>>()).map(|sample| self.look(sample));
        let all = looks.buffer_unordered(PARALLEL).collect::<Vec<_>>().await;
        Ok(all.into_iter().flatten().collect())
    }

    /// Fills in what the engine says; none when the container is gone.
    async fn look(&self, sample: Sample) -> Option<Sample> {
        let options = StatsOptionsBuilder::default()
            .stream(false)
            .one_shot(true)
            .build();
        let mut answers = Box::pin(self.docker.stats(&sample.id, Some(options)));
        // One container that the engine does not tell about must not hide the others.
        let answer = tokio::time::timeout(LOOK_LIMIT, answers.next());
        let stats = answer.await.ok()??.ok()?;
        Some(filled(sample, stats))
    }
}

fn filled(sample: Sample, stats: ContainerStatsResponse) -> Sample {
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
    Sample {
        cpu_ns: stats
            .cpu_stats
            .and_then(|c| c.cpu_usage?.total_usage)
            .unwrap_or(0),
        memory_bytes: memory.usage.unwrap_or(0).saturating_sub(idle),
        memory_limit_bytes: memory.limit.unwrap_or(0),
        received_bytes: networks.values().filter_map(|n| n.rx_bytes).sum(),
        sent_bytes: networks.values().filter_map(|n| n.tx_bytes).sum(),
        ..sample
    }
}
