//! Looks at this server: gathers what [`crate::plan::doctor`] judges.

use std::path::PathBuf;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use cara_api::condition::{self, PLACED};
use cara_api::doctor::DoctorReport;
use cara_api::hostname::Domain;
use cara_api::project::ProjectPhase;
use cara_api::{API_VERSION, Timestamp};
use tokio::time::{Instant, timeout};

use super::App;
use crate::plan::doctor::{CertificateFacts, Disk, Facts, NodeFacts, judge};

/// How long each look may take; longer counts as no answer.
const LIMIT: Duration = Duration::from_secs(3);
/// A name that no project has, below the domain of all.
const PROBE: &str = "caravanserai-doctor";

/// Looks at store, disk, gateway, nodes, certificates, names and projects.
#[utoipa::path(get, path = "/api/v1/doctor", tag = "server",
    responses((status = 200, body = DoctorReport, description = "Each part with pass, warn or fail, and what would mend it")))]
pub(super) async fn look(State(app): State<App>) -> Json<DoctorReport> {
    let config = &app.shared.config;
    let host = wildcard_host(&config.domain);
    let (store, gateway_follows, resolves, disk) = tokio::join!(
        store(&app),
        gateway_follows(&app),
        resolves(host.clone()),
        disk(config.data_dir.clone()),
    );
    let facts = Facts {
        store: Some(store),
        gateway_follows,
        disk,
        wildcard: Some((host, resolves)),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..of_objects(&app)
    };
    let now = Timestamp::now();
    let domain = &config.domain;
    Json(DoctorReport {
        api_version: API_VERSION.to_owned(),
        kind: "DoctorReport".to_owned(),
        time: now,
        version: facts.version.clone(),
        domain: format!("{}.{}", domain.environment, domain.base),
        http_port: config.http_port,
        https_port: config.https_port,
        checks: judge(&facts, now),
    })
}

fn wildcard_host(domain: &Domain) -> String {
    format!("{PROBE}.{}.{}", domain.environment, domain.base)
}

async fn store(app: &App) -> Result<Duration, String> {
    let started = Instant::now();
    if app.must_be_live().is_err() {
        return Err("it is not read yet, or holds what this version cannot read".to_owned());
    }
    match timeout(LIMIT, app.store_answers()).await {
        Ok(Ok(_)) => Ok(started.elapsed()),
        Ok(Err(_)) => Err("it is unavailable".to_owned()),
        Err(_) => Err(format!("it does not answer within {} s", LIMIT.as_secs())),
    }
}

/// Whether requests follow what is stored now; unknown when nothing was read yet.
async fn gateway_follows(app: &App) -> Option<bool> {
    let newest = app.shared.cache.newest_change();
    let reached = timeout(LIMIT, app.shared.reach.until(newest)).await;
    app.shared.cache.is_live().then_some(reached.is_ok())
}

async fn resolves(host: String) -> bool {
    let found = timeout(LIMIT, tokio::net::lookup_host((host, 80))).await;
    found.is_ok_and(|found| found.is_ok_and(|mut addresses| addresses.next().is_some()))
}

async fn disk(directory: Option<PathBuf>) -> Option<Disk> {
    let path = directory?;
    let looked = tokio::task::spawn_blocking(move || {
        let found = rustix::fs::statvfs(&path).ok()?;
        Some(Disk {
            path: path.display().to_string(),
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
            all_bytes: found.f_blocks.saturating_mul(found.f_frsize),
        })
    });
    // A disk that does not answer is one of which nothing is known.
    timeout(LIMIT, looked).await.ok()?.ok()?
}

fn of_objects(app: &App) -> Facts {
    app.shared.cache.read(|state| {
        let nodes = state.nodes().values().map(|node| NodeFacts {
            name: node.metadata.name.clone(),
            state: node.status.state,
            engine: node.status.info.engine_version.clone(),
            agent: node.status.info.agent_version.clone(),
            conditions: node.status.conditions.clone(),
        });
        let certificates = state.certificates().values().map(|one| CertificateFacts {
            name: one.metadata.name.clone(),
            not_after: one.facts.not_after,
            last_error: one.attempts.last_error.clone(),
        });
        let projects = || state.projects().values();
        let failed = projects().filter(|p| p.status.phase == ProjectPhase::Failed);
        let unplaced = projects().filter(|p| {
            let placed = condition::find(&p.status.conditions, PLACED);
            p.status.phase == ProjectPhase::Pending && placed.is_some_and(|c| c.status == "False")
        });
        Facts {
            nodes: nodes.collect(),
            certificates: certificates.collect(),
            failed: failed.map(|p| p.metadata.name.clone()).collect(),
            unplaced: unplaced.map(|p| p.metadata.name.clone()).collect(),
            ..Facts::default()
        }
    })
}
