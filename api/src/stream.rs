//! What users and containers say to each other: logs, commands, connections, files, usage.
//!
//! Owns the words on the wire between client and server (WebSocket messages, JSON lines) and
//! between server and agent (records in the tunnel). It refuses to know who may open a stream.

pub mod exec;
pub mod files;
#[cfg(feature = "client")]
pub mod frame;
pub mod logs;
#[cfg(feature = "client")]
pub mod socket;
pub mod usage;

pub use exec::{End, ExecQuery, INPUT_WINDOW, Signal, Size, Taken};
#[cfg(feature = "client")]
pub use frame::{Channel, Frame, Records};
pub use logs::{LogLine, LogMessage, LogQuery, LogStream};
pub use usage::{ContainerUsage, NodeUsage, Usage};

/// Value of `Upgrade` for the connection over which a server reaches an agent.
pub const TUNNEL_PROTOCOL: &str = "cara-tunnel";
/// Streams that a tunnel carries at once.
pub const TUNNEL_STREAMS: u32 = 256;
/// Bytes that may wait unread in one stream of a tunnel, either way.
pub const STREAM_WINDOW: u32 = 512 * 1024;
/// Bytes that may wait unread in all streams of a tunnel, either way: as much as all of them
/// together, so that those which nobody reads never hold up the others.
pub const TUNNEL_WINDOW: u32 = TUNNEL_STREAMS * STREAM_WINDOW;
/// Longest piece of a tunnel's streams that is sent at once, in bytes: a record of [`frame::PIECE`] fits,
/// and many streams still take turns.
pub const TUNNEL_PIECE: u32 = 64 * 1024;
/// Content type of JSON lines.
pub const JSON_LINES: &str = "application/x-ndjson";

/// Truth in a query; anything else is false.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}
