//! What routes there are.

use cara_api::Timestamp;
use cara_api::gateway::PathMatch;
use cara_api::project::{Endpoint, ServiceState, ServiceStatus};
use cara_api::secret::Hidden;
use imbl::OrdMap;

use super::material::{Identity, Missing, Nothing};
use super::*;

fn domain() -> Domain {
    Domain {
        environment: "dev".into(),
        base: "localhost".into(),
    }
}

fn bare(domain: &Domain) -> Ground<'_> {
    Ground {
        domain,
        material: &Nothing,
    }
}

fn project(name: &str, phase: ProjectPhase, ready: bool, created: i64) -> Project {
    let mut project = Project::default();
    project.metadata.name = name.into();
    project.metadata.created_at = Timestamp::from_second(created).ok();
    project.status.phase = phase;
    project.spec.ingress = vec![Ingress {
        name: "web".into(),
        host: "shop".into(),
        target: IngressTarget {
            service: "app".into(),
            port: 80,
            ..IngressTarget::default()
        },
        ..Ingress::default()
    }];
    let address = |text: &str| text.parse().expect("an address");
    project.status.services = vec![ServiceStatus {
        name: "app".into(),
        state: ServiceState::Running,
        ready,
        endpoints: vec![
            Endpoint {
                port: 80,
                address: address("10.0.0.1:80"),
                ready,
            },
            Endpoint {
                port: 81,
                address: address("10.0.0.1:81"),
                ready: true,
            },
        ],
        ..ServiceStatus::default()
    }];
    project
}

fn shown(routes: &OrdMap<Hostname, Arc<Host>>) -> Vec<String> {
    let backend = |host: &Host| match compile::backend_of(&host.routes[0]).expect("a target") {
        Backend::Ready { endpoints } => format!("{endpoints:?}"),
        Backend::Unavailable { phase, reason } => format!("{phase} {reason}"),
    };
    routes
        .iter()
        .map(|(name, host)| format!("{name} {} {}", host.project, backend(host)))
        .collect()
}

#[test]
fn a_route_leads_to_the_ready_endpoints_of_its_port() {
    for (phase, ready, expected) in [
        (ProjectPhase::Running, true, "[10.0.0.1:80]"),
        (ProjectPhase::Failed, true, "[10.0.0.1:80]"),
        (ProjectPhase::Running, false, "Running ServiceNotReady"),
        (ProjectPhase::Scheduled, false, "Scheduled Waiting"),
        (ProjectPhase::Terminating, true, "Terminating Waiting"),
    ] {
        let mut set = RouteSet::default();
        let project = project("p", phase, ready, 1);
        assert!(set.update(&project.name(), Some((&project, None)), &bare(&domain())));
        assert_eq!(
            shown(set.hosts()),
            [format!("shop.dev.localhost p {expected}")]
        );
        assert!(
            !set.update(&project.name(), Some((&project, None)), &bare(&domain())),
            "the same again changes nothing"
        );
        assert!(set.update(&project.name(), None, &bare(&domain())));
        assert_eq!(shown(set.hosts()), [""; 0]);
    }
}

#[test]
fn the_older_of_two_projects_keeps_the_hostname_and_the_other_inherits_it() {
    let mut set = RouteSet::default();
    let (old, new) = (
        project("z", ProjectPhase::Running, true, 1),
        project("a", ProjectPhase::Running, true, 2),
    );
    set.update(&new.name(), Some((&new, None)), &bare(&domain()));
    set.update(&old.name(), Some((&old, None)), &bare(&domain()));
    assert_eq!(shown(set.hosts()), ["shop.dev.localhost z [10.0.0.1:80]"]);
    set.update(&old.name(), None, &bare(&domain()));
    assert_eq!(shown(set.hosts()), ["shop.dev.localhost a [10.0.0.1:80]"]);
}

#[test]
fn requests_follow_the_generation_that_runs_until_the_newer_one_does() {
    let mut project = project("p", ProjectPhase::Running, true, 1);
    let stable = ProjectRevision {
        ran: false,
        project: "p".into(),
        generation: cara_api::Generation(1),
        spec: Arc::new(project.spec.clone()),
        replaced_at: Timestamp::UNIX_EPOCH,
    };
    project.metadata.generation = cara_api::Generation(2);
    project.status.observed_generation = cara_api::Generation(1);
    project.status.stable_generation = cara_api::Generation(1);
    project.spec.ingress[0].target.port = 90;
    let lead = |project: &Project, stable| {
        let mut set = RouteSet::default();
        set.update(&project.name(), Some((project, stable)), &bare(&domain()));
        shown(set.hosts()).remove(0)
    };
    let ready = "shop.dev.localhost p [10.0.0.1:80]";
    assert_eq!(lead(&project, Some(&stable)), ready);
    project.status.rejected_generation = cara_api::Generation(2);
    assert_eq!(lead(&project, Some(&stable)), ready, "taken back");
    project.status.observed_generation = cara_api::Generation(2);
    assert_eq!(
        lead(&project, Some(&stable)),
        "shop.dev.localhost p Running ServiceNotReady"
    );
}

