//! What all requests share.

use std::sync::Arc;

use crate::Config;
use crate::access_log::AccessLog;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::server::SharedNames;

/// The proxy's logic, shared by all requests.
pub(crate) struct Edge {
    pub(crate) config: Config,
    pub(crate) live: Arc<Live>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: AccessLog,
    pub(crate) names: SharedNames,
}

impl Edge {
    pub(crate) fn new(
        config: Config,
        live: Arc<Live>,
        metrics: Arc<Metrics>,
        access_log: AccessLog,
        names: SharedNames,
    ) -> Self {
        Self {
            config,
            live,
            metrics,
            access_log,
            names,
        }
    }
}
