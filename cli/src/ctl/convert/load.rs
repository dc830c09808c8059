//! From files to one model: variables, `include`, `extends`, and later files over earlier ones.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::envfile::{self, Form};
use super::fault::{Fault, Note, Place};
use super::files::{Files, Kind, join, parent};
use super::interpolate::{Variables, expand};
use super::yaml::{self, Key, Map, Mark, Node, Value};
use super::{merge, shape};

/// The largest file that is read, in bytes.
const FILE_MAX: usize = 4 << 20;
/// Files that include or extend each other.
const CHAIN_MAX: usize = 16;
/// What stands beside the services and has names of its own.
pub const SECTIONS: [&str; 5] = ["services", "volumes", "networks", "secrets", "configs"];

/// Reads compose files.
pub struct Loader<'a> {
    pub files: &'a dyn Files,
    /// What was not carried over.
    pub notes: Vec<Note>,
    /// Variables that were named as missing.
    said: BTreeSet<String>,
}

/// Where a file is, and what it sees.
#[derive(Clone, Copy)]
struct Scene<'a> {
    /// What relative paths are relative to.
    directory: &'a str,
    variables: &'a Variables,
    /// Files that led here.
    depth: usize,
}

impl<'a> Loader<'a> {
    pub fn new(files: &'a dyn Files) -> Self {
        Self {
            files,
            notes: Vec::new(),
            said: BTreeSet::new(),
        }
    }

    /// All files as one model, in the form of [`shape`].
    ///
    /// # Errors
    /// The first fault that is found.
    pub fn load(
        &mut self,
        paths: &[String],
        directory: &str,
        variables: &Variables,
    ) -> Result<Map, Fault> {
        let scene = Scene {
            directory,
            variables,
            depth: 0,
        };
        self.stack(paths, scene)
    }

    fn stack(&mut self, paths: &[String], scene: Scene<'_>) -> Result<Map, Fault> {
        let at = Place::new(&Rc::from(paths.first().map_or("", String::as_str)), 1, 1);
        let mut whole = Node::new(at, Value::Map(Map::default()));
        for path in paths {
            let root = self.file(path, whole.as_map(), scene)?;
            whole = merge::merge(whole, root);
        }
        merge::settle(&mut whole);
        match whole.value {
            Value::Map(map) => Ok(map),
            _ => Ok(Map::default()),
        }
    }

