//! One connection of the model: what the operator keeps of it, and what it says.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use vault_connection_operator::{
    api::condition::{ConditionType, FailureClass},
    conditions,
    verify::{
        judge,
        observation::Observation,
        report,
        schedule::{self, Cause, Inputs},
        session::later,
        stability::Timing,
        status::Circumstances,
    },
};

use super::Connection;

impl Connection {
    pub(super) fn is_ready(&self) -> bool {
        conditions::is_true(&self.status.conditions, ConditionType::Ready)
    }

    pub(super) fn cause(&self, now: Timestamp) -> Option<Cause> {
        let inputs = Inputs {
            generation: 1,
            checked_generation: self.checked.map(|_| 1),
            requested_at: None,
            handled_request: None,
            stale: self.is_stale,
            triggered: false,
            next_check: self.checked.map(|(_, next)| next),
            last_check: self.checked.map(|(last, _)| last),
            last_extra: None,
        };
        schedule::due(&inputs, now)
    }

    pub(super) fn due_at(&self, now: Timestamp) -> Timestamp {
        match self.checked {
            Some((_, next)) if self.cause(now).is_none() => next,
            Some(_) | None => now,
        }
    }

    pub(super) fn damp(
        &mut self,
        observation: &Observation,
        (began, ended): (Timestamp, Timestamp),
        is_first: bool,
        jitter: f64,
    ) -> Result<(), TestCaseError> {
        let timing = Timing { began, ended, was_ready: self.is_ready() };
        match self.memory.stability.damp(&timing, &self.desired, observation) {
            Some(wait) => {
                let class = observation
                    .fault
                    .as_ref()
                    .map(|fault| judge::reason_of(fault, &self.desired).failure_class());
                prop_assert_eq!((timing.was_ready, class), (true, Some(FailureClass::Transient)));
                self.checked = Some((ended, later(ended, wait)));
            }
            None => {
                // A process that has just begun knows nothing of the time before.
                if timing.was_ready && !is_first {
                    self.assert_young(ended)?;
                }
                let wait = self.conclude(observation, ended, jitter)?;
                self.checked = Some((ended, later(ended, wait)));
                if observation.fault.is_none() {
                    self.passed = Some(ended);
                }
            }
        }
        if self.is_ready() {
            self.assert_young(ended)?;
            let (_, next) = self.checked.expect("it was just checked");
            self.assert_young(next)?;
        }
        Ok(())
    }

    pub(super) fn assert_young(&self, now: Timestamp) -> Result<(), TestCaseError> {
        let passed = self.passed.expect("nothing but a check makes it Ready");
        prop_assert!(now <= later(passed, self.desired.interval * 2), "Ready since {passed}, at {now}");
        Ok(())
    }

    /// Writes a status if it is news, and holds its transition times to the contract.
    pub(super) fn conclude(
        &mut self,
        observation: &Observation,
        now: Timestamp,
        jitter: f64,
    ) -> Result<Duration, TestCaseError> {
        let around = Circumstances { generation: 1, requested_at: None, now, jitter };
        let (next, wait) = report::checked(&self.status, &around, &self.desired, observation);
        for condition in &next.conditions {
            let before = self.status.conditions.iter().find(|before| before.type_ == condition.type_);
            let kept = before.filter(|before| before.status == condition.status);
            let since = kept.map_or(now, |before| before.last_transition_time.0);
            prop_assert_eq!(condition.last_transition_time.0, since);
        }
        if report::is_news(&self.status, &next) {
            self.writes += 1;
            self.status = next;
        }
        Ok(wait)
    }
}
