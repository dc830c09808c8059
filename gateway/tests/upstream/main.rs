//! The gateway's way to services, with real sockets.

mod balance;
mod foreign;
mod hold;
mod idle;
mod leave;
mod protocols;
mod retry;
mod streams;
mod support;
mod tunnels;
mod unfinished;
