//! Runs the projects that a server assigns to this node.

use std::process::ExitCode;

use cara_cli::{agent, process, settings};

fn main() -> ExitCode {
    let about = "Node agent: runs the projects that a server assigns to this node";
    let flags = settings::command("cara-agent", about, agent::SETTINGS).get_matches();
    process::exit(agent::main(&flags))
}
