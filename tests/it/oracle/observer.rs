//! Somebody outside who looks once a second: at every status, at Vault's own list of locked roles, and, where that is
//! harmless, whether the very login works.
//!
//! It tries only pairs that it knows to be right, while nothing is broken: so it locks no role, and clears no count of
//! refused logins that the operator's own accepted login has not cleared. It measures what it takes itself, and gives
//! the operator that time.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    fmt::Write as _,
    time::{Duration, Instant},
};

use kube::{ResourceExt as _, api::ListParams};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    bench::{Bench, name},
    changes::{Change, Done, Kind, Subject},
    model::{Cause, Expect, MARGIN, Seen, causes, truth},
};
use crate::support::{
    history::{History, Verdict, shown},
    vault::http,
};

/// How often to look.
const TICK: Duration = Duration::from_secs(1);

/// The longest that one of the observer's own requests to Vault may take.
const ANSWER: Duration = Duration::from_secs(2);

/// What an answer of a machine with nothing else to do takes: more is time that the machine could not give.
const PROMPT: Duration = Duration::from_millis(300);

/// How far back what the machine could not give counts for what is seen now.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How many of the last changes are shown with what was seen wrong.
const SHOWN: usize = 12;

/// What was seen wrong.
#[derive(Default)]
pub struct Findings(BTreeMap<String, String>);

/// The observer.
pub struct Observer<'a> {
    bench: &'a Bench,
    history: &'a History,
    seed: u64,
    http: reqwest::Client,
    late: VecDeque<(Duration, Duration)>,
    /// Since when each connection has not been Ready.
    failing: BTreeMap<usize, Duration>,
    tried: usize,
    pub logins: usize,
    pub findings: Findings,
}

// === impl Findings ===

impl Findings {
    /// The first thing that is wrong with something is told, and not what follows from it.
    fn add(&mut self, about: &str, text: impl FnOnce() -> String) {
        self.0.entry(about.to_owned()).or_insert_with(text);
    }

    pub fn assert_none(&self, seed: u64) {
        let texts: Vec<_> = self.0.values().map(String::as_str).collect();
        assert!(
            texts.is_empty(),
            "{} findings, ORACLE_SEED={seed} makes the same changes again:\n{}",
            texts.len(),
            texts.join("\n")
        );
    }
}

// === impl Observer ===

impl<'a> Observer<'a> {
    pub fn of(bench: &'a Bench, history: &'a History, seed: u64) -> Self {
        Self {
            bench,
            history,
            seed,
            http: http(),
            late: VecDeque::new(),
            failing: BTreeMap::new(),
            tried: 0,
            logins: 0,
            findings: Findings::default(),
        }
    }

    /// Looks once a second until `done` says so.
    pub async fn watch(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        while !done(self) {
            ticks.tick().await;
            self.note_late(last.elapsed().saturating_sub(TICK));
            last = Instant::now();
            self.look().await;
        }
    }

    /// Whether everything must be Ready by now, and is.
    pub fn all_is_well(&self) -> bool {
        let (history, now) = (self.bench.history(), self.bench.now());
        let must = |subject: &Subject| {
            matches!(truth(&history, *subject, self.seen(subject.number), now), Expect::Ready(_))
        };
        self.failing.is_empty() && self.bench.subjects.iter().all(must)
    }

    pub fn has_findings(&self) -> bool {
        !self.findings.0.is_empty()
    }

    fn note_late(&mut self, late: Duration) {
        let now = self.bench.now();
        self.late.retain(|(at, _)| *at + REMEMBERED > now);
        if !late.is_zero() {
            self.late.push_back((now, late));
        }
    }

    fn seen(&self, number: usize) -> Seen {
        let late = self.late.iter().map(|(_, late)| *late).sum();
        Seen { failing_since: self.failing.get(&number).copied(), late }
    }

    async fn look(&mut self) {
        self.look_at_statuses().await;
        let serving = self.is_serving();
        if serving {
            self.look_at_locks().await;
            self.try_a_login().await;
        }
    }

