//! Settings of the control plane, parsed and checked.

use std::path::PathBuf;
use std::time::Duration;

use cara_api::hostname::Domain;

use crate::plan::Patience;
use crate::plan::events::Site;
use crate::vault::KeySource;

/// Settings of the control plane.
#[derive(Debug, Clone)]
pub struct Config {
    /// Completes short hosts.
    pub domain: Domain,
    /// Port of the gateway, for the URLs that are shown; 80 is left out of them.
    pub http_port: u16,
    /// Port of the gateway for HTTPS, if it serves that: URLs then begin with `https`.
    pub https_port: Option<u16>,
    /// How long a sign of life of an agent counts.
    pub node_timeout: Duration,
    /// The same for a node that only sends plain heartbeats, as agents of the older system do
    /// every 30 s.
    pub plain_node_timeout: Duration,
    /// How long to wait for a node that is not ready.
    pub patience: Patience,
    /// Pause after which an idle stream carries a bookmark or keepalive.
    pub keepalive: Duration,
    /// Where accepted writes are recorded, if they are.
    pub audit_log: Option<PathBuf>,
    /// Where the key that opens secrets comes from.
    pub secret_key: KeySource,
}

impl Config {
    /// Where the gateway serves.
    pub(crate) fn site(&self) -> Site<'_> {
        Site {
            domain: &self.domain,
            http_port: self.http_port,
            https_port: self.https_port,
        }
    }
}
