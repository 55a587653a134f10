//! The decision core as a whole, over random histories of a Vault, of Secrets and of operators that start anew.
//!
//! ```text
//!   stability: overdue? ─▶ schedule::due ─▶ session::course ─▶ stability: damp ─▶ report::checked ─▶ schedule::wait
//!          ▲                                    ▲ weather, Ledger                                           │
//!          └──────────────────────────────────────── time ◄─────────────────────────────────────────────────┘
//! ```
//!
//! The order of what leads to a login is that of the operator: both drive `session::course`. What Vault would answer is made up here.

mod connection;

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;

use vault_connection_operator::{
    api::status::VaultConnectionStatus,
    auth::LoginFault,
    names::{ConnectionRef, MountPath},
    network::faults::TransportFault,
    references::Versions,
    session::{
        account::Limits,
        course::{Answered, Around, Course, CredentialKind, Effect, Event as Step},
        decide::{Attempt, Decision, History},
        ledger::{Ledger, Roles},
    },
    spec::Desired,
    vault::answer::ServerFault,
    verify::{
        memory::{LOCKOUT_WINDOW, Memory},
        observation::{Fault, Observation},
        schedule::Cause,
        session::{Basis, Owner, later},
    },
};

use crate::fixtures::{app_role, at, versions};

/// How many refused logins lock a role.
const LOCKS: usize = 5;

/// How long a connection may need to settle once nothing fails any more: until the last refused login no longer counts,
/// and one longest wait with its jitter.
const SETTLES: Duration = Duration::from_secs(900 + 330);

/// A connection that is not Ready is looked at no more often than this.
const MIN_RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// What Vault does.
#[derive(Clone, Debug)]
enum Weather {
    Fine,
    Refuses,
    Silent,
    /// It answers, after so many seconds.
    Slow(u64),
    Sealed,
    Limited(Option<u64>),
}

/// What happens.
#[derive(Clone, Debug)]
enum Event {
    /// So many seconds of it.
    Weather(Weather, i64),
    /// Somebody writes a wrong secret id for a connection.
    Wrong(usize),
    /// Somebody writes the right secret id for a connection.
    Right(usize),
    /// The operator ends, and another begins after so many seconds.
    Restart(i64),
    /// The clock is set back by so many seconds.
    ClockBack(i64),
}

/// One connection, and what the operator keeps of it.
struct Connection {
    desired: Desired,
    secret: usize,
    is_right: bool,
    is_stale: bool,
    status: VaultConnectionStatus,
    memory: Memory,
    checked: Option<(Timestamp, Timestamp)>,
    /// The end of the last check that passed, as far as this process or the status can know of it.
    passed: Option<Timestamp>,
    writes: usize,
}

/// Vault's own account of a role, the operator's, and the connections that share it.
struct Model {
    connections: Vec<Connection>,
    ledger: Ledger,
    refused: Vec<Timestamp>,
    now: Timestamp,
    /// By how much the clock was set back.
    back: Duration,
    weather: Weather,
}

fn any_event() -> impl Strategy<Value = Event> {
    let weather = prop_oneof![
        3 => Just(Weather::Fine),
        1 => Just(Weather::Refuses),
        1 => Just(Weather::Silent),
        1 => (0_u64..30).prop_map(Weather::Slow),
        1 => Just(Weather::Sealed),
        1 => prop::option::of(0_u64..100).prop_map(Weather::Limited),
    ];
    prop_oneof![
        8 => (weather, 0_i64..200).prop_map(|(weather, seconds)| Event::Weather(weather, seconds)),
        2 => (0_usize..3).prop_map(Event::Wrong),
        2 => (0_usize..3).prop_map(Event::Right),
        1 => (0_i64..2000).prop_map(Event::Restart),
        1 => (1_i64..4000).prop_map(Event::ClockBack),
    ]
}

fn any_times() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        Just((10, 10)),
        Just((10, 1)),
        Just((11, 10)),
        Just((60, 10)),
        Just((60, 60)),
        Just((300, 30))
    ]
}

proptest! {
    #[test]
    fn a_ready_is_never_older_than_two_intervals_and_every_history_settles(
        times in prop::collection::vec(any_times(), 3),
        history in prop::collection::vec(any_event(), 0..30),
        jitter in 0.0..1.0_f64,
    ) {
        let mut model = Model::new(&times);
        for event in history {
            model.live(event, jitter)?;
        }
        model.settles(jitter)?;
    }
}

// === impl Model ===

impl Model {
    fn new(times: &[(u64, u64)]) -> Self {
        let connection = |&(interval, timeout): &(u64, u64)| Connection {
            desired: Desired {
                interval: Duration::from_secs(interval),
                timeout: Duration::from_secs(timeout),
                ..app_role()
            },
            secret: 0,
            is_right: true,
            is_stale: false,
            status: VaultConnectionStatus::default(),
            memory: Memory::default(),
            checked: None,
            passed: None,
            writes: 0,
        };
        Self {
            connections: times.iter().map(connection).collect(),
            ledger: Ledger::new(Limits::default()),
            refused: Vec::new(),
            now: at(1_000_000),
            back: Duration::ZERO,
            weather: Weather::Fine,
        }
    }

