//! What a tar stream holds, as files below a directory. Nothing leaves it: names that lead out of it
//! are left out, and nothing is written or linked through a link, whoever made that.
//!
//! Each file is there whole or not at all: it is written under another name beside its own. Directories that
//! were there keep their modes; what is new has that of the stream as far as the user's umask lets it, and
//! no set-user-id or sticky bits.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use tar::{Entry, EntryType};

/// What became of an entry.
pub(super) enum Added {
    Directory,
    /// Or a link.
    File,
    /// Nothing, and why.
    Not(&'static str),
}

/// A directory that is filled.
pub(super) struct Tree {
    into: PathBuf,
    umask: u32,
    /// Those that are new, and the modes that they get when everything is in them.
    directories: BTreeMap<PathBuf, u32>,
    drafts: u32,
}

impl Tree {
    pub(super) fn new(into: PathBuf) -> Self {
        Self {
            into,
            umask: umask(),
            directories: BTreeMap::new(),
            drafts: 0,
        }
    }

    /// Adds an entry under a name.
    ///
    /// # Errors
    /// The stream breaks off, or it cannot be written.
    pub(super) fn add(
        &mut self,
        mut entry: Entry<'_, impl Read>,
        path: &Path,
    ) -> io::Result<Added> {
        let Some(parts) = inside(path) else {
            return Ok(Added::Not("it leads out of the destination"));
        };
        let mode = entry.header().mode().unwrap_or(0o755) & 0o777 & !self.umask;
        let kind = entry.header().entry_type();
        if kind == EntryType::Directory {
            self.directory(&parts, Some(mode))?;
            return Ok(Added::Directory);
        }
        let Some((name, parents)) = parts.split_last() else {
            return Ok(Added::Not("it has no name"));
        };
        let parent = self.directory(parents, None)?;
        let at = parent.join(name);
        self.drafts += 1;
        let name = format!(".caractrl-cp-{}-{}", std::process::id(), self.drafts);
        let draft = Draft(parent.join(name));
        match kind {
            EntryType::Regular | EntryType::Continuous => {
                let mut file = new_file(&draft.0)?;
                let copied = io::copy(&mut entry, &mut file)?;
                if copied != entry.size() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                // What was opened already may be written to, whatever its mode.
                file.set_permissions(Permissions::from_mode(mode))?;
                if let Some(time) = entry.header().mtime().ok().and_then(time_of) {
                    // A disk without times keeps the content.
                    let _ = file.set_modified(time);
                }
            }
            EntryType::Symlink => match entry.link_name()? {
                Some(target) => symlink(target, &draft.0)?,
                None => return Ok(Added::Not("it is a link to nothing")),
            },
            EntryType::Link => match entry.link_name()?.as_deref().and_then(inside) {
                Some(target) => std::fs::hard_link(self.existing(&target)?, &draft.0)?,
                None => return Ok(Added::Not("it is a link out of the destination")),
            },
            _ => return Ok(Added::Not("neither file, directory nor link")),
        }
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cannot write {}: {error}", at.display()),
            )
        };
        std::fs::rename(&draft.0, &at).map_err(named)?;
        Ok(Added::File)
    }

    /// The directory of these names, made if need be, through no link.
    fn directory(&mut self, parts: &[&std::ffi::OsStr], mode: Option<u32>) -> io::Result<PathBuf> {
        let mut at = self.into.clone();
        for part in parts {
            at.push(part);
            match std::fs::symlink_metadata(&at) {
                Ok(meta) if meta.is_dir() => {}
                Ok(_) => {
                    let text = format!("{} is there, and no directory", at.display());
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    DirBuilder::new().mode(0o700).create(&at)?;
                    self.directories.insert(at.clone(), 0o777 & !self.umask);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(mode) = mode
            && let Some(new) = self.directories.get_mut(&at)
        {
            // Always such that the user can read and remove it.
            *new = mode | 0o700;
        }
        Ok(at)
    }

    /// A file of these names that is there, through no link.
    fn existing(&self, parts: &[&std::ffi::OsStr]) -> io::Result<PathBuf> {
        let mut at = self.into.clone();
        for (index, part) in parts.iter().enumerate() {
            at.push(part);
            let meta = std::fs::symlink_metadata(&at)?;
            if !meta.is_dir() && index + 1 < parts.len() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
        Ok(at)
    }

    /// Gives directories their modes, when everything is in them.
    pub(super) fn finish(self) {
        for (path, mode) in self.directories.into_iter().rev() {
            // What is in it is there either way.
            let _ = std::fs::set_permissions(path, Permissions::from_mode(mode));
        }
    }
}

/// The names of a path that stays where it begins.
fn inside(path: &Path) -> Option<Vec<&std::ffi::OsStr>> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(names)
}

fn new_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options.open(path)
}

fn time_of(seconds: u64) -> Option<std::time::SystemTime> {
    std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds))
}

/// The user's umask, as the system shows it: asking for it would change it for all threads.
pub(super) fn umask() -> u32 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Umask:"));
    let mask = line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok());
    mask.unwrap_or(0o022)
}

/// A file under a name of ours, removed unless it got its own.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // Most have their own name by now.
        let _ = std::fs::remove_file(&self.0);
    }
}
