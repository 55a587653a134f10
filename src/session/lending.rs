//! The sessions of one connection, and who has them on loan.
//!
//! ```text
//!   login ─▶ new ─ proved, lives on ─▶ cached ─ replaced ─▶ retired
//!             └──────── not worth keeping ──────┴─ last lease back, or its deadline is over ─▶ to revoke
//! ```
//!
//! A user's own token goes the same way and is never revoked.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::jiff::Timestamp;
use secrecy::SecretString;
use tokio::time::Instant;

use crate::{
    network::address_policy::Rules,
    vault::client::Client,
    verify::session::{Plan, Session},
};

/// How many tokens of one connection wait for an instance that can revoke them. Where more come, logins work and revocations do not.
const MAX_UNREVOKED: usize = 8;

/// A session that several users may hold.
pub type Shared = Arc<Mutex<Session>>;

/// The sessions of one connection.
#[derive(Default)]
pub struct Lending {
    cached: Option<Lent>,
    /// One that was made just now. Nobody has proved it yet, or it is not worth keeping. Most of the time there is none.
    new: Option<Box<Lent>>,
    /// Those that were replaced while somebody held them.
    retired: Vec<Lent>,
    /// What the instance could not revoke when it was asked to. Most of the time there is none.
    unrevoked: Vec<TokenToRevoke>,
}

/// Where a session was made.
#[derive(Clone)]
pub struct Route {
    /// The client that leads there.
    pub client: Client,
    /// What the address policy allowed when the client was made.
    pub rules: Arc<Rules>,
}

/// A token of ours that is no longer needed.
pub struct TokenToRevoke {
    /// Where it was issued.
    pub route: Route,
    /// The token itself.
    pub token: SecretString,
    /// When it ends by itself; none if it never does.
    pub ends: Option<Timestamp>,
}

/// A session, and how many hold it.
struct Lent {
    session: Shared,
    route: Route,
    /// When each of its leases must be back.
    leases: Vec<Instant>,
}

// === impl Lending ===

impl Lending {
    /// The session that is cached.
    pub fn cached(&self) -> Option<&Shared> {
        self.cached.as_ref().map(|lent| &lent.session)
    }

    /// One that was made just now and that others may share, if it lives.
    pub fn new_one(&self, now: Timestamp) -> Option<&Shared> {
        let lives = |lent: &&Lent| lock(&lent.session).plan(now) != Plan::LogIn;
        self.new.as_deref().filter(lives).map(|lent| &lent.session)
    }

    /// Takes in a new session.
    pub fn add(&mut self, session: Session, route: Route) -> Shared {
        let session = Arc::new(Mutex::new(session));
        let lent = Lent { session: Arc::clone(&session), route, leases: Vec::new() };
        let former = self.new.replace(Box::new(lent));
        self.retired.extend(former.map(|lent| *lent));
        session
    }

    /// Lends a session until a deadline.
    pub fn lend(&mut self, session: &Shared, deadline: Instant) -> Option<Route> {
        let lent = self.find(session)?;
        // Most are lent to one check at a time, by and by.
        lent.leases.reserve_exact(1);
        lent.leases.push(deadline);
        Some(lent.route.clone())
    }

    /// Takes the lease with that deadline back.
    pub fn give_back(&mut self, session: &Shared, deadline: Instant) {
        if let Some(lent) = self.find(session)
            && let Some(index) = lent.leases.iter().position(|until| *until == deadline)
        {
            lent.leases.swap_remove(index);
        }
        self.retired.extend(self.new.take_if(|lent| lent.leases.is_empty()).map(|lent| *lent));
    }

    /// The new session was proved: it takes the place of the one that is cached, and its place only if it is worth keeping.
    pub fn adopt(&mut self, session: &Shared, is_worth_keeping: bool) {
        let Some(lent) = self.new.take_if(|lent| Arc::ptr_eq(&lent.session, session)) else { return };
        self.retired.extend(self.cached.take());
        if is_worth_keeping {
            self.cached = Some(*lent);
        } else {
            self.new = Some(lent);
        }
    }

