//! Writes on terms: only tried, only as long as nobody else wrote, or against objections.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Client, Deletion, Error, Method, Written, warnings};
use crate::ResourceVersion;

/// The terms of a write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Nothing is written: the server says what would be.
    pub is_dry: bool,
    /// Although something speaks against it, such as that the object is in use.
    pub force: bool,
    /// Only while the object is at this version.
    pub if_match: Option<ResourceVersion>,
}

impl Terms {
    /// A write that is only tried.
    pub const DRY: Self = Self {
        is_dry: true,
        force: false,
        if_match: None,
    };

    fn query(self) -> Vec<(&'static str, &'static str)> {
        let dry = self.is_dry.then_some(("dryRun", "All"));
        let force = self.force.then_some(("force", "true"));
        dry.into_iter().chain(force).collect()
    }
}

impl Client {
    /// Sends a document on terms and reads the object that comes back.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn write_on<T, B>(
        &self,
        (method, path): (Method, &str),
        terms: Terms,
        body: &B,
    ) -> Result<Written<T>, Error>
    where
        T: DeserializeOwned,
        B: Serialize + ?Sized,
    {
        let mut request = self.call(method, path).query(&terms.query()).json(body);
        if let Some(version) = terms.if_match {
            request = request.header("If-Match", format!("\"{version}\""));
        }
        let response = self.send(request).await?;
        let warnings = warnings(&response);
        Ok(Written {
            object: self.read(response).await?,
            warnings,
        })
    }

    /// Deletes an object on terms.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn delete_on(&self, path: &str, terms: Terms) -> Result<Deletion, Error> {
        let mut request = self.call(Method::DELETE, path).query(&terms.query());
        if let Some(version) = terms.if_match {
            request = request.header("If-Match", format!("\"{version}\""));
        }
        let response = self.send(request).await?;
        Ok(if response.status() == 202 {
            Deletion::Accepted
        } else {
            Deletion::Done
        })
    }
}
