//! From the model of all files to a Project and its Secrets.

use std::collections::{BTreeMap, BTreeSet};

use cara_api::hostname::Domain;
use cara_api::project::{Dependency, EnvVar, Project, ProjectSpec, Service};
use cara_api::{API_VERSION, ObjectMeta, validate};

use super::fault::{Note, Place};
use super::ingress::{self, Shown};
use super::interpolate::Variables;
use super::load::{Loader, SECTIONS};
use super::mounts::{self, Volumes};
use super::process::{self, Role};
use super::scope::{Remarks, Scope, Sink, flag};
use super::sealed::{self, Secrets, Shared};
use super::yaml::{Map, Node};
use super::{health, limits, ports, rest, traefik};

/// What the conversion goes by, beside the files.
pub struct Choice<'a> {
    pub name: &'a str,
    pub profiles: &'a BTreeSet<String>,
    pub hosts: &'a BTreeMap<String, String>,
    pub variables: &'a Variables,
}

/// What comes of it.
pub struct Made {
    pub project: Project,
    pub secrets: Secrets,
    pub remarks: Remarks,
    pub notes: Vec<Note>,
    pub faults: Vec<super::fault::Fault>,
}

/// Services that are taken, in the order of the file.
struct Active<'a> {
    services: Vec<(&'a str, &'a Node)>,
    /// Services that are left out, and why.
    left: BTreeMap<&'a str, Left>,
    /// Services that others wait for, and until when.
    awaited: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Left {
    Profile(String),
    /// The gateway does what it does.
    Replaced,
}

/// Makes the documents.
pub fn make(root: &Map, choice: &Choice<'_>, loader: &mut Loader<'_>) -> Made {
    let mut sink = Sink::default();
    let active = select(root, choice, &mut sink);
    let section = |name: &str| root.get(name).and_then(Node::as_map);
    let around = Around {
        active: &active,
        volumes: section("volumes"),
        shared: Shared {
            project: choice.name,
            files: loader.files,
            variables: choice.variables,
            secrets: section("secrets"),
            configs: section("configs"),
        },
    };
    let mut found = Found::default();
    for (name, node) in &active.services {
        let mut scope = Scope {
            name,
            at: node.at.clone(),
            fields: node.as_map().cloned().unwrap_or_default(),
            sink: &mut sink,
        };
        service(&mut scope, &around, loader, &mut found);
    }
    aliases(&mut sink, &found.services);
    beside(root, &active, &mut sink);
    let ingress = ingress::rules(&mut sink, &found.shown, choice.name, choice.hosts);
    let is_shown = |name: &String| ingress.iter().any(|rule| rule.target.service == *name);
    for name in choice.hosts.keys().filter(|name| !is_shown(name)) {
        let message =
            format!("--host-for {name}: no service of this name publishes a port for HTTP");
        sink.faults.push(super::fault::Fault::nowhere(message));
    }
    let project = Project {
        api_version: API_VERSION.to_owned(),
        kind: "Project".to_owned(),
        metadata: ObjectMeta {
            name: choice.name.to_owned(),
            ..ObjectMeta::default()
        },
        spec: ProjectSpec {
            services: found.services,
            volumes: found.volumes.all(),
            ingress,
            ..ProjectSpec::default()
        },
        ..Project::default()
    };
    if sink.faults.is_empty() {
        check(&project, &found.secrets, &active, &mut sink);
    }
    Made {
        project,
        secrets: found.secrets,
        remarks: sink.remarks,
        notes: sink.notes,
        faults: sink.faults,
    }
}

/// What a service sees of the rest.
struct Around<'a> {
    active: &'a Active<'a>,
    /// The volumes that are declared.
    volumes: Option<&'a Map>,
    shared: Shared<'a>,
}

/// What the services make together.
#[derive(Default)]
struct Found {
    services: Vec<Service>,
    shown: Vec<Shown>,
    volumes: Volumes,
    secrets: Secrets,
}

