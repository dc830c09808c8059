//! What a user sends to a command, from when it arrives until the command reads it.
//!
//! A command that reads nothing holds up nothing but its own input: signals and the end of the
//! stream come by it, as long as the sender keeps to [`INPUT_WINDOW`]. Of one that does not, no
//! more than a piece beyond that is held.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use cara_api::stream::{Channel, Frame, INPUT_WINDOW, Taken};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// The sender hears of what was read after so much of it, or when nothing is left.
const NEWS: usize = INPUT_WINDOW / 4;

/// What a terminal takes for the end of the input, as Ctrl-D.
const END_OF_TEXT: &[u8] = b"\x04";

/// Input on its way.
pub(super) struct Feed<W> {
    /// None when the command reads no more, or was told the end.
    to: Option<W>,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    is_over: bool,
    has_tty: bool,
    taken: usize,
}

impl<W: AsyncWrite + Unpin> Feed<W> {
    /// Of a terminal, the end is a key: shutting down the engine's side would cut off the outputs.
    pub(super) fn new(to: W, has_tty: bool) -> Self {
        Self {
            to: Some(to),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_over: false,
            has_tty,
            taken: 0,
        }
    }

    /// Whether more can be taken in. A sender may fill its window to the last byte; what comes then
    /// is no input but a signal, and must not wait for the command.
    pub(super) fn has_room(&self) -> bool {
        self.waiting_bytes <= INPUT_WINDOW
    }

    /// Whether there is something to write.
    pub(super) fn has_work(&self) -> bool {
        self.to.is_some() && (self.is_over || !self.waiting.is_empty())
    }

    /// Takes in bytes. A command that reads no more has read them, as far as the sender cares.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if self.to.is_none() {
            self.taken += bytes.len();
        } else if !bytes.is_empty() {
            self.waiting_bytes += bytes.len();
            self.waiting.push_back(bytes);
        }
    }

    /// Nothing more comes.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// Writes a part, or the end. Cancel-safe.
    pub(super) async fn write(&mut self) {
        let Some(to) = &mut self.to else { return };
        let Some(first) = self.waiting.front_mut() else {
            // The command may have ended already.
            if self.has_tty {
                // One byte: all or nothing of it is written.
                let _ = to.write(END_OF_TEXT).await;
            } else {
                let _ = to.shutdown().await;
            }
            self.to = None;
            return;
        };
        match to.write(first).await {
            Ok(count) if count > 0 => {
                first.advance(count);
                if first.is_empty() {
                    self.waiting.pop_front();
                }
                self.waiting_bytes -= count;
                self.taken += count;
            }
            // It reads no more; what it says still counts.
            Ok(_) | Err(_) => {
                self.to = None;
                self.waiting.clear();
                self.taken += std::mem::take(&mut self.waiting_bytes);
            }
        }
    }

    /// Whether the sender should hear of what was read.
    pub(super) fn has_news(&self) -> bool {
        self.taken >= NEWS || (self.taken > 0 && self.waiting.is_empty())
    }

    /// What to tell the sender; it is told then.
    pub(super) fn news(&mut self) -> Frame {
        let bytes = std::mem::take(&mut self.taken);
        Frame::json(Channel::Taken, &Taken { bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn told(feed: &mut Feed<tokio::io::DuplexStream>) -> usize {
        let taken: Taken = feed.news().read().expect("a number");
        taken.bytes
    }

    #[tokio::test]
    async fn what_is_read_is_told_and_the_end_comes_last() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut feed = Feed::new(near, false);
        feed.push(Bytes::from_static(b"one"));
        feed.push(Bytes::from_static(b"two"));
        feed.end();
        assert!(!feed.has_news());
        while feed.has_work() {
            feed.write().await;
        }
        let mut text = String::new();
        far.read_to_string(&mut text).await.expect("text");
        assert_eq!(text, "onetwo");
        assert!(feed.has_news());
        assert_eq!(told(&mut feed), 6);
        assert!(!feed.has_news());
    }

    #[tokio::test]
    async fn the_end_is_a_key_with_a_terminal() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut feed = Feed::new(near, true);
        feed.push(Bytes::from_static(b"exit\n"));
        feed.end();
        while feed.has_work() {
            feed.write().await;
        }
        let mut read = [0; 6];
        far.read_exact(&mut read).await.expect("bytes");
        assert_eq!(&read, b"exit\n\x04");
    }

    #[tokio::test]
    async fn a_command_that_reads_nothing_bounds_what_is_held() {
        let (near, _far) = tokio::io::duplex(16);
        let mut feed = Feed::new(near, false);
        let piece = 32 * 1024;
        while feed.has_room() {
            feed.push(vec![1; piece].into());
        }
        assert_eq!(feed.waiting_bytes, INPUT_WINDOW + piece);
        feed.write().await;
        let stuck = tokio::time::timeout(std::time::Duration::from_millis(20), feed.write());
        assert!(stuck.await.is_err());
        assert_eq!(told(&mut feed), 16);
    }

    #[test]
    fn a_full_window_leaves_room_for_a_signal() {
        let (near, _far) = tokio::io::duplex(16);
        let mut feed = Feed::new(near, false);
        feed.push(vec![1; INPUT_WINDOW].into());
        assert!(feed.has_room());
    }

    #[tokio::test]
    async fn what_a_command_reads_no_more_counts_as_read() {
        let (near, far) = tokio::io::duplex(16);
        let mut feed = Feed::new(near, false);
        feed.push(vec![1; 100].into());
        drop(far);
        feed.write().await;
        assert!(!feed.has_work());
        assert_eq!(told(&mut feed), 100);
        feed.push(vec![1; 10].into());
        assert_eq!(told(&mut feed), 10);
    }
}
