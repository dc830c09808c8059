//! Issuers of OpenID Connect: what they publish, and whether a token is theirs.
//!
//! Gateways ask for previews, the control plane for its API. Owns discovery, keys, and the calls to
//! issuers; refuses to know who may do what with a token, and what a login leads to.

mod crypto;
pub mod fetch;
pub mod issuers;
pub mod jwt;