/// Each part takes the fields that it knows; what is left is named at the end.
fn service(scope: &mut Scope<'_>, around: &Around<'_>, loader: &mut Loader<'_>, found: &mut Found) {
    let mut service = Service {
        name: scope.name.to_owned(),
        ..Service::default()
    };
    image(scope, &mut service);
    process::command(scope, &mut service);
    process::settings(scope, &mut service);
    process::environment(scope, &mut service, loader, around.shared.variables);
    let ports = published(scope);
    let expose = exposed(scope);
    let rules = labels(scope, &mut service);
    let has_check = health::check(scope, &mut service);
    let deploy = limits::resources(scope, &mut service);
    let is_server = has_check || !ports.is_empty() || !expose.is_empty() || !rules.is_empty();
    let role = role(around.active, scope.name, is_server);
    process::restart(scope, &mut service, deploy, role);
    dependencies(scope, &mut service, around.active);
    let (volumes, files) = (&mut found.volumes, around.shared.files);
    mounts::mounts(scope, &mut service, volumes, around.volumes, files);
    sealed::secrets(scope, &mut service, &around.shared, &mut found.secrets);
    sealed::configs(scope, &mut service, &around.shared);
    service.cap_add = rest::cap_add(scope);
    service.allow_privilege_escalation = rest::may_escalate(scope);
    rest::rest(scope);
    found.shown.push(Shown {
        service: service.name.clone(),
        image: service.image.clone(),
        ports,
        expose,
        rules,
    });
    found.services.push(service);
}

fn select<'a>(root: &'a Map, choice: &Choice<'_>, sink: &mut Sink) -> Active<'a> {
    let mut active = Active {
        services: Vec::new(),
        left: BTreeMap::new(),
        awaited: BTreeMap::new(),
    };
    let services = root.get("services").and_then(Node::as_map);
    for (key, node) in services.into_iter().flat_map(Map::iter) {
        if key.text.starts_with("x-") {
            continue;
        }
        let fields = node.as_map();
        let field = |name: &str| fields.and_then(|map| map.get(name));
        let profiles = field("profiles")
            .and_then(Node::as_list)
            .unwrap_or_default();
        let profiles: Vec<String> = profiles.iter().filter_map(Node::scalar).collect();
        let is_wanted =
            |profile: &String| choice.profiles.contains(profile) || choice.profiles.contains("*");
        if !profiles.is_empty() && !profiles.iter().any(is_wanted) {
            let list = profiles.join(" or ");
            let text = format!(
                "Service {} is left out: --profile {list} takes it.",
                key.text
            );
            sink.remark("/spec/services", text);
            active.left.insert(&key.text, Left::Profile(list));
            continue;
        }
        let image = field("image").and_then(Node::scalar).unwrap_or_default();
        if traefik::is_replaced(&image) {
            sink.notes.push(Note {
                place: key.at.clone(),
                service: Some(key.text.clone()),
                field: "image".to_owned(),
                why: "the gateway does what this reverse proxy does, certificates included"
                    .to_owned(),
                way_out: "what its routes ask for became ingress rules".to_owned(),
            });
            active.left.insert(&key.text, Left::Replaced);
            continue;
        }
        let depends = field("depends_on").and_then(Node::as_map);
        for (dependency, node) in depends.into_iter().flat_map(Map::iter) {
            let condition = node
                .as_map()
                .and_then(|map| map.get("condition"))
                .and_then(Node::scalar);
            let conditions = active.awaited.entry(dependency.text.clone()).or_default();
            conditions.insert(condition.unwrap_or_default());
        }
        active.services.push((&key.text, node));
    }
    if active.services.is_empty() {
        let message = if active.left.is_empty() {
            "there is no service in it".to_owned()
        } else {
            "no service is left: name profiles with --profile".to_owned()
        };
        sink.faults.push(super::fault::Fault::nowhere(message));
    }
    active
}

fn role(active: &Active<'_>, name: &str, is_server: bool) -> Role {
    match active.awaited.get(name) {
        Some(conditions) if conditions.contains("service_completed_successfully") => Role::Job,
        Some(_) => Role::Server,
        None if is_server => Role::Server,
        None => Role::Unknown,
    }
}

