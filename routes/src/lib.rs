//! Which route serves a request, and which endpoint of it: pure decisions of the gateway.
//!
//! Owns host matching and endpoint choice. It refuses to know about sockets, time and
//! randomness: what varies comes in as an argument.

pub mod balance;
pub mod host;
pub mod rank;
mod table;

pub use table::RouteTable;
