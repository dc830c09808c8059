//! The container engine. Everything that knows Docker's API is in here.

mod definition;
mod engine;
mod error;
mod files;
mod images;
mod inside;
pub(crate) mod names;
mod observe;
mod ports;
mod pull;

pub(crate) use engine::{Engine, Machine};
pub use error::Error;
pub(crate) use inside::LogOptions;
