//! What a change of a project does: services and volumes that are created, replaced, kept or
//! deleted, and rules that change. Pure.
//!
//! Decided from the documents alone, so that a client, a dry run and a review say the same. It
//! refuses to know nodes: whether a port is published is a setting of the agent, so a service
//! whose ports are reached from elsewhere counts as replaced.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::project::{Ingress, ProjectSpec, Service, Volume, VolumeType};

/// What a change does, part by part: services first, then volumes, then ingress rules.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Plan {
    /// One for each part of the old and the new document.
    pub steps: Vec<Step>,
}

/// What becomes of a part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Step {
    /// What happens to it.
    pub fate: Fate,
    /// What kind of part it is.
    pub part: Part,
    /// Its name.
    pub name: String,
    /// Why, in words; values of variables and files are never among them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
}

/// What happens to a part of a project.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
pub enum Fate {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is made.
    Create,
    /// It goes by other settings, without being started anew.
    Update,
    /// Its container is replaced.
    Replace,
    /// It goes.
    Delete,
}

impl Fate {
    /// The fate as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Create => "create",
            Self::Update => "update",
            Self::Replace => "replace",
            Self::Delete => "delete",
        }
    }
}

/// A kind of part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum Part {
    /// A service.
    #[default]
    Service,
    /// A volume.
    Volume,
    /// An ingress rule.
    Ingress,
}

impl Part {
    /// The part as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Volume => "volume",
            Self::Ingress => "ingress",
        }
    }
}

/// How much a plan asks of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Nothing that runs is touched.
    Harmless,
    /// Containers are replaced.
    Replaces,
    /// Services, hostnames or data go.
    Destroys,
}

impl Plan {
    /// What turns `old`, if there is one, into `new`.
    pub fn between(old: Option<&ProjectSpec>, new: &ProjectSpec) -> Self {
        let empty = ProjectSpec::default();
        let old = old.unwrap_or(&empty);
        let mut steps = parts(
            &old.services,
            &new.services,
            Part::Service,
            |s| &s.name,
            |a, b| service(old, a, new, b),
        );
        steps.extend(volumes(old, new));
        steps.extend(parts(
            &old.ingress,
            &new.ingress,
            Part::Ingress,
            |i| &i.name,
            ingress,
        ));
        Self { steps }
    }

    /// What deleting a project does.
    pub fn deletion(old: &ProjectSpec) -> Self {
        let mut plan = Self::between(Some(old), &ProjectSpec::default());
        for step in &mut plan.steps {
            let volume = old.volumes.iter().find(|v| v.name == step.name);
            let kind = volume.and_then(Volume::volume_type);
            if step.part == Part::Volume && kind == Some(VolumeType::Persistent) {
                step.fate = Fate::Delete;
                step.because = vec!["Persistent: its data is lost".to_owned()];
            }
        }
        plan
    }

    /// How much it asks of a user.
    pub fn weight(&self) -> Weight {
        let weights = self.steps.iter().map(|step| match (step.fate, step.part) {
            (Fate::Delete, _) => Weight::Destroys,
            (Fate::Replace, _) => Weight::Replaces,
            // The old hostname leads nowhere any more.
            (Fate::Update, Part::Ingress) if step.because.iter().any(|b| b.starts_with("host")) => {
                Weight::Replaces
            }
            (Fate::Keep | Fate::Create | Fate::Update, _) => Weight::Harmless,
        });
        weights.max().unwrap_or(Weight::Harmless)
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.fate == Fate::Keep)
    }

    /// Whether data of Persistent volumes is lost.
    pub fn loses_data(&self) -> bool {
        let goes = |s: &Step| s.part == Part::Volume && s.fate == Fate::Delete;
        let is_kept_over_updates = |s: &Step| s.because.iter().any(|b| b.starts_with("Persistent"));
        self.steps
            .iter()
            .any(|s| goes(s) && is_kept_over_updates(s))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fate, part) = (self.fate.as_str(), self.part.as_str());
        write!(f, "{fate:<7} {part:<7} {}", self.name)?;
        match self.because.as_slice() {
            [] => Ok(()),
            because => write!(f, ": {}", because.join(", ")),
        }
    }
}

/// The parts of both documents by name, in the order of the new one.
fn parts<T>(
    old: &[T],
    new: &[T],
    part: Part,
    name: impl Fn(&T) -> &String,
    compare: impl Fn(&T, &T) -> (Fate, Vec<String>),
) -> Vec<Step> {
    let step = |fate, item: &T, because| Step {
        fate,
        part,
        name: name(item).clone(),
        because,
    };
    let mut steps: Vec<Step> = new
        .iter()
        .map(|item| match old.iter().find(|o| name(o) == name(item)) {
            None => step(Fate::Create, item, Vec::new()),
            Some(before) => {
                let (fate, because) = compare(before, item);
                step(fate, item, because)
            }
        })
        .collect();
    let gone = old
        .iter()
        .filter(|o| !new.iter().any(|n| name(n) == name(o)));
    steps.extend(gone.map(|item| step(Fate::Delete, item, Vec::new())));
    steps
}

