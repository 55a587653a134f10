//! The operator's command line.

use std::{alloc::System, process::ExitCode};

use zeroizing_alloc::ZeroAlloc;

/// Wipes whatever is freed. The types that hold credentials wipe themselves, but the libraries below us have buffers and
/// copies of their own: of requests and answers, of what is parsed, of what has grown and moved.
///
/// What is below it is the allocator of the C library: others take a fifth less CPU for a check, and up to twice the memory
/// (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    vault_connection_operator::cli::main()
}
