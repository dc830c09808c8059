//! What all requests share.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cara_api::tail::Feed;

use crate::access::Guard;
use crate::access_log::AccessLog;
use crate::limit::Limiter;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::pages::CustomPages;
use crate::server::SharedNames;
use crate::trace::Tracer;
use crate::{Config, Gateway};

/// The proxy's logic, shared by all requests.
pub(crate) struct Edge {
    pub(crate) config: Config,
    pub(crate) live: Arc<Live>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: AccessLog,
    /// What server names lead to.
    pub(crate) names: SharedNames,
    pub(crate) tail: Arc<Feed>,
    pub(crate) tracer: Arc<Tracer>,
    /// Pages of the operator.
    pub(crate) pages: Arc<ArcSwap<CustomPages>>,
    pub(crate) limiter: Limiter,
    pub(crate) access: Guard,
}

impl Edge {
    /// What requests of a gateway share.
    pub(crate) fn new(gateway: &Gateway) -> Self {
        Self {
            config: gateway.config.clone(),
            live: Arc::clone(&gateway.live),
            metrics: Arc::clone(&gateway.metrics),
            access_log: gateway.access_log.clone(),
            names: Arc::clone(&gateway.names),
            tail: Arc::clone(&gateway.tail),
            tracer: Arc::clone(&gateway.tracer),
            pages: Arc::clone(&gateway.pages),
            limiter: Limiter::default(),
            access: Guard::new(gateway.config.access.clone()),
        }
    }
}
