//! Volumes, directories and files of the host, and scratch space.
//!
//! Named volumes become Persistent ones. Files beside the compose file become `configs`, since
//! nodes do not have them. Directories of the machine itself become HostPath volumes.

use std::collections::BTreeMap;

use cara_api::project::{ConfigFile, Service, Volume, VolumeMount};

use super::fault::Place;
use super::files::{Files, Kind, join};
use super::scope::{Scope, flag};
use super::yaml::{Map, Node, Value};

/// The largest file that a project carries, and all files of one directory together, in bytes.
const FILE_MAX: usize = 256 * 1024;
/// Files that one directory may hold to be carried.
const FILES_MAX: usize = 50;
/// Directories within directories that are looked into.
const DEPTH_MAX: usize = 6;

/// What takes the place of directories in memory.
const IN_MEMORY: &str = "It was in memory, where every user may write: on disk here, of the user that the image says, and empty after a stop \
     or a move.";

/// Volumes of the project, by name.
#[derive(Debug, Default)]
pub struct Volumes {
    found: BTreeMap<String, Volume>,
}

impl Volumes {
    /// All volumes, sorted by name.
    pub fn all(self) -> Vec<Volume> {
        self.found.into_values().collect()
    }

    fn add(&mut self, name: &str, kind: &str, path: &str) {
        let volume = Volume {
            name: name.to_owned(),
            kind: kind.to_owned(),
            path: path.to_owned(),
        };
        self.found.entry(name.to_owned()).or_insert(volume);
    }
}

/// One entry of `volumes` in its long form.
struct Mount {
    at: Place,
    kind: String,
    source: String,
    target: String,
    read_only: bool,
}

/// Takes `volumes` and `tmpfs`.
pub fn mounts(
    scope: &mut Scope<'_>,
    service: &mut Service,
    volumes: &mut Volumes,
    declared: Option<&Map>,
    files: &dyn Files,
) {
    for node in scope.list("volumes") {
        let Some(mount) = read(scope, node) else {
            continue;
        };
        match mount.kind.as_str() {
            "volume" if mount.source.is_empty() => {
                let name = name_for(scope, &mount.target);
                volumes.add(&name, "Persistent", "");
                scope
                    .sink
                    .remark(format!("/spec/volumes/{name}"), "It had no name.");
                mount_volume(service, &name, &mount);
            }
            "volume" => named(scope, service, volumes, &mount, declared),
            "bind" => bind(scope, service, volumes, &mount, files),
            "tmpfs" => scratch(scope, service, volumes, &mount),
            other => {
                let why = format!("a mount of type {other:?} does not exist here");
                scope.lost(&mount.at, "volumes", why, "put the files into the image");
            }
        }
    }
    for (at, text) in scope.texts("tmpfs") {
        let (target, options) = text.split_once(':').unwrap_or((&text, ""));
        if !options.is_empty() {
            let path = format!("/spec/volumes/{}", name_for(scope, target));
            scope
                .sink
                .remark(path, format!("It had the options {options}."));
        }
        let (kind, source, target) = ("tmpfs".to_owned(), String::new(), target.to_owned());
        let mount = Mount {
            at,
            kind,
            source,
            target,
            read_only: false,
        };
        scratch(scope, service, volumes, &mount);
    }
}

fn read(scope: &mut Scope<'_>, node: Node) -> Option<Mount> {
    let at = node.at.clone();
    let Value::Map(map) = node.value else {
        return None;
    };
    let text = |name: &str| map.get(name).and_then(Node::scalar).unwrap_or_default();
    let mount = Mount {
        kind: text("type"),
        source: text("source"),
        target: text("target"),
        read_only: map.get("read_only").and_then(flag).unwrap_or(false),
        at,
    };
    if !mount.target.starts_with('/') {
        let message = format!("volumes: target {:?} must begin with '/'", mount.target);
        scope.fault(&mount.at, message);
        return None;
    }
    for (key, node) in map.iter() {
        let sub = node.as_map();
        let has = |name: &str| sub.is_some_and(|sub| sub.get(name).is_some());
        match key.text.as_str() {
            "volume" if has("subpath") => scope.lost(
                &node.at,
                "volumes.volume.subpath",
                "a volume is mounted as a whole",
                "use a volume of its own for that directory",
            ),
            "option" => {
                let option = node.scalar().unwrap_or_default();
                scope.lost(
                    &node.at,
                    "volumes",
                    format!("option {option:?} has no meaning here"),
                    "",
                );
            }
            _ => {}
        }
    }
    Some(mount)
}

