//! Backups of everything that is stored, and their way back.
//!
//! While a backup is restored, requests that may write are answered with 503. The restore is one
//! batch, conditional on everything that was read: it happens whole or not at all.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use cara_api::backup::{ARCHIVE_MAX, CONTENT_TYPE, RestorePlan};
use cara_api::paths;
use cara_store::{Listing, Revision, WriteError};
use serde::Deserialize;

use super::App;
use super::extract::large_body;
use super::failure::Failure;
use super::flow::{self, TAKE_LIMIT};
use super::rehearse::{self, Mode, Writing};
use super::view::now;
use crate::audit::{Caller, Verb};
use crate::backup::{self, Archive, Header, RefusedError};
use crate::cache::Cache;

/// How long an archive may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(600);
/// How long requests that write may take to end before a restore begins.
const QUIET_WITHIN: Duration = Duration::from_secs(10);
/// How long the cache may take to show what was read from the store.
const VISIBLE_WITHIN: Duration = Duration::from_secs(2);
/// What the audit log calls a backup, by the revision that it shows.
const KIND: &str = "Backup";
/// Bytes of an archive that are sent at once.
const PIECE: usize = 64 * 1024;
/// How often something may be written by others meanwhile.
const TRIES: usize = 10;

/// How a restore is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Ask {
    /// `All`: only say what it would do.
    dry_run: Option<String>,
    /// `true`: also if the server is in use.
    force: Option<String>,
}

impl Ask {
    fn is_dry_run(&self) -> Result<bool, Failure> {
        Ok(rehearse::read(self.dry_run.as_deref())? == Mode::Rehearsal)
    }

    fn is_forced(&self) -> bool {
        self.force.as_deref() == Some("true")
    }
}

/// Lets requests that may write pass while nothing is restored.
pub(super) async fn gate(State(app): State<App>, request: Request, next: Next) -> Response {
    let reads = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    if reads || request.uri().path() == paths::BACKUP {
        return next.run(request).await;
    }
    let Ok(_passing) = app.shared.restores.try_read() else {
        return Failure::unavailable("a backup is being restored: try again").into_response();
    };
    next.run(request).await
}

/// Everything that is stored, at one revision, as an archive.
#[utoipa::path(get, path = "/api/v1/backup", tag = "server",
    responses((status = 200, description = "The archive", content_type = "application/vnd.caravanserai.backup+zstd"),
        (status = 503, body = cara_api::Problem)))]
pub(super) async fn create(State(app): State<App>, by: Caller) -> Result<Response, Failure> {
    app.must_be_live()?;
    let Listing { revision, entries } = app.list_stored(String::new()).await?;
    // Before the answer begins: whoever goes away meanwhile may have had it.
    app.audit_named(&by, Verb::Backup, KIND, &revision.to_string());
    let mut header = Header::new(now(), revision, app.shared.key.id().to_string());
    let domain = &app.shared.config.domain;
    header.environment.clone_from(&domain.environment);
    header.base_domain.clone_from(&domain.base);
    let count = entries.len();
    let archive = tokio::task::spawn_blocking(move || backup::encode(&header, &entries)).await;
    let archive = archive
        .map_err(Failure::internal)?
        .map_err(Failure::internal)?;
    tracing::info!(%revision, entries = count, bytes = archive.len(), "made a backup");
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    // It holds everything: no cache on the way keeps it.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, archive.len().into());
    let archive = Bytes::from(archive);
    let pieces = (0..archive.len()).step_by(PIECE).map(move |at| {
        let end = archive.len().min(at + PIECE);
        Ok::<_, std::convert::Infallible>(archive.slice(at..end))
    });
    let tasks = &app.shared.tunnels.tasks;
    let pieces = futures_util::stream::iter(pieces);
    let body = flow::body(pieces, TAKE_LIMIT, tasks, app.token.clone());
    Ok((headers, body).into_response())
}

/// Makes the store what an archive shows, or says what that would do.
#[utoipa::path(post, path = "/api/v1/backup", tag = "server",
    params(("force" = Option<bool>, Query, description = "Also if the server is in use: what the backup does not have is deleted")),
    request_body(content_type = "application/vnd.caravanserai.backup+zstd"),
    responses((status = 200, body = RestorePlan), (status = 400, body = cara_api::Problem),
        (status = 409, body = cara_api::Problem, description = "Another key, or the server is in use"),
        (status = 503, body = cara_api::Problem)))]
