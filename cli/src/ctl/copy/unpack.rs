//! A tar stream as files of this machine. Nothing leaves the destination: names that lead out of
//! it, also by way of links, are refused. Blocks; for a thread of its own.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use bytes::{Buf, Bytes};
use indicatif::ProgressBar;
use tar::{Archive, EntryType};
use tokio::sync::mpsc;

use super::pack::Packed;

/// Unpacks into `to` if that is a directory, else as `to`. `name` is what the stream's root is
/// called.
///
/// # Errors
/// The stream breaks off, or something cannot be written.
pub(super) fn unpack(
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    to: &Path,
    name: Option<&Path>,
    progress: &ProgressBar,
) -> io::Result<Packed> {
    let reader = Reader {
        receiver,
        piece: Bytes::new(),
        is_over: false,
    };
    if to.is_dir() {
        return extract(reader, to, progress);
    }
    // Under another name: all of it beside the place first, so that a copy that breaks off leaves
    // nothing half.
    let parent = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let at = |error: io::Error| {
        io::Error::new(
            error.kind(),
            format!("cannot write {}: {error}", to.display()),
        )
    };
    let beside = Beside::make(parent).map_err(at)?;
    let packed = extract(reader, &beside.0, progress)?;
    let root = match name {
        Some(name) => beside.0.join(name),
        None => beside.0.clone(),
    };
    let is_directory = std::fs::symlink_metadata(&root).map_err(at)?.is_dir();
    if is_directory && to.exists() {
        return Err(at(io::Error::other("it is a file, not a directory")));
    }
    std::fs::rename(&root, to).map_err(at)?;
    Ok(packed)
}

/// A directory that is removed at the end, with what is left in it.
struct Beside(PathBuf);

impl Beside {
    fn make(parent: &Path) -> io::Result<Self> {
        let path = parent.join(format!(".caractrl-cp-{}", std::process::id()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have been moved to where it belongs.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn extract(reader: Reader, into: &Path, progress: &ProgressBar) -> io::Result<Packed> {
    let into = into.canonicalize()?;
    let mut archive = Archive::new(reader);
    archive.set_overwrite(true);
    let mut packed = Packed::default();
    // Directories that may not be written in get their modes when everything is in them.
    let mut directories = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        let is_inside = path
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !is_inside {
            packed.notes.push(format!(
                "left out {}: it leads out of the destination",
                path.display()
            ));
            continue;
        }
        match kind {
            EntryType::Directory => {
                let mode = entry.header().mode().unwrap_or(0o755);
                make_directory(&into, &path)?;
                directories.push((into.join(&path), mode));
                continue;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::Symlink | EntryType::Link => {}
            _ => {
                packed.notes.push(format!(
                    "left out {}: neither file, directory nor link",
                    path.display()
                ));
                continue;
            }
        }
        let size = entry.size();
        if entry.unpack_in(&into)? {
            packed.files += 1;
            if kind == EntryType::Regular {
                packed.bytes += size;
            }
            progress.inc(size);
        }
    }
    set_modes(&directories);
    Ok(packed)
}

/// Makes a directory below another, through no link.
fn make_directory(into: &Path, path: &Path) -> io::Result<()> {
    let mut at = into.to_owned();
    for part in path.components() {
        let Component::Normal(part) = part else {
            continue;
        };
        at.push(part);
        match std::fs::symlink_metadata(&at) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => {
                let text = format!("{} is there, and no directory", at.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir(&at)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn set_modes(directories: &[(PathBuf, u32)]) {
    use std::os::unix::fs::PermissionsExt;
    for (path, mode) in directories.iter().rev() {
        // Always such that the user can read and remove it; no bits that give others rights.
        let mode = mode & 0o755 | 0o700;
        let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
    }
}

/// Pieces as one stream.
struct Reader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    is_over: bool,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.is_over {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => self.is_over = true,
            }
        }
        let count = self.piece.len().min(buffer.len());
        if let Some(buffer) = buffer.get_mut(..count) {
            self.piece.copy_to_slice(buffer);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
