//! How fast logins follow each other at one instance: as fast as it shows that it can.
//!
//! ```text
//!   answers come as quickly as ever ─▶ faster, up to the bound: doubled within a second, until the first sign of trouble; then a tenth
//!   answers take several times as long ─▶ slower by a fifth, down to the pace at the start   ┐ at most once a
//!   429, 5xx or no answer ─▶ half as fast, down to the least                                 ┘ second
//! ```
//!
//! Pure: whoever asks passes the time.

use std::time::{Duration, Instant};

/// Fewest logins a second, however badly a server does: with that, it is noticed when it is better.
pub const MIN_PER_SECOND: u32 = 5;

/// How much longer than the quickest answer one may take, before it counts as a sign of trouble.
const SLOW_FACTOR: u32 = 4;

/// What an answer may take in any case: the jitter of a network and of a busy machine says nothing of the server.
const JITTER: Duration = Duration::from_millis(50);

/// How long the quickest answer is remembered. A server may have moved away since.
const BASELINE_AGE: Duration = Duration::from_secs(300);

/// Shortest time between two steps down: the answers to logins that were under way come from before the last one.
const STEP_DOWN: Duration = Duration::from_secs(1);

/// How many logins a second there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// To begin with.
    pub start: u32,
    /// At most.
    pub max: u32,
}

/// What the answer to a login shows of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It answered after that time, whatever the answer was.
    Answered(Duration),
    /// It asks to wait, fails, or does not answer.
    Overloaded,
}

/// The pace of the logins at one instance.
#[derive(Clone, Debug)]
pub struct Pace {
    bounds: Bounds,
    per_second: f64,
    /// When the next login may begin.
    next: Instant,
    /// The quickest answer, and when it came.
    baseline: Option<(Duration, Instant)>,
    /// What the last answers took, on average: a single slow one says nothing.
    average: Option<Duration>,
    stepped_down: Option<Instant>,
}

// === impl Bounds ===

impl Bounds {
    /// Between these, in order; zero counts as one.
    pub fn new(start: u32, max: u32) -> Self {
        let start = start.max(1);
        Self { start, max: max.max(start) }
    }

    fn min(self) -> u32 {
        MIN_PER_SECOND.min(self.start)
    }
}

// === impl Pace ===

impl Pace {
    /// Nothing is known of the server yet.
    pub fn new(bounds: Bounds, now: Instant) -> Self {
        let per_second = f64::from(bounds.start);
        Self { bounds, per_second, next: now, baseline: None, average: None, stepped_down: None }
    }

    /// Takes the next moment for a login, if it is not after `deadline`.
    pub fn take(&mut self, now: Instant, deadline: Instant) -> Option<Instant> {
        let slot = self.next.max(now);
        if slot > deadline {
            return None;
        }
        self.next = slot + Duration::from_secs_f64(1.0 / self.per_second);
        Some(slot)
    }

    /// Takes in the answer to a login.
    pub fn saw(&mut self, sign: Sign, now: Instant) {
        match sign {
            Sign::Overloaded => self.step_down(0.5, self.bounds.min(), now),
            Sign::Answered(took) => {
                let known = self.baseline.filter(|(_, at)| now.duration_since(*at) < BASELINE_AGE);
                let quickest = known.map_or(took, |(quickest, _)| quickest.min(took));
                if known.is_none_or(|(before, _)| took <= before) {
                    self.baseline = Some((took, now));
                }
                let average = self.average.map_or(took, |average| (average * 7 + took) / 8);
                self.average = Some(average);
                if average > (quickest * SLOW_FACTOR).max(quickest + JITTER) {
                    self.step_down(0.8, self.bounds.start, now);
                } else {
                    self.speed_up();
                }
            }
        }
    }

    /// Whether it may be forgotten: nothing is under way, and it knows no more than at the start.
    pub fn is_idle(&self, now: Instant) -> bool {
        self.next + BASELINE_AGE <= now
    }

    fn speed_up(&mut self) {
        // So many answers come in a second: one more for each doubles the pace in that time.
        let step = if self.stepped_down.is_none() { 1.0 } else { 0.1 };
        self.per_second = (self.per_second + step).min(f64::from(self.bounds.max));
    }

