//! Probing the ports that an ingress targets.

use std::collections::BTreeSet;
use std::time::Duration;

use cara_api::agent::Goal;
use futures_util::future::join_all;
use tokio::net::TcpStream;

use crate::plan::{Doubts, Observed, Probes, Wanted};

/// First and longest pause between probes of a port that does not answer yet. The longest is
/// well below the time in which a route shall follow a port that opened.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(50));
/// How long a port may take to accept a connection.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Which ports are open, and when to ask again.
#[derive(Default)]
pub(super) struct Prober {
    open: Probes,
    doubts: Doubts,
    pause: Option<Duration>,
}

impl Prober {
    /// Ports that count as open.
    pub(super) fn open(&self) -> &Probes {
        &self.open
    }

    /// Probes every exposed port; how soon to probe again, if one does not answer.
    pub(super) async fn probe(&mut self, wanted: &Wanted, observed: &Observed) -> Option<Duration> {
        let up = observed.containers.values();
        let up = up.filter(|c| wanted.goal == Goal::Run && c.is_ours && c.is_running());
        let targets = up.flat_map(|container| {
            let service = wanted.service(&container.service);
            let wanted_ports = service.map(|s| &s.exposed).into_iter().flatten();
            let ports: BTreeSet<u16> = wanted_ports.chain(&container.exposed).copied().collect();
            ports.into_iter().map(move |port| (container, port))
        });
        let checks = targets.map(|(container, port)| async move {
            let connect = TcpStream::connect((container.ip?, port));
            let is_open = tokio::time::timeout(TIMEOUT, connect)
                .await
                .is_ok_and(|r| r.is_ok());
            Some(((container.start(), port), is_open))
        });
        let results: Vec<_> = join_all(checks).await.into_iter().flatten().collect();
        self.open = self.doubts.judge(&results, &self.open);
        let is_waiting = results.iter().any(|(_, is_open)| !is_open);
        let (first, longest) = PAUSES;
        let pause = self.pause.map_or(first, |old| (old * 3 / 2).min(longest));
        self.pause = is_waiting.then_some(pause);
        self.pause
    }
}
