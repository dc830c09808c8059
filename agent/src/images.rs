//! The record of images that this agent pulled, so that only those are ever removed.
//!
//! Kept in `images.json` in the data directory. Losing it only means that nothing is removed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use cara_api::Timestamp;

use crate::plan::machine::{Pulled, removable};
use crate::runtime::Engine;

/// Images that are removed in one go; then the disk is measured again.
const AT_ONCE: usize = 3;

/// Images that this agent pulled, with the time of their last use.
pub(crate) struct Images {
    path: PathBuf,
    // Held for map operations and for writing the small file, outside the runtime's threads.
    pulled: Mutex<Pulled>,
}

impl Images {
    /// Reads the record. Blocking, short.
    pub(crate) fn open(directory: &std::path::Path) -> Self {
        let path = directory.join("images.json");
        let pulled = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), error = %error, "cannot read the record of pulled images; starting a new one");
                Pulled::new()
            }),
            Err(_) => Pulled::new(),
        };
        Self {
            path,
            pulled: Mutex::new(pulled),
        }
    }

    /// Notes that the agent pulled an image.
    pub(crate) async fn note_pulled(self: &Arc<Self>, image: &str) {
        let image = image.to_owned();
        self.in_background(move |pulled| {
            pulled.insert(image, Timestamp::now());
        })
        .await;
    }

    /// Notes that a container is made from an image.
    pub(crate) async fn note_used(self: &Arc<Self>, image: &str) {
        let image = image.to_owned();
        self.in_background(move |pulled| {
            if let Some(used_at) = pulled.get_mut(&image) {
                *used_at = Timestamp::now();
            }
        })
        .await;
    }

    async fn in_background(self: &Arc<Self>, change: impl FnOnce(&mut Pulled) + Send + 'static) {
        let this = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || this.change(change)).await;
        if let Err(error) = written {
            tracing::error!(error = %error, "noting an image panicked");
        }
    }

    /// Removes a few images that nobody needs, longest unused first.
    pub(crate) async fn prune(self: &Arc<Self>, engine: &Engine, wanted: &[String]) {
        let mut in_use = match engine.images_in_use().await {
            Ok(in_use) => in_use,
            Err(error) => {
                tracing::warn!(error = %error.message(), "cannot tell which images are in use");
                return;
            }
        };
        in_use.extend(wanted.iter().cloned());
        let spare = removable(&self.lock(), &in_use);
        let mut removed = 0;
        for image in spare {
            if removed == AT_ONCE {
                break;
            }
            match engine.remove_image(&image).await {
                Ok(is_removed) => {
                    tracing::info!(image, is_removed, "disk is short: removing an unused image");
                    removed += usize::from(is_removed);
                    self.in_background(move |pulled| {
                        pulled.remove(&image);
                    })
                    .await;
                }
                Err(error) => tracing::warn!(error = %error.message(), "cannot remove an image"),
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pulled> {
        self.pulled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Pulled)) {
        let mut pulled = self.lock();
        let before = pulled.clone();
        change(&mut pulled);
        if *pulled == before {
            return;
        }
        let text = serde_json::to_vec(&*pulled).unwrap_or_default();
        let draft = self.path.with_extension("json.new");
        let written =
            std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &self.path));
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), error = %error, "cannot write the record of pulled images");
        }
    }
}
