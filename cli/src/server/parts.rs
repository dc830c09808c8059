//! The parts of a server: what ends them, and how long each may take for it.

use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::process::within;

/// What a part gets to end after it was told to, beside the time that connections may take; less
/// than a successor waits for the store.
pub const PART_GRACE: Duration = Duration::from_secs(10);

/// What ends the parts.
pub struct Tokens {
    /// The process.
    pub whole: CancellationToken,
    /// Control plane and agent.
    pub control: CancellationToken,
    /// The gateway.
    pub gateway: CancellationToken,
}

impl Tokens {
    /// Nothing ends yet.
    pub fn new() -> Self {
        let whole = CancellationToken::new();
        Self {
            control: whole.child_token(),
            gateway: whole.child_token(),
            whole,
        }
    }

    /// Control plane and agent were given up for another server, and the gateway goes on.
    fn are_handed_over(&self) -> bool {
        self.control.is_cancelled() && !self.whole.is_cancelled()
    }
}

/// The parts of a server that run.
pub struct Parts {
    /// What ends them.
    pub tokens: Tokens,
    running: JoinSet<anyhow::Result<()>>,
}

impl Parts {
    /// None yet.
    pub fn new(tokens: Tokens) -> Self {
        Self {
            tokens,
            running: JoinSet::new(),
        }
    }

    /// Runs a part, which is given up when it does not end soon after it was told to.
    pub fn add(
        &mut self,
        name: &'static str,
        told: &CancellationToken,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let told = told.clone();
        self.running
            .spawn(async move { within(name, &told, PART_GRACE, part).await });
    }

    /// Runs a part on another runtime. It has deadlines of its own.
    pub fn add_on(
        &mut self,
        thread: &Handle,
        part: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        self.running.spawn_on(part, thread);
    }

    /// Waits for all parts. Whatever ends first takes the others with it, unless it was handed over
    /// to another server.
    ///
    /// # Errors
    /// The first one of a part.
    pub async fn wait(mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some(ended) = self.running.join_next().await {
            if !self.tokens.are_handed_over() {
                self.tokens.whole.cancel();
            }
            let ended = ended
                .context("a part of the server panicked")
                .and_then(|r| r);
            if result.is_ok() {
                result = ended;
            }
        }
        result
    }
}