fn mount_volume(service: &mut Service, name: &str, given: &Mount) {
    service.volume_mounts.push(VolumeMount {
        name: name.to_owned(),
        mount_path: given.target.clone(),
        read_only: given.read_only,
    });
}

/// A name out of a path: `/var/lib/x` is `var-lib-x`.
fn slug(path: &str) -> String {
    let word = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let slug: String = path.chars().map(word).collect();
    let parts: Vec<&str> = slug.split('-').filter(|part| !part.is_empty()).collect();
    parts.join("-")
}

/// A name for a volume that has none.
fn name_for(scope: &Scope<'_>, path: &str) -> String {
    let name: String = format!("{}-{}", scope.name, slug(path))
        .chars()
        .take(63)
        .collect();
    name.trim_end_matches('-').to_owned()
}

fn scratch(scope: &mut Scope<'_>, service: &mut Service, volumes: &mut Volumes, given: &Mount) {
    let name = name_for(scope, &given.target);
    volumes.add(&name, "Ephemeral", "");
    scope
        .sink
        .remark(format!("/spec/volumes/{name}"), IN_MEMORY);
    mount_volume(service, &name, given);
}

fn named(
    scope: &mut Scope<'_>,
    service: &mut Service,
    volumes: &mut Volumes,
    given: &Mount,
    declared: Option<&Map>,
) {
    let name = given.source.as_str();
    let Some(node) = declared.and_then(|map| map.get(name)) else {
        let message = format!("volume {name:?} is not in the volumes of the file");
        scope.fault(&given.at, message);
        return;
    };
    let fields = node.as_map();
    let text = |name: &str| fields.and_then(|map| map.get(name)).and_then(Node::scalar);
    let options = fields
        .and_then(|map| map.get("driver_opts"))
        .and_then(Node::as_map);
    let option = |name: &str| {
        options
            .and_then(|map| map.get(name))
            .and_then(Node::scalar)
            .unwrap_or_default()
    };
    let device = option("device");
    let is_bind = option("o").split(',').any(|word| word == "bind");
    let mut name = name.to_owned();
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || name.len() > 63 {
        name = name_for(scope, &name);
    }
    if is_bind && device.starts_with('/') {
        volumes.add(&name, "HostPath", &device);
        host_path_remark(scope, &name);
        mount_volume(service, &name, given);
        return;
    }
    if option("type") == "tmpfs" {
        volumes.add(&name, "Ephemeral", "");
        scope
            .sink
            .remark(format!("/spec/volumes/{name}"), IN_MEMORY);
        mount_volume(service, &name, given);
        return;
    }
    volumes.add(&name, "Persistent", "");
    mount_volume(service, &name, given);
    let external = fields.and_then(|map| map.get("external"));
    if external.is_some_and(|node| flag(node).unwrap_or(true)) {
        let way_out = "copy its content into the new volume once the project runs";
        once(
            scope,
            &given.at,
            &name,
            "external",
            "it is made anew and empty",
            way_out,
        );
    } else if !device.is_empty() || text("driver").is_some_and(|driver| driver != "local") {
        let why =
            "volumes are on the disk of the node; other drivers and file servers are not used";
        let way_out = "mount the file server on the nodes, and use a HostPath volume";
        once(scope, &given.at, &name, "driver", why, way_out);
    }
}

