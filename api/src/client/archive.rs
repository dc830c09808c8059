//! Backups through the client: whole files, which may take their time.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;

use super::transfer::pieces_of;
use super::{Client, Error};
use crate::backup::{CONTENT_TYPE, RestorePlan};
use crate::paths;

/// How long the server may take to read, check and write an archive.
const RESTORE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

impl Client {
    /// Sends an archive, to see what restoring it does, or to restore it. `query` says which.
    ///
    /// # Errors
    /// See [`Error`]; also when it stands still for [`super::STANDSTILL`].
    pub async fn restore(
        &self,
        archive: Bytes,
        query: &[(&str, &str)],
    ) -> Result<RestorePlan, Error> {
        let request = self.call(Method::POST, paths::BACKUP).query(query);
        let request = request
            .header("content-type", CONTENT_TYPE)
            .header("content-length", archive.len())
            .timeout(RESTORE_TIMEOUT);
        let url = format!("{}{}", self.base(), paths::BACKUP);
        let answer = self.send_large(request, &url, pieces_of(archive)).await?;
        self.read(answer).await
    }
}
