//! Access control over real sockets: a gateway, a service that shows what reaches it, and an
//! issuer that checks what the standards ask of it.

#![expect(clippy::unwrap_used, reason = "tests")]

mod browser;
mod foreign;
mod issuer;
mod login;
mod tokens;
mod ways;
mod world;