pub(super) async fn restore(
    Writing(app): Writing,
    Query(ask): Query<Ask>,
    by: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<RestorePlan>, Failure> {
    app.must_be_live()?;
    let is_dry_run = ask.is_dry_run()?;
    // Pages of other origins cannot send this type without being asked first.
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    if given != Some(CONTENT_TYPE) {
        return Err(Failure::bad_request(format!(
            "send a backup with content-type {CONTENT_TYPE}"
        )));
    }
    let bytes = large_body(body, ARCHIVE_MAX, BODY_TIMEOUT).await?;
    let archive = unpack(bytes).await?;
    if is_dry_run {
        let stored = app.list_stored(String::new()).await?;
        return Ok(Json(planned(&app, &archive, &stored)?));
    }
    let quiet = tokio::time::timeout(QUIET_WITHIN, app.shared.restores.write()).await;
    let mut count = quiet.map_err(|_| {
        Failure::unavailable("requests that write do not end: nothing was changed, try again")
    })?;
    let restored = write(&app, &archive, &ask).await;
    if restored.is_ok() {
        let revision = archive.header.revision.to_string();
        app.audit_named(&by, Verb::Restore, KIND, &revision);
    }
    // Also after a failure: a write that was not confirmed may have happened.
    *count += 1;
    restored.map(Json)
}

async fn unpack(bytes: Bytes) -> Result<Archive, Failure> {
    let archive = tokio::task::spawn_blocking(move || backup::decode(&bytes)).await;
    archive
        .map_err(Failure::internal)?
        .map_err(|error| Failure::bad_request(format!("the backup cannot be read: {error}")))
}

fn planned(app: &App, archive: &Archive, stored: &Listing) -> Result<RestorePlan, Failure> {
    let key = app.shared.key.id().to_string();
    let mut plan = backup::plan(archive, &stored.entries, &key).map_err(refused)?;
    let domain = &app.shared.config.domain;
    let header = &archive.header;
    if (&header.environment, &header.base_domain) != (&domain.environment, &domain.base) {
        plan.warnings.push(format!(
            "the backup is of a server with short hosts under {}.{}, here they are under {}.{}",
            header.environment, header.base_domain, domain.environment, domain.base
        ));
    }
    Ok(plan)
}

fn refused(error: RefusedError) -> Failure {
    Failure::conflict(error.to_string())
}

/// 503 unless the cache comes to show what was read from the store: by an older one nobody is judged.
async fn must_show(cache: &Cache, revision: Revision) -> Result<(), Failure> {
    match cache.until(revision, VISIBLE_WITHIN).await {
        true => Ok(()),
        false => Err(Failure::unavailable(
            "the server is behind its store: nothing was changed, try again",
        )),
    }
}

async fn write(app: &App, archive: &Archive, ask: &Ask) -> Result<RestorePlan, Failure> {
    let beyond = Revision(archive.header.revision);
    for _ in 0..TRIES {
        let stored = app.list_stored(String::new()).await?;
        let mut plan = planned(app, archive, &stored)?;
        if plan.is_in_use && !ask.is_forced() {
            let held = plan
                .kinds
                .iter()
                .map(|(kind, counts)| (kind, counts.replace + counts.keep + counts.delete));
            let held = held.filter(|(kind, count)| {
                *count > 0 && matches!(kind.as_str(), "projects" | "secrets" | "certificates")
            });
            let held: Vec<String> = held
                .map(|(kind, count)| format!("{kind}: {count}"))
                .collect();
            return Err(refused(RefusedError::InUse(held.join(", "))));
        }
        let at = Revision(stored.revision.max(beyond).0 + 1);
        let batch = backup::batch(archive, &stored.entries, at).map_err(refused)?;
        // The archive may have taken its time, and this is conditional on all users and tokens: as
        // they are now, the caller may do it.
        must_show(&app.shared.cache, stored.revision).await?;
        app.must_still()?;
        // Nodes that come back are waited for as after a start of the server.
        app.shared.liveness.start_anew();
        match app.commit_beyond(batch, beyond).await {
            Ok(revision) => {
                tracing::warn!(%revision, made_at = %archive.header.created_at, "restored a backup");
                plan.restored_at = Some(revision.0);
                return Ok(plan);
            }
            // Reconcilers go on meanwhile: look again.
            Err(WriteError::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::unavailable(
        "the store changes all the time: nothing was changed, try again",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_is_judged_by_a_cache_that_is_behind() {
        let cache = Cache::new();
        let at = |revision| must_show(&cache, Revision(revision));
        assert!(at(0).await.is_ok());
        let behind = at(1).await;
        let detail = behind.err().map(|failure| failure.detail().to_owned());
        let expected = "the server is behind its store: nothing was changed, try again";
        assert_eq!(detail.as_deref(), Some(expected));
    }
}
