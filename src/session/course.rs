//! The order in which a connection comes to a session that works: events in, effects out.
//!
//! ```text
//!   Begin ─▶ Read ─▶ Reach ─┬─▶ Use ──────────────────────────────┬─▶ GiveBack ─▶ End
//!                           │     └─ Vault has ended it ─┐        │
//!                           └─▶ Credential ◄─────────────┘        │
//!                                 ├─▶ Recall ─▶ Permit ─▶ LogIn ─▶│ Prove
//!                                 └─▶ Take ──────────────────────▶│ Prove
//! ```
//!
//! There is no other copy of that order: the operator and the property model drive this one. What a login leaves in the memory of
//! its connection is noted here, too.

use k8s_openapi::jiff::Timestamp;

use super::{
    decide::{self, Decision, History},
    ledger::LoginOutcome,
};
use crate::{
    auth::LoginFault,
    network::faults::TransportFault,
    references::Versions,
    spec::Desired,
    vault::token::SelfFault,
    verify::{
        memory::{LOCKOUT_WINDOW, Memory},
        observation::Fault,
        session::{Basis, Owner, Plan, Session, later},
    },
};

/// The way of one connection to a session.
#[derive(Debug, Default)]
pub struct Course {
    /// Whether the objects were read.
    has_read: bool,
    /// The session that Vault had ended before its time.
    ended: Option<(Owner, Basis)>,
    /// What the login is made from.
    basis: Option<Basis>,
    /// Whether Vault counts it when it refuses it.
    is_counted: bool,
    /// Whether the session was made in this course, or is shared by who made it just now.
    is_new: bool,
    /// What it ends with, once the session was given back.
    fault: Option<Fault>,
    /// Before this time no login is tried.
    pub no_login_before: Option<Timestamp>,
}

/// What a step follows beside the memory.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// What the connection asks for.
    pub desired: &'a Desired,
    /// The session that is cached.
    pub cached: Option<&'a Session>,
    /// A session that another user has made just now.
    pub new: Option<&'a Session>,
    /// Now.
    pub now: Timestamp,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A session is wanted. `is_stale` says that the objects may have changed since they were read.
    Begin {
        /// Whether they may.
        is_stale: bool,
    },
    /// The objects were read, and can be used.
    HasRead(Versions),
    /// The instance serves.
    Serves,
    /// What a session is made from.
    Credential {
        /// The target and the objects.
        basis: Basis,
        /// How.
        kind: CredentialKind,
    },
    /// What earlier processes counted was noted. `is_counted` says whether Vault counts a refused login.
    Recalled {
        /// Whether it does.
        is_counted: bool,
    },
    /// The user's token was taken.
    Taken,
    /// The login may be made now.
    Permitted,
    /// It may not be made before `until`.
    Held {
        /// Why not.
        fault: Fault,
        /// When it may.
        until: Timestamp,
    },
    /// Other logins were before it until the deadline.
    Queued,
    /// What became of the login.
    Answered(Answered),
    /// The session was used.
    Examined {
        /// Who issued its token.
        owner: Owner,
        /// What it was made from.
        basis: Basis,
        /// What that showed.
        outcome: Result<(), Fault>,
    },
    /// The session was given back.
    GivenBack,
    /// A step failed.
    Failed(Fault),
}

/// How a credential becomes a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// By a login.
    LogIn,
    /// By itself: it is a token.
    Token,
    /// Not now: the client certificate is out of its time.
    OutOfTime,
}

/// What became of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// Vault accepted it.
    Accepted,
    /// Vault refused it.
    Refused(LoginFault),
    /// The server could not serve it.
    NotServed(Fault),
    /// No answer came.
    Missing(TransportFault),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read the objects that the connection names.
    Read,
    /// Make sure that the address may be dialled and the instance serves.
    Reach,
    /// Use the session that is cached.
    Use(Plan),
    /// Use the one that another user has made just now.
    Share,
    /// Find what a session is made from.
    Credential,
    /// Take the user's token.
    Take,
    /// Note what earlier processes counted.
    Recall,
    /// Wait for the right to log in.
    Permit,
    /// Log in.
    LogIn,
    /// Use the new session.
    Prove,
    /// Give the session back.
    GiveBack(Fate),
    /// Nothing more.
    End(Option<Fault>),
}

