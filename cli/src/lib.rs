//! What the three binaries are made of: settings, roles, and the command line client.
//!
//! This is the only crate that sees all others. It parses, builds and wires; it decides nothing
//! about projects.

pub mod agent;
pub mod ctl;
pub mod handover;
pub mod listen;
pub mod notify;
pub mod observe;
pub mod process;
pub mod server;
pub mod settings;
pub mod sockets;
pub mod telemetry;
