//! What the gateway does with requests and answers, over real sockets.

mod fastpath;
mod h2spec;
mod protocols;
mod rules;
mod smuggling;
mod support;
