//! What gateways serve, and why a URL goes where it goes.
//!
//! Read from what is published, which is what gateways go by: the answer is true of requests now,
//! not of what somebody asked for.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use cara_api::explanation::Explanation;
use cara_api::gateway::GatewayState;
use cara_api::route::RouteList;
use cara_api::{Project, Resource, ResourceVersion};
use cara_routes::Asked;
use cara_store::Revision;

use super::App;
use super::failure::Failure;
use super::guard::Asker;
use crate::cache::Cache;
use crate::plan::routes::listed;
use crate::reach::Reach;

/// How long a request may wait for the gateway; well below what clients wait for an answer.
const REACHED_WITHIN: Duration = Duration::from_secs(10);

/// Lists what gateways serve.
#[utoipa::path(get, path = "/api/v1/routes", tag = "routes",
    params(("project" = Option<String>, Query, description = "Only those of this project"),
        ("servedSince" = Option<String>, Query, description = "Answer when the gateway serves by this resourceVersion or a later one")),
    responses((status = 200, body = RouteList, description = "Rules by host, the most specific first, then ports"),
        (status = 400, body = cara_api::Problem),
        (status = 503, body = cara_api::Problem, description = "The gateway is not that far within 10 s: ask again")))]
pub(super) async fn list(
    State(app): State<App>,
    who: Asker,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<RouteList>, Failure> {
    let value = |name: &str| {
        let found = query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    };
    published(&app)?;
    if let Some(text) = value("servedSince") {
        until_served(&app, text).await?;
    }
    let state = published(&app)?;
    let mut list = listed::list(&state, value("project"));
    let cache = &app.shared.cache;
    cache.read(|state| {
        let may_read = |name: &str| {
            let meta = state.project(name).map(|project| &project.metadata);
            who.may_read(Project::KIND, name, meta)
        };
        list.items.retain(|route| may_read(&route.project));
    });
    Ok(Json(list))
}

/// Waits until requests are answered by what the store said at a version.
async fn until_served(app: &App, text: &str) -> Result<(), Failure> {
    let version: ResourceVersion = text.parse().map_err(|_| {
        Failure::bad_request(format!(
            "servedSince {text:?} is not a resourceVersion that this server gave"
        ))
    })?;
    let shared = &app.shared;
    let reached = is_reached(&shared.cache, &shared.reach, Revision(version.0));
    tokio::select! {
        is_reached = reached => is_reached.then_some(()).ok_or_else(|| {
            Failure::unavailable(format!("the gateway does not serve by version {version} yet: ask again"))
        }),
        () = app.token.cancelled() => Err(Failure::unavailable("the server stops")),
    }
}

/// Waits until requests are answered by what the store said at a revision; false when they are not
/// within [`REACHED_WITHIN`].
async fn is_reached(cache: &Cache, reach: &Reach, revision: Revision) -> bool {
    let reached = async {
        // Only of a revision that the cache shows it is known which changes it has.
        while !cache.until(revision, REACHED_WITHIN).await {}
        // What changed no object since makes no route.
        reach.until(revision.min(cache.newest_change())).await;
    };
    tokio::time::timeout(REACHED_WITHIN, reached).await.is_ok()
}

/// Explains where a request would go now.
#[utoipa::path(get, path = "/api/v1/routes/explain", tag = "routes",
    params(("url" = String, Query, description = "The URL of the request"),
        ("method" = Option<String>, Query, description = "Its method; GET when left out"),
        ("header" = Option<Vec<String>>, Query, description = "Its headers, each as name: value; may be repeated")),
    responses((status = 200, body = Explanation, description = "The host, its rules, and what becomes of the request"),
        (status = 400, body = cara_api::Problem)))]
pub(super) async fn explain(
    State(app): State<App>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Explanation>, Failure> {
    let (mut url, mut method, mut headers) = (None, "GET", Vec::new());
    for (key, value) in &query {
        match key.as_str() {
            "url" => url = Some(value.as_str()),
            "method" => method = value,
            "header" => headers.push(header(value)?),
            other => {
                return Err(Failure::bad_request(format!(
                    "{other:?} is no parameter: give url, method or header"
                )));
            }
        }
    }
    let url = url.ok_or_else(|| Failure::bad_request("url is missing"))?;
    let asked = Asked {
        url,
        method,
        headers: &headers,
    };
    let state = published(&app)?;
    cara_routes::explain(&state.hosts, asked)
        .map(Json)
        .map_err(|error| Failure::bad_request(format!("{url:?} is {error}")))
}

fn header(text: &str) -> Result<(String, String), Failure> {
    let parts = text.split_once(':').map(|(n, v)| (n.trim(), v.trim()));
    match parts {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err(Failure::bad_request(format!(
            "header {text:?} is not of the form name: value"
        ))),
    }
}

fn published(app: &App) -> Result<Arc<GatewayState>, Failure> {
    app.must_be_live()?;
    let state = Arc::clone(&app.shared.published.borrow());
    if state.revision.is_zero() {
        return Err(Failure::unavailable("the routes are not known yet"));
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_version_that_the_store_does_not_have_is_not_served() {
        let (cache, reach) = (Cache::new(), Reach::default());
        assert!(is_reached(&cache, &reach, Revision(0)).await);
        assert!(!is_reached(&cache, &reach, Revision(9)).await);
    }
}
