//! Command line client.

use std::process::ExitCode;

fn main() -> ExitCode {
    cara_cli::ctl::main()
}
