//! A tar stream as files of this machine, and only a whole one. Blocks; for a thread of its own.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use indicatif::ProgressBar;
use tar::{Archive, EntryType};
use tokio::sync::mpsc;

use super::pack::Packed;
use super::tree::{Added, Tree};

/// Bytes of a block of a tar stream.
const BLOCK: usize = 512;

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
    let mut tree = Tree::new(into);
    let mut packed = Packed::default();
    for entry in archive.entries()? {
        let entry = entry?;
        let path = entry.path()?.into_owned();
        let (kind, size) = (entry.header().entry_type(), entry.size());
        match tree.add(entry, &path)? {
            Added::Directory => {}
            Added::File => {
                packed.files += 1;
                if matches!(kind, EntryType::Regular | EntryType::Continuous) {
                    packed.bytes += size;
                }
                progress.inc(size);
            }
            Added::Not(why) => packed
                .notes
                .push(format!("left out {}: {why}", path.display())),
        }
    }
    archive.into_inner().must_be_over()?;
    tree.finish();
    Ok(packed)
}

/// Pieces as one stream.
struct Reader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
    is_over: bool,
}

impl Reader {
    /// Reads the rest. The archive ends with two blocks of zeros, of which one was read by now:
    /// what has none was cut off.
    fn must_be_over(mut self) -> io::Result<()> {
        let mut block = [0; BLOCK];
        let is_cut = self.is_over || self.read_exact(&mut block).is_err() || block != [0; BLOCK];
        if is_cut {
            let text = "it was cut off before its end: what is there is not all of it";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        // How the stream ends counts too.
        io::copy(&mut self, &mut io::sink()).map(drop)
    }
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