/// What becomes of a session that is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays cached, if it lives until the next check.
    Kept,
    /// It takes the place of the one that is cached.
    Adopted,
    /// Nobody may use it.
    Left,
    /// Vault has ended it.
    Ended,
}

// === impl Course ===

impl Course {
    /// Takes in what happened, and says what to do next.
    pub fn step(&mut self, memory: &mut Memory, around: &Around<'_>, event: Event) -> Effect {
        match event {
            Event::Begin { is_stale } => begin(memory, around, is_stale),
            Event::HasRead(versions) => {
                memory.has_read(versions);
                self.has_read = true;
                if self.ended.is_some() { Effect::Credential } else { Effect::Reach }
            }
            Event::Serves => self.choose(memory, around),
            Event::Credential { basis, kind } => self.has_credential(memory, basis, kind),
            Event::Recalled { is_counted } => self.recalled(memory, around, is_counted),
            Event::Taken => Effect::Prove,
            Event::Permitted => Effect::LogIn,
            Event::Held { fault, until } => {
                memory.not_tried(self.basis());
                self.no_login_before = Some(until);
                self.not_logged_in(memory, around, fault)
            }
            Event::Queued => self.not_logged_in(memory, around, Fault::LoginQueued),
            Event::Answered(answered) => self.answered(memory, answered, around.now),
            Event::Examined { owner, basis, outcome } => {
                Effect::GiveBack(self.examined(memory, (owner, basis), outcome, around.now))
            }
            Event::GivenBack if self.ended.is_some() && self.fault.is_none() && !self.is_new => {
                if self.has_read { Effect::Credential } else { read(memory) }
            }
            Event::GivenBack => Effect::End(self.fault.take()),
            Event::Failed(fault) => self.not_logged_in(memory, around, fault),
        }
    }

    /// What the instance that serves is asked for next.
    fn choose(&mut self, memory: &Memory, around: &Around<'_>) -> Effect {
        match memory.plan(around.cached, around.desired, around.now) {
            Plan::LogIn if shared(memory, around).is_some() => {
                self.is_new = true;
                Effect::Share
            }
            Plan::LogIn => Effect::Credential,
            plan @ (Plan::Watch | Plan::Reuse | Plan::Renew) => Effect::Use(plan),
        }
    }

    fn has_credential(&mut self, memory: &Memory, basis: Basis, kind: CredentialKind) -> Effect {
        let is_the_same = |(owner, ended): &(Owner, Basis)| *owner == Owner::User && *ended == basis;
        if self.ended.as_ref().is_some_and(is_the_same) {
            return Effect::End(Some(Fault::Own(SelfFault::Rejected)));
        }
        let is_spent = memory.is_spent(&basis);
        self.basis = Some(basis);
        match kind {
            // Vault would call it a failure of its own.
            CredentialKind::OutOfTime => Effect::End(Some(LoginFault::CertificateExpired.into())),
            CredentialKind::Token if is_spent => Effect::End(Some(Fault::Own(SelfFault::UsedUp))),
            CredentialKind::Token => {
                self.is_new = true;
                Effect::Take
            }
            CredentialKind::LogIn => Effect::Recall,
        }
    }

    fn recalled(&mut self, memory: &Memory, around: &Around<'_>, is_counted: bool) -> Effect {
        self.is_counted = is_counted;
        match decide::held(&History::of(memory, &self.basis(), around.now)) {
            Some(Decision::Hold { fault, until }) => {
                self.no_login_before = Some(until);
                self.not_logged_in(memory, around, fault)
            }
            Some(Decision::Try | Decision::Wait) | None => Effect::Permit,
        }
    }

