//! The container engine. Everything that knows Docker's API is in here.

mod command;
mod copy;
mod definition;
mod engine;
mod error;
mod files;
mod find;
mod hijack;
mod images;
mod inside;
mod lines;
pub(crate) mod names;
mod observe;
mod ports;
mod pull;
mod usage;

pub(crate) use command::{Command, Input, KillSignal, Output, Running};
pub(crate) use copy::Kind;
pub(crate) use engine::{Engine, Machine};
pub use error::Error;
pub(crate) use find::Found;
pub(crate) use inside::LogOptions;
pub(crate) use lines::{RawLine, Read};
pub(crate) use usage::{Reading, Sample};