fn ingress(a: &Ingress, b: &Ingress) -> (Fate, Vec<String>) {
    let mut because = fields(&json(a), &json(b));
    for field in because.iter_mut().filter(|field| *field == "host") {
        let name = |host: &str| match host {
            "" => "the project's name".to_owned(),
            host => host.to_owned(),
        };
        *field = format!("host {} -> {}", name(&a.host), name(&b.host));
    }
    let fate = match because.is_empty() {
        true => Fate::Keep,
        false => Fate::Update,
    };
    (fate, because)
}

/// Fields that a running container goes by without being made anew.
const IN_PLACE: [&str; 3] = ["dependsOn", "healthCheck", "restartPolicy"];

fn service(old: &ProjectSpec, a: &Service, new: &ProjectSpec, b: &Service) -> (Fate, Vec<String>) {
    let (before, after) = (json(a), json(b));
    let mut because = Vec::new();
    if a.image != b.image {
        because.push(format!("image {} -> {}", a.image, b.image));
    }
    let changed = fields(&before, &after);
    because.extend(changed.iter().filter(|field| *field != "image").cloned());
    let mut fate = match changed
        .iter()
        .all(|field| IN_PLACE.contains(&field.as_str()))
    {
        true if changed.is_empty() => Fate::Keep,
        true => Fate::Update,
        false => Fate::Replace,
    };
    if mounts(old, a) != mounts(new, b) && !changed.iter().any(|field| field == "volumeMounts") {
        because.push("a volume that it mounts".to_owned());
        fate = Fate::Replace;
    }
    if ports(old, &a.name) != ports(new, &b.name) {
        because.push("the ports that rules lead to".to_owned());
        fate = Fate::Replace;
    }
    (fate, because)
}

/// What a service mounts, as far as its container knows: volumes by name, directories by path.
fn mounts<'a>(spec: &'a ProjectSpec, service: &'a Service) -> BTreeSet<(&'a str, &'a str)> {
    let source = |name: &'a str| {
        let volume = spec.volumes.iter().find(|v| v.name == name);
        match volume.and_then(Volume::volume_type) {
            Some(VolumeType::HostPath) => volume.map_or("", |v| v.path.as_str()),
            Some(VolumeType::Ephemeral | VolumeType::Persistent) | None => name,
        }
    };
    let mounts = service.volume_mounts.iter();
    mounts
        .map(|m| (m.mount_path.as_str(), source(&m.name)))
        .collect()
}

/// The ports of a service that rules lead to.
fn ports(spec: &ProjectSpec, service: &str) -> BTreeSet<i64> {
    let targets = spec.ingress.iter().flat_map(|rule| rule.all_targets());
    let own = targets.filter(|target| target.service == service);
    own.map(|target| target.port).collect()
}

fn volumes(old: &ProjectSpec, new: &ProjectSpec) -> Vec<Step> {
    let mut steps = parts(
        &old.volumes,
        &new.volumes,
        Part::Volume,
        |v| &v.name,
        |a, b| {
            if a.kind != b.kind {
                return (Fate::Update, vec![format!("type {} -> {}", a.kind, b.kind)]);
            }
            if a.path != b.path {
                return (Fate::Update, vec![format!("path {} -> {}", a.path, b.path)]);
            }
            (Fate::Keep, Vec::new())
        },
    );
    for step in steps.iter_mut().filter(|step| step.fate == Fate::Delete) {
        let volume = old.volumes.iter().find(|v| v.name == step.name);
        let (fate, because) = match volume.and_then(Volume::volume_type) {
            Some(VolumeType::Ephemeral) => (Fate::Delete, "Ephemeral: its data is lost"),
            Some(VolumeType::Persistent) => {
                (Fate::Keep, "Persistent: stays until the project is deleted")
            }
            Some(VolumeType::HostPath) => (Fate::Keep, "HostPath: the directory is not touched"),
            None => continue,
        };
        step.fate = fate;
        step.because = vec![because.to_owned()];
    }
    steps
}

fn json(value: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(map)) => map,
        // Wire types are objects; nothing to compare where one is not.
        Ok(_) | Err(_) => Map::new(),
    }
}

/// The names of the fields that differ, and of the items of a list of named ones.
fn fields(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<String> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differ = names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name));
    let named = differ.map(|name| match items(old.get(name), new.get(name)) {
        Some(items) if !items.is_empty() => format!("{name} {}", items.join(" ")),
        Some(_) | None => name.clone(),
    });
    named.collect()
}

/// The names of the items that differ between lists of objects with names.
fn items(old: Option<&Value>, new: Option<&Value>) -> Option<Vec<String>> {
    let empty = Vec::new();
    let list = |value: Option<&Value>| match value {
        None => Some(empty.clone()),
        Some(Value::Array(items)) => Some(items.clone()),
        Some(_) => None,
    };
    let (old, new) = (list(old)?, list(new)?);
    let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
    let find = |list: &[Value], wanted: &str| {
        let mut items = list.iter();
        items.find(|i| name(i).as_deref() == Some(wanted)).cloned()
    };
    let names: Option<BTreeSet<String>> = old.iter().chain(&new).map(name).collect();
    let names = names?.into_iter();
    Some(names.filter(|n| find(&old, n) != find(&new, n)).collect())
}

#[cfg(test)]
mod tests;
