//! From an ingress as it was written to the rule that gateways follow.

use std::sync::Arc;

use cara_api::Project;
use cara_api::gateway::{
    Action, Backend, Forward, PathMatch, Policy, Protocol, Rewrite, Route, Target,
};
use cara_api::project::Ingress;

/// The rule of an ingress.
pub fn route(project: &Project, ingress: &Ingress) -> Route {
    let targets = ingress.all_targets().map(|target| Target {
        service: target.service.clone(),
        weight: 1,
        protocol: Protocol::Http1,
        backend: super::backend(project, target),
    });
    Route {
        project: project.metadata.name.clone(),
        ingress: ingress.name.clone(),
        path: PathMatch::Prefix("/".into()),
        headers: Vec::new(),
        action: Action::Forward(Forward {
            targets: targets.collect(),
            rewrite: Rewrite::Keep,
        }),
        policy: Arc::new(Policy::default()),
    }
}

/// The first target of a rule that forwards.
pub fn backend_of(route: &Route) -> Option<&Backend> {
    match &route.action {
        Action::Forward(forward) => forward.targets.first().map(|t| &t.backend),
        Action::Redirect(_) | Action::Respond(_) => None,
    }
}

/// True when requests get something else than "not ready".
pub fn is_served(route: &Route) -> bool {
    backend_of(route).is_none_or(|b| matches!(b, Backend::Ready { .. }))
}
