//! What users copy into services waits on the agent's disk until all of it is there, so that the
//! engine is never given half of a file. The file has no name: it is gone with its handle.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use tokio_util::sync::CancellationToken;

/// A tar stream ends with two blocks of zeros.
const END: usize = 1024;
/// Bytes that are read again at once.
const PIECE: usize = 256 * 1024;
/// Bytes after which the disk is looked at.
const LOOK: u64 = 16 << 20;
/// One part in so many of a disk stays free.
const RESERVE: u64 = 20;

/// Why a stream was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpoolError {
    #[error("the files were cut off: nothing was written")]
    Cut(#[source] axum::Error),
    #[error("the files end without the end of a tar stream: nothing was written")]
    NoEnd,
    #[error("the node's disk has no room for the files on their way: nothing was written")]
    Full,
    #[error("the agent stops: nothing was written")]
    Stops,
    #[error("the node cannot keep the files on their way")]
    Disk(#[from] io::Error),
}

/// A whole tar stream.
pub(super) struct Spool(Arc<File>);

impl Spool {
    /// Takes in a stream up to its end, into a file of this directory.
    pub(super) async fn fill(
        directory: &Path,
        body: Body,
        token: &CancellationToken,
    ) -> Result<Self, SpoolError> {
        let file = Arc::new(tempfile::tempfile_in(directory)?);
        let mut pieces = body.into_data_stream();
        let mut tail = Tail::default();
        let (mut written, mut looked) = (0_u64, 0_u64);
        loop {
            let piece = tokio::select! {
                piece = pieces.next() => piece,
                () = token.cancelled() => return Err(SpoolError::Stops),
            };
            let Some(piece) = piece.transpose().map_err(SpoolError::Cut)? else {
                break;
            };
            tail.push(&piece);
            written += u64::try_from(piece.len()).unwrap_or(0);
            let is_due = written >= looked + LOOK;
            if is_due {
                looked = written;
            }
            let file = Arc::clone(&file);
            let write = move || {
                if is_due && !has_room(&file)? {
                    return Ok(false);
                }
                (&*file).write_all(&piece).map(|()| true)
            };
            if !blocking(write).await? {
                return Err(SpoolError::Full);
            }
        }
        if !tail.is_end() {
            return Err(SpoolError::NoEnd);
        }
        let rewound = Arc::clone(&file);
        blocking(move || (&*rewound).seek(SeekFrom::Start(0))).await?;
        Ok(Self(file))
    }

    /// The stream.
    pub(super) fn pieces(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        stream::try_unfold(self.0, |file| async move {
            let reading = Arc::clone(&file);
            let read = move || {
                let mut piece = BytesMut::zeroed(PIECE);
                let count = (&*reading).read(&mut piece)?;
                piece.truncate(count);
                Ok(piece.freeze())
            };
            let piece = blocking(read).await?;
            Ok((!piece.is_empty()).then_some((piece, file)))
        })
    }
}

/// Runs what blocks on a thread for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

fn has_room(file: &File) -> io::Result<bool> {
    let disk = rustix::fs::fstatvfs(file)?;
    Ok(disk.f_bavail > disk.f_blocks / RESERVE)
}

/// The last bytes of a stream.
#[derive(Default)]
struct Tail {
    length: usize,
    zeros: usize,
}

impl Tail {
    fn push(&mut self, piece: &[u8]) {
        self.length = self.length.saturating_add(piece.len());
        let zeros = piece.iter().rev().take_while(|byte| **byte == 0).take(END);
        let zeros = zeros.count();
        self.zeros = if zeros == piece.len() {
            self.zeros.saturating_add(zeros).min(END)
        } else {
            zeros
        };
    }

    /// Whether a tar stream may end so.
    fn is_end(&self) -> bool {
        self.zeros >= END && self.length.is_multiple_of(512)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(pieces: Vec<Result<Vec<u8>, io::Error>>) -> Body {
        Body::from_stream(stream::iter(pieces))
    }

    async fn check(pieces: Vec<Result<Vec<u8>, io::Error>>, expected: Result<usize, &str>) {
        let directory = tempfile::tempdir().expect("a directory");
        let token = CancellationToken::new();
        let spool = Spool::fill(directory.path(), body(pieces), &token).await;
        let found = match spool {
            Ok(spool) => {
                let pieces: Vec<_> = spool
                    .pieces()
                    .map(|p| p.expect("read").len())
                    .collect()
                    .await;
                Ok(pieces.iter().sum::<usize>())
            }
            Err(error) => Err(error.to_string()),
        };
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(*found, expected),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
        let left = std::fs::read_dir(directory.path()).expect("a directory");
        assert_eq!(left.count(), 0);
    }

    #[tokio::test]
    async fn only_a_whole_stream_is_taken() {
        let file = || Ok(vec![1; 512]);
        check(vec![file(), Ok(vec![0; 1024])], Ok(1536)).await;
        // In pieces, and with more zeros than needed.
        check(vec![file(), Ok(vec![0; 500]), Ok(vec![0; 1548])], Ok(2560)).await;
        check(vec![Ok(vec![0; 1024])], Ok(1024)).await;
        check(vec![], Err("without the end")).await;
        check(vec![file()], Err("without the end")).await;
        check(vec![file(), Ok(vec![0; 512])], Err("without the end")).await;
        check(vec![Ok(vec![0; 1024]), file()], Err("without the end")).await;
        let broken = || Err(io::ErrorKind::ConnectionReset.into());
        check(vec![file(), Ok(vec![0; 1024]), broken()], Err("cut off")).await;
    }

    #[tokio::test]
    async fn an_agent_that_stops_takes_no_more() {
        let directory = tempfile::tempdir().expect("a directory");
        let token = CancellationToken::new();
        token.cancel();
        let endless = Body::from_stream(stream::pending::<io::Result<Bytes>>());
        let spool = Spool::fill(directory.path(), endless, &token).await;
        assert!(matches!(spool, Err(SpoolError::Stops)));
    }
}
