//! Certificates: what they are, which one answers a name, and when to get a new one.
//!
//! Owns the table from names to certificates and the plan of renewals. It refuses to know how
//! certificates are obtained, stored and put on the wire.

mod bundle;
pub mod plan;

pub use bundle::{Bundle, CertTable, Secret};