    async fn look_at_statuses(&mut self) {
        let begin = Instant::now();
        let listed = self.bench.cluster.connections().list(&ListParams::default()).await;
        let listed = listed.expect("the API server answers");
        let took = begin.elapsed();
        self.note_late(took.saturating_sub(PROMPT));
        // What holds now is older than the answer, and not older than the request.
        let now = self.bench.now().saturating_sub(took);
        let verdicts: BTreeMap<_, _> = listed.iter().map(|it| (it.name_any(), Verdict::of(it))).collect();
        let history = self.bench.history();
        for subject in &self.bench.subjects {
            let verdict = verdicts.get(&name(subject.number)).cloned().flatten();
            self.judge(&history, *subject, verdict.as_ref(), now);
        }
    }

    fn judge(&mut self, history: &[Done], subject: Subject, verdict: Option<&Verdict>, now: Duration) {
        let (number, is_ready) = (subject.number, verdict.is_some_and(|verdict| verdict.status == "True"));
        if is_ready {
            self.failing.remove(&number);
        } else {
            self.failing.entry(number).or_insert(now);
        }
        let wrong = match truth(history, subject, self.seen(number), now) {
            Expect::Ready(by) if !is_ready => {
                format!("is not Ready, and had to be by {:.1} s", by.as_secs_f64())
            }
            Expect::NotReady(cause, by) if is_ready => {
                format!("is Ready, and must not be since {:.1} s: {cause:?}", by.as_secs_f64())
            }
            Expect::Ready(_) | Expect::NotReady(..) | Expect::Either => return,
        };
        let text = self.told(subject, &wrong, now);
        self.findings.add(&name(number), || text);
    }

    /// A finding, with the last changes that are about it and the statuses that there were.
    fn told(&self, subject: Subject, wrong: &str, now: Duration) -> String {
        let name = name(subject.number);
        let mut text = format!(
            "--- {name}, {:?}, at {:.1} s of seed {}: it {wrong} (margin {MARGIN:?}, the machine was {:?} late)\n  changes:",
            subject.kind,
            now.as_secs_f64(),
            self.seed,
            self.seen(subject.number).late,
        );
        let history = self.bench.history();
        let about = history.iter().filter(|done| {
            let number = done.change.about();
            number.is_none_or(|number| number == subject.number || number == subject.credential)
        });
        let about: Vec<_> = about.filter(|done| done.began <= now).collect();
        for done in about.iter().skip(about.len().saturating_sub(SHOWN)) {
            let _ = write!(text, "\n  {:+.1} s  {:?}", done.began.as_secs_f64(), done.change);
        }
        let statuses = self.history.of_connection(&name);
        let _ = write!(text, "\n  statuses:{}", shown(&statuses, self.bench.start));
        text
    }

    /// Whether nothing is done to the instance, or being done.
    fn is_serving(&self) -> bool {
        let nobody = Subject { number: usize::MAX, kind: Kind::LongRole, credential: usize::MAX };
        let (history, now) = (self.bench.history(), self.bench.now());
        let busy = history.iter().any(|done| done.change.about().is_none() && done.ended == Duration::MAX);
        !busy && causes(&history, nobody, now).iter().all(|cause| *cause == Cause::Unclear)
    }

    /// No role is locked that nobody locked.
    async fn look_at_locks(&mut self) {
        let (before, Some(answer)) = (self.bench.history(), self.ask_as_root("sys/locked-users").await)
        else {
            return;
        };
        let text = answer.to_string();
        let locked: Vec<_> =
            self.bench.roles().filter(|(_, role)| text.contains(&role.role_id)).map(|(it, _)| it).collect();
        for credential in locked {
            if !is_locked(&before, credential) && !is_locked(&self.bench.history(), credential) {
                let subject = self.bench.subjects[credential];
                let text = self.told(subject, "has a role that the operator has locked", self.bench.now());
                self.findings.add(&format!("lock of {credential}"), || text);
            }
        }
    }

    async fn ask_as_root(&self, path: &str) -> Option<Value> {
        let url = format!("{}/v1/{path}", self.bench.vault.address);
        let request =
            self.http.get(url).header("x-vault-token", self.bench.vault.root_token()).timeout(ANSWER);
        let answer = request.send().await.ok().filter(|answer| answer.status().is_success())?;
        serde_json::from_slice(&answer.bytes().await.ok()?).ok()
    }

