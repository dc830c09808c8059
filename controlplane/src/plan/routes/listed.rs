//! Routes as people look at them. Pure.

use cara_api::gateway::{
    Action, Backend, Forward, GatewayState, HeaderMatch, Host, PathMatch, Route, StreamRoute,
};
use cara_api::route::{RouteAction, RouteList, RouteTarget, RouteView};
use cara_routes::rank;

/// What a state serves, of all projects or of one.
pub fn list(state: &GatewayState, project: Option<&str>) -> RouteList {
    let is_wanted = |owner: &str| project.is_none_or(|project| project == owner);
    let hosts = state.hosts.iter();
    let hosts = hosts.filter(|(_, host)| is_wanted(&host.project));
    let hosts = hosts.flat_map(|(name, host)| of_host(name.as_str(), host));
    let ports = state.ports.iter();
    let ports = ports.filter(|(_, stream)| is_wanted(&stream.project));
    let ports = ports.map(|(port, s)| stream(format!("tcp:{port}"), RouteAction::Stream, s));
    RouteList {
        revision: state.revision.to_string(),
        items: hosts.chain(ports).collect(),
    }
}

fn of_host(name: &str, host: &Host) -> Vec<RouteView> {
    let mut routes = host.routes.clone();
    rank::sort(&mut routes);
    let passed = host.tls.passthrough.as_ref();
    let passed = passed.map(|s| stream(name.to_owned(), RouteAction::Passthrough, s));
    let rules = routes.iter().map(|route| rule(name, route));
    passed.into_iter().chain(rules).collect()
}

fn stream(host: String, action: RouteAction, route: &StreamRoute) -> RouteView {
    RouteView {
        host,
        project: route.project.clone(),
        ingress: route.ingress.clone(),
        action,
        targets: vec![target(&route.service, 1, &route.backend)],
        ..RouteView::default()
    }
}

fn rule(host: &str, route: &Route) -> RouteView {
    let view = RouteView {
        host: host.to_owned(),
        path: path(&route.path),
        headers: route.headers.iter().map(header).collect(),
        project: route.project.clone(),
        ingress: route.ingress.clone(),
        notes: notes(route),
        ..RouteView::default()
    };
    match &route.action {
        Action::Forward(forward) => RouteView {
            action: RouteAction::Forward,
            targets: targets(forward),
            ..view
        },
        Action::Redirect(redirect) => RouteView {
            action: RouteAction::Redirect,
            to: redirect.to.clone(),
            status: Some(redirect.status),
            ..view
        },
        Action::Respond(respond) => RouteView {
            action: RouteAction::Respond,
            status: Some(respond.status),
            ..view
        },
    }
}

fn notes(route: &Route) -> Vec<String> {
    let policy = &route.policy;
    [
        ("Closed", policy.access.broken.is_some()),
        ("Maintenance", policy.maintenance.is_some()),
        ("Paused", policy.pause.is_some()),
    ]
    .into_iter()
    .filter(|(_, applies)| *applies)
    .map(|(note, _)| note.to_owned())
    .collect()
}

fn targets(forward: &Forward) -> Vec<RouteTarget> {
    let targets = forward.targets.iter();
    targets
        .map(|t| target(&t.service, t.weight, &t.backend))
        .collect()
}

fn target(service: &str, weight: u32, backend: &Backend) -> RouteTarget {
    RouteTarget {
        service: service.to_owned(),
        weight,
        state: match backend {
            Backend::Ready { .. } => "Ready".to_owned(),
            Backend::Unavailable { phase, reason } if reason.is_empty() => phase.to_string(),
            Backend::Unavailable { phase, reason } => format!("{phase} ({reason})"),
        },
        endpoints: backend
            .endpoints()
            .iter()
            .map(ToString::to_string)
            .collect(),
    }
}

fn path(path: &PathMatch) -> String {
    match path {
        PathMatch::Exact(path) => path.clone(),
        PathMatch::Prefix(path) => format!("{}/*", path.trim_end_matches('/')),
    }
}

fn header(header: &HeaderMatch) -> String {
    match &header.value {
        Some(value) => format!("{}: {value}", header.name),
        None => header.name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cara_api::ResourceVersion;
    use cara_api::gateway::{Policy, Protocol, Redirect, Respond, Rewrite, Target};
    use cara_api::hostname::Hostname;
    use cara_api::project::ProjectPhase;

    use super::*;

    fn route(path: PathMatch, action: Action) -> Arc<Route> {
        Arc::new(Route {
            project: "shop".into(),
            ingress: "main".into(),
            path,
            headers: Vec::new(),
            action,
            policy: Arc::new(Policy::default()),
        })
    }

    fn forward(backend: Backend) -> Action {
        Action::Forward(Forward {
            targets: vec![Target {
                service: "web".into(),
                weight: 1,
                protocol: Protocol::Http1,
                backend,
            }],
            rewrite: Rewrite::Keep,
        })
    }

    fn state() -> GatewayState {
        let ready = Backend::Ready {
            endpoints: vec!["10.0.0.1:80".parse().expect("an address")],
        };
        let waiting = Backend::Unavailable {
            phase: ProjectPhase::Pending,
            reason: "Unschedulable".into(),
        };
        let redirect = Action::Redirect(Redirect {
            to: "https://b.x{path}".into(),
            status: 308,
        });
        let respond = Action::Respond(Respond {
            status: 204,
            content_type: String::new(),
            body: String::new(),
        });
        let hostname = Hostname::parse("a.x").expect("a hostname");
        let host = Host {
            project: "shop".into(),
            tls: Default::default(),
            routes: vec![
                route(PathMatch::Prefix("/".into()), forward(ready.clone())),
                route(PathMatch::Prefix("/old".into()), redirect),
                route(PathMatch::Exact("/ping".into()), respond),
                route(PathMatch::Prefix("/api".into()), forward(waiting)),
            ],
        };
        let port = StreamRoute {
            project: "db".into(),
            ingress: "pg".into(),
            service: "postgres".into(),
            allow: Vec::new(),
            backend: ready,
        };
        GatewayState {
            revision: ResourceVersion(7),
            hosts: [(hostname, Arc::new(host))].into_iter().collect(),
            ports: [(5432_u16, Arc::new(port))].into_iter().collect(),
            ..GatewayState::default()
        }
    }

    fn shown(list: &RouteList) -> Vec<String> {
        let line = |view: &RouteView| {
            let target = view.targets.first().cloned().unwrap_or_default();
            format!(
                "{}{} {:?} {} {} {}",
                view.host,
                view.path,
                view.action,
                view.to,
                target.state,
                target.endpoints.join(",")
            )
        };
        list.items.iter().map(line).collect()
    }

    #[test]
    fn routes_are_listed_in_the_order_in_which_they_are_asked() {
        let list = list(&state(), None);
        assert_eq!(list.revision, "7");
        assert_eq!(
            shown(&list),
            [
                "a.x/ping Respond   ",
                "a.x/old/* Redirect https://b.x{path}  ",
                "a.x/api/* Forward  Pending (Unschedulable) ",
                "a.x/* Forward  Ready 10.0.0.1:80",
                "tcp:5432 Stream  Ready 10.0.0.1:80",
            ]
        );
    }

    #[test]
    fn a_project_s_routes_are_its_own() {
        assert_eq!(list(&state(), Some("db")).items.len(), 1);
        assert_eq!(list(&state(), Some("nobody")).items.len(), 0);
    }
}
