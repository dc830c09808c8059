//! What the journeys stand on: real server and agent processes, the real Docker Engine, and
//! waiting for conditions instead of sleeping.
//!
//! Everything that a test starts is ended when it ends; logs are kept when it failed.

pub mod acme;
pub mod agent;
pub mod browser;
pub mod docker;
pub mod engine;
pub mod engine_proxy;
pub mod issuer;
pub mod machine;
pub mod pki;
pub mod process;
pub mod server;
pub mod tls;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use agent::Agent;
pub use browser::Browser;
pub use docker::Docker;
pub use engine::Engine;
pub use engine_proxy::EngineProxy;
pub use issuer::Issuer;
pub use machine::Machine;
pub use process::{Process, program};
pub use server::Server;
pub use tls::TlsClient;

/// How long anything may take that a test waits for, unless the test says otherwise. Generous:
/// it only matters when the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A name that no other test of this or a parallel run uses; fits a DNS label.
pub fn unique(stem: &str) -> String {
    format!(
        "{stem}-{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A plain HTTP client.
pub fn http() -> reqwest::Client {
    http_builder().build().expect("a client")
}

/// A plain HTTP client, to be adjusted.
pub fn http_builder() -> reqwest::ClientBuilder {
    cara_api::client::install_tls();
    reqwest::Client::builder()
}

/// Waits until `check` yields a value, looking every few milliseconds.
///
/// # Panics
/// When [`PATIENCE`] is over.
pub async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, check).await
}

/// Waits until `check` yields a value.
///
/// # Panics
/// When the time is over.
pub async fn within<T>(
    limit: Duration,
    what: &str,
    mut check: impl AsyncFnMut() -> Option<T>,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(started.elapsed() < limit, "not within {limit:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