    fn live(&mut self, event: Event, jitter: f64) -> Result<(), TestCaseError> {
        match event {
            Event::Weather(weather, seconds) => {
                self.weather = weather;
                self.run_until(self.now + Duration::from_secs(seconds.unsigned_abs()), jitter)?;
            }
            Event::Wrong(index) => self.rotate(index, false),
            Event::Right(index) => self.rotate(index, true),
            Event::Restart(seconds) => {
                self.now += Duration::from_secs(seconds.unsigned_abs());
                self.ledger = Ledger::new(Limits::default());
                for (index, connection) in self.connections.iter_mut().enumerate() {
                    (connection.memory, connection.checked) = (Memory::default(), None);
                    connection.is_stale = false;
                    connection.passed = connection.status.last_check_time.as_ref().map(|time| time.0);
                    self.ledger.restored.found(&name(index), &connection.status);
                }
            }
            Event::ClockBack(seconds) => {
                let seconds = Duration::from_secs(seconds.unsigned_abs());
                self.now -= seconds;
                self.back += seconds;
            }
        }
        Ok(())
    }

    fn rotate(&mut self, index: usize, is_right: bool) {
        let connection = &mut self.connections[index];
        connection.secret += 1;
        (connection.is_right, connection.is_stale) = (is_right, true);
    }

    /// Looks at every connection whenever it is due, one after the other, until that time.
    fn run_until(&mut self, end: Timestamp, jitter: f64) -> Result<(), TestCaseError> {
        loop {
            let now = self.now;
            let due = self.connections.iter().map(|connection| connection.due_at(now)).enumerate();
            let Some((index, time)) = due.min_by_key(|(_, time)| *time) else { return Ok(()) };
            if time > end {
                self.now = end;
                return Ok(());
            }
            self.now = self.now.max(time);
            self.look(index, jitter)?;
        }
    }

    /// From here on nothing fails: every connection is Ready after a few looks, and then nothing is written.
    fn settles(&mut self, jitter: f64) -> Result<(), TestCaseError> {
        self.weather = Weather::Fine;
        for index in 0..self.connections.len() {
            self.rotate(index, true);
        }
        let end = later(self.now, SETTLES + self.back);
        while let Some(index) = self.connections.iter().position(|connection| !connection.is_ready()) {
            self.now = self.now.max(self.connections[index].due_at(self.now));
            prop_assert!(self.now <= end, "{:?}", self.connections[index].status);
            self.look(index, jitter)?;
            let waits = self.connections[index].due_at(self.now) >= later(self.now, MIN_RETRY_INTERVAL);
            prop_assert!(waits, "a few looks are enough");
        }
        let writes =
            |model: &Self| model.connections.iter().map(|connection| connection.writes).sum::<usize>();
        // The changed Secrets are read once more by those that were Ready all the time.
        self.run_until(self.now + Duration::from_secs(300), jitter)?;
        let written = writes(self);
        self.run_until(self.now + Duration::from_secs(900), jitter)?;
        prop_assert_eq!(writes(self), written, "a settled connection writes nothing");
        Ok(())
    }

    fn look(&mut self, index: usize, jitter: f64) -> Result<(), TestCaseError> {
        let began = self.now;
        let connection = &mut self.connections[index];
        let interval = connection.desired.interval;
        if connection.is_ready() && connection.memory.stability.is_overdue(interval, began) {
            let refused = connection.memory.refused_lately(began);
            let overdue = Observation { fault: Some(Fault::Overdue), refused, ..Observation::default() };
            connection.conclude(&overdue, began, jitter)?;
        }
        let cause = connection.cause(began);
        prop_assert!(cause.is_some(), "only what is due is looked at");
        let is_first = cause == Some(Cause::Started);
        if is_first {
            connection.memory = Memory::restore(&connection.desired.target, &connection.status);
        }
        // The objects are read before Vault is asked.
        connection.is_stale = false;
        let left = connection.memory.stability.time_left(interval, began).filter(|_| connection.is_ready());
        let timeout = left.map_or(connection.desired.timeout, |left| left.min(connection.desired.timeout));
        let (mut observation, took) = self.observe(index, timeout)?;
        observation.refused = self.connections[index].memory.refused_lately(began);
        self.now += took;
        self.connections[index].damp(&observation, (began, self.now), is_first, jitter)
    }

