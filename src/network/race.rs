//! Several candidates for the same end: try them in turn, and do not wait long for a silent one.

use std::{future::Future, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};

/// Begins an attempt with each candidate in turn, the next one as soon as all before it have failed or `delay` has
/// passed since the last began. The first success wins, and ends the others. If all fail, the fault of the first
/// candidate is reported; none means that there was no candidate.
///
/// For the addresses of a name this is RFC 8305, section 5 ("happy eyeballs").
pub(super) async fn first_of<C, T, E, F>(
    candidates: impl IntoIterator<Item = C>,
    delay: Duration,
    attempt: impl Fn(C) -> F,
) -> Option<Result<T, E>>
where
    F: Future<Output = Result<T, E>>,
{
    let mut waiting = candidates.into_iter().enumerate();
    let mut running = FuturesUnordered::new();
    let begin = |(index, candidate)| {
        let attempt = attempt(candidate);
        async move { (index, attempt.await) }
    };
    running.push(begin(waiting.next()?));
    let mut next_begins = Instant::now() + delay;
    let mut first_fault: Option<(usize, E)> = None;
    let mut exhausted = false;
    loop {
        let next_due = tokio::select! {
            Some((index, outcome)) = running.next() => match outcome {
                Ok(success) => return Some(Ok(success)),
                Err(fault) => {
                    if first_fault.as_ref().is_none_or(|(first, _)| index < *first) {
                        first_fault = Some((index, fault));
                    }
                    running.is_empty()
                }
            },
            () = sleep_until(next_begins), if !exhausted => true,
        };
        if next_due {
            match waiting.next() {
                Some(candidate) => {
                    running.push(begin(candidate));
                    next_begins = Instant::now() + delay;
                }
                None => exhausted = true,
            }
        }
        if running.is_empty() {
            return first_fault.map(|(_, fault)| Err(fault));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(250);

    /// What a candidate does: after so many milliseconds it succeeds or fails.
    type Candidate = (u64, Result<&'static str, &'static str>);

    /// The outcome of a race, and how many milliseconds it took.
    type Finish = (Option<Result<&'static str, &'static str>>, u128);

    async fn race(candidates: &[Candidate]) -> Finish {
        let start = Instant::now();
        let attempt = |(after, outcome): Candidate| async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            outcome
        };
        let outcome = first_of(candidates.iter().copied(), DELAY, attempt).await;
        (outcome, start.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_success_wins_in_its_time() {
        let silent = (u64::MAX / 2_000_000, Err("silent"));
        let table: &[(&str, &[Candidate], Finish)] = &[
            ("nobody", &[], (None, 0)),
            ("one that works", &[(10, Ok("a"))], (Some(Ok("a")), 10)),
            (
                "the next begins at once after a failure",
                &[(10, Err("a")), (10, Ok("b"))],
                (Some(Ok("b")), 20),
            ),
            ("a silent one delays the next a little", &[silent, (10, Ok("b"))], (Some(Ok("b")), 260)),
            ("a slow one may still win", &[(255, Ok("a")), (100, Ok("b"))], (Some(Ok("a")), 255)),
            (
                "a failure while another is silent waits for the delay",
                &[silent, (10, Err("b")), (10, Ok("c"))],
                (Some(Ok("c")), 510),
            ),
            ("all fail: the first is reported", &[(300, Err("a")), (10, Err("b"))], (Some(Err("a")), 300)),
        ];
        for (name, candidates, finish) in table {
            assert_eq!(race(candidates).await, *finish, "{name}");
        }
    }
}
