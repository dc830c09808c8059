//! What a gateway is told: the published routes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::hostname::Hostname;
use crate::meta::ResourceVersion;
use crate::project::ProjectPhase;

/// Everything that a gateway serves. A new state replaces the old one; routes that did not
/// change are the same `Arc`, so that a receiver finds what changed by pointer comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayState {
    /// The store's revision that this state follows from; receivers refuse older ones.
    pub revision: ResourceVersion,
    /// One route for each hostname.
    pub routes: BTreeMap<Hostname, Arc<Route>>,
}

/// Where requests for a hostname go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The hostname that clients type.
    pub hostname: Hostname,
    /// The project that owns it.
    pub project: String,
    /// The service behind it.
    pub service: String,
    /// Whether it can be reached, and where.
    pub backend: Backend,
}

/// Whether a route's service can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Backend {
    /// At least one endpoint accepts connections.
    Ready {
        /// Where to connect; never empty.
        endpoints: Vec<SocketAddr>,
    },
    /// Nothing to connect to yet, or any more.
    Unavailable {
        /// The project's phase.
        phase: ProjectPhase,
        /// Why, in one CamelCase word.
        reason: String,
    },
}
