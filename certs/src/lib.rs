//! Certificates: what they are, which one answers a name, when to get a new one, and how.
//!
//! Owns the bundle of a chain with its key, the table from names to bundles, the internal
//! authority, identities of nodes, the plan of orders, and the conversation with an ACME server. It refuses to know
//! where certificates and accounts are stored, who may order what, and how certificates are put on
//! the wire.

pub mod acme;
mod bundle;
pub mod ca;
mod challenge;
mod client;
pub mod dns;
pub mod node;
pub mod plan;
mod secret;
mod table;

pub use bundle::{Bundle, BundleError, Fingerprint};
pub use challenge::{ChallengeError, HttpChallenge, HttpChallenges};
pub use secret::Secret;
pub use table::CertTable;
