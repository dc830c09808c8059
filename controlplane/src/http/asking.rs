//! The application as one caller has it: what they take of what all share counts against them, and
//! what they open is asked about again.

use axum::extract::FromRequestParts;
use axum::http::Extensions;
use axum::http::request::Parts;
use std::convert::Infallible;

use super::App;
use super::guard::Asker;
use super::policy::Admitted;
use crate::plan::access::Identity;
use crate::plan::shares::Sharer;

/// The application, for handlers that take a part of what is shared, such as a stream of a node.
pub(super) struct Asking(pub(super) App);

impl FromRequestParts<App> for Asking {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        Ok(Self(App {
            by: parts.extensions.get::<Admitted>().cloned(),
            sharer: sharer(&parts.extensions),
            ..app.clone()
        }))
    }
}

/// Whose share a request takes of.
pub(super) fn sharer(extensions: &Extensions) -> Sharer {
    match extensions.get::<Asker>().map(|asker| &*asker.0) {
        Some(Identity::Unasked) | None => Sharer::Everybody,
        Some(who @ (Identity::Unknown | Identity::Bearer(_) | Identity::Node(_))) => {
            Sharer::One(who.actor().into())
        }
    }
}
