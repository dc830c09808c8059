//! The container engine. Everything that knows Docker's API is in here.

mod engine;
mod error;
pub(crate) mod names;
mod observe;
mod pull;

pub(crate) use engine::{Engine, LogOptions, Machine};
pub use error::Error;