    fn answered(&mut self, memory: &mut Memory, answered: Answered, now: Timestamp) -> Effect {
        // Others wait for a session, too: a person asks for one login, and not for one of each.
        memory.answer_request();
        let fault = match answered {
            Answered::Accepted => {
                self.is_new = true;
                memory.accepted(self.basis(), now);
                return Effect::Prove;
            }
            Answered::Refused(fault) => {
                if self.is_counted && fault.is_refusal() {
                    self.no_login_before = Some(memory.refused(self.basis(), fault.clone(), now));
                }
                fault.into()
            }
            Answered::NotServed(fault) => fault,
            Answered::Missing(fault) => {
                if self.is_counted && may_have_arrived(&fault) {
                    memory.may_have_been_refused(now);
                }
                fault.into()
            }
        };
        Effect::End(Some(fault))
    }

    /// Without a login, the session that is cached may serve a while longer, if others keep the login from being proved anew and nothing
    /// speaks against it.
    fn not_logged_in(&mut self, memory: &Memory, around: &Around<'_>, fault: Fault) -> Effect {
        let is_put_off = matches!(fault, Fault::BudgetSpent | Fault::LoginQueued)
            && self.ended.is_none()
            && memory.may_put_off_proof(around.cached, around.desired, around.now);
        if is_put_off {
            self.no_login_before = None;
            Effect::Use(Plan::Reuse)
        } else {
            Effect::End(Some(fault))
        }
    }

    fn examined(
        &mut self,
        memory: &mut Memory,
        (owner, basis): (Owner, Basis),
        outcome: Result<(), Fault>,
        now: Timestamp,
    ) -> Fate {
        if !self.is_new {
            return match outcome {
                // By a restart without storage, by a person, by a quota.
                Err(Fault::Own(SelfFault::Rejected)) => {
                    self.ended = Some((owner, basis));
                    Fate::Ended
                }
                outcome => {
                    self.fault = outcome.err();
                    Fate::Kept
                }
            };
        }
        if let Err(Fault::Own(fault)) = &outcome {
            self.hold_unusable(memory, (owner, &basis), fault, now);
        }
        let is_used = matches!(outcome, Ok(()) | Err(Fault::Missing(_) | Fault::Engine(_)));
        self.fault = outcome.err();
        if is_used && owner == Owner::User {
            memory.accepted(basis, now);
        }
        if is_used { Fate::Adopted } else { Fate::Left }
    }

    /// A token of ours that may not even look itself up cannot be revoked by itself either, so that each further login
    /// would leave one more behind.
    fn hold_unusable(
        &mut self,
        memory: &mut Memory,
        (owner, basis): (Owner, &Basis),
        fault: &SelfFault,
        now: Timestamp,
    ) {
        if owner == Owner::User && *fault == SelfFault::UsedUp {
            memory.has_spent(basis.clone());
        }
        if owner == Owner::Operator && matches!(fault, SelfFault::Rejected | SelfFault::NotPermitted { .. }) {
            let until = later(now, LOCKOUT_WINDOW);
            memory.denied(basis.clone(), fault.clone().into(), until);
            self.no_login_before = Some(until);
        }
    }

    fn basis(&self) -> Basis {
        self.basis.clone().expect("a login is made from what was read")
    }
}

// === impl Answered ===

impl Answered {
    /// What it is in the accounts of its role.
    pub fn outcome(&self) -> LoginOutcome {
        match self {
            Self::Accepted => LoginOutcome::Accepted,
            Self::Refused(fault) if fault.counts_for_the_lockout() => LoginOutcome::Refused,
            Self::Refused(fault) if fault.is_refusal() => LoginOutcome::Denied,
            Self::Missing(fault) if may_have_arrived(fault) => LoginOutcome::Unknown,
            Self::Refused(_) | Self::NotServed(_) | Self::Missing(_) => LoginOutcome::NotCounted,
        }
    }
}

fn begin(memory: &mut Memory, around: &Around<'_>, is_stale: bool) -> Effect {
    let needs_reading = memory.needs_reading(around.cached, around.desired, is_stale, around.now);
    // What another user has read and logged in with just now serves as well.
    let is_shared = !is_stale && shared(memory, around).is_some();
    if needs_reading && !is_shared { read(memory) } else { Effect::Reach }
}

fn read(memory: &mut Memory) -> Effect {
    memory.begin_reading();
    Effect::Read
}

/// The session that another user has made just now, if it is of use for this connection and nobody asks for a new login.
fn shared<'a>(memory: &Memory, around: &Around<'a>) -> Option<&'a Session> {
    let serves = |session: &&Session| memory.is_current(&around.desired.target, &session.basis);
    around.new.filter(serves).filter(|_| !memory.is_requested())
}

