//! Publishes routes: follows the projects and what their rules refer to, and hands the gateway a
//! new state after every change that matters to it.

mod material;

use std::collections::BTreeSet;
use std::sync::Arc;

use cara_api::gateway::GatewayState;
use cara_api::{ProjectName, ResourceVersion};
use cara_store::Revision;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Shared;
use crate::cache::{Change, State};
use crate::plan::routes::material::Reference;
use crate::plan::routes::{Ground, RouteSet};
use crate::reconcile::certs::CertSet;
use material::Opened;

/// Publishes routes until cancelled.
pub(crate) async fn run(
    shared: Arc<Shared>,
    gateway: watch::Sender<Arc<GatewayState>>,
    token: CancellationToken,
) {
    let mut heads = shared.cache.heads();
    let mut routes = RouteSet::default();
    let mut certs = CertSet::default();
    let mut seen = None;
    let (mut is_published, mut is_due) = (false, true);
    let mut published = ResourceVersion::default();
    loop {
        tokio::select! {
            changed = heads.changed() => if changed.is_err() { return },
            () = token.cancelled() => return,
        }
        let (revision, is_changed) = shared.cache.read(|state| {
            let mut is_changed = certs.update(state, &shared);
            is_changed |= update(&mut routes, state, seen, &shared, &certs);
            (state.revision(), is_changed)
        });
        seen = Some(revision);
        is_due |= is_changed;
        // The first state must be whole; until then the gateway says that it is starting.
        is_published |= shared.cache.is_live();
        if is_due && is_published {
            is_due = false;
            let hosts = routes.hosts().clone();
            shared
                .metrics
                .routes
                .set(i64::try_from(hosts.len()).unwrap_or(i64::MAX));
            tracing::debug!(%revision, hosts = hosts.len(), "routes");
            let state = GatewayState {
                // 0 stands for "nothing known yet", which an empty store is not.
                revision: ResourceVersion(revision.0.max(1)),
                keys: Arc::clone(&shared.keys),
                hosts,
                ports: routes.ports().clone(),
                certificates: certs.certificates(),
                challenges: certs.challenges(),
            };
            published = state.revision;
            gateway.send_replace(Arc::new(state));
        }
        if is_published {
            shared.reach.note_published(revision, published);
        }
    }
}

/// Takes in the projects that changed since `seen`, or all.
fn update(
    routes: &mut RouteSet,
    state: &State,
    seen: Option<Revision>,
    shared: &Shared,
    certs: &CertSet,
) -> bool {
    let recent = seen.and_then(|revision| state.changes_since(revision).ok());
    let mut names: BTreeSet<ProjectName> = match recent {
        Some(changes) => concerned(&changes, routes),
        None => routes
            .projects()
            .chain(state.projects().keys())
            .cloned()
            .collect(),
    };
    names.extend(certs.newly_judged().cloned());
    let material = Opened::new(state, shared, certs.trusted());
    let ground = Ground {
        domain: &shared.config.domain,
        material: &material,
    };
    let mut is_changed = false;
    for name in names {
        let project = state.project(name.as_str());
        let project = project.map(|p| (&**p, state.stable(p).map(|r| &**r)));
        is_changed |= routes.update(&name, project, &ground);
    }
    is_changed
}

/// The projects that changed, and those whose rules refer to what changed.
fn concerned(changes: &[Arc<Change>], routes: &RouteSet) -> BTreeSet<ProjectName> {
    let mut names = BTreeSet::new();
    for change in changes {
        names.extend(change.project().map(|project| project.name()));
        if let Some(secret) = change.secret() {
            let reference = Reference::Secret(secret.metadata.name.clone());
            names.extend(routes.depending_on(&reference).cloned());
        }
        if let Some(certificate) = change.certificate() {
            let reference = Reference::Certificate(certificate.metadata.name.clone());
            names.extend(routes.depending_on(&reference).cloned());
        }
    }
    names
}
