//! The successor's side.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};

use super::{path_in, wire};
use crate::sockets::Role;

/// How long the predecessor may take for each answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server whose place this one takes. Blocks.
pub struct Predecessor {
    stream: UnixStream,
}

impl Predecessor {
    /// The server that runs on a data directory; none when none does.
    ///
    /// # Errors
    /// It cannot be reached although it seems to be there.
    pub fn find(data_dir: &Path) -> anyhow::Result<Option<Self>> {
        let path = path_in(data_dir);
        let stream = match UnixStream::connect(&path) {
            Ok(stream) => stream,
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot reach {}", path.display()));
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Some(Self { stream }))
    }

    /// Copies of its listening sockets.
    ///
    /// # Errors
    /// It does not answer, or otherwise than it should.
    pub fn sockets(&mut self) -> anyhow::Result<Vec<(Role, TcpListener)>> {
        self.say(wire::SOCKETS)?;
        wire::receive_sockets(&self.stream).context("the running server hands over no sockets")
    }

    /// Has it close the store.
    ///
    /// # Errors
    /// It does not.
    pub fn release(&mut self) -> anyhow::Result<()> {
        self.say(wire::RELEASE)?;
        let mut answer = String::new();
        BufReader::new(&self.stream)
            .read_line(&mut answer)
            .context("the running server does not release the store")?;
        if answer.trim_end() != wire::RELEASED {
            bail!("the running server does not release the store: {answer:?}");
        }
        Ok(())
    }

    /// Tells it that this server answers from now on.
    ///
    /// # Errors
    /// It is gone.
    pub fn serving(mut self) -> anyhow::Result<()> {
        self.say(wire::SERVING)
    }

    fn say(&mut self, word: &str) -> anyhow::Result<()> {
        let line = format!("{word}\n");
        let said = self.stream.write_all(line.as_bytes());
        said.context("the running server does not listen")
    }
}