fn image(scope: &mut Scope<'_>, service: &mut Service) {
    let image = scope.text("image");
    let build = scope.take("build");
    match (image, build) {
        (Some((_, image)), build) => {
            if build.is_some() {
                let text = "It was built from sources: build and push this image first (docker compose build, docker compose push).";
                scope.remark("/image", text);
            }
            service.image = image;
        }
        (None, Some(build)) => scope.fault(
            &build.at,
            "build: images are not built here. Build it, push it to a registry that the nodes can reach, and name it: image: registry.example.com/NAME:TAG",
        ),
        (None, None) => {
            let at = scope.at.clone();
            scope.fault(&at, "an image is needed");
        }
    }
}

fn published(scope: &mut Scope<'_>) -> Vec<ports::Port> {
    let mut found = Vec::new();
    for node in scope.list("ports") {
        match ports::read(&node) {
            Ok(port) => found.push(port),
            Err(message) => scope.fault(&node.at, format!("ports: {message}")),
        }
    }
    found
}

fn exposed(scope: &mut Scope<'_>) -> Vec<u16> {
    let ports = scope.texts("expose");
    let number = |(_, text): &(Place, String)| text.split(['/', '-']).next()?.parse().ok();
    ports.iter().filter_map(number).collect()
}

/// Takes `labels`, and what reverse proxies are told by them.
fn labels(scope: &mut Scope<'_>, service: &mut Service) -> Vec<traefik::Rule> {
    let (_, mut given) = scope
        .map("labels")
        .unwrap_or((scope.at.clone(), Map::default()));
    let mut rules = traefik::rules(scope, &mut given);
    rules.extend(traefik::virtual_host(service));
    for (key, node) in given.0 {
        if key.text.is_empty() || key.text.starts_with("cara.") {
            scope.lost(
                &key.at,
                format!("labels.{}", key.text),
                "labels that begin with cara. are the agent's own",
                "",
            );
        } else {
            service
                .labels
                .insert(key.text, node.scalar().unwrap_or_default());
        }
    }
    rules
}

fn dependencies(scope: &mut Scope<'_>, service: &mut Service, active: &Active<'_>) {
    let depends = scope
        .map("depends_on")
        .map(|(_, map)| map)
        .unwrap_or_default();
    for (key, node) in depends.0 {
        let name = key.text;
        let fields = node.as_map();
        let field = |name: &str| fields.and_then(|map| map.get(name));
        let is_required = field("required").and_then(flag).unwrap_or(true);
        let is_there = active.services.iter().any(|(other, _)| *other == name);
        if !is_there {
            match active.left.get(name.as_str()) {
                Some(Left::Replaced) => {}
                _ if !is_required => {}
                Some(Left::Profile(profiles)) => scope.fault(
                    &key.at,
                    format!("depends_on: {name} is in a profile that is not taken: add --profile {profiles}"),
                ),
                None => scope.fault(&key.at, format!("depends_on: there is no service {name:?}")),
            }
            continue;
        }
        if field("restart").and_then(flag).unwrap_or(false) {
            let way_out = "let the program connect anew by itself";
            scope.lost(
                &key.at,
                format!("depends_on.{name}.restart"),
                "a service is not started again because of another one",
                way_out,
            );
        }
        let condition = match field("condition").and_then(Node::scalar).as_deref() {
            Some("service_started") | None => "Started",
            Some("service_completed_successfully") => "Completed",
            Some("service_healthy") => {
                if !has_check(active, &name) {
                    let text =
                        format!("{name} has no check in the file: it is Ready when it runs.");
                    scope.remark(&format!("/dependsOn/{name}"), text);
                }
                "Ready"
            }
            Some(other) => {
                let message = format!(
                    "depends_on.{name}.condition: {other:?} is none of service_started, service_healthy, service_completed_successfully"
                );
                scope.fault(&key.at, message);
                continue;
            }
        };
        service.depends_on.push(Dependency {
            service: name,
            condition: condition.to_owned(),
        });
    }
}

fn has_check(active: &Active<'_>, name: &str) -> bool {
    let node = active.services.iter().find(|(other, _)| *other == name);
    let check = node.and_then(|(_, node)| node.as_map()?.get("healthcheck")?.as_map());
    check.is_some_and(|check| check.get("test").is_some())
}

