//! What a run knows of the stop of the operator, wherever in it that is asked.
//!
//! ```text
//!   stop ─▶ no new run
//!        ─▶ a run that holds no token is abandoned where it waits
//!        ─▶ a run that holds one gets no answers any more, but for logins and revocations: it ends by itself, soon
//! ```
//!
//! Outside of a run, as in `check`, nothing ever stops.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio_util::sync::CancellationToken;

tokio::task_local! {
    static RUN: Arc<Run>;
}

/// One run.
#[derive(Debug)]
pub struct Run {
    stopping: CancellationToken,
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
    pub fn new(stopping: CancellationToken) -> Arc<Self> {
        Arc::new(Self { stopping, holds_token: AtomicBool::new(false) })
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

/// Whether the operator stops: what this run saw since may come from that.
pub fn is_stopping() -> bool {
    RUN.try_with(|run| run.stopping.is_cancelled()).unwrap_or_default()
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
        Stake::BringsToken | Stake::EndsToken => Some(answer.await),
        Stake::Nothing | Stake::UsesToken => tokio::select! {
            biased;
            () = run.stopping.cancelled() => None,
            answer = answer => Some(answer),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

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
            let run = Run::new(stopping.clone());
            let asked = Arc::clone(&run).scope(answer(stake, pending::<()>()));
            let mut asked = std::pin::pin!(asked);
            assert_eq!(asked.as_mut().now_or_never(), None, "{stake:?}");
            stopping.cancel();
            assert_eq!(asked.as_mut().now_or_never(), expected, "{stake:?}");
            assert_eq!(run.holds_token(), holds_token, "{stake:?}");
        }
    }

    #[tokio::test]
    async fn after_the_stop_no_login_is_begun_and_every_token_is_still_ended() {
        let stopping = CancellationToken::new();
        stopping.cancel();
        let ask = |stake| Run::new(stopping.clone()).scope(answer(stake, ready(())));
        assert_eq!(ask(Stake::BringsToken).await, None);
        assert_eq!(ask(Stake::EndsToken).await, Some(()));
        assert!(Run::new(stopping.clone()).scope(async { is_stopping() }).await);
        assert!(!is_stopping(), "outside of a run nothing stops");
        assert_eq!(answer(Stake::BringsToken, ready(())).await, Some(()));
    }
}
