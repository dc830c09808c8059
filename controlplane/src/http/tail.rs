//! Requests as they end, streamed to those who look on.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cara_api::tail::{Filter, Item, Lines};
use futures_util::stream;

use super::App;
use super::failure::Failure;

/// Streams requests.
#[utoipa::path(get, path = "/api/v1/tail", tag = "routes",
    params(("host" = Option<String>, Query, description = "Only requests for this host"),
        ("project" = Option<String>, Query, description = "Only requests that rules of this project took"),
        ("status" = Option<String>, Query, description = "Only with these statuses, such as 404 or 5xx, separated by commas")),
    responses((status = 200, description = "JSON lines as in the access log, from now on; {\"lost\": N} tells how many did not fit since the last line, and comes with 0 while nothing happens"),
        (status = 400, body = cara_api::Problem), (status = 503, body = cara_api::Problem, description = "Too many look on")))]
pub(super) async fn tail(
    State(app): State<App>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let listening = app.shared.tail.listen(filter(&query)?);
    let lines = listening.map_err(|error| Failure::unavailable(error.to_string()))?;
    let idle = app.shared.config.keepalive;
    // Begins at once, so that whoever asks knows from when on nothing is missed.
    let begin = stream::iter([Ok::<_, Infallible>(lost(0))]);
    let rest = stream::unfold((lines, app), move |(mut lines, app)| async move {
        let line = tokio::select! {
            line = next(&mut lines, idle) => line,
            () = app.token.cancelled() => return None,
        };
        Some((Ok(line), (lines, app)))
    });
    let body = Body::from_stream(futures_util::StreamExt::chain(begin, rest));
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((kind, body).into_response())
}

fn filter(query: &[(String, String)]) -> Result<Filter, Failure> {
    let mut filter = Filter::default();
    for (key, value) in query {
        match key.as_str() {
            "host" => {
                let host = cara_routes::host::normalize(value)
                    .ok_or_else(|| Failure::bad_request(format!("{value:?} is no host")))?;
                filter.host = Some(host.into_owned());
            }
            "project" => filter.project = Some(value.clone()),
            "status" => {
                let statuses = value.parse();
                filter.statuses =
                    Some(statuses.map_err(|error| {
                        Failure::bad_request(format!("status {value:?} {error}"))
                    })?);
            }
            other => {
                return Err(Failure::bad_request(format!(
                    "{other:?} is no parameter: give host, project or status"
                )));
            }
        }
    }
    Ok(filter)
}

async fn next(lines: &mut Lines, idle: Duration) -> Bytes {
    match tokio::time::timeout(idle, lines.next()).await {
        Ok(Item::Line(line)) => line,
        Ok(Item::Lost(count)) => lost(count),
        Err(_) => lost(0),
    }
}

fn lost(count: u64) -> Bytes {
    format!("{{\"lost\":{count}}}\n").into()
}