    /// Whoever is slower than `least` already stays as it is.
    fn step_down(&mut self, factor: f64, least: u32, now: Instant) {
        if self.stepped_down.is_some_and(|last| now.duration_since(last) < STEP_DOWN) {
            return;
        }
        self.stepped_down = Some(now);
        self.per_second = (self.per_second * factor).max(f64::from(least).min(self.per_second));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Sign = Sign::Answered(Duration::from_millis(5));

    /// Logs in as often as it may for some seconds, at a server that answers like that. Tells how often.
    fn logins(pace: &mut Pace, now: &mut Instant, seconds: u64, sign: impl Fn(u32) -> Sign) -> u32 {
        let (end, mut count) = (*now + Duration::from_secs(seconds), 0);
        while let Some(slot) = pace.take(*now, end) {
            *now = slot;
            count += 1;
            pace.saw(sign(count), slot);
        }
        *now = end;
        count
    }

    fn begin(start: u32, max: u32) -> (Pace, Instant) {
        let now = Instant::now();
        (Pace::new(Bounds::new(start, max), now), now)
    }

    #[test]
    fn a_quick_server_is_used_up_to_the_bound_within_seconds() {
        let (mut pace, mut now) = begin(50, 600);
        let seconds = (1..=100).find(|_| logins(&mut pace, &mut now, 1, |_| QUICK) >= 599).expect("it ends");
        assert!(seconds <= 6, "{seconds} s");
        assert!(logins(&mut pace, &mut now, 10, |_| QUICK) <= 6_001);
    }

    #[test]
    fn a_server_that_asks_to_wait_is_spared_and_tried_again() {
        let (mut pace, mut now) = begin(50, 600);
        logins(&mut pace, &mut now, 10, |_| QUICK);
        // It takes 100 a second.
        let busy = |count| if count > 100 { Sign::Overloaded } else { QUICK };
        for _ in 0..10 {
            logins(&mut pace, &mut now, 1, busy);
        }
        let settled: Vec<_> = (0..30).map(|_| logins(&mut pace, &mut now, 1, busy)).collect();
        let all: u32 = settled.iter().sum();
        assert!((1_500..=3_600).contains(&all), "{settled:?}");
        let down = logins(&mut pace, &mut now, 60, |_| Sign::Overloaded);
        assert!(down <= 60 * MIN_PER_SECOND + 200, "{down}");
        assert_eq!(logins(&mut pace, &mut now, 10, |_| Sign::Overloaded), 10 * MIN_PER_SECOND);
        assert!(logins(&mut pace, &mut now, 60, |_| QUICK) > 60 * 100, "it is well again");
    }

    #[test]
    fn a_server_that_gets_slow_is_spared_but_not_below_the_start() {
        let (mut pace, mut now) = begin(50, 600);
        logins(&mut pace, &mut now, 10, |_| QUICK);
        let slow = |_| Sign::Answered(Duration::from_millis(400));
        logins(&mut pace, &mut now, 20, slow);
        assert!((49..=51).contains(&logins(&mut pace, &mut now, 1, slow)));
    }

    #[test]
    fn single_answers_that_take_long_say_nothing() {
        let (mut pace, mut now) = begin(50, 600);
        let jitter = |count: u32| {
            if count.is_multiple_of(20) { Sign::Answered(Duration::from_millis(200)) } else { QUICK }
        };
        logins(&mut pace, &mut now, 20, jitter);
        assert!(logins(&mut pace, &mut now, 1, jitter) >= 599);
    }

    #[test]
    fn a_server_that_is_far_away_is_not_slow() {
        let (mut pace, mut now) = begin(50, 600);
        let far = |count: u32| Sign::Answered(Duration::from_millis(200 + u64::from(count % 100)));
        logins(&mut pace, &mut now, 10, far);
        assert!(logins(&mut pace, &mut now, 1, far) >= 599);
    }

    #[test]
    fn equal_bounds_are_kept_and_none_is_below_the_start() {
        let (mut pace, mut now) = begin(50, 50);
        assert!((500..=501).contains(&logins(&mut pace, &mut now, 10, |_| QUICK)));
        let (mut pace, mut now) = begin(2, 1);
        assert!(
            (20..=21).contains(&logins(&mut pace, &mut now, 10, |_| Sign::Overloaded)),
            "less than the least"
        );
    }

    #[test]
    fn who_cannot_wait_takes_no_turn() {
        let (mut pace, now) = begin(10, 10);
        assert_eq!(pace.take(now, now), Some(now));
        for _ in 0..100 {
            assert_eq!(pace.take(now, now), None);
        }
        assert_eq!(pace.take(now, now + Duration::from_secs(1)), Some(now + Duration::from_millis(100)));
    }
}
