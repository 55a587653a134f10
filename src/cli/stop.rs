//! The end of the process.
//!
//! ```text
//!   SIGTERM ─┬─▶ the operator ends by itself                         within --shutdown-timeout
//!            └─▶ a thread of its own waits, and ends it in any case  a second later
//! ```

use std::{future::Future, io, process, thread, time::Duration};

use anyhow::Context as _;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal as listen},
};

use super::output::eprint_line;

/// How much later than it should the process ends in any case. The chart lets the kubelet wait some seconds longer.
const FORCED_EXIT_DELAY: Duration = Duration::from_secs(1);

/// Resolves at the first SIGTERM or SIGINT.
pub(super) fn signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = listen(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = listen(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Ends the process some time after the first signal, also when no thread of the operator is free to hear it.
pub(super) fn end_in_any_case(shutdown_timeout: Duration) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let wait = move || {
        let heard = runtime.block_on(async {
            signal()?.await;
            tokio::time::sleep(shutdown_timeout + FORCED_EXIT_DELAY).await;
            anyhow::Ok(())
        });
        if heard.is_ok() {
            eprint_line(
                "error",
                "failed to stop in time; tokens that were not revoked stay valid until their TTL ends",
            );
            process::exit(1);
        }
    };
    thread::Builder::new().name("stop".to_owned()).spawn(wait).map(drop)
}
