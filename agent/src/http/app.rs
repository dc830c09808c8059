//! What the handlers of the agent's own API share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::runtime::Engine;

#[derive(Clone)]
pub(super) struct App {
    pub(super) engine: Arc<Engine>,
    pub(super) tasks: TaskTracker,
    pub(super) token: CancellationToken,
}