    /// What a check sees, and how long that takes: the real course of it, with made-up answers.
    fn observe(&mut self, index: usize, timeout: Duration) -> Result<(Observation, Duration), TestCaseError> {
        let (mut course, mut took) = (Course::default(), Duration::ZERO);
        let mut event = Step::Begin { is_stale: true };
        let fault = loop {
            let Connection { desired, memory, .. } = &mut self.connections[index];
            let around = Around { desired, cached: None, new: None, now: self.now };
            event = match course.step(memory, &around, event) {
                Effect::Read => Step::HasRead(self.versions(index)),
                Effect::Reach => {
                    let answer;
                    (answer, took) = self.reach(timeout);
                    answer
                }
                Effect::Credential => {
                    Step::Credential { basis: self.basis(index), kind: CredentialKind::LogIn }
                }
                Effect::Recall => self.recall(index),
                Effect::Permit => self.permit(index),
                Effect::LogIn => Step::Answered(self.log_in(index)?),
                Effect::Prove => {
                    let basis = self.basis(index);
                    Step::Examined { owner: Owner::Operator, basis, outcome: Ok(()) }
                }
                Effect::GiveBack(_) => Step::GivenBack,
                Effect::End(fault) => break fault,
                Effect::Use(_) | Effect::Share | Effect::Take => unreachable!("no session is kept"),
            };
        };
        let target = self.connections[index].desired.target.clone();
        let memory = &mut self.connections[index].memory;
        memory.conclude(&target, fault.as_ref());
        let seen = Observation {
            fault,
            versions: memory.versions(),
            refused_role: memory.role_tag().cloned(),
            no_login_before: course.no_login_before,
            ..Observation::default()
        };
        Ok((seen, took))
    }

    /// Whether the instance serves, and how long that takes.
    fn reach(&self, timeout: Duration) -> (Step, Duration) {
        let failed = |fault: Fault| (Step::Failed(fault), Duration::ZERO);
        match self.weather {
            Weather::Fine => (Step::Serves, Duration::ZERO),
            Weather::Slow(seconds) if Duration::from_secs(seconds) < timeout => {
                (Step::Serves, Duration::from_secs(seconds))
            }
            Weather::Slow(_) | Weather::Silent => (Step::Failed(TransportFault::TimedOut.into()), timeout),
            Weather::Refuses => failed(TransportFault::Refused.into()),
            Weather::Sealed => failed(ServerFault::Sealed.into()),
            Weather::Limited(seconds) => {
                failed(ServerFault::RateLimited { retry_after: seconds.map(Duration::from_secs) }.into())
            }
        }
    }

    fn versions(&self, index: usize) -> Versions {
        versions(&self.connections[index].secret.to_string())
    }

    fn basis(&self, index: usize) -> Basis {
        Basis { target: self.connections[index].desired.target.clone(), versions: self.versions(index) }
    }

    fn recall(&mut self, index: usize) -> Step {
        let basis = self.basis(index);
        let connection = &mut self.connections[index];
        let (roles, credential) = names(&self.ledger, &basis, connection.secret, index);
        connection.memory.has_role(roles.address().tag());
        let is_same = connection.memory.hold(&basis, self.now).is_some();
        self.ledger.recall(&name(index), &roles, is_same.then_some(credential));
        Step::Recalled { is_counted: true }
    }

    fn permit(&mut self, index: usize) -> Step {
        let (basis, now, name) = (self.basis(index), self.now, name(index));
        let connection = &self.connections[index];
        let (roles, credential) = names(&self.ledger, &basis, connection.secret, index);
        let attempt = Attempt { connection: &name, basis: &basis, credential, answered: Some(now) };
        let history = History::of(&connection.memory, &basis, now);
        match self.ledger.decide(&history, &attempt, &roles, now) {
            Decision::Try => Step::Permitted,
            Decision::Wait => Step::Queued,
            Decision::Hold { fault, until } => Step::Held { fault, until },
        }
    }

    /// A login, as Vault counts it.
    fn log_in(&mut self, index: usize) -> Result<Answered, TestCaseError> {
        let basis = self.basis(index);
        let Self { connections, ledger, refused, now, .. } = self;
        let (roles, credential) = names(ledger, &basis, connections[index].secret, index);
        refused.retain(|time| *now < later(*time, LOCKOUT_WINDOW));
        let answered = if connections[index].is_right {
            refused.clear();
            Answered::Accepted
        } else {
            refused.push(*now);
            prop_assert!(refused.len() < LOCKS, "the role is locked: {refused:?}");
            Answered::Refused(LoginFault::InvalidCredentials)
        };
        for other in ledger.conclude((&name(index), credential), &roles, &answered.outcome(), *now) {
            let index: usize = other.name.parse().expect("it was made from a number");
            connections[index].is_stale = true;
        }
        Ok(answered)
    }
}

fn name(index: usize) -> ConnectionRef {
    ConnectionRef { namespace: "ns".into(), name: index.to_string().into() }
}

/// The role that all connections share, and the credential of this one.
fn names(ledger: &Ledger, basis: &Basis, secret: usize, index: usize) -> (Roles, u64) {
    let mount = MountPath::parse("approle").expect("valid");
    let roles = ledger.roles("ns", &basis.target, Some("cluster"), (&mount, &"role".into()));
    (roles, ledger.fingerprint(&format!("{index}-{secret}").into()))
}
