//! Tells the service manager how far this process is (`NOTIFY_SOCKET`, as systemd sets it for
//! `Type=notify`).
//!
//! Owns what is said. It refuses to know when, and what is made of it: without a service manager
//! nothing happens, and one that does not listen delays nothing for longer than a moment.

use std::time::Duration;

use sd_notify::NotifyState;

/// How long the service manager may take to be told.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a service manager wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milestone {
    /// This process serves what it is there for.
    Ready,
    /// This process is the service from now on, and no other that was before it.
    Main,
    /// The service ends.
    Stopping,
}

/// Tells the service manager, if there is one. When it does not work, that is logged.
pub async fn tell(milestone: Milestone) {
    let state = match milestone {
        Milestone::Ready => NotifyState::Ready,
        Milestone::Main => NotifyState::MainPid(std::process::id()),
        Milestone::Stopping => NotifyState::Stopping,
    };
    // It blocks when the service manager does not read.
    let told = tokio::task::spawn_blocking(move || sd_notify::notify(&[state]));
    let error = match tokio::time::timeout(PATIENCE, told).await {
        Ok(Ok(Ok(()))) => return,
        Ok(Ok(Err(error))) => error,
        Ok(Err(panicked)) => std::io::Error::other(panicked),
        Err(late) => std::io::Error::from(late),
    };
    tracing::warn!(error = %error, ?milestone, "cannot tell the service manager");
}