mod scale;
mod sharing;

/// A project whose newest spec is `newest` and does not run yet, while `running` does.
fn rolling(running: &serde_json::Value, newest: &serde_json::Value) -> (Project, ProjectRevision) {
    let mut project = project("p", ProjectPhase::Running, true, 1);
    let rules = |value: &serde_json::Value| -> Vec<Ingress> {
        serde_json::from_value(value.clone()).expect("rules")
    };
    project.spec.ingress = rules(running);
    let stable = ProjectRevision {
        ran: false,
        project: "p".into(),
        generation: cara_api::Generation(1),
        spec: Arc::new(project.spec.clone()),
        replaced_at: Timestamp::UNIX_EPOCH,
    };
    project.metadata.generation = cara_api::Generation(2);
    project.status.observed_generation = cara_api::Generation(1);
    project.status.stable_generation = cara_api::Generation(1);
    project.spec.ingress = rules(newest);
    (project, stable)
}

/// Each rule with its path, whether it is served and whether it is in maintenance.
fn ruled(project: &Project, stable: &ProjectRevision) -> Vec<String> {
    let routing = of_project(project, Some(stable), &bare(&domain()));
    let routes = routing.hosts.iter().flat_map(|(_, host)| &host.routes);
    routes
        .map(|route| {
            let served = if compile::is_served(route) {
                ""
            } else {
                " not"
            };
            let closed = match route.policy.maintenance {
                Some(_) => ", in maintenance",
                None => "",
            };
            let (PathMatch::Prefix(path) | PathMatch::Exact(path)) = &route.path;
            format!("{} {path}{served} ready{closed}", route.ingress)
        })
        .collect()
}

#[test]
fn what_applies_to_requests_does_not_wait_for_the_generation_to_run() {
    let to = |port: u16| serde_json::json!({"service": "app", "port": port});
    let web = |port| serde_json::json!({"name": "web", "host": "shop", "target": to(port)});
    let under = |name, path, port| serde_json::json!({"name": name, "host": "shop", "path": path, "target": to(port)});
    let guarded = |name, path| {
        let mut rule = under(name, path, 90);
        rule["maintenance"] = serde_json::json!({});
        rule
    };
    let mut closed = web(90);
    closed["maintenance"] = serde_json::json!({});
    for (running, newest, expected) in [
        (
            serde_json::json!([web(80)]),
            serde_json::json!([closed.clone()]),
            vec!["web / ready, in maintenance"],
        ),
        // A new rule waits for what it leads to; what runs answers meanwhile.
        (
            serde_json::json!([web(80)]),
            serde_json::json!([web(80), {"name": "api", "host": "shop", "path": "/api", "target": to(90)}]),
            vec!["web / ready"],
        ),
        (
            serde_json::json!([web(80)]),
            serde_json::json!([web(80), {"name": "old", "host": "shop", "path": "/old", "redirect": {"to": "/"}}]),
            vec!["web / ready", "old /old ready"],
        ),
        // A rule under a new name that takes the same requests is the same rule.
        (
            serde_json::json!([web(80)]),
            serde_json::json!([{"name": "new", "host": "shop", "target": to(90), "maintenance": {}}]),
            vec!["new / ready, in maintenance"],
        ),
        // What guards a path guards it at once, also when rules change their names.
        (
            serde_json::json!([under("a", "/x", 80), under("b", "/y", 81)]),
            serde_json::json!([guarded("a", "/y"), under("b", "/x", 90)]),
            vec!["a /y ready, in maintenance", "b /x ready"],
        ),
        // A rule that was taken out goes together with what it leads to.
        (
            serde_json::json!([web(80), {"name": "api", "host": "shop", "path": "/api", "target": to(81)}]),
            serde_json::json!([web(90)]),
            vec!["web / ready", "api /api ready"],
        ),
        (
            serde_json::json!([web(90)]),
            serde_json::json!([web(91)]),
            vec!["web / not ready"],
        ),
    ] {
        let (project, stable) = rolling(&running, &newest);
        assert_eq!(ruled(&project, &stable), expected, "{running} -> {newest}");
    }
}

#[test]
fn a_host_says_how_it_does_tls_and_a_port_leads_to_its_service() {
    let mut project = project("p", ProjectPhase::Running, true, 1);
    project.spec.ingress = serde_json::from_value(serde_json::json!([
        {"name": "web", "hosts": ["a.x.org", "*.x.org"], "tls": "mine",
         "target": {"service": "app", "port": 80}},
        {"name": "raw", "host": "raw", "protocol": "TLSPassthrough",
         "target": {"service": "app", "port": 80}},
        {"name": "db", "protocol": "TCP", "port": 5432, "access": {"allow": ["10.0.0.0/8"]},
         "target": {"service": "app", "port": 81}}]))
    .expect("rules");
    let routing = of_project(&project, None, &bare(&domain()));
    let shown: Vec<String> = routing
        .hosts
        .iter()
        .map(|(name, host)| {
            let passed = host.tls.passthrough.as_ref().map(|s| s.ingress.as_str());
            let certificate = host.tls.certificate.as_deref();
            format!("{} {} {passed:?} {certificate:?}", name, host.routes.len())
        })
        .collect();
    let expected = [
        "*.x.org 1 None Some(\"mine\")",
        "a.x.org 1 None Some(\"mine\")",
        "raw.dev.localhost 0 Some(\"raw\") None",
    ];
    assert_eq!(shown, expected);
    assert!(
        routing
            .hosts
            .iter()
            .all(|(_, host)| unserved(host).is_none())
    );
    let ports: Vec<_> = routing.ports.iter().collect();
    let [(5432, stream)] = ports[..] else {
        panic!("{ports:?}");
    };
    assert_eq!((stream.ingress.as_str(), stream.allow.len()), ("db", 1));
    assert_eq!(stream.backend.endpoints().len(), 1);
}

