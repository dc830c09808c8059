//! `convert`: a Docker Compose file as documents of this product.
//!
//! ```text
//! files -> yaml -> interpolate -> shape -> extends, include, merge (load)
//!       -> one model -> project, with a part for each group of fields -> render
//! ```
//!
//! Everything but [`run`] is pure but for the files that it asks for ([`files::Files`]). What has
//! no place in a project is never dropped silently: each part takes the fields that it knows out
//! of a service, and `rest` says something about all others.

mod envfile;
mod fault;
mod files;
mod health;
mod ingress;
mod interpolate;
mod limits;
mod load;
mod merge;
mod mounts;
mod ports;
mod process;
mod project;
mod render;
mod rest;
mod scope;
mod sealed;
mod shape;
#[cfg(test)]
mod tests;
mod traefik;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::args::Convert;
use super::failure::Failure;
use super::{out, tell};
use fault::{Fault, Note};
use files::{Disk, Files, Kind};
use interpolate::Variables;
use load::Loader;

/// Names that are looked for when no file is named, and what may change them.
const DEFAULT_FILES: [&str; 4] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yaml",
    "docker-compose.yml",
];
const OVERRIDES: [&str; 4] = [
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yaml",
    "docker-compose.override.yml",
];
/// Where the schema of projects is.
const SCHEMA: &str = "deploy/schemas/project.json";

/// What is to be converted.
#[derive(Debug, Clone, Default)]
struct Request {
    files: Vec<String>,
    profiles: BTreeSet<String>,
    /// In the place of `.env`.
    env_files: Vec<String>,
    project: Option<String>,
    /// Hostnames by service.
    hosts: BTreeMap<String, String>,
    /// Variables of the process; they come before those of files.
    environment: Variables,
    /// The name of the current directory.
    here: String,
}

/// Documents, and what they do not have.
#[derive(Debug)]
struct Converted {
    text: String,
    notes: Vec<Note>,
}

/// Converts, prints, and tells what was not carried over.
pub fn run(options: Convert) -> Result<(), Failure> {
    let request = request(&options, &Disk)?;
    let converted = convert(&Disk, &request).map_err(|faults| failed(&faults))?;
    match options.output_file.as_deref() {
        None | Some("-") => out(&converted.text)?,
        Some(path) => std::fs::write(path, &converted.text)
            .map_err(|error| Failure::other(format!("convert: write {path}: {error}")))?,
    }
    if converted.notes.is_empty() {
        return Ok(());
    }
    let count = converted.notes.len();
    tell(format_args!("Not carried over ({count}):"));
    for note in &converted.notes {
        tell(format_args!("  {note}"));
    }
    match options.strict {
        true => Err(Failure::usage(format!(
            "convert: not everything was carried over ({count} above), and --strict was given"
        ))),
        false => Ok(()),
    }
}

fn request(options: &Convert, files: &dyn Files) -> Result<Request, Failure> {
    let environment: Variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let mut named = options.files.clone();
    if named.is_empty() {
        let first = |names: &[&str]| {
            names
                .iter()
                .find(|name| files.kind(name) == Kind::File)
                .map(ToString::to_string)
        };
        let main = first(&DEFAULT_FILES).ok_or_else(|| {
            let names = DEFAULT_FILES.join(", ");
            Failure::usage("convert: there is no compose file here")
                .with(format!("name one with -f; looked for {names}"))
        })?;
        named.push(main);
        named.extend(first(&OVERRIDES));
    }
    let hosts = options.host_for.iter().map(|text| {
        let pair = text
            .split_once('=')
            .filter(|(service, host)| !service.is_empty() && !host.is_empty());
        let (service, host) = pair
            .ok_or_else(|| Failure::usage(format!("--host-for {text:?}: expected SERVICE=HOST")))?;
        Ok((service.to_owned(), host.to_owned()))
    });
    let here = std::env::current_dir().ok();
    let here = here.and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let mut profiles: BTreeSet<String> = options.profile.iter().cloned().collect();
    if let Some(listed) = environment
        .get("COMPOSE_PROFILES")
        .filter(|_| profiles.is_empty())
    {
        profiles.extend(
            listed
                .split(',')
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty()),
        );
    }
    Ok(Request {
        files: named,
        profiles,
        env_files: options.env_file.clone(),
        project: options.project.clone(),
        hosts: hosts.collect::<Result<_, Failure>>()?,
        environment,
        here: here.unwrap_or_default(),
    })
}

