//! The operator's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    vault_connection_operator::cli::main()
}
