//! What a host asks of the certificates of its clients, and how such clients are spoken to.

use std::sync::Arc;

use cara_api::gateway::ClientAuthorities;
use rustls::ServerConfig;

use super::tls::Configs;

/// Who must vouch for the clients of a host.
pub(crate) struct ClientAuth {
    pub(super) authorities: ClientAuthorities,
    /// How such clients are spoken to; none when the authorities cannot be read, and then nobody
    /// gets in.
    pub(super) config: Option<Arc<ServerConfig>>,
}

impl std::fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientAuth")
            .field("is_usable", &self.config.is_some())
            .finish_non_exhaustive()
    }
}

impl ClientAuth {
    pub(super) fn new(authorities: ClientAuthorities, host: &str, configs: &Configs) -> Self {
        let config = configs.with_client_authorities(&authorities);
        if let Err(error) = &config {
            tracing::warn!(host, error = %error, "no client of this host gets in");
        }
        Self {
            authorities,
            config: config.ok(),
        }
    }

    /// How to speak to clients that are asked for a certificate.
    pub(crate) fn config(&self) -> Option<&Arc<ServerConfig>> {
        self.config.as_ref()
    }
}
