//! Where a value comes from.

use std::collections::BTreeMap;
use std::fmt;

use clap::ArgMatches;

use super::{CONFIG, Setting};

/// The place that a value was read from, for error messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The built-in default.
    Default,
    /// The configuration file.
    File(String),
    /// An environment variable.
    Variable(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// The value of every setting, with its origin, and what was wrong with the sources.
#[derive(Debug, Default)]
pub struct Layers {
    pub(super) values: BTreeMap<&'static str, (String, Origin)>,
    pub(super) faults: Vec<String>,
}

impl Layers {
    /// Reads all sources. `variable` reads the environment and `file` a file, so that tests can
    /// do without either.
    pub fn read(
        settings: &'static [Setting],
        flags: &ArgMatches,
        variable: impl Fn(&str) -> Option<String>,
        file: impl Fn(&str) -> std::io::Result<String>,
    ) -> Self {
        let mut layers = Self::default();
        for setting in settings.iter().filter(|s| !s.default.is_empty()) {
            layers
                .values
                .insert(setting.key, (setting.default.to_owned(), Origin::Default));
        }
        let flag = |key: &str| flags.get_one::<String>(key).cloned();
        if let Some(path) = flag(CONFIG.key).or_else(|| variable(&CONFIG.variable())) {
            layers.read_file(settings, &path, file);
        }
        for setting in settings {
            let name = setting.variable();
            if let Some(value) = variable(&name) {
                layers
                    .values
                    .insert(setting.key, (value, Origin::Variable(name)));
            }
            if let Some(value) = flag(setting.key) {
                layers.values.insert(
                    setting.key,
                    (value, Origin::Flag(format!("--{}", setting.key))),
                );
            }
        }
        layers
    }

    fn read_file(
        &mut self,
        settings: &'static [Setting],
        path: &str,
        file: impl Fn(&str) -> std::io::Result<String>,
    ) {
        let text = match file(path) {
            Ok(text) => text,
            Err(error) => {
                return self
                    .faults
                    .push(format!("config: cannot read {path}: {error}"));
            }
        };
        let table: toml::Table = match toml::from_str(&text) {
            Ok(table) => table,
            Err(error) => {
                return self
                    .faults
                    .push(format!("config: {path} is not TOML: {error}"));
            }
        };
        for (key, value) in table {
            let Some(setting) = settings.iter().find(|s| s.key == key) else {
                self.faults.push(unknown(settings, &key, path));
                continue;
            };
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(flag) => flag.to_string(),
                other => {
                    self.faults.push(format!(
                        "{key}: must be a text, number or boolean, not {} (file {path})",
                        other.type_str()
                    ));
                    continue;
                }
            };
            self.values
                .insert(setting.key, (text, Origin::File(path.to_owned())));
        }
    }
}

fn unknown(settings: &[Setting], key: &str, path: &str) -> String {
    let distance = |setting: &&Setting| strsim::damerau_levenshtein(setting.key, key);
    match settings
        .iter()
        .min_by_key(distance)
        .filter(|s| distance(s) <= 3)
    {
        Some(near) => format!("{key}: unknown key in {path}, did you mean {:?}?", near.key),
        None => format!("{key}: unknown key in {path}"),
    }
}
