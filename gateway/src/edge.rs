//! What all requests share. Holds it, and decides nothing.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cara_api::tail::Feed;

use crate::access::Guard;
use crate::access_log::AccessLog;
use crate::config::Config;
use crate::limit::Limiter;
use crate::listen::names::Names;
use crate::live::Live;
use crate::metrics::Metrics;
use crate::pages::CustomPages;
use crate::trace::Tracer;

/// What all requests share, whichever way they go.
pub(crate) struct Edge {
    pub(crate) config: Config,
    pub(crate) live: Arc<Live>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) access_log: AccessLog,
    /// What server names lead to.
    pub(crate) names: Arc<ArcSwap<Names>>,
    pub(crate) tail: Arc<Feed>,
    pub(crate) tracer: Arc<Tracer>,
    /// Pages of the operator.
    pub(crate) pages: Arc<ArcSwap<CustomPages>>,
    pub(crate) limiter: Limiter,
    pub(crate) access: Guard,
}
