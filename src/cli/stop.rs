//! The end of the process.
//!
//! ```text
//!   SIGTERM ─┬─▶ the operator ends by itself                         within 5 s
//!            └─▶ a thread of its own waits, and ends it in any case  after 6 s
//! ```

use std::{future::Future, io, process, thread, time::Duration};

use anyhow::Context as _;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal as listen},
};

/// When the process ends in any case: later than the 5 s that it has by itself, and earlier than the 10 s after which the
/// kubelet kills it.
const IN_ANY_CASE: Duration = Duration::from_secs(6);

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
pub(super) fn end_in_any_case() -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let wait = move || {
        let heard = runtime.block_on(async {
            signal()?.await;
            tokio::time::sleep(IN_ANY_CASE).await;
            anyhow::Ok(())
        });
        if heard.is_ok() {
            eprintln!("error: failed to stop in time; sessions that are left end by their TTL");
            process::exit(1);
        }
    };
    thread::Builder::new().name("stop".to_owned()).spawn(wait).map(drop)
}