#[test]
fn a_host_without_the_authorities_of_its_clients_is_closed_under_every_path() {
    let to = |port: u16| serde_json::json!({"service": "app", "port": port});
    let running = serde_json::json!([
        {"name": "old", "host": "shop", "path": "/old", "target": to(81)}]);
    let newest = serde_json::json!([
        {"name": "web", "host": "shop", "target": to(80)},
        {"name": "api", "host": "shop", "path": "/api", "target": to(80),
         "clientCertificate": {"ca": "ghost"}},
        {"name": "free", "host": "free", "target": to(80)}]);
    let (project, stable) = rolling(&running, &newest);
    let routing = of_project(&project, Some(&stable), &bare(&domain()));
    let routes = routing.hosts.iter().flat_map(|(_, host)| &host.routes);
    let broken: Vec<(&str, Option<&str>)> = routes
        .map(|route| {
            let why = route.policy.access.broken.as_deref();
            (route.ingress.as_str(), why)
        })
        .collect();
    let why = Some("secret \"ghost\" does not exist");
    assert_eq!(
        broken,
        [("free", None), ("web", why), ("api", why), ("old", why)]
    );
    assert!(
        routing
            .hosts
            .iter()
            .all(|(_, host)| host.tls.clients.is_none())
    );
}

/// Secrets with authorities, each under its name.
struct Authorities(&'static [&'static str]);

impl material::Material for Authorities {
    fn secret(&self, name: &str) -> Result<Arc<BTreeMap<String, Hidden>>, Missing> {
        let found = self.0.iter().find(|known| **known == name);
        let value = Hidden::new(*found.ok_or(Missing::Absent)?);
        Ok(Arc::new(BTreeMap::from([("ca.crt".to_owned(), value)])))
    }

    fn certificate(&self, _: &str) -> Result<Arc<Identity>, Missing> {
        Err(Missing::Absent)
    }

    fn is_trusted(&self, _: &Hostname) -> bool {
        false
    }
}

#[test]
fn a_rule_that_was_taken_out_stays_guarded_as_long_as_it_is_served() {
    let rule = |name: &str, ca: Option<&str>| {
        let path = format!("/{name}");
        let mut rule = serde_json::json!({"name": name, "host": "shop", "path": path,
            "target": {"service": "app", "port": 80}});
        if let Some(ca) = ca {
            rule["clientCertificate"] = serde_json::json!({"ca": ca});
        }
        rule
    };
    let (web, guarded) = (rule("web", None), rule("api", Some("ours")));
    let domain = domain();
    // What runs, what is newest; what the host asks of clients, and why rules are closed.
    for (running, newest, asked, closed) in [
        (vec![&web, &guarded], vec![&web], Some("ours"), vec![]),
        // Who lets more clients in need not wait either.
        (
            vec![&web, &guarded],
            vec![&web, &rule("api", None)],
            None,
            vec![],
        ),
        (
            vec![&guarded],
            vec![&rule("web", Some("theirs"))],
            Some("theirs"),
            vec!["api: its clients are asked for another certificate"],
        ),
        (
            vec![&web, &rule("api", Some("ghost"))],
            vec![&web],
            None,
            vec!["api: secret \"ghost\" does not exist"],
        ),
        (
            vec![&web, &guarded],
            vec![&rule("web", Some("ghost"))],
            None,
            vec![
                "web: secret \"ghost\" does not exist",
                "api: secret \"ghost\" does not exist",
            ],
        ),
    ] {
        let shown = format!("{running:?} -> {newest:?}");
        let (project, stable) = rolling(&serde_json::json!(running), &serde_json::json!(newest));
        let ground = Ground {
            domain: &domain,
            material: &Authorities(&["ours", "theirs"]),
        };
        let routing = of_project(&project, Some(&stable), &ground);
        let [(_, host)] = &routing.hosts[..] else {
            panic!("{shown}: one host")
        };
        let clients = host.tls.clients.as_ref().map(|clients| &*clients.ca_pem);
        assert_eq!(clients, asked, "{shown}");
        let routes = host.routes.iter();
        let found = routes.filter_map(|route| {
            let why = route.policy.access.broken.as_ref()?;
            Some(format!("{}: {why}", route.ingress))
        });
        assert_eq!(found.collect::<Vec<_>>(), closed, "{shown}");
    }
}
