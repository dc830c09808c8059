//! Where the master key comes from: a file in the data directory, or the environment.
//!
//! A key is made once, when there is neither a key nor a secret. A server whose store holds
//! secrets that its key does not open does not start: to make a new key would look like a start
//! and lose every value.

use std::fmt;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{KeyId, MasterKey, NoRandomness, NotAKey};

/// Name of the key file in the data directory.
pub const FILE_NAME: &str = "secret.key";

/// Ending of the file that holds the next key.
const NEXT: &str = "key.next";

/// Where the master key comes from.
#[derive(Clone)]
pub enum KeySource {
    /// A file, made when it is missing and no secret exists.
    File(PathBuf),
    /// Given from outside.
    Given(MasterKey),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Given(_) => f.write_str("Given"),
        }
    }
}

/// Why there is no key to work with.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// The file is gone.
    #[error(
        "the store holds {count} secret(s), but the key file {path} that opens them is missing: put it back, or delete the secrets with the server that has it"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// Stored secrets.
        count: usize,
    },
    /// The key is another one.
    #[error(
        "secret {secret:?} is encrypted with key {wanted}, but {origin} holds key {found}: start with the key that the secrets were written with"
    )]
    Wrong {
        /// A secret that the key does not open.
        secret: String,
        /// Id of the key that opens it.
        wanted: String,
        /// Where the key was taken from.
        origin: String,
        /// Its id.
        found: String,
    },
    /// The file holds something else.
    #[error("{path} holds no key")]
    Content {
        /// The file.
        path: PathBuf,
        /// What a key is.
        #[source]
        source: NotAKey,
    },
    /// The file cannot be read or made.
    #[error("cannot {action} the key file {path}")]
    File {
        /// `read`, `make` or `replace`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No key can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// A stored secret and the key that opens it.
pub(crate) struct StoredKey {
    pub(crate) secret: String,
    pub(crate) key: KeyId,
}

/// The master key that opens all of `stored`. Blocks for disk access.
///
/// # Errors
/// See [`UnlockError`].
pub(crate) fn unlock(source: &KeySource, stored: &[StoredKey]) -> Result<MasterKey, UnlockError> {
    let (key, origin) = match source {
        KeySource::Given(key) => (key.clone(), "CARA_SECRET_KEY".to_owned()),
        KeySource::File(path) => match read(path)? {
            Some(key) => (key, path.display().to_string()),
            None if stored.is_empty() => return make(path),
            None => {
                return Err(UnlockError::Missing {
                    path: path.clone(),
                    count: stored.len(),
                });
            }
        },
    };
    let id = key.id();
    match stored.iter().find(|stored| stored.key != id) {
        None => Ok(key),
        Some(other) => Err(UnlockError::Wrong {
            secret: other.secret.clone(),
            wanted: other.key.to_string(),
            origin,
            found: id.to_string(),
        }),
    }
}

/// The key in a file, if there is one.
pub(super) fn read(path: &Path) -> Result<Option<MasterKey>, UnlockError> {
    let failed = |source| UnlockError::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mode = std::fs::metadata(path).map_err(failed)?.mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others can read the key file: chmod 600 it");
    }
    let key = MasterKey::parse(&text).map_err(|source| UnlockError::Content {
        path: path.to_owned(),
        source,
    })?;
    Ok(Some(key))
}

/// The key that is to take the place of the one in a file: kept beside it until then.
pub(super) fn next(path: &Path) -> Result<MasterKey, UnlockError> {
    let next = path.with_extension(NEXT);
    match read(&next)? {
        Some(key) => Ok(key),
        None => make(&next),
    }
}

/// Puts the next key in the place of the old one, which is kept under its id: backups that were
/// made with it need it.
pub(super) fn promote(path: &Path, old: &str) -> Result<(), UnlockError> {
    let swap = || -> std::io::Result<()> {
        let kept = path.with_extension(format!("key.{old}"));
        match std::fs::hard_link(path, &kept) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        std::fs::rename(path.with_extension(NEXT), path)?;
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
        std::fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    };
    swap().map_err(|source| UnlockError::File {
        action: "replace",
        path: path.to_owned(),
        source,
    })
}

/// Writes a new key whole or not at all, and never over another one.
fn make(path: &Path) -> Result<MasterKey, UnlockError> {
    let key = MasterKey::generate()?;
    let write = || -> std::io::Result<()> {
        let draft = path.with_extension("key.new");
        let mut file = std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(key.to_text().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        // A link, unlike a rename, fails when the name is taken.
        let linked = std::fs::hard_link(&draft, path);
        std::fs::remove_file(&draft)?;
        linked?;
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty());
        std::fs::File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|source| UnlockError::File {
        action: "make",
        path: path.to_owned(),
        source,
    })?;
    tracing::info!(path = %path.display(), key = %key.id(), "made a key for secrets: keep a copy of it elsewhere");
    Ok(key)
}
