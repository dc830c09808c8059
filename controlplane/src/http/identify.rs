//! Which node makes a request, if one does, and whether it may: decided in
//! [`crate::plan::admission`], before any handler sees the request.
//!
//! Leaves [`Who`] with the request, for the record of changes and for what people may do.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, MatchedPath, RawPathParams, Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cara_api::Timestamp;
use cara_api::join::INSIDE_HEADER;

use super::App;
use super::failure::Failure;
use crate::listen::Connection;
use crate::plan::admission::{Denied, Shown, Who, passes, who};

/// Finds out who asks, and stops nodes where they have no business.
pub(super) async fn identify(
    State(app): State<App>,
    parameters: RawPathParams,
    mut request: Request,
    next: Next,
) -> Response {
    let connection = request.extensions().get::<ConnectInfo<Connection>>();
    let connection = connection.map(|info| info.0.clone());
    let shown = shown(&app, connection.as_ref(), request.headers_mut());
    let who = app.who(&shown);
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("", MatchedPath::as_str);
    let name = parameters.iter().find(|(key, _)| *key == "name");
    let name = name.map_or("", |(_, value)| value);
    if let Err(denied) = passes(&who, app.shared.config.api.auth, route, name) {
        tracing::info!(route, reason = %denied, "refused");
        return Failure::denied(&denied).into_response();
    }
    if let Some(connection) = connection {
        let remote: SocketAddr = connection.remote;
        request.extensions_mut().insert(ConnectInfo(remote));
    }
    request.extensions_mut().insert(shown);
    request.extensions_mut().insert(who);
    next.run(request).await
}

fn shown(app: &App, connection: Option<&Connection>, headers: &mut HeaderMap) -> Shown {
    // Nobody behind this needs to see it.
    let secret = headers.remove(INSIDE_HEADER);
    if let (Some(secret), Some(inside)) = (secret, &app.shared.config.api.inside) {
        // Both hashed first: how long the comparison takes tells nothing of the secret.
        let hash = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
        let (given, wanted) = (
            hash(secret.as_bytes()),
            hash(inside.secret.reveal().as_bytes()),
        );
        if given.as_ref() == wanted.as_ref() {
            return Shown::Inside(inside.node.clone());
        }
    }
    let certificate = connection.and_then(|c| c.certificate.as_deref());
    certificate.map_or(Shown::Nothing, |c| Shown::Certificate(c.clone()))
}

impl App {
    fn who(&self, shown: &Shown) -> Who {
        let now = Timestamp::now();
        match shown {
            Shown::Nothing | Shown::Inside(_) => who(shown, None, now),
            Shown::Certificate(presented) => self.shared.cache.read(|state| {
                let node = state.node(presented.node.as_str());
                let admission = node.and_then(|n| n.status.admission.as_ref());
                who(shown, admission, now)
            }),
        }
    }
}

impl Failure {
    /// 401 where showing who one is would help, else 403.
    fn denied(denied: &Denied) -> Self {
        if denied.is_unauthenticated() {
            Self::unauthenticated(denied.to_string())
        } else {
            Self::forbidden(denied.to_string())
        }
    }
}
