//! What operators do with the command line.

mod history;
mod nodes;
mod secrets;
mod verbs;
