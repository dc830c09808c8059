//! Files of this machine as a tar stream. Everything belongs to root in it: whose it is here means
//! nothing there. Blocks; for a thread of its own.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use indicatif::ProgressBar;
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

/// Bytes of a piece of the stream.
const PIECE: usize = 64 * 1024;

/// What was copied.
#[derive(Debug, Default)]
pub(super) struct Packed {
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
}

/// Packs a file, link or directory under a name; without one, what is in the directory.
///
/// # Errors
/// Something cannot be read, or nobody takes the stream: a broken pipe.
pub(super) fn pack(
    from: &Path,
    name: &str,
    sender: mpsc::Sender<io::Result<Bytes>>,
    progress: &ProgressBar,
) -> io::Result<Packed> {
    let writer = Writer {
        sender: sender.clone(),
        buffer: BytesMut::new(),
    };
    let mut builder = Builder::new(writer);
    let mut packed = Packed::default();
    let result = walk(from, name, &mut builder, &mut packed, progress)
        .and_then(|()| builder.into_inner())
        .and_then(|mut writer| writer.flush());
    match result {
        Ok(()) => Ok(packed),
        Err(error) => {
            // The stream must not look whole.
            let _ = sender.blocking_send(Err(io::Error::other(error.to_string())));
            Err(error)
        }
    }
}

fn walk(
    from: &Path,
    name: &str,
    builder: &mut Builder<Writer>,
    packed: &mut Packed,
    progress: &ProgressBar,
) -> io::Result<()> {
    let mut waiting = vec![(from.to_owned(), PathBuf::from(name))];
    while let Some((path, name)) = waiting.pop() {
        let at =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        // The path that was named is followed when it ends with /.
        let is_named_directory = path == from && name.as_os_str().is_empty();
        let meta = match is_named_directory {
            true => std::fs::metadata(&path),
            false => std::fs::symlink_metadata(&path),
        };
        let meta = meta.map_err(at)?;
        let mut header = Header::new_gnu();
        header.set_metadata(&meta);
        header.set_uid(0);
        header.set_gid(0);
        if meta.is_dir() {
            if !name.as_os_str().is_empty() {
                header.set_size(0);
                builder.append_data(&mut header, &name, io::empty())?;
            }
            let mut inner = Vec::new();
            for entry in std::fs::read_dir(&path).map_err(at)? {
                let entry = entry.map_err(at)?;
                inner.push((entry.path(), name.join(entry.file_name())));
            }
            // Taken from the end: the names come in their order.
            inner.sort_by(|a, b| b.1.cmp(&a.1));
            waiting.extend(inner);
        } else if meta.is_symlink() {
            header.set_entry_type(EntryType::Symlink);
            header.set_size(0);
            let target = std::fs::read_link(&path).map_err(at)?;
            builder.append_link(&mut header, &name, &target)?;
            packed.files += 1;
        } else if meta.is_file() {
            let file = File::open(&path).map_err(at)?;
            let exact = Exact {
                file,
                left: meta.len(),
                progress,
            };
            builder.append_data(&mut header, &name, exact).map_err(at)?;
            packed.files += 1;
            packed.bytes += meta.len();
        } else {
            packed.notes.push(format!(
                "left out {}: neither file, directory nor link",
                path.display()
            ));
        }
    }
    Ok(())
}

/// As many bytes as the header says, also when the file changes meanwhile.
struct Exact<'a> {
    file: File,
    left: u64,
    progress: &'a ProgressBar,
}

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(buffer) = buffer.get_mut(..most).filter(|b| !b.is_empty()) else {
            return Ok(0);
        };
        let count = self.file.read(buffer)?;
        if count == 0 {
            return Err(io::Error::other(
                "the file became shorter while it was read",
            ));
        }
        let moved = u64::try_from(count).unwrap_or(0);
        self.left = self.left.saturating_sub(moved);
        self.progress.inc(moved);
        Ok(count)
    }
}

/// Hands over pieces.
struct Writer {
    sender: mpsc::Sender<io::Result<Bytes>>,
    buffer: BytesMut,
}

impl Writer {
    fn hand_over(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = self.buffer.split().freeze();
        let sent = self.sender.blocking_send(Ok(piece));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_over()
    }
}
