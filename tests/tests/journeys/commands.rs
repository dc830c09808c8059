//! What operators do with the command line.

mod history;
mod home;
mod nodes;
mod secrets;
mod verbs;