/// Several services may mount it: said beside the services, once.
fn once(scope: &mut Scope<'_>, at: &Place, name: &str, field: &str, why: &str, way_out: &str) {
    let field = format!("volumes.{name}.{field}");
    if scope.sink.notes.iter().all(|note| note.field != field) {
        scope.lost(at, field, why, way_out);
        if let Some(note) = scope.sink.notes.last_mut() {
            note.service = None;
        }
    }
}

fn host_path_remark(scope: &mut Scope<'_>, name: &str) {
    let text = "A directory of the node: it must exist there, under an agent's --allow-host-path.";
    scope.sink.remark(format!("/spec/volumes/{name}"), text);
}

/// What of a machine no service may have.
fn refusal(source: &str) -> Option<(&'static str, &'static str)> {
    let is_below = |root: &str| source == root || source.starts_with(&format!("{root}/"));
    if source.ends_with("docker.sock")
        || source.ends_with("podman.sock")
        || source.ends_with("containerd.sock")
    {
        return Some((
            "services never get the engine's socket, which would give them the node",
            "leave out what manages containers: nodes and gateway do that here",
        ));
    }
    if source == "/etc/localtime" || source == "/etc/timezone" {
        return Some((
            "the time zone of a node is its own",
            "set TZ in environment",
        ));
    }
    if source == "/"
        || [
            "/proc",
            "/sys",
            "/dev",
            "/boot",
            "/run",
            "/var/run",
            "/var/lib/docker",
        ]
        .iter()
        .any(|root| is_below(root))
    {
        return Some((
            "services do not see the machine that they run on",
            "run what watches machines beside the agent, not as a project",
        ));
    }
    if source.starts_with('~') {
        return Some((
            "nodes have no home directory of yours",
            "name a directory of the node, or put the files into the image",
        ));
    }
    None
}

fn bind(
    scope: &mut Scope<'_>,
    service: &mut Service,
    volumes: &mut Volumes,
    given: &Mount,
    files: &dyn Files,
) {
    let field = format!("volumes {}", given.target);
    if let Some((why, way_out)) = refusal(&given.source) {
        scope.lost(&given.at, field, why, way_out);
        return;
    }
    let is_of_machine = given.source.starts_with('/');
    if is_of_machine {
        let name = name_for(scope, &given.source);
        volumes.add(&name, "HostPath", &given.source);
        host_path_remark(scope, &name);
        mount_volume(service, &name, given);
        return;
    }
    match files.kind(&given.source) {
        Kind::File => match file(files, &given.source) {
            Ok(content) => config(scope, service, given, given.target.clone(), content),
            Err(why) => scope.lost(
                &given.at,
                field,
                format!("{}: {why}", given.source),
                "put the file into the image",
            ),
        },
        Kind::Directory => directory(scope, service, volumes, given, files),
        Kind::Other => scope.lost(
            &given.at,
            field,
            format!("{} is neither file nor directory", given.source),
            "",
        ),
        Kind::Missing => {
            let has_ending = given
                .source
                .rsplit('/')
                .next()
                .is_some_and(|name| name.trim_start_matches('.').contains('.'));
            if has_ending {
                let why = format!("{} does not exist", given.source);
                scope.lost(
                    &given.at,
                    field,
                    why,
                    "put the file in its place, and convert again",
                );
            } else {
                keep(scope, service, volumes, given);
            }
        }
    }
}

fn config(
    scope: &mut Scope<'_>,
    service: &mut Service,
    given: &Mount,
    path: String,
    content: String,
) {
    if !given.read_only {
        scope.remark(&format!("/configs/{path}"), "Read-only here.");
    }
    service.configs.push(ConfigFile { path, content });
}

/// A directory in which the service keeps something: a volume takes its place.
fn keep(scope: &mut Scope<'_>, service: &mut Service, volumes: &mut Volumes, given: &Mount) {
    let name = name_for(scope, given.source.trim_start_matches(['.', '/']));
    let name = if volumes.found.contains_key(&name) {
        name_for(scope, &given.target)
    } else {
        name
    };
    volumes.add(&name, "Persistent", "");
    let text = format!("In the place of the directory {}.", given.source);
    scope.sink.remark(format!("/spec/volumes/{name}"), text);
    mount_volume(service, &name, given);
}

