//! Files in services.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cara_api::stream::files::{KIND, SIZE, TAR, path_of};
use futures_util::StreamExt;

use super::{Streams, refused};
use crate::http::problem;
use crate::runtime::Kind;

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
    let bytes = bytes.take_until(streams.token.clone().cancelled_owned());
    let headers = [
        (KIND, HeaderValue::from_static(kind.as_str())),
        (SIZE, HeaderValue::from(size)),
        (header::CONTENT_TYPE.as_str(), HeaderValue::from_static(TAR)),
    ];
    Ok((headers, Body::from_stream(bytes)).into_response())
}

/// Puts a tar stream into a directory.
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
    let bytes = body.into_data_stream();
    let bytes = bytes.map(|item| item.map_err(std::io::Error::other));
    let written = tokio::select! {
        written = streams.engine.write_into(&found.id, path, bytes) => written,
        () = streams.token.cancelled() => return Err(problem(503, "the agent stops".to_owned())),
    };
    written.map_err(|error| refused(&error))?;
    Ok(StatusCode::NO_CONTENT)
}