/// Whether Vault may have seen a request that got no answer.
fn may_have_arrived(fault: &TransportFault) -> bool {
    matches!(fault, TransportFault::TimedOut | TransportFault::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        vault::token::TokenInfo,
        verify::testing::{app_role, at, versions},
    };

    fn basis(desired: &Desired) -> Basis {
        Basis::new(&desired.target, &versions("1"))
    }

    fn session(desired: &Desired) -> Session {
        Session::issued("token".into(), basis(desired), TokenInfo::default(), at(0))
    }

    fn around<'a>(desired: &'a Desired, new: Option<&'a Session>) -> Around<'a> {
        Around { desired, cached: None, new, now: at(1) }
    }

    /// A course that has found what to log in with, and whether it may.
    fn at_the_login(memory: &mut Memory, around: &Around<'_>) -> (Course, Effect) {
        let mut course = Course::default();
        let found = Event::Credential { basis: basis(around.desired), kind: CredentialKind::LogIn };
        assert_eq!(course.step(memory, around, found), Effect::Recall);
        let effect = course.step(memory, around, Event::Recalled { is_counted: true });
        (course, effect)
    }

    #[test]
    fn the_session_of_another_user_serves_unless_a_person_asks_for_a_login() {
        let desired = app_role();
        let new = session(&desired);
        for (is_requested, begin, effect) in
            [(false, Effect::Reach, Effect::Share), (true, Effect::Read, Effect::Credential)]
        {
            let mut memory = Memory::default();
            memory.has_read(versions("1"));
            if is_requested {
                memory.request();
            }
            let (mut course, around) = (Course::default(), around(&desired, Some(&new)));
            let first = course.step(&mut memory, &around, Event::Begin { is_stale: false });
            assert_eq!(first, begin, "{is_requested}");
            memory.has_read(versions("1"));
            assert_eq!(course.step(&mut memory, &around, Event::Serves), effect, "{is_requested}");
        }
    }

    #[test]
    fn what_a_person_asks_for_is_one_login_whoever_makes_it() {
        let desired = app_role();
        let (mut memory, around) = (Memory::default(), around(&desired, None));
        memory.has_read(versions("1"));
        let refused = || Event::Answered(Answered::Refused(LoginFault::InvalidCredentials));
        let (mut course, effect) = at_the_login(&mut memory, &around);
        assert_eq!(effect, Effect::Permit);
        course.step(&mut memory, &around, refused());
        let held = Effect::End(Some(LoginFault::InvalidCredentials.into()));
        assert_eq!(at_the_login(&mut memory, &around).1, held, "it was refused");
        memory.request();
        let (mut course, effect) = at_the_login(&mut memory, &around);
        assert_eq!(effect, Effect::Permit, "somebody asks for it");
        course.step(&mut memory, &around, refused());
        assert_eq!(at_the_login(&mut memory, &around).1, held, "that was answered");
    }

    #[test]
    fn a_token_of_the_user_that_vault_has_ended_is_not_taken_again() {
        let desired = app_role();
        let around = around(&desired, None);
        for (owner, expected) in [
            (Owner::User, Effect::End(Some(Fault::Own(SelfFault::Rejected)))),
            (Owner::Operator, Effect::Recall),
        ] {
            let (mut course, mut memory) = (Course::default(), Memory::default());
            let outcome = Err(Fault::Own(SelfFault::Rejected));
            let examined = Event::Examined { owner, basis: basis(&desired), outcome };
            assert_eq!(course.step(&mut memory, &around, examined), Effect::GiveBack(Fate::Ended));
            assert_eq!(course.step(&mut memory, &around, Event::GivenBack), Effect::Read);
            let read = Event::HasRead(versions("1"));
            assert_eq!(course.step(&mut memory, &around, read), Effect::Credential);
            let kind = CredentialKind::LogIn;
            let found = Event::Credential { basis: basis(&desired), kind };
            assert_eq!(course.step(&mut memory, &around, found), expected, "{owner:?}");
        }
    }
}
