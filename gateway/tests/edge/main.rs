//! The gateway's listeners with real sockets: TLS, limits, PROXY headers, plain TCP, draining.

#![expect(
    clippy::disallowed_methods,
    reason = "tasks of a test end with its runtime"
)]

mod admission;
mod authority;
mod client;
mod deadlines;
mod drain;
mod first_bytes;
mod floods;
mod h2;
mod heads;
mod observe;
mod over_tls;
mod pauses;
mod proxy_header;
mod resumption;
mod service;
mod streams;
mod support;
mod tls;