fn failed(faults: &[Fault]) -> Failure {
    match faults {
        [one] => Failure::other(format!("convert: {one}")),
        many => many.iter().fold(
            Failure::other(format!("convert: {} problems", many.len())),
            |failure, fault| failure.with(fault.to_string()),
        ),
    }
}

/// The documents for what is asked.
fn convert(files: &dyn Files, request: &Request) -> Result<Converted, Vec<Fault>> {
    let one = |fault: Fault| vec![fault];
    let first = request.files.first().map_or("", String::as_str);
    let directory = files::parent(first);
    let mut loader = Loader::new(files);
    let mut variables = match request.env_files.is_empty() {
        true => loader.dot_env(&directory, &request.environment),
        false => loader.env(&request.env_files, &request.environment),
    }
    .map_err(one)?;
    variables.extend(request.environment.clone());
    let root = loader
        .load(&request.files, &directory, &variables)
        .map_err(one)?;
    let stated = root.get("name").and_then(yaml::Node::scalar);
    let from_directory = || match directory.rsplit('/').next() {
        Some(name) if !matches!(name, "" | "." | "..") => name.to_owned(),
        Some(_) | None => request.here.clone(),
    };
    let wanted = request
        .project
        .clone()
        .or_else(|| variables.get("COMPOSE_PROJECT_NAME").cloned());
    let wanted = wanted.or(stated).unwrap_or_else(from_directory);
    let name = ingress::label(&wanted);
    if name.is_empty() {
        return Err(vec![Fault::nowhere(
            "the project has no name: give it one with --project",
        )]);
    }
    let choice = project::Choice {
        name: &name,
        profiles: &request.profiles,
        hosts: &request.hosts,
        variables: &variables,
    };
    let mut made = project::make(&root, &choice, &mut loader);
    if !made.faults.is_empty() {
        made.faults.sort_by(fault::order_of_faults);
        return Err(made.faults);
    }
    let mut notes = loader.notes;
    notes.extend(made.notes.iter().cloned());
    notes.sort_by(fault::order);
    Ok(Converted {
        text: text(request, &made, &wanted),
        notes,
    })
}

/// The documents as text: secrets first, since the project names them.
fn text(request: &Request, made: &project::Made, wanted: &str) -> String {
    let mut text = String::new();
    for secret in made.secrets.values() {
        text.push_str(
            "# Holds a value as it is: do not keep this file where others can read it.\n",
        );
        let value = serde_json::to_value(secret).unwrap_or_default();
        text.push_str(&render::document(&value, &BTreeMap::new()));
        text.push_str("---\n");
    }
    text.push_str(&format!("# yaml-language-server: $schema={SCHEMA}\n"));
    let sources = request.files.join(", ");
    text.push_str(&format!("# Made from {sources} by caractrl convert.\n"));
    if made.project.metadata.name != wanted {
        text.push_str(&format!(
            "# The name {wanted:?} was made one that hostnames can hold.\n"
        ));
    }
    let mut value = serde_json::to_value(&made.project).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.shift_remove("status");
    }
    for ingress in value
        .pointer_mut("/spec/ingress")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let Some(map) = ingress.as_object_mut() else {
            continue;
        };
        // What everybody may reach says so by saying nothing.
        map.shift_remove("access");
    }
    text.push_str(&render::document(&value, &made.remarks));
    text
}
