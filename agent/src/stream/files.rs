//! Files in services.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cara_api::stream::files::{KIND, SIZE, TAR, path_of};
use tokio::sync::oneshot;

use super::spool::{Spool, SpoolError};
use super::{Streams, refused};
use crate::cut;
use crate::problem::problem;
use crate::runtime::Kind;

/// How long files may go on to be written when the agent stops.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// A file or directory as a tar stream; what it is stands in the headers.
pub(super) async fn read(
    State(streams): State<Streams>,
    Path((project, service)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, Response> {
    let path = path_of(&pairs).map_err(|detail| problem(400, detail))?;
    let found = streams.container(&project, &service).await?;
    let stat = streams.engine.stat(&found.id, path).await;
    let (kind, size) = stat
        .map_err(|error| refused(&error))?
        .ok_or_else(|| problem(404, format!("there is no {path} in service {service:?}")))?;
    let bytes = streams.engine.read_files(&found.id, path);
    let bytes = cut::when_stopped(bytes, streams.token.clone());
    let headers = [
        (KIND, HeaderValue::from_static(kind.as_str())),
        (SIZE, HeaderValue::from(size)),
        (header::CONTENT_TYPE.as_str(), HeaderValue::from_static(TAR)),
    ];
    Ok((headers, Body::from_stream(bytes)).into_response())
}

/// Puts a tar stream into a directory, once all of it is here.
pub(super) async fn write(
    State(streams): State<Streams>,
    Path((project, service)): Path<(String, String)>,
    Query(pairs): Query<Vec<(String, String)>>,
    body: Body,
) -> Result<StatusCode, Response> {
    let path = path_of(&pairs).map_err(|detail| problem(400, detail))?;
    let found = streams.container(&project, &service).await?;
    let stat = streams.engine.stat(&found.id, path).await;
    match stat.map_err(|error| refused(&error))? {
        Some((Kind::Directory | Kind::Link, _)) => {}
        Some((Kind::File, _)) => {
            let detail = format!("{path} in service {service:?} is a file, not a directory");
            return Err(problem(409, detail));
        }
        None => {
            let detail = format!("there is no directory {path} in service {service:?}");
            return Err(problem(404, detail));
        }
    }
    let spool = Spool::fill(&streams.spool, body, &streams.token).await;
    let spool = spool.map_err(not_taken)?;
    let (told, written) = oneshot::channel();
    let (id, path) = (found.id, path.to_owned());
    // On its own: whoever goes away now has sent everything, and half of a file helps nobody.
    streams.clone().spawn(async move {
        let writing = streams.engine.write_into(&id, &path, spool.pieces());
        let written = tokio::select! {
            written = writing => written.map_err(|error| refused(&error)),
            () = stopped(&streams) => Err(problem(503, "the agent stops".to_owned())),
        };
        // Nobody may wait for it any more.
        let _ = told.send(written);
    });
    let stops = |_| problem(503, "the agent stops".to_owned());
    written.await.map_err(stops)??;
    Ok(StatusCode::NO_CONTENT)
}

/// A moment after the agent was told to stop.
async fn stopped(streams: &Streams) {
    streams.token.cancelled().await;
    tokio::time::sleep(LAST_WRITES).await;
}

fn not_taken(error: SpoolError) -> Response {
    let status = match &error {
        SpoolError::Cut(_) | SpoolError::NoEnd => 400,
        SpoolError::Full => 507,
        SpoolError::Stops => 503,
        SpoolError::Disk(_) => 500,
    };
    problem(status, error.to_string())
}
