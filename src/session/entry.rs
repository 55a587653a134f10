//! What is cached of one connection to have a login: can be read at any time, also while a check of it is under way.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::jiff::Timestamp;
use secrecy::SecretString;
use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use super::{
    course::Around,
    lending::{Lending, Route, Shared, TokenToRevoke, lock},
};
use crate::{
    names::ObjectName,
    network::{address_policy::Rules, route},
    references::fingerprints::Fingerprints,
    spec::{Desired, Target},
    vault::client::Client,
    verify::{
        memory::Memory,
        session::{Plan, Session},
    },
};

/// What is cached of one connection.
#[derive(Default)]
pub struct Entry {
    /// The right to read the objects and to begin a session: who waits for it finds the one that was begun meanwhile.
    pub(super) begin: AsyncMutex<()>,
    known: Mutex<Known>,
}

/// What is known of one connection.
#[derive(Default)]
pub struct Known {
    /// What its checks and logins have shown.
    pub memory: Memory,
    /// When the objects must be read again at the latest, because no watch reports their changes.
    pub read_again: Option<Timestamp>,
    /// The objects that the gateway of the connection names.
    pub named_by_gateway: Vec<ObjectName>,
    /// The credentials that the connection has used, so that a server that says one back is noticed.
    pub fingerprints: Fingerprints,
    /// The end of the last check.
    pub checked_at: Option<Instant>,
    /// The begin and the end of a credential that says so itself.
    pub(super) credential_life: Option<(Option<i64>, i64)>,
    pub(super) link: Option<Link>,
    pub(super) lending: Lending,
    /// Nobody asks for what is left here any more.
    is_gone: bool,
}

/// The route to the instance, as it was last found.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) target: Target,
    pub(super) route: Arc<route::Route>,
    pub(super) client: Client,
}

/// A session on loan. It is given back when it is dropped.
pub struct Lease {
    /// Where its requests go.
    pub client: Client,
    /// What the address policy allowed when the client was made.
    pub rules: Arc<Rules>,
    /// The token.
    pub token: SecretString,
    /// When it must be back.
    pub deadline: Instant,
    session: Shared,
    entry: Arc<Entry>,
}

// === impl Entry ===

impl Entry {
    /// What is known now. Held for a moment only.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins anew with what an earlier process knew. The credentials that were used stay known, and what is lent is revoked later.
    pub fn recall(&self, memory: Memory) {
        let mut known = self.known();
        known.lending.retire_all();
        let Known { fingerprints, lending, .. } = mem::take(&mut *known);
        *known = Known { memory, fingerprints, lending, ..Known::default() };
    }

    /// Gives up the sessions, and what was known of the instance: the connection is suspended.
    pub fn release(&self) -> Vec<TokenToRevoke> {
        let mut known = self.known();
        known.leave_target();
        known.lending.take_all()
    }

    /// Forgets everything: the connection is gone.
    pub fn reset(&self) -> Vec<TokenToRevoke> {
        let mut known = self.known();
        let tokens = mem::take(&mut *known).lending.take_all();
        known.is_gone = true;
        tokens
    }

    /// How many sessions nobody needs any more, whose tokens were not taken yet.
    pub fn count_due(&self) -> usize {
        self.known().lending.count_due(Instant::now())
    }

    /// Takes the tokens that nobody needs any more.
    pub fn take_due(&self) -> Vec<TokenToRevoke> {
        self.known().lending.take_due(Instant::now())
    }

    /// Takes a token back that was not revoked, so that it is due again. Tells whether somebody will ask for it.
    pub(super) fn take_back(&self, token: TokenToRevoke) -> bool {
        let mut known = self.known();
        !known.is_gone && known.lending.take_back(token)
    }

    /// Lends a session of what is known until a deadline. None if it is gone.
    pub(super) fn lend(
        self: &Arc<Self>,
        known: &mut Known,
        session: &Shared,
        deadline: Instant,
    ) -> Option<Lease> {
        let Route { client, rules } = known.lending.lend(session, deadline)?;
        let token = lock(session).token.clone();
        Some(Lease { client, rules, token, deadline, session: Arc::clone(session), entry: Arc::clone(self) })
    }
}

// === impl Known ===

impl Known {
    /// Every object that a connection to this target names, by its gateway too.
    pub fn named_by(&self, target: &Target) -> Vec<ObjectName> {
        let mut names = target.references();
        names.extend(self.named_by_gateway.iter().filter(|_| target.gateway.is_some()).cloned());
        names.sort();
        names.dedup();
        names
    }

    /// When the user's token must be seen to, if nothing else leads to a check before.
    pub fn token_due(&self, now: Timestamp) -> Option<Timestamp> {
        self.lending.cached().and_then(|session| lock(session).due(now))
    }

    /// Whether a session is cached.
    pub fn has_session(&self) -> bool {
        self.lending.cached().is_some()
    }

    /// Lends the sessions to nobody else: each is revoked when its last lease is back.
    pub(super) fn leave_target(&mut self) {
        self.memory.forget_health();
        self.memory.stability.reset();
        self.lending.retire_all();
        self.link = None;
    }

    /// Drops the sessions without an end, and the route: nothing may be sent there any more.
    pub(super) fn give_up_route(&mut self) {
        self.lending.forget_current();
        self.link = None;
    }

    /// The session that serves this connection as it is now, without a look at anything.
    pub(super) fn living(&self, desired: &Desired, rules: &Rules, now: Timestamp) -> Option<Shared> {
        let link = self.link.as_ref().filter(|link| *link.route.rules == *rules)?;
        let serves = |session: &&Shared| {
            let plan = self.memory.plan(Some(&lock(session)), desired, now);
            matches!(plan, Plan::Reuse | Plan::Renew | Plan::Watch) && link.target == desired.target
        };
        self.lending.cached().filter(serves).cloned()
    }

    /// Runs a step with the memory and what it follows beside that.
    pub(super) fn step<T>(
        &mut self,
        desired: &Desired,
        now: Timestamp,
        step: impl FnOnce(&mut Memory, &Around<'_>) -> T,
    ) -> T {
        let cached = self.lending.cached().map(lock);
        let new = self.lending.new_one(now).map(lock);
        let around = Around { desired, cached: cached.as_deref(), new: new.as_deref(), now };
        step(&mut self.memory, &around)
    }
}

// === impl Lease ===

impl Lease {
    /// What is known of the session. Held for a moment only.
    pub fn session(&self) -> MutexGuard<'_, Session> {
        lock(&self.session)
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.session
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.entry.known().lending.give_back(&self.session, self.deadline);
    }
}
