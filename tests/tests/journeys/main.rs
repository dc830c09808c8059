//! The journeys: what users do, end to end, with real processes and the real Docker Engine.

mod access;
mod acme;
mod api;
mod audit;
mod browse;
mod browser;
mod certificates;
mod cli;
mod commands;
mod deploy;
mod engine;
mod events;
mod faults;
mod handover;
mod nodes;
mod observe;
mod operate;
mod partition;
mod proxy;
mod rollout;
mod routing;
mod secrets;
mod services;
mod volumes;
mod watch;
mod weaknesses;
