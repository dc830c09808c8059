//! Files in containers, as tar streams.

use std::time::Duration;

use bollard::body_try_stream;
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::engine::Engine;
use super::error::{Error, found};

/// Of the mode that the engine tells: it is a directory.
const IS_DIRECTORY: u32 = 1 << 31;
/// Of the mode that the engine tells: it is a link.
const IS_LINK: u32 = 1 << 27;

/// How long the engine may take to write files that are all here.
const WRITE_LIMIT: Duration = Duration::from_secs(15 * 60);

/// What a path in a container leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    Link,
    File,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Link => "link",
            Self::File => "file",
        }
    }
}

impl Engine {
    /// What a path leads to, and its size in bytes if it is a file; none when it leads nowhere.
    ///
    /// # Errors
    /// The engine does not answer, or refuses.
    pub(crate) async fn stat(&self, id: &str, path: &str) -> Result<Option<(Kind, u64)>, Error> {
        let options = ContainerArchiveInfoOptionsBuilder::default()
            .path(path)
            .build();
        let stat = found(
            self.docker
                .get_container_archive_info(id, Some(options))
                .await,
        );
        let stat = stat.map_err(|e| Error::new(format!("look at {path}"), "CopyFailed", e))?;
        Ok(stat.map(|stat| {
            let kind = match stat.file_mode {
                mode if mode & IS_DIRECTORY != 0 => Kind::Directory,
                mode if mode & IS_LINK != 0 => Kind::Link,
                _ => Kind::File,
            };
            (kind, u64::try_from(stat.size).unwrap_or(0))
        }))
    }

    /// A file or directory with all that is in it. Links stay links.
    pub(crate) fn read_files(
        &self,
        id: &str,
        path: &str,
    ) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        let options = DownloadFromContainerOptionsBuilder::default()
            .path(path)
            .build();
        let bytes = self.docker.download_from_container(id, Some(options));
        bytes.map(|item| item.map_err(std::io::Error::other))
    }

    /// Puts what a tar stream holds into a directory that exists.
    ///
    /// # Errors
    /// The engine does not answer, or refuses.
    pub(crate) async fn write_into(
        &self,
        id: &str,
        directory: &str,
        tar: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), Error> {
        let options = UploadToContainerOptionsBuilder::default()
            .path(directory)
            .no_overwrite_dir_non_dir("true")
            .build();
        let patient = self.docker.clone().with_timeout(WRITE_LIMIT);
        let written = patient
            .upload_to_container(id, Some(options), body_try_stream(tar))
            .await;
        written.map_err(|e| Error::new(format!("write into {directory}"), "CopyFailed", e))
    }
}
