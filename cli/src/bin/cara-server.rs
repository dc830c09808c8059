//! Control plane and gateway in one process; `--with-agent` adds an agent for this host.

use std::process::ExitCode;

use cara_cli::{process, server, settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    process::use_small_pages();
    let about = "Edge gateway with an integrated scheduler";
    let flags = settings::command("cara-server", about, server::SETTINGS)
        .subcommand(server::rotate_command())
        .get_matches();
    process::exit(match flags.subcommand() {
        Some((_, flags)) => server::rotate_key(flags),
        None => server::main(&flags),
    })
}
