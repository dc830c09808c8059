//! What the gateway counts. Label values are bounded: statuses and kinds, never hosts.

use std::sync::OnceLock;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Statuses below this are counted one by one; there are no others.
const STATUSES: usize = 600;

/// Metrics of the gateway.
pub(crate) struct Metrics {
    requests: IntCounterVec,
    /// The counter of each status, once it occurred.
    by_status: Vec<OnceLock<IntCounter>>,
    pub(crate) seconds: Histogram,
    pub(crate) in_flight: IntGauge,
    pub(crate) connections: IntGauge,
    /// By `kind`: connect, timeout, reset, other.
    pub(crate) upstream_errors: IntCounterVec,
    pub(crate) routes: IntGauge,
    /// By `kind`: connect, refused, stale, reset, status.
    pub(crate) retries: IntCounterVec,
    pub(crate) ejections: IntCounter,
    pub(crate) queued: IntGauge,
    pub(crate) held: IntGauge,
    pub(crate) overloads: IntCounter,
}

impl Metrics {
    /// Registers everything; once for each registry.
    pub(crate) fn register(registry: &Registry) -> Self {
        let build = || -> prometheus::Result<Self> {
            let buckets = prometheus::exponential_buckets(0.000_5, 2.0, 18)?;
            let seconds =
                HistogramOpts::new("cara_gateway_request_seconds", "Duration of a request")
                    .buckets(buckets);
            let requests = Opts::new("cara_gateway_requests_total", "Requests by status");
            let errors = Opts::new(
                "cara_gateway_upstream_errors_total",
                "Failures of services by kind",
            );
            let retries = Opts::new(
                "cara_gateway_retries_total",
                "Requests that were tried again, by what had failed",
            );
            let metrics = Self {
                requests: IntCounterVec::new(requests, &["status"])?,
                by_status: (0..STATUSES).map(|_| OnceLock::new()).collect(),
                seconds: Histogram::with_opts(seconds)?,
                in_flight: IntGauge::new("cara_gateway_requests_in_flight", "Requests under way")?,
                connections: IntGauge::new("cara_gateway_connections", "Open client connections")?,
                upstream_errors: IntCounterVec::new(errors, &["kind"])?,
                routes: IntGauge::new("cara_gateway_routes", "Routes that are served")?,
                retries: IntCounterVec::new(retries, &["kind"])?,
                ejections: IntCounter::new(
                    "cara_gateway_ejections_total",
                    "Endpoints that were left out since they failed too often",
                )?,
                queued: IntGauge::new(
                    "cara_gateway_requests_queued",
                    "Requests that wait since a rule has as many under way as it allows",
                )?,
                held: IntGauge::new(
                    "cara_gateway_requests_held",
                    "Requests that wait for the end of a pause",
                )?,
                overloads: IntCounter::new(
                    "cara_gateway_overloads_total",
                    "Requests that were turned away since too many were under way",
                )?,
            };
            registry.register(Box::new(metrics.requests.clone()))?;
            registry.register(Box::new(metrics.seconds.clone()))?;
            registry.register(Box::new(metrics.in_flight.clone()))?;
            registry.register(Box::new(metrics.connections.clone()))?;
            registry.register(Box::new(metrics.upstream_errors.clone()))?;
            registry.register(Box::new(metrics.routes.clone()))?;
            registry.register(Box::new(metrics.retries.clone()))?;
            registry.register(Box::new(metrics.ejections.clone()))?;
            registry.register(Box::new(metrics.queued.clone()))?;
            registry.register(Box::new(metrics.held.clone()))?;
            registry.register(Box::new(metrics.overloads.clone()))?;
            Ok(metrics)
        };
        build().expect("the gateway's metrics are registered once, under valid names")
    }

    /// Counts a request; status 0 stands for "no answer was sent".
    pub(crate) fn count(&self, status: u16) {
        if let Some(counter) = self.by_status.get(usize::from(status)) {
            let make = || self.requests.with_label_values(&[&format!("{status:03}")]);
            counter.get_or_init(make).inc();
        }
    }
}