fn directory(
    scope: &mut Scope<'_>,
    service: &mut Service,
    volumes: &mut Volumes,
    given: &Mount,
    files: &dyn Files,
) {
    let field = format!("volumes {}", given.target);
    let mut found = Vec::new();
    let walked = walk(files, &given.source, "", 0, &mut found);
    if found.is_empty() && walked.is_ok() {
        keep(scope, service, volumes, given);
        return;
    }
    if !given.read_only {
        let why = format!(
            "the files in {} are on this machine, not on the nodes",
            given.source
        );
        let is_code = [
            "package.json",
            "requirements.txt",
            "Gemfile",
            "go.mod",
            "Cargo.toml",
            "composer.json",
            "Dockerfile",
            "pyproject.toml",
            "manage.py",
        ];
        if found
            .iter()
            .any(|(name, _)| is_code.contains(&name.as_str()))
        {
            scope.lost(
                &given.at,
                field,
                why,
                "the image must hold the program: build and push it",
            );
        } else {
            scope.lost(&given.at, field, why, "add :ro to carry them as configs, or put them into the image; a volume is mounted, empty");
            keep(scope, service, volumes, given);
        }
        return;
    }
    if let Err(why) = walked {
        scope.lost(
            &given.at,
            field,
            format!("{}: {why}", given.source),
            "put the files into the image",
        );
        return;
    }
    for (name, content) in found {
        let path = format!("{}/{name}", given.target.trim_end_matches('/'));
        config(scope, service, given, path, content);
    }
}

/// Collects the files below a directory; those that were found stay when one cannot be carried.
fn walk(
    files: &dyn Files,
    root: &str,
    below: &str,
    depth: usize,
    found: &mut Vec<(String, String)>,
) -> Result<(), String> {
    let directory = join(root, below);
    if depth > DEPTH_MAX {
        return Err("directories are nested too deep".to_owned());
    }
    let names = files.list(&directory).map_err(|error| error.to_string())?;
    for name in names {
        let inner = if below.is_empty() {
            name.clone()
        } else {
            format!("{below}/{name}")
        };
        match files.kind(&join(root, &inner)) {
            Kind::Directory => walk(files, root, &inner, depth + 1, found)?,
            Kind::File if matches!(name.as_str(), ".gitkeep" | ".gitignore" | ".DS_Store") => {}
            Kind::File if found.len() >= FILES_MAX => {
                return Err(format!("there are more than {FILES_MAX} files"));
            }
            Kind::File => {
                let content =
                    file(files, &join(root, &inner)).map_err(|why| format!("{inner}: {why}"));
                let is_large = found
                    .iter()
                    .map(|(_, content): &(String, String)| content.len())
                    .sum::<usize>()
                    > FILE_MAX;
                let text = content.as_ref().cloned().unwrap_or_default();
                found.push((inner, text));
                content?;
                if is_large {
                    return Err(format!(
                        "the files have more than {FILE_MAX} bytes together"
                    ));
                }
            }
            Kind::Other | Kind::Missing => {}
        }
    }
    Ok(())
}

/// The text of a file that a project can carry.
pub fn file(files: &dyn Files, path: &str) -> Result<String, String> {
    let bytes = files
        .read(path, FILE_MAX)
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8(bytes).map_err(|_| "it is not text in UTF-8".to_owned())?;
    match text.contains('\0') {
        true => Err("it holds a NUL character".to_owned()),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn paths_become_names() {
        for (path, expected) in [
            ("/var/lib/x", "var-lib-x"),
            ("./Data_1/", "data-1"),
            ("/", ""),
        ] {
            assert_eq!(slug(path), expected);
        }
    }
}