    /// The text of a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn text(&self, path: &str) -> Result<String, String> {
        let read = self.files.read(path, FILE_MAX);
        let bytes = read.map_err(|error| format!("cannot read {path}: {error}"))?;
        String::from_utf8(bytes).map_err(|_| format!("{path} is not text in UTF-8"))
    }

    fn open(&mut self, path: &str, scene: Scene<'_>) -> Result<Node, Fault> {
        if scene.depth > CHAIN_MAX {
            let message = format!("more than {CHAIN_MAX} files include or extend each other");
            return Err(Fault::nowhere(message));
        }
        let text = self.text(path).map_err(Fault::nowhere)?;
        let mut root = yaml::parse(&Rc::from(path), &text)?;
        let noun = root.noun();
        let at = root.at.clone();
        let Some(map) = root.as_map_mut() else {
            return Err(Fault::new(
                &at,
                format!("a compose file is a map, not {noun}"),
            ));
        };
        for (key, node) in &mut map.0 {
            if !key.text.starts_with("x-") {
                self.fill_in(node, scene.variables)?;
            }
        }
        for section in SECTIONS {
            let Some(node) = map.get_mut(section) else {
                continue;
            };
            if node.is_null() {
                node.value = Value::Map(Map::default());
            }
            let (at, noun) = (node.at.clone(), node.noun());
            let Some(entries) = node.as_map_mut() else {
                return Err(Fault::new(&at, format!("{section} is a map, not {noun}")));
            };
            for (key, node) in &mut entries.0 {
                if section == "services" && !key.text.starts_with("x-") {
                    shape::service(&key.text, node, scene.directory)?;
                } else {
                    shape::source(node, scene.directory);
                }
            }
        }
        Ok(root)
    }

    /// Fills in variables wherever there is a text.
    fn fill_in(&mut self, node: &mut Node, variables: &Variables) -> Result<(), Fault> {
        match &mut node.value {
            Value::Text(text) if text.contains('$') => {
                let found = expand(text, variables);
                let found = found.map_err(|message| Fault::new(&node.at, message))?;
                *text = found.text;
                for name in found.unset {
                    self.unset(&name, &node.at);
                }
                Ok(())
            }
            Value::List(items) => items
                .iter_mut()
                .try_for_each(|n| self.fill_in(n, variables)),
            Value::Map(map) => {
                let mut nodes = map.0.iter_mut();
                nodes.try_for_each(|(_, node)| self.fill_in(node, variables))
            }
            Value::Text(_) | Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
        }
    }

    /// Says once that a variable has no value.
    pub fn unset(&mut self, name: &str, at: &Place) {
        if self.said.insert(name.to_owned()) {
            self.notes.push(Note {
                place: at.clone(),
                service: None,
                field: format!("${{{name}}}"),
                why: "the variable is not set, and empty text stands in its place".to_owned(),
                way_out: format!(
                    "set it in the environment or in .env, or write ${{{name}:-default}}"
                ),
            });
        }
    }

    fn file(&mut self, path: &str, before: Option<&Map>, scene: Scene<'_>) -> Result<Node, Fault> {
        let mut root = self.open(path, scene)?;
        let Some(map) = root.as_map_mut() else {
            return Ok(root);
        };
        let includes = map.take("include");
        let own = match map.get("services").and_then(Node::as_map) {
            Some(services) => services.clone(),
            None => Map::default(),
        };
        let earlier = before
            .and_then(|map| map.get("services"))
            .and_then(Node::as_map);
        let mut resolved = own.clone();
        for (key, node) in &mut resolved.0 {
            let mut chain = vec![(path.to_owned(), key.text.clone())];
            let family = Family {
                own: &own,
                earlier,
                path,
            };
            *node = self.extended(node.clone(), family, &mut chain, scene)?;
        }
        if let Some(services) = map.get_mut("services") {
            services.value = Value::Map(resolved);
        }
        if let Some(includes) = includes {
            self.include(map, includes, scene)?;
        }
        Ok(root)
    }

    /// A service over the one that it extends.
    fn extended(
        &mut self,
        mut node: Node,
        family: Family<'_>,
        chain: &mut Vec<(String, String)>,
        scene: Scene<'_>,
    ) -> Result<Node, Fault> {
        let Some(extends) = node.as_map_mut().and_then(|map| map.take("extends")) else {
            return Ok(node);
        };
        let field = |name: &str| {
            extends
                .as_map()
                .and_then(|map| map.get(name))
                .and_then(Node::scalar)
        };
        let fault = |message: String| Fault::new(&extends.at, message);
        let name = field("service").ok_or_else(|| fault("extends needs a service".to_owned()))?;
        let file = field("file").map(|file| join(scene.directory, &file));
        let path = file.as_deref().unwrap_or(family.path).to_owned();
        let step = (path.clone(), name.clone());
        if chain.contains(&step) {
            return Err(fault(format!(
                "service {name:?} extends itself, directly or through others"
            )));
        }
        chain.push(step);
        let base = match &file {
            None => {
                let found = family.own.get(&name).or_else(|| family.earlier?.get(&name));
                let base = found
                    .cloned()
                    .ok_or_else(|| fault(format!("service {name:?} is not in {}", family.path)))?;
                self.extended(base, family, chain, scene)?
            }
            Some(file) => {
                if self.files.kind(file) == Kind::Missing {
                    return Err(fault(format!("{file} does not exist")));
                }
                let directory = parent(file);
                let scene = Scene {
                    directory: &directory,
                    depth: scene.depth + 1,
                    ..scene
                };
                let mut root = self.open(file, scene)?;
                let own = root.as_map_mut().and_then(|map| map.take("services"));
                let own = own
                    .and_then(|node| node.as_map().cloned())
                    .unwrap_or_default();
                let base = own.get(&name).cloned();
                let base =
                    base.ok_or_else(|| fault(format!("service {name:?} is not in {file}")))?;
                let family = Family {
                    own: &own,
                    earlier: None,
                    path: &path,
                };
                self.extended(base, family, chain, scene)?
            }
        };
        Ok(merge::merge_service(base, node))
    }

    /// Adds what other files describe; nothing may be described twice.
    fn include(&mut self, map: &mut Map, includes: Node, scene: Scene<'_>) -> Result<(), Fault> {
        let at = includes.at.clone();
        let Value::List(items) = includes.value else {
            return Err(Fault::new(
                &at,
                format!("include is a list, not {}", includes.noun()),
            ));
        };
        for item in items {
            let texts = |name: &str| -> Vec<String> {
                let node = item.as_map().and_then(|map| map.get(name));
                let list = node.and_then(Node::as_list);
                match list {
                    Some(list) => list.iter().filter_map(Node::scalar).collect(),
                    None => node.and_then(Node::scalar).into_iter().collect(),
                }
            };
            let mut paths = texts("path");
            paths.extend(item.scalar());
            let paths: Vec<String> = paths
                .iter()
                .map(|path| join(scene.directory, path))
                .collect();
            let Some(first) = paths.first() else {
                return Err(Fault::new(&item.at, "include needs a path"));
            };
            if let Some(missing) = paths
                .iter()
                .find(|path| self.files.kind(path) == Kind::Missing)
            {
                return Err(Fault::new(&item.at, format!("{missing} does not exist")));
            }
            let directory = match texts("project_directory").first() {
                Some(given) => join(scene.directory, given),
                None => parent(first),
            };
            let env_files = texts("env_file");
            let mut variables = match env_files.is_empty() {
                true => self.dot_env(&directory, scene.variables)?,
                false => {
                    let listed: Vec<String> = env_files
                        .iter()
                        .map(|path| join(scene.directory, path))
                        .collect();
                    self.env(&listed, scene.variables)?
                }
            };
            variables.extend(scene.variables.clone());
            let scene = Scene {
                directory: &directory,
                variables: &variables,
                depth: scene.depth + 1,
            };
            let included = self.stack(&paths, scene)?;
            add(map, included, &item.at)?;
        }
        Ok(())
    }

    /// Variables of `.env` in a directory, if there is one.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn dot_env(&mut self, directory: &str, outside: &Variables) -> Result<Variables, Fault> {
        let path = join(directory, ".env");
        match self.files.kind(&path) {
            Kind::File => self.env(&[path], outside),
            Kind::Directory | Kind::Other | Kind::Missing => Ok(Variables::new()),
        }
    }

    /// Variables of files; later ones win.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn env(&mut self, paths: &[String], outside: &Variables) -> Result<Variables, Fault> {
        let mut variables = Variables::new();
        for path in paths {
            let text = self.text(path).map_err(Fault::nowhere)?;
            let file: Rc<str> = Rc::from(path.as_str());
            let entries = envfile::parse(&text, Form::Quoted, outside);
            let entries =
                entries.map_err(|f| Fault::new(&Place::new(&file, f.line, 1), f.message))?;
            for entry in entries {
                for name in &entry.unset {
                    self.unset(name, &Place::new(&file, 1, 1));
                }
                variables.extend(entry.value.map(|value| (entry.name, value)));
            }
        }
        Ok(variables)
    }
}

