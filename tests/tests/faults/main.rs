//! Projects under fire: whatever breaks, and whenever, what was promised holds.
//!
//! `storm` breaks things by a seeded plan; the other modules each break one thing that a plan
//! cannot: disks, clocks, an engine that hangs. See docs/testing.md.

mod check;
mod clock;
mod disk;
mod engine;
mod model;
mod plan;
mod prober;
mod storm;
mod timing;
mod user;
mod world;

/// The tests of this program measure time and share two cores: one after the other.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