    /// Logs in as the next connection does of which all is known to be right.
    async fn try_a_login(&mut self) {
        let subjects = &self.bench.subjects;
        self.tried += 1;
        let subject = subjects[self.tried % subjects.len()];
        let (history, number) = (self.bench.history(), subject.credential);
        let wrapped = subject.kind == Kind::Wrapped;
        let Some(role) = self.bench.role(number).filter(|_| !wrapped) else { return };
        let good =
            matches!(truth(&history, subject, self.seen(subject.number), self.bench.now()), Expect::Ready(_));
        // One that was mended is the operator's to try first.
        if !good || self.failing.contains_key(&subject.number) {
            return;
        }
        let body = json!({"role_id": role.role_id, "secret_id": self.bench.right(number)}).to_string();
        let url = format!("{}/v1/auth/{}/login", self.bench.vault.address, role.mount);
        let Ok(answer) = self.http.post(url).timeout(ANSWER).body(body).send().await else { return };
        let status = answer.status().as_u16();
        let answer: Value =
            serde_json::from_slice(&answer.bytes().await.unwrap_or_default()).unwrap_or_default();
        if let Some(token) = answer["auth"]["client_token"].as_str() {
            self.logins += 1;
            let url = format!("{}/v1/auth/token/revoke-self", self.bench.vault.address);
            // It is of the role, and ends with it at the latest.
            let _ = self.http.post(url).header("x-vault-token", token).timeout(ANSWER).send().await;
            return;
        }
        let changed = self.bench.history().len() != history.len();
        if matches!(status, 400 | 403) && !changed {
            let wrong = format!("has a right pair that Vault refuses with {status}");
            let text = self.told(subject, &wrong, self.bench.now());
            self.findings.add(&format!("login of {number}"), || text);
        }
    }
}

/// Whether somebody outside has locked the role of a credential, or is about to, or has just unlocked it.
fn is_locked(history: &[Done], credential: usize) -> bool {
    let about = history
        .iter()
        .rev()
        .find(|done| [Change::Locked(credential), Change::Unlocked(credential)].contains(&done.change));
    about.is_some_and(|done| done.change == Change::Locked(credential) || done.ended == Duration::MAX)
}

/// The logins at a mount that were refused, from the audit log: what a role was charged with.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Charged {
    /// The most since a login was accepted.
    pub most: usize,
    /// The most with one and the same value.
    pub most_of_one: usize,
}

/// Counts the logins at a mount that Vault refused, but those with the value `guess`, in the lines of its audit log.
pub fn charged(audit: &str, mount: &str, guess: &str) -> Charged {
    let path = format!("auth/{mount}/login");
    let (mut charged, mut since) = (Charged::default(), Vec::<String>::new());
    let mut seen = HashSet::new();
    for line in audit.lines().filter(|line| line.contains(&path)) {
        let line: Value = serde_json::from_str(line).expect("a line of the audit log is JSON");
        let request = &line["request"];
        if line["type"] != "response"
            || request["path"] != path.as_str()
            || !seen.insert(request["id"].to_string())
        {
            continue;
        }
        let value = request["data"]["secret_id"].to_string();
        if line["error"].as_str().is_none_or(str::is_empty) {
            since.clear();
        } else if !value.contains(guess) {
            since.push(value.clone());
            charged.most = charged.most.max(since.len());
            charged.most_of_one = charged.most_of_one.max(since.iter().filter(|it| **it == value).count());
        }
    }
    charged
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of each login, and what it failed with.
    type Logins = &'static [(&'static str, &'static str)];

    #[test]
    fn refused_logins_are_counted_by_value_until_one_is_accepted() {
        let line = |number: usize, value: &str, error: &str| {
            let request = json!({"id": number, "path": "auth/m/login", "data": {"secret_id": value}});
            json!({"type": "response", "request": request, "error": error}).to_string()
        };
        let rows: &[(&str, Logins, (usize, usize))] = &[
            ("nothing", &[], (0, 0)),
            ("accepted", &[("a", "")], (0, 0)),
            ("two and two", &[("a", "no"), ("a", "no"), ("b", "no"), ("b", "no")], (4, 2)),
            ("accepted between", &[("a", "no"), ("a", "no"), ("a", ""), ("a", "no")], (2, 2)),
            ("somebody guesses", &[("guess", "no"), ("a", "no"), ("guess", "no")], (1, 1)),
        ];
        for (name, logins, (most, most_of_one)) in rows {
            let lines: Vec<_> = logins
                .iter()
                .enumerate()
                .map(|(number, (value, error))| line(number, value, error))
                .collect();
            let charged = charged(&lines.join("\n"), "m", "guess");
            assert_eq!(charged, Charged { most: *most, most_of_one: *most_of_one }, "{name}");
        }
    }
}
