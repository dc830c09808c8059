//! Where a request came to.

use pingora_http::RequestHeader;

use super::login;
use crate::request;

/// Where a request came to.
pub(super) struct Place {
    /// Normalised, without the port.
    pub(super) host: String,
    /// As the client wrote it, with its port.
    pub(super) authority: String,
    pub(super) is_tls: bool,
}

impl Place {
    pub(super) fn of(head: &RequestHeader, is_tls: bool) -> Option<Self> {
        let authority = request::host(head)?;
        Some(Self {
            host: cara_routes::host::normalize(authority)?.into_owned(),
            authority: authority.to_owned(),
            is_tls,
        })
    }

    /// Scheme and authority.
    pub(super) fn origin(&self) -> String {
        login::origin(&self.authority, self.is_tls)
    }
}