    /// Lends a session to nobody else. It is revoked when its last lease is back.
    pub fn retire(&mut self, session: &Shared) {
        let is_it = |lent: &mut Lent| Arc::ptr_eq(&lent.session, session);
        self.retired.extend(self.cached.take_if(is_it));
        self.retired.extend(self.new.take_if(|lent| is_it(lent)).map(|lent| *lent));
    }

    /// The same for every session.
    pub fn retire_all(&mut self) {
        self.retired.extend(self.cached.take());
        self.retired.extend(self.new.take().map(|lent| *lent));
    }

    /// Drops a session that Vault has ended.
    pub fn forget(&mut self, session: &Shared) {
        let is_it = |lent: &mut Lent| Arc::ptr_eq(&lent.session, session);
        drop(self.cached.take_if(is_it));
        drop(self.new.take_if(|lent| is_it(lent)));
    }

    /// Drops the sessions that are lent without an end: nothing may be sent to where they were made. Those that were retired at another
    /// address are still revoked there.
    pub fn forget_current(&mut self) {
        (self.cached, self.new) = (None, None);
    }

    /// The session that is cached is used by another route from now on.
    pub fn reroute(&mut self, route: &Route) {
        if let Some(lent) = &mut self.cached {
            lent.route = route.clone();
        }
    }

    /// Takes the tokens that nobody holds any more, or not in time.
    pub fn take_due(&mut self, now: Instant) -> Vec<TokenToRevoke> {
        let due: Vec<_> = self.retired.extract_if(.., |lent| lent.is_due(now)).collect();
        // With short-lived tokens, each check leaves one here for a moment.
        self.retired.shrink_to_fit();
        let unrevoked = mem::take(&mut self.unrevoked);
        due.into_iter().filter_map(Lent::token).chain(unrevoked).collect()
    }

    /// How many sessions nobody holds any more, or not in time.
    pub fn count_due(&self, now: Instant) -> usize {
        self.due_routes(now).count()
    }

    /// Where those sessions were made.
    pub fn due_routes(&self, now: Instant) -> impl Iterator<Item = &Route> {
        let due = self.retired.iter().filter(move |lent| lent.is_due(now));
        due.map(|lent| &lent.route).chain(self.unrevoked.iter().map(|token| &token.route))
    }

    /// Takes a token back that was not revoked, so that it is due again. Tells whether there was room for it.
    pub fn take_back(&mut self, token: TokenToRevoke) -> bool {
        let has_room = self.unrevoked.len() < MAX_UNREVOKED;
        if has_room {
            self.unrevoked.push(token);
        }
        has_room
    }

    /// Takes every token, whoever holds it.
    pub fn take_all(&mut self) -> Vec<TokenToRevoke> {
        self.retire_all();
        let unrevoked = mem::take(&mut self.unrevoked);
        mem::take(&mut self.retired).into_iter().filter_map(Lent::token).chain(unrevoked).collect()
    }

    fn find(&mut self, session: &Shared) -> Option<&mut Lent> {
        let all = self.cached.iter_mut().chain(self.new.as_deref_mut()).chain(&mut self.retired);
        all.into_iter().find(|lent| Arc::ptr_eq(&lent.session, session))
    }
}

// === impl TokenToRevoke ===

impl TokenToRevoke {
    /// Whether it has ended by itself.
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }
}

// === impl Lent ===

impl Lent {
    fn is_due(&self, now: Instant) -> bool {
        self.leases.iter().all(|until| *until <= now)
    }

    /// What is to be revoked of it, if that is ours to do.
    fn token(self) -> Option<TokenToRevoke> {
        let session = lock(&self.session);
        let (token, ends) = session.is_ours_to_revoke().then(|| (session.token.clone(), session.end()))?;
        drop(session);
        Some(TokenToRevoke { route: self.route, token, ends })
    }
}

/// What is known of a session. Held for a moment only.
pub fn lock(session: &Shared) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}
