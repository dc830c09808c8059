//! What all requests share.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::Config;
use crate::access::Guard;
use crate::access_log::AccessLog;
use crate::limit::Limiter;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::pages::CustomPages;
use crate::server::SharedNames;

/// The proxy's logic, shared by all requests.
pub(crate) struct Edge {
    pub(crate) config: Config,
    pub(crate) live: Arc<Live>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: AccessLog,
    pub(crate) names: SharedNames,
    /// Pages of the operator.
    pub(crate) pages: Arc<ArcSwap<CustomPages>>,
    pub(crate) limiter: Limiter,
    pub(crate) access: Guard,
}

impl Edge {
    pub(crate) fn new(
        config: Config,
        live: Arc<Live>,
        metrics: Arc<Metrics>,
        access_log: AccessLog,
        names: SharedNames,
        pages: Arc<ArcSwap<CustomPages>>,
    ) -> Self {
        Self {
            access: Guard::new(config.access.clone()),
            config,
            live,
            metrics,
            access_log,
            names,
            pages,
            limiter: Limiter::default(),
        }
    }
}
