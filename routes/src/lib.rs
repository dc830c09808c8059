//! Which route serves a request, and which endpoint of it: pure decisions of the gateway.
//!
//! Owns host and path matching, endpoint choice, rates, and what failures lead to. It refuses to
//! know about sockets, time and randomness: what varies comes in as an argument.

pub mod balance;
mod explain;
pub mod health;
pub mod host;
mod hosts;
pub mod outlier;
pub mod path;
pub mod rank;
pub mod rate;
pub mod redirect;
pub mod retry;
pub mod sticky;
mod table;
pub mod weights;

pub use explain::{Asked, NotAUrl, explain};
pub use table::RouteTable;
