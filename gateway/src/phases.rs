//! The phases of a request: what is done with it, step by step, by those who serve it (`proxy`,
//! `fastpath`).
//!
//! ```text
//! filter (challenge, look_up, limits, admit) -> tries, forward -> (service)
//!    '-> send, decorate (the gateway's own answer)                   '-> observe
//! ```
//!
//! These functions alone know together what all requests share ([`Edge`](crate::edge::Edge)), the
//! state of one ([`Ctx`](crate::ctx::Ctx)) and pingora's session. They take it apart: what is
//! decided below gets the parts that it needs, and knows none of the three.

mod admit;
pub(crate) mod challenge;
mod decorate;
pub(crate) mod filter;
pub(crate) mod forward;
mod look_up;
mod misdirected;
pub(crate) mod observe;
pub(crate) mod send;
pub(crate) mod tries;
