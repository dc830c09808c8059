//! What the control plane counts.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Metrics of reconcilers and API. Label values are bounded: names of loops, route patterns,
/// methods and statuses, never names of objects.
pub(crate) struct Metrics {
    /// By `loop` and `result`: done, changed, conflict, failed.
    pub(crate) reconciles: IntCounterVec,
    /// By `loop`.
    pub(crate) reconcile_seconds: HistogramVec,
    /// By `method`, `route` and `status`.
    pub(crate) requests: IntCounterVec,
    /// Published routes.
    pub(crate) routes: IntGauge,
    /// When the first certificate ends, by `managed_by`: ca, acme, user.
    pub(crate) certificate_not_after_seconds: IntGaugeVec,
    /// When the first certificate of a node ends; 0 when none has one.
    pub(crate) node_certificate_not_after_seconds: IntGauge,
    /// Orders of certificates by `result`: done, failed.
    pub(crate) acme_orders: IntCounterVec,
}

impl Metrics {
    /// Registers everything; once for each registry.
    pub(crate) fn register(registry: &Registry) -> Self {
        let build = || -> prometheus::Result<Self> {
            let buckets = prometheus::exponential_buckets(0.000_5, 2.0, 14)?;
            let seconds =
                HistogramOpts::new("cara_reconcile_seconds", "Duration of a reconcile pass")
                    .buckets(buckets);
            let metrics = Self {
                reconciles: IntCounterVec::new(
                    Opts::new("cara_reconciles_total", "Reconciled objects by result"),
                    &["loop", "result"],
                )?,
                reconcile_seconds: HistogramVec::new(seconds, &["loop"])?,
                requests: IntCounterVec::new(
                    Opts::new("cara_api_requests_total", "API requests"),
                    &["method", "route", "status"],
                )?,
                routes: IntGauge::new("cara_routes", "Published routes")?,
                certificate_not_after_seconds: IntGaugeVec::new(
                    Opts::new(
                        "cara_certificate_not_after_seconds",
                        "When the first certificate ends, in seconds since 1970",
                    ),
                    &["managed_by"],
                )?,
                node_certificate_not_after_seconds: IntGauge::new(
                    "cara_node_certificate_not_after_seconds",
                    "When the first certificate of a node ends, in seconds since 1970; 0 when no node joined",
                )?,
                acme_orders: IntCounterVec::new(
                    Opts::new("cara_acme_orders_total", "Orders of certificates by result"),
                    &["result"],
                )?,
            };
            registry.register(Box::new(metrics.reconciles.clone()))?;
            registry.register(Box::new(metrics.reconcile_seconds.clone()))?;
            registry.register(Box::new(metrics.requests.clone()))?;
            registry.register(Box::new(metrics.routes.clone()))?;
            registry.register(Box::new(metrics.certificate_not_after_seconds.clone()))?;
            registry.register(Box::new(metrics.node_certificate_not_after_seconds.clone()))?;
            registry.register(Box::new(metrics.acme_orders.clone()))?;
            Ok(metrics)
        };
        build().expect("the control plane's metrics are registered once, under valid names")
    }

    /// Counts the result of one object's reconcile.
    pub(crate) fn count(&self, name: &str, result: &str) {
        self.reconciles.with_label_values(&[name, result]).inc();
    }
}
