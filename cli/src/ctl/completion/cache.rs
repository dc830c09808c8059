//! Names that were read a moment ago, so that pressing TAB again asks nobody.
//!
//! Files below `$XDG_CACHE_HOME/caravanserai/completion` (or `~/.cache`), readable by their owner
//! alone. They hold names and nothing else; whatever is wrong with one, it counts as absent.

use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The names of a kind at a server, if they were read within `fresh`.
pub fn read(server: &str, key: &str, fresh: Duration) -> Option<Vec<String>> {
    read_at(&file(&folder()?, server, key), fresh)
}

fn read_at(file: &Path, fresh: Duration) -> Option<Vec<String>> {
    let written = std::fs::metadata(file).ok()?.modified().ok()?;
    // One from the future was written before somebody set the clock.
    written.elapsed().ok().filter(|age| *age < fresh)?;
    let text = std::fs::read_to_string(file).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}

/// Keeps names. Where nothing can be written, nothing is kept.
pub fn write(server: &str, key: &str, names: &[String]) {
    if let Some(folder) = folder() {
        let _ = write_at(&folder, &file(&folder, server, key), names);
    }
}

fn write_at(folder: &Path, file: &Path, names: &[String]) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // Under a name of its own first: another TAB may read at the same time.
    let draft = file.with_extension(std::process::id().to_string());
    let mut options = std::fs::OpenOptions::new();
    let mut opened = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    opened.write_all(names.join("\n").as_bytes())?;
    std::fs::rename(&draft, file)
}

fn folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".cache")))?;
    Some(cache.join("caravanserai/completion"))
}

/// A file for each server and kind; the address is not fit for a name.
fn file(folder: &Path, server: &str, key: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    server.hash(&mut hasher);
    folder.join(format!("{:016x}-{key}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_for_a_moment_and_for_each_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("completion");
        let (here, there) = (
            file(&folder, "http://a", "node"),
            file(&folder, "http://b", "node"),
        );
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(read_at(&here, Duration::from_secs(5)), None);
        write_at(&folder, &here, &names).expect("written");
        assert_eq!(
            read_at(&here, Duration::from_secs(60)),
            Some(names.to_vec())
        );
        assert_eq!(read_at(&here, Duration::ZERO), None);
        assert_eq!(read_at(&there, Duration::from_secs(60)), None);
    }
}
