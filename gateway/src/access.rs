//! Who may come in, by the access settings of a rule.
//!
//! ```text
//! request -> shown (what it carries) -> decide (pure) -> admitted | page | redirect
//!                 ^                        |
//!                 '-- basic, issuers <-----'  (guard: what takes time, asked for by the verdict)
//! /.cara/oidc/... -> steps -> login (pure) and issuers
//! ```
//!
//! Owns sessions, logins, links and tokens. It refuses to know about routing and proxying, and what
//! else becomes of a request. No secret leaves it: neither to services (see [`clean`]) nor to pages
//! and logs.

mod basic;
mod cookies;
mod decide;
mod enter;
mod guard;
mod guess;
mod login;
mod place;
mod reply;
mod session;
mod shown;
mod steps;
mod upstream;
mod who;

pub use guard::Config;

pub(crate) use cookies::has_own as has_own_cookie;
pub(crate) use enter::Asker;
pub(crate) use guard::Guard;
pub(crate) use upstream::{clean, cut_link, has_link, is_own_header};
pub(crate) use who::Admitted;