/// Where a service that is extended may be.
#[derive(Clone, Copy)]
struct Family<'a> {
    own: &'a Map,
    /// Of the files before.
    earlier: Option<&'a Map>,
    path: &'a str,
}

fn add(map: &mut Map, included: Map, at: &Place) -> Result<(), Fault> {
    for (key, node) in included.0 {
        if !SECTIONS.contains(&key.text.as_str()) {
            continue;
        }
        let Value::Map(entries) = node.value else {
            continue;
        };
        if map.get(&key.text).is_none() {
            let empty = Node {
                at: node.at,
                mark: Mark::None,
                value: Value::Map(Map::default()),
            };
            map.put(
                Key {
                    at: key.at,
                    text: key.text.clone(),
                },
                empty,
            );
        }
        let Some(own) = map.get_mut(&key.text).and_then(Node::as_map_mut) else {
            continue;
        };
        for (name, entry) in entries.0 {
            match own.get(&name.text) {
                Some(ours) if key.text != "services" && same(ours, &entry) => {}
                Some(_) => {
                    let message = format!(
                        "{} {:?} is here and in what is included",
                        key.text, name.text
                    );
                    return Err(Fault::new(at, message));
                }
                None => own.0.push((name, entry)),
            }
        }
    }
    Ok(())
}

/// Equal, wherever they stand.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Map(a), Value::Map(b)) => {
            let is_there = |(key, node): (&Key, &Node)| {
                b.get(&key.text).is_some_and(|other| same(node, other))
            };
            a.0.len() == b.0.len() && a.iter().all(is_there)
        }
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (a, b) => a == b,
    }
}
