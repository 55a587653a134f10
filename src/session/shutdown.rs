//! What a run knows of the stop of the operator, wherever in it that is asked.
//!
//! ```text
//!   stop ─▶ no new run
//!        ─▶ a run that holds no token is abandoned where it waits
//!        ─▶ a run that holds one gets no answers any more, but for logins and revocations: it ends by itself, soon
//! ```
//!
//! A run whose object is gone stops in the same way, and sooner: of its credential nothing may be left a second later.
//!
//! A `check` from the command line is one run, which an interrupt stops. Outside of a run nothing ever stops.

use std::{
    future::{Future, pending},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

tokio::task_local! {
    static RUN: Arc<Run>;
}

/// How long a login that is under way may go on when its object is gone. A Vault that works answers well before; and of
/// a credential, nothing may be left a second after the deletion of its connection.
const LAST_LOGIN_TIMEOUT: Duration = Duration::from_millis(500);

/// One run.
#[derive(Debug)]
pub struct Run {
    /// The operator stops, or the object is gone.
    stopping: CancellationToken,
    /// The object is gone.
    gone: CancellationToken,
    holds_token: AtomicBool,
}

/// What hangs on an answer of Vault when the operator stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stake {
    /// Nothing.
    Nothing,
    /// It is about a token that the run holds, which must not be forgotten. The answer is not needed for that.
    UsesToken,
    /// It brings a token.
    BringsToken,
    /// It ends one.
    EndsToken,
}

// === impl Run ===

impl Run {
    /// A run that holds no token yet.
    pub fn new(stopping: &CancellationToken) -> Arc<Self> {
        let stopping = stopping.child_token();
        Arc::new(Self { stopping, gone: CancellationToken::new(), holds_token: AtomicBool::new(false) })
    }

    /// Stops the run: its object is gone.
    pub fn end(&self) {
        self.gone.cancel();
        self.stopping.cancel();
    }

    /// Resolves if the run can be dropped where it waits: its object is gone, and no token would be lost with it.
    pub async fn cancelled(&self) {
        self.gone.cancelled().await;
        if self.holds_token() {
            pending::<()>().await;
        }
    }

    /// Whether a token would be lost with it.
    pub fn holds_token(&self) -> bool {
        self.holds_token.load(Ordering::SeqCst)
    }

    /// Makes a future know that it is this run.
    pub fn scope<F: Future>(self: Arc<Self>, run: F) -> impl Future<Output = F::Output> {
        RUN.scope(self, run)
    }
}

/// Whether this run is to stop.
pub fn is_stopping() -> bool {
    RUN.try_with(|run| run.stopping.is_cancelled()).unwrap_or_default()
}

/// Whether the object of this run is gone.
pub fn is_gone() -> bool {
    RUN.try_with(|run| run.gone.is_cancelled()).unwrap_or_default()
}

/// Waits for an answer of Vault, unless the operator stops and nothing hangs on it: then there is none.
pub async fn answer<T>(stake: Stake, answer: impl Future<Output = T>) -> Option<T> {
    let Ok(run) = RUN.try_with(Arc::clone) else { return Some(answer.await) };
    if stake != Stake::Nothing {
        // Noted before the stop is looked for: either whoever stops the run sees it, or this sees the stop.
        run.holds_token.store(true, Ordering::SeqCst);
    }
    match stake {
        Stake::BringsToken if run.stopping.is_cancelled() => None,
        Stake::BringsToken => tokio::select! {
            biased;
            answer = answer => Some(answer),
            () = given_up(&run) => None,
        },
        Stake::EndsToken => Some(answer.await),
        Stake::Nothing | Stake::UsesToken => tokio::select! {
            biased;
            () = run.stopping.cancelled() => None,
            answer = answer => Some(answer),
        },
    }
}

/// Resolves when a login that is still under way is given up. A token that it brings all the same ends by its TTL.
async fn given_up(run: &Run) {
    run.gone.cancelled().await;
    sleep(LAST_LOGIN_TIMEOUT).await;
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn at_the_stop_only_answers_are_awaited_that_bring_or_end_a_token() {
        let table = [
            (Stake::Nothing, Some(None), false),
            (Stake::UsesToken, Some(None), true),
            (Stake::BringsToken, None, true),
            (Stake::EndsToken, None, true),
        ];
        for (stake, expected, holds_token) in table {
            let stopping = CancellationToken::new();
            let run = Run::new(&stopping);
            let asked = Arc::clone(&run).scope(answer(stake, pending::<()>()));
            let mut asked = std::pin::pin!(asked);
            assert_eq!(asked.as_mut().now_or_never(), None, "{stake:?}");
            stopping.cancel();
            assert_eq!(asked.as_mut().now_or_never(), expected, "{stake:?}");
            assert_eq!(run.holds_token(), holds_token, "{stake:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_whose_object_is_gone_ends_soon_and_no_token_is_lost_that_it_holds() {
        let table = [
            (Stake::Nothing, None, Some(Duration::ZERO)),
            (Stake::UsesToken, Some(Duration::ZERO), None),
            (Stake::BringsToken, Some(LAST_LOGIN_TIMEOUT), None),
            (Stake::EndsToken, None, None),
        ];
        for (stake, answered, cancelled) in table {
            let stopping = CancellationToken::new();
            let run = Run::new(&stopping);
            let mut asked = std::pin::pin!(Arc::clone(&run).scope(answer(stake, pending::<()>())));
            assert_eq!(asked.as_mut().now_or_never(), None, "{stake:?}");
            run.end();
            let begin = tokio::time::Instant::now();
            let took = |ended: bool| ended.then(|| begin.elapsed());
            let longest = LAST_LOGIN_TIMEOUT * 2;
            let dropped = tokio::time::timeout(Duration::ZERO, run.cancelled()).await;
            assert_eq!(took(dropped.is_ok()), cancelled, "{stake:?}");
            if stake != Stake::Nothing {
                let ended = tokio::time::timeout(longest, asked.as_mut()).await;
                assert_eq!(took(ended == Ok(None)), answered, "{stake:?}");
            }
            assert!(!stopping.is_cancelled(), "the others go on");
        }
    }

    #[tokio::test]
    async fn after_the_stop_no_login_is_begun_and_every_token_is_still_ended() {
        let stopping = CancellationToken::new();
        stopping.cancel();
        let ask = |stake| Run::new(&stopping).scope(answer(stake, ready(())));
        assert_eq!(ask(Stake::BringsToken).await, None);
        assert_eq!(ask(Stake::EndsToken).await, Some(()));
        assert!(Run::new(&stopping).scope(async { is_stopping() }).await);
        assert!(!is_stopping(), "outside of a run nothing stops");
        assert_eq!(answer(Stake::BringsToken, ready(())).await, Some(()));
    }
}
