//! The file of contexts: `caravanserai/config.yaml` among the configuration of the user, or where
//! `CARA_CONTEXTS` says.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use cara_api::secret::Hidden;
use serde::{Deserialize, Serialize};

use super::super::failure::Failure;
use crate::process::variable;

/// All contexts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Contexts {
    /// The one that is meant where none is named.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub current: String,
    /// By name.
    pub contexts: BTreeMap<String, Entry>,
}

/// One context.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Entry {
    /// URL of the server.
    pub server: String,
    /// The only authority (PEM) that its certificate may come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Who somebody is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Hidden>,
    /// The project that is meant where none is named.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub project: String,
}

fn path() -> Result<PathBuf, Failure> {
    let of = |name: &str| variable(name).filter(|text| !text.is_empty());
    if let Some(path) = of("CARA_CONTEXTS") {
        return Ok(PathBuf::from(path));
    }
    let base = of("XDG_CONFIG_HOME").map(PathBuf::from);
    let base = base.or_else(|| Some(PathBuf::from(of("HOME")?).join(".config")));
    let base = base.ok_or_else(|| {
        Failure::usage("HOME is not set: name the file of contexts by CARA_CONTEXTS")
    })?;
    Ok(base.join("caravanserai").join("config.yaml"))
}

/// Reads the file; there are no contexts when it is not there.
///
/// # Errors
/// It cannot be read, or others may read it although it holds tokens.
pub fn load() -> Result<Contexts, Failure> {
    match path() {
        Ok(path) => load_from(&path),
        // Somebody without a home has no contexts.
        Err(_) => Ok(Contexts::default()),
    }
}

fn load_from(path: &Path) -> Result<Contexts, Failure> {
    let fault = |why: String| Failure::other(format!("{}: {why}", path.display()));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Contexts::default());
        }
        Err(error) => return Err(fault(error.to_string())),
    };
    let contexts: Contexts =
        serde_saphyr::from_str(&text).map_err(|error| fault(error.to_string()))?;
    let mode = std::fs::metadata(path).map_err(|error| fault(error.to_string()))?;
    let is_open = mode.permissions().mode() & 0o077 != 0;
    if is_open
        && contexts
            .contexts
            .values()
            .any(|entry| entry.token.is_some())
    {
        return Err(fault(format!(
            "others may read it, and it holds tokens: run `chmod 600 {}`",
            path.display()
        )));
    }
    Ok(contexts)
}

/// Changes the file, whole or not at all.
///
/// # Errors
/// It cannot be read or written.
pub fn change(edit: impl FnOnce(&mut Contexts) -> Result<(), Failure>) -> Result<(), Failure> {
    let path = path()?;
    let mut contexts = load_from(&path)?;
    edit(&mut contexts)?;
    let text = serde_saphyr::to_string(&contexts).map_err(|e| Failure::other(e.to_string()))?;
    write_private(&path, &text)
        .map_err(|error| Failure::other(format!("cannot write {}: {error}", path.display())))
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(folder)?;
    }
    let next = path.with_extension(format!("new{}", std::process::id()));
    let mut file = std::fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_back_as_it_was_and_is_private() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("a").join("config.yaml");
        assert_eq!(load_from(&path).expect("none"), Contexts::default());
        let entry = Entry {
            server: "https://a.example".into(),
            ca: Some("-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n".into()),
            token: Some(Hidden::new("cara_x")),
            project: "shop".into(),
        };
        let contexts = Contexts {
            current: "a".into(),
            contexts: [("a".into(), entry)].into(),
        };
        let text = serde_saphyr::to_string(&contexts).expect("YAML");
        for _ in 0..2 {
            write_private(&path, &text).expect("written");
        }
        assert_eq!(load_from(&path).expect("read"), contexts);
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(load_from(&path).is_err(), "others may read the token");
    }
}
