//! Conditions over histories of checks: whatever was seen, in whatever order, the status keeps its contract.
//!
//! Input: four bytes a check: what it saw (two), how many seconds after the one before, the generation.

#![no_main]

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::json;
use vault_connection_operator::{
    api::{
        condition::{ConditionType, Reason, Truth},
        status::VaultConnectionStatus,
    },
    auth::LoginFault,
    conditions::{self, MAX_MESSAGE_BYTES, Verdict},
    names::text,
    network::faults::{TlsFault, TransportFault},
    spec::Desired,
    vault::{Operation, answer::ServerFault, token::SelfFault, wrapping::WrapFault},
    verify::{
        observation::{Fault, Observation},
        report,
        status::{self, Circumstances},
    },
};

fuzz_target!(|input: &[u8]| {
    let desired = desired();
    let mut status = VaultConnectionStatus::default();
    let mut second = 0;
    for check in input.chunks_exact(4) {
        second += i64::from(check[2]);
        let around = Circumstances {
            generation: i64::from(check[3]),
            requested_at: None,
            now: Timestamp::from_second(second).expect("it is in range"),
            jitter: f64::from(check[1]) / 255.0,
        };
        let next = match check[0] {
            254 => report::suspended(&status, &around, &desired),
            255 => status::invalid_spec(&status, &around, &"ü".repeat(usize::from(check[1]) * 8)),
            number => {
                let observation = observation(number, check[1], around.now);
                let (next, wait) = report::checked(&status, &around, &desired, &observation);
                assert!(wait >= Duration::from_secs(5), "{wait:?}");
                assert_steps_add_up(&next, observation.fault.is_none());
                let (again, _) = report::checked(&next, &around, &desired, &observation);
                assert!(!report::is_news(&next, &again), "the same is no news");
                next
            }
        };
        assert_folded(&status, &next, &around);
        status = next;
    }
    fold_anything(input);
});

/// Ready is the sum of the steps, and kstatus has one word at most.
fn assert_steps_add_up(status: &VaultConnectionStatus, passed: bool) {
    let is_true = |kind| conditions::is_true(&status.conditions, kind);
    assert_eq!(is_true(ConditionType::Ready), passed);
    assert_eq!(ConditionType::STEPS.into_iter().all(is_true), passed);
    let failed = ConditionType::STEPS.into_iter().position(|step| !is_true(step));
    let later = ConditionType::STEPS.into_iter().skip(failed.map_or(5, |failed| failed + 1));
    for step in later {
        let found = conditions::find(&status.conditions, step).expect("every step is there");
        assert_eq!(found.reason, Reason::NotChecked.as_str(), "an old True does not stay");
    }
    let words = [ConditionType::Reconciling, ConditionType::Stalled].map(is_true);
    assert_eq!(words.iter().filter(|word| **word).count(), usize::from(!passed));
}

/// Transition times move with the status and with nothing else.
fn assert_folded(before: &VaultConnectionStatus, after: &VaultConnectionStatus, around: &Circumstances<'_>) {
    for condition in &after.conditions {
        assert_eq!(condition.observed_generation, Some(around.generation));
        assert!(condition.message.len() <= MAX_MESSAGE_BYTES);
        let former = before.conditions.iter().find(|former| former.type_ == condition.type_);
        let kept = former.filter(|former| former.status == condition.status);
        let since = kept.map_or(around.now, |former| former.last_transition_time.0);
        assert_eq!(condition.last_transition_time.0, since, "{}", condition.type_);
    }
    let mut kinds: Vec<_> = after.conditions.iter().map(|condition| &condition.type_).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), after.conditions.len(), "conditions are a map by type");
}

/// A message of any text is a prefix of what was said, with escapes for what hides or moves text, cut between two
/// characters.
fn fold_anything(input: &[u8]) {
    let message = String::from_utf8_lossy(input).into_owned();
    let (condition, reason) = (ConditionType::Ready, Reason::Sealed);
    let verdict = Verdict { condition, truth: Truth::False, reason, message };
    let folded = conditions::fold(&[], std::slice::from_ref(&verdict), 1, Timestamp::UNIX_EPOCH);
    let shown = text::printable(&verdict.message);
    assert!(shown.starts_with(&folded[0].message));
    assert!(folded[0].message.len() <= MAX_MESSAGE_BYTES);
    assert!(folded[0].message.len() + 4 > shown.len().min(MAX_MESSAGE_BYTES), "no more is cut");
}

fn observation(number: u8, detail: u8, now: Timestamp) -> Observation {
    let seconds = Duration::from_secs(u64::from(detail));
    let fault = match number % 24 {
        0 => Some(Fault::Overdue),
        1 => Some(TransportFault::NameNotResolved.into()),
        2 => Some(TransportFault::Refused.into()),
        3 => Some(TransportFault::TimedOut.into()),
        4 => Some(TransportFault::Tls(TlsFault::UnknownAuthority).into()),
        5 => Some(TransportFault::PlainHttp.into()),
        6 => Some(ServerFault::Sealed.into()),
        7 => Some(ServerFault::Redirected { host: None }.into()),
        8 => Some(ServerFault::NotVault { status: 200 }.into()),
        9 => Some(ServerFault::RateLimited { retry_after: Some(seconds) }.into()),
        10 => Some(ServerFault::ServerError { status: 500, retry_after: Some(seconds) }.into()),
        11 => Some(LoginFault::InvalidCredentials.into()),
        12 => Some(LoginFault::Denied.into()),
        13 => Some(LoginFault::MfaRequired.into()),
        14 => Some(LoginFault::Unexpected { status: 418 }.into()),
        15 => Some(SelfFault::Rejected.into()),
        16 => Some(SelfFault::NotPermitted { at: Operation::LookupSelf }.into()),
        17 => Some(WrapFault::Spent.into()),
        18 => Some(Fault::BudgetSpent),
        19 => Some(Fault::LoginQueued),
        _ => None,
    };
    let no_login_before = fault.is_some().then_some(now + seconds).filter(|_| number >= 128);
    Observation { fault, no_login_before, ..Observation::default() }
}

fn desired() -> Desired {
    let spec = json!({
        "instanceUrl": "https://vault.example.com",
        "auth": {"token": {"secretRef": {"name": "s", "key": "k"}}},
    });
    let spec = serde_json::from_value(spec).expect("it is a spec");
    Desired::parse(&spec).expect("it makes sense")
}
