//! The journeys: what users do, end to end, with real processes and the real Docker Engine.

mod api;
mod audit;
mod browse;
mod cli;
mod deploy;
mod engine;
mod events;
mod faults;
mod nodes;
mod proxy;
mod secrets;
mod watch;
