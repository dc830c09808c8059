//! What the gateway does with requests and answers, over real sockets.

mod claims;
mod codings;
mod dates;
mod fastpath;
mod fastpath_h2;
mod h2_abuse;
mod h2spec;
mod long_bodies;
mod protocols;
mod rules;
mod smuggling;
mod smuggling_h2;
mod support;
