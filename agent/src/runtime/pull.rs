//! Pulling an image, with progress, and with the credentials that the host's Docker has.

use std::collections::HashMap;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use cara_api::image::ImageRef;
use docker_credential::DockerCredential;
use futures_util::StreamExt;

use super::engine::Engine;
use super::error::Error;

/// Name of Docker's own registry in credential files.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// A pull that says nothing for longer has failed.
const STALLED_AFTER: Duration = Duration::from_secs(120);

impl Engine {
    /// Pulls an image and tells how far it is. An error inside the engine's progress stream is
    /// an error.
    pub(crate) async fn pull(
        &self,
        image: &str,
        mut tell: impl FnMut(String),
    ) -> Result<(), Error> {
        let attempt = || format!("pull image {image:?}");
        let reference = ImageRef::parse(image)
            .map_err(|e| Error::said(attempt(), "ImagePullFailed", e.to_string()))?;
        let registry = reference.registry.clone();
        let credentials = tokio::task::spawn_blocking(move || credentials(&registry))
            .await
            .unwrap_or_default();
        let name = reference.to_string();
        let options = CreateImageOptionsBuilder::default()
            .from_image(&name)
            .build();
        let mut stream = self.docker.create_image(Some(options), None, credentials);
        let mut layers = Layers::default();
        tell("starting".to_owned());
        loop {
            let next = tokio::time::timeout(STALLED_AFTER, stream.next()).await;
            let Some(item) = next.map_err(|_| {
                let text = format!("no progress for {} s", STALLED_AFTER.as_secs());
                Error::said(attempt(), "ImagePullFailed", text)
            })?
            else {
                break;
            };
            let info = item.map_err(|e| Error::new(attempt(), "ImagePullFailed", e))?;
            if let Some(error) = &info.error_detail {
                let text = error
                    .message
                    .clone()
                    .unwrap_or_else(|| "unknown error".to_owned());
                return Err(Error::said(attempt(), "ImagePullFailed", text));
            }
            if layers.take(&info) {
                tell(layers.to_string());
            }
        }
        Ok(())
    }
}

/// What `docker login` left for a registry; none when there is nothing.
fn credentials(registry: &str) -> Option<DockerCredentials> {
    let key = if registry == "docker.io" {
        DOCKER_HUB
    } else {
        registry
    };
    let found = docker_credential::get_credential(key);
    match found {
        Ok(DockerCredential::UsernamePassword(username, password)) => Some(DockerCredentials {
            username: Some(username),
            password: Some(password),
            serveraddress: Some(key.to_owned()),
            ..DockerCredentials::default()
        }),
        Ok(DockerCredential::IdentityToken(token)) => Some(DockerCredentials {
            identitytoken: Some(token),
            serveraddress: Some(key.to_owned()),
            ..DockerCredentials::default()
        }),
        Err(error) => {
            tracing::debug!(registry, error = %error, "no credentials");
            None
        }
    }
}

/// Bytes of each layer so far, and in all.
#[derive(Default)]
struct Layers {
    bytes: HashMap<String, (u64, u64)>,
    percent: Option<u64>,
}

impl Layers {
    /// Takes in one line of progress; true when the percentage changed.
    fn take(&mut self, info: &CreateImageInfo) -> bool {
        let (Some(id), Some(status)) = (&info.id, info.status.as_deref()) else {
            return false;
        };
        let detail = info.progress_detail.as_ref();
        let number = |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok());
        let (current, total) = (
            detail.and_then(|d| number(d.current)),
            detail.and_then(|d| number(d.total)),
        );
        match (status, current, total) {
            ("Downloading", Some(current), Some(total)) => {
                self.bytes.insert(id.clone(), (current, total));
            }
            ("Download complete" | "Pull complete", _, _) => {
                if let Some((current, total)) = self.bytes.get_mut(id) {
                    *current = *total;
                }
            }
            _ => {}
        }
        let total: u64 = self.bytes.values().map(|(_, total)| total).sum();
        let current: u64 = self.bytes.values().map(|(current, _)| current).sum();
        let percent = (current * 100).checked_div(total);
        std::mem::replace(&mut self.percent, percent) != percent
    }
}

impl std::fmt::Display for Layers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total: u64 = self.bytes.values().map(|(_, total)| total).sum();
        let tenths = total / 100_000;
        write!(
            f,
            "{} % of {}.{} MB",
            self.percent.unwrap_or(0),
            tenths / 10,
            tenths % 10
        )
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn progress_is_summed_over_layers() {
        let mut layers = Layers::default();
        let mut take = |id: &str, status: &str, bytes: Option<(i64, i64)>| {
            let progress_detail = bytes.map(|(current, total)| ProgressDetail {
                current: Some(current),
                total: Some(total),
            });
            let info = CreateImageInfo {
                id: Some(id.into()),
                status: Some(status.into()),
                progress_detail,
                ..CreateImageInfo::default()
            };
            layers.take(&info).then(|| layers.to_string())
        };
        assert_eq!(take("a", "Pulling fs layer", None), None);
        assert_eq!(
            take("a", "Downloading", Some((500_000, 1_000_000))).as_deref(),
            Some("50 % of 1.0 MB")
        );
        assert_eq!(
            take("b", "Downloading", Some((0, 3_000_000))).as_deref(),
            Some("12 % of 4.0 MB")
        );
        assert_eq!(
            take("b", "Downloading", Some((1_000, 3_000_000))),
            None,
            "the same percentage is no news"
        );
        assert_eq!(
            take("a", "Download complete", None).as_deref(),
            Some("25 % of 4.0 MB")
        );
    }
}
