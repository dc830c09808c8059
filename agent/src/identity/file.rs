//! The files of an identity: whole or not there, and for the owner alone.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use cara_api::secret::Hidden;
use cara_api::{NodeName, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Who the node is.
pub(super) const IDENTITY: &str = "identity.json";
/// The key that a token is being used for.
pub(super) const JOINING: &str = "joining.json";

/// Readable and writable by the owner.
const MODE: u32 = 0o600;

/// Who the node is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stored {
    pub(super) node: NodeName,
    /// The token by which it joined.
    pub(super) token: String,
    /// By which the server is known, PEM.
    pub(super) authority: String,
    /// PEM.
    pub(super) certificate: String,
    /// PKCS #8 in PEM.
    pub(super) key: Hidden,
    pub(super) not_after: Timestamp,
    pub(super) renew_at: Timestamp,
}

/// A token that is being used.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Joining {
    pub(super) token: String,
    /// PKCS #8 in PEM.
    pub(super) key: Hidden,
}

/// Reads a file; none where there is none. Blocking, short.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> std::io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(Into::into),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file whole, so that a crash leaves the old one or the new one. Blocking, short.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> std::io::Result<()> {
    let text = serde_json::to_vec_pretty(value)?;
    let next = path.with_extension("json.next");
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // Made anew: a mode is given to new files only.
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&next)?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&next, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Removes a file that is of no use any more.
pub(super) fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), error = %error, "cannot remove a file");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_is_for_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(JOINING);
        assert!(read::<Joining>(&path).expect("readable").is_none());
        for token in ["a", "b"] {
            let joining = Joining {
                token: token.to_owned(),
                key: Hidden::new("k"),
            };
            write(&path, &joining).expect("written");
            let found = read::<Joining>(&path).expect("readable").expect("there");
            assert_eq!(found.token, token);
            let mode = std::fs::metadata(&path)
                .expect("there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, MODE);
        }
        remove(&path);
        remove(&path);
        assert_eq!(directory.path().read_dir().expect("readable").count(), 0);
        std::fs::write(&path, "not json").expect("written");
        assert!(read::<Joining>(&path).is_err());
    }
}
