//! Bytes moved from socket to socket by the kernel, past this process's memory (splice(2)).
//!
//! A megabyte that is read and written costs two copies of it; moved through a pipe it costs none.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What a pipe holds: with less, downloads are slower (`docs/performance.md`).
const BYTES: usize = 512 * 1024;
/// Pipes of the process at once, and so half of the files that they take. A user without privileges gets 64 MiB of
/// pipes (`/proc/sys/fs/pipe-user-pages-soft`), which these are.
pub(crate) const PIPES: usize = 128;

/// A pipe, which is empty whenever it is filled. It goes back when it is dropped, unless bytes are
/// left in it.
pub(crate) struct Pipe<'a> {
    ends: Arc<Ends>,
    held: usize,
    pipes: &'a Pipes,
}

struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Ends {
    fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Where the user has no room left, pipes have two pages: worse than none.
        fcntl_setpipe_size(&write, BYTES)?;
        Ok(Self { read, write })
    }
}

impl Pipe<'_> {
    /// Bytes that were taken and not given on yet.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Takes at most `most` bytes from a socket. Ready with their number, which is 0 at the end of the
    /// stream. Only for an empty pipe: a full one cannot be told from a socket without bytes.
    ///
    /// # Errors
    /// The connection broke, or sockets cannot be spliced here ([`is_unsupported`]).
    pub(crate) fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0);
        loop {
            ready!(from.poll_read_ready(cx))?;
            let moved = from.try_io(Interest::READABLE, || {
                Ok(splice(from, None, &self.ends.write, None, most, flags())?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                moved => {
                    self.held = *moved.as_ref().unwrap_or(&0);
                    return Poll::Ready(moved);
                }
            }
        }
    }

    /// Gives some of the held bytes to a socket.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        to: &TcpStream,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(to.poll_write_ready(cx))?;
            let moved = to.try_io(Interest::WRITABLE, || {
                Ok(splice(&self.ends.read, None, to, None, self.held, flags())?)
            });
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(moved) => {
                    self.held = self.held.saturating_sub(moved);
                    return Poll::Ready(Ok(()));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl Drop for Pipe<'_> {
    fn drop(&mut self) {
        let mut known = self.pipes.lock();
        known.in_use -= 1;
        if self.held == 0 {
            known.free.push(Arc::clone(&self.ends));
        }
    }
}

fn flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}

/// Whether the system does not splice sockets at all: a sandbox without the system call.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOSYS | Errno::PERM | Errno::INVAL))
}

/// The pipes of a thread.
pub(crate) struct Pipes {
    // Only the thread's own tasks lock it, each for a moment.
    known: Mutex<Known>,
    max: usize,
}

#[derive(Default)]
struct Known {
    free: Vec<Arc<Ends>>,
    in_use: usize,
}

impl Pipes {
    /// At most `max` pipes.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            known: Mutex::default(),
            max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty pipe; none where too many are in use, or the system gives no more.
    pub(crate) fn lend(&self) -> Option<Pipe<'_>> {
        let mut known = self.lock();
        if known.in_use >= self.max {
            return None;
        }
        let ends = match known.free.pop() {
            Some(ends) => ends,
            None => Arc::new(Ends::new().ok()?),
        };
        known.in_use += 1;
        Some(Pipe {
            ends,
            held: 0,
            pipes: self,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn sockets() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
        (one.expect("connects"), other.expect("accepts").0)
    }

    #[tokio::test]
    async fn bytes_pass_from_socket_to_socket_in_order_and_only_as_many_as_wanted() {
        let ((mut service, from), (to, mut client)) = (sockets().await, sockets().await);
        let sent: Vec<u8> = (0..1_000_000_u32)
            .map(|n| n.to_le_bytes()[n as usize % 2])
            .collect();
        let wanted = sent.len() - 7;
        let pipes = Pipes::new(3);
        let pass = async {
            let mut pipe = pipes.lend().expect("a pipe");
            let mut left = wanted;
            while left > 0 {
                left -= poll_fn(|cx| pipe.poll_fill(cx, &from, left))
                    .await
                    .expect("bytes");
                while pipe.held() > 0 {
                    poll_fn(|cx| pipe.poll_drain(cx, &to))
                        .await
                        .expect("a client");
                }
            }
            drop(to);
        };
        let mut got = Vec::new();
        let (written, (), read) =
            tokio::join!(service.write_all(&sent), pass, client.read_to_end(&mut got));
        written.expect("sent");
        read.expect("read");
        assert!(got == sent[..wanted], "{} bytes came", got.len());
        drop(service);
        let mut pipe = pipes.lend().expect("a pipe");
        let rest = poll_fn(|cx| pipe.poll_fill(cx, &from, 100)).await;
        assert_eq!(rest.expect("the rest"), 7);
    }

    #[tokio::test]
    async fn a_pipe_is_used_again_unless_bytes_are_left_in_it() {
        let (mut service, from) = sockets().await;
        let pipes = Pipes::new(3);
        let free = || pipes.lock().free.len();
        drop((pipes.lend(), pipes.lend()));
        assert_eq!(free(), 2);
        let mut pipe = pipes.lend().expect("a pipe");
        assert_eq!(free(), 1);
        service.write_all(b"some").await.expect("sent");
        let filled = poll_fn(|cx| pipe.poll_fill(cx, &from, 100)).await;
        assert_eq!(filled.expect("bytes"), pipe.held());
        drop(pipe);
        assert_eq!((free(), pipes.lock().in_use), (1, 0));
    }

    #[test]
    fn pipes_run_out_instead_of_files() {
        let pipes = Pipes::new(3);
        let lent: Vec<_> = std::iter::from_fn(|| pipes.lend()).collect();
        assert_eq!(lent.len(), 3);
        drop(lent);
        assert!(pipes.lend().is_some());
    }
}