/// Says that a name does not lead to a service any more, where somebody uses it.
fn aliases(sink: &mut Sink, services: &[Service]) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let names = |text: &str, name: &str| text.split(|c| !is_name(c)).any(|word| word == name);
    for alias in std::mem::take(&mut sink.aliases) {
        let is_service = services.iter().any(|service| service.name == alias.name);
        let uses = |service: &&Service| {
            let values = service
                .env
                .iter()
                .map(|variable: &EnvVar| variable.value.as_str());
            let words = service
                .command
                .iter()
                .chain(&service.args)
                .map(String::as_str);
            let contents = service.configs.iter().map(|config| config.content.as_str());
            let mut texts = values.chain(words).chain(contents);
            service.name != alias.service && texts.any(|text| names(text, &alias.name))
        };
        let Some(user) = services.iter().find(uses).filter(|_| !is_service) else {
            continue;
        };
        sink.notes.push(Note {
            place: alias.at,
            service: Some(alias.service.clone()),
            field: alias.field.to_owned(),
            why: format!(
                "{} does not reach it as {:?}: services are reached by their names alone",
                user.name, alias.name
            ),
            way_out: format!("write {} in {}", alias.service, user.name),
        });
    }
}

/// What stands beside the services.
fn beside(root: &Map, active: &Active<'_>, sink: &mut Sink) {
    if let Some(networks) = root.get("networks").and_then(Node::as_map) {
        rest::networks(sink, networks);
        separate(networks, active, sink);
    }
    for (key, node) in root.iter() {
        let is_known = SECTIONS.contains(&key.text.as_str())
            || matches!(key.text.as_str(), "version" | "name" | "include");
        if !is_known && !key.text.starts_with("x-") && !node.is_null() {
            sink.notes.push(Note {
                place: key.at.clone(),
                service: None,
                field: key.text.clone(),
                why: "the section is not known here".to_owned(),
                way_out: String::new(),
            });
        }
    }
}

/// Says that networks do not keep services apart, if they did.
fn separate(networks: &Map, active: &Active<'_>, sink: &mut Sink) {
    let of = |node: &Node| -> BTreeSet<String> {
        let map = node
            .as_map()
            .and_then(|map| map.get("networks"))
            .and_then(Node::as_map);
        match map {
            Some(map) => map.iter().map(|(key, _)| key.text.clone()).collect(),
            None => BTreeSet::from(["default".to_owned()]),
        }
    };
    let all: Vec<BTreeSet<String>> = active.services.iter().map(|(_, node)| of(node)).collect();
    let mut pairs = all
        .iter()
        .enumerate()
        .flat_map(|(index, one)| all.iter().skip(index + 1).map(move |other| (one, other)));
    if pairs.any(|(one, other)| one.is_disjoint(other))
        && let Some((key, _)) = networks.iter().next()
    {
        sink.notes.push(Note {
            place: key.at.clone(),
            service: None,
            field: "networks".to_owned(),
            why: "services of a project share one network, and reach each other".to_owned(),
            way_out: "make a project of its own of what must be kept apart".to_owned(),
        });
    }
}

/// Holds the result against the rules of the product.
fn check(project: &Project, secrets: &Secrets, active: &Active<'_>, sink: &mut Sink) {
    let domain = Domain {
        environment: "dev".to_owned(),
        base: "localhost".to_owned(),
    };
    let name = project.metadata.name.as_str();
    let mut found = validate::identity::<Project>(&project.api_version, &project.kind, name);
    found.extend(validate::project(&project.spec, name, &domain));
    for fault in found {
        let index = fault
            .path
            .strip_prefix("spec.services[")
            .and_then(|rest| rest.split(']').next()?.parse::<usize>().ok());
        let node = index.and_then(|index| active.services.get(index));
        let fault = match node {
            Some((_, node)) => super::fault::Fault::new(&node.at, fault.message),
            None => super::fault::Fault::nowhere(fault.to_string()),
        };
        sink.faults.push(fault);
    }
    for secret in secrets.values() {
        let mut found = validate::identity::<cara_api::Secret>(
            &secret.api_version,
            &secret.kind,
            &secret.metadata.name,
        );
        found.extend(validate::secret(secret));
        let nowhere = |fault: cara_api::problem::FieldError| {
            super::fault::Fault::nowhere(format!("secret {}: {fault}", secret.metadata.name))
        };
        sink.faults.extend(found.into_iter().map(nowhere));
    }
}
