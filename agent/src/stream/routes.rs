//! What the server can ask for through the tunnel, beside what the agent's own listener offers.

use axum::Router;
use axum::routing::{get, post};
use cara_api::paths;

use super::{Streams, exec, files, forward, logs, usage};

/// Adds the streams to what the agent offers anyway.
pub(crate) fn add_to(own: Router<Streams>, streams: Streams) -> Router {
    own.route(paths::STREAM_LOGS, get(logs::logs))
        .route(paths::STREAM_EXEC, post(exec::exec))
        .route(paths::STREAM_FORWARD, post(forward::forward))
        .route(paths::STREAM_FILES, get(files::read).put(files::write))
        .route(paths::STREAM_USAGE, get(usage::usage))
        .with_state(streams)
}
