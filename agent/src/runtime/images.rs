//! Images: which are in use, and removing those that nobody needs.

use std::collections::BTreeSet;

use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveImageOptionsBuilder};

use super::engine::Engine;
use super::error::{Error, found, is_status};

impl Engine {
    /// Image references of all containers on the engine, whoever made them.
    pub(crate) async fn images_in_use(&self) -> Result<BTreeSet<String>, Error> {
        let all = ListContainersOptionsBuilder::default().all(true).build();
        let listed = self.docker.list_containers(Some(all)).await;
        let listed = listed.map_err(|e| Error::new("list containers", "EngineUnavailable", e))?;
        Ok(listed.into_iter().filter_map(|c| c.image).collect())
    }

    /// Removes an image; false when something still uses it. One that is gone is fine.
    pub(crate) async fn remove_image(&self, image: &str) -> Result<bool, Error> {
        let options = RemoveImageOptionsBuilder::default().force(false).build();
        match found(self.docker.remove_image(image, Some(options), None).await) {
            Ok(_) => Ok(true),
            Err(error) if is_status(&error, 409) => Ok(false),
            Err(error) => Err(Error::new(
                format!("remove image {image}"),
                "RemoveFailed",
                error,
            )),
        }
    }
}
