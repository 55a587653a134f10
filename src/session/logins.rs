//! The right to make a login: it waits for those under way, and for the next free moment at the instance.

use std::{
    collections::HashMap,
    pin::pin,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use secrecy::SecretString;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    account::{Fingerprint, Limits},
    decide::{Attempt, Decision, History},
    ledger::{Ledger, LoginOutcome, Roles},
    pace::{Bounds, Pace, Sign},
};
use crate::{
    api::status::VaultConnectionStatus,
    names::{ConnectionRef, InstanceUrl, MountPath},
    spec::Target,
    verify::observation::Fault,
};

/// How long a login waits for the first lists. A namespace that cannot be listed must not stop the others.
const FIRST_LISTS_TIMEOUT: Duration = Duration::from_secs(10);

/// The logins of all connections.
#[derive(Debug)]
pub struct Logins {
    ledger: Mutex<Ledger>,
    /// Something that a waiting login depends on has changed.
    news: Notify,
    /// How many first lists are still to come, and how long to wait for them.
    first_lists: Mutex<Option<(usize, Instant)>>,
    bounds: Bounds,
    /// The pace at each instance.
    paces: Mutex<HashMap<String, Pace>>,
}

/// The right to make one login. Dropped without an answer, it counts as one that Vault may have refused.
#[derive(Debug)]
pub struct LoginPermit<'a> {
    logins: &'a Logins,
    /// The roles that it counts for; none if Vault never counts logins of its method.
    roles: Option<Roles>,
    connection: ConnectionRef,
    credential: Fingerprint,
    is_concluded: bool,
}

/// Why there is no permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPermit {
    /// The login is not to be tried before a time.
    Held {
        /// Why not.
        fault: Fault,
        /// When it may.
        until: Timestamp,
    },
    /// Others were before us until the deadline.
    TimedOut,
}

// === impl Logins ===

impl Logins {
    /// Allows so many logins a second at one instance; zero counts as one.
    pub fn new(per_second: u32, limits: Limits) -> Self {
        Self::adaptive(Bounds::new(per_second, per_second), limits)
    }

    /// Allows as many logins a second at one instance as it can take, within bounds.
    pub fn adaptive(bounds: Bounds, limits: Limits) -> Self {
        Self {
            ledger: Mutex::new(Ledger::new(limits)),
            news: Notify::new(),
            first_lists: Mutex::default(),
            bounds,
            paces: Mutex::default(),
        }
    }

    /// So many first lists of connections are to come.
    pub fn expect_lists(&self, count: usize) {
        *lock(&self.first_lists) = Some((count, Instant::now() + FIRST_LISTS_TIMEOUT));
    }

    /// One of them was read to its end.
    pub fn listed(&self) {
        if let Some((count, _)) = &mut *lock(&self.first_lists) {
            *count = count.saturating_sub(1);
        }
        self.news.notify_waiters();
    }

    /// Notes what the status of a connection tells of refused logins, as the first list has it.
    pub fn restore(&self, connection: &ConnectionRef, status: &VaultConnectionStatus) {
        lock(&self.ledger).restored.found(connection, status);
    }

    /// The roles that the logins of a connection count for.
    pub fn roles(
        &self,
        connection: &ConnectionRef,
        target: &Target,
        cluster_id: Option<&str>,
        role: (&MountPath, &SecretString),
    ) -> Roles {
        lock(&self.ledger).roles(&connection.namespace, target, cluster_id, role)
    }

    /// What tells a credential of a role from its others.
    pub fn fingerprint(&self, secret_id: &SecretString) -> Fingerprint {
        lock(&self.ledger).fingerprint(secret_id)
    }

    /// Counts for its role what an earlier process saw refused to a connection, once. `credential` is what it was refused with, if
    /// that is still known.
    pub fn recall(&self, connection: &ConnectionRef, roles: &Roles, credential: Option<Fingerprint>) {
        lock(&self.ledger).recall(connection, roles, credential);
        self.news.notify_waiters();
    }

    /// When each failed login that counts against a role ceases to count.
    pub fn failed(&self, roles: &Roles, now: Timestamp) -> Vec<Timestamp> {
        lock(&self.ledger).failed(roles, now)
    }

    /// Waits for the right to log in. Without roles, Vault does not count the login, and only its moment is waited for.
    pub async fn permit(
        &self,
        history: &History,
        attempt: &Attempt<'_>,
        roles: Option<&Roles>,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<LoginPermit<'_>, NoPermit> {
        if let Some(roles) = roles {
            self.decided(history, attempt, roles, (now, deadline)).await?;
        }
        let (connection, credential) = (attempt.connection.clone(), attempt.credential);
        let permit =
            LoginPermit { logins: self, roles: roles.cloned(), connection, credential, is_concluded: false };
        let Some(slot) = self.slot(&attempt.basis.target, deadline) else {
            permit.conclude(&LoginOutcome::NotCounted, now);
            return Err(NoPermit::TimedOut);
        };
        sleep_until(slot).await;
        Ok(permit)
    }

    /// Waits until the login may be tried, and is under way.
    async fn decided(
        &self,
        history: &History,
        attempt: &Attempt<'_>,
        roles: &Roles,
        (now, deadline): (Timestamp, Instant),
    ) -> Result<(), NoPermit> {
        loop {
            let mut news = pin!(self.news.notified());
            news.as_mut().enable();
            let patience = match self.lists_to_come() {
                Some(end) => end.min(deadline),
                None => match lock(&self.ledger).decide(history, attempt, roles, now) {
                    Decision::Try => return Ok(()),
                    Decision::Hold { fault, until } => return Err(NoPermit::Held { fault, until }),
                    Decision::Wait => deadline,
                },
            };
            if timeout_at(patience, news).await.is_err() && Instant::now() >= deadline {
                return Err(NoPermit::TimedOut);
            }
        }
    }

    /// Until when to wait for the first lists, which tell what earlier processes counted.
    fn lists_to_come(&self) -> Option<Instant> {
        let lists = *lock(&self.first_lists);
        lists.filter(|(count, end)| *count > 0 && Instant::now() < *end).map(|(_, end)| end)
    }

    /// Notes what the answer to a login shows of an instance.
    pub fn saw(&self, instance: &InstanceUrl, sign: Sign) {
        if let Some(pace) = lock(&self.paces).get_mut(instance.as_str()) {
            pace.saw(sign, Instant::now().into_std());
        }
    }

    /// Takes the next free moment at an instance, if there is one before the deadline.
    fn slot(&self, target: &Target, deadline: Instant) -> Option<Instant> {
        let now = Instant::now().into_std();
        let instance = target.instance.as_str();
        let mut paces = lock(&self.paces);
        if !paces.contains_key(instance) {
            paces.retain(|_, pace| !pace.is_idle(now));
            paces.insert(instance.to_owned(), Pace::new(self.bounds, now));
        }
        let slot = paces.get_mut(instance)?.take(now, deadline.into_std())?;
        Some(Instant::from_std(slot))
    }
}

// === impl LoginPermit ===

impl LoginPermit<'_> {
    /// Notes what became of the login. Returns the connections that may try again because of it.
    pub fn conclude(mut self, outcome: &LoginOutcome, now: Timestamp) -> Vec<ConnectionRef> {
        self.is_concluded = true;
        self.settle(outcome, now)
    }

    fn settle(&self, outcome: &LoginOutcome, now: Timestamp) -> Vec<ConnectionRef> {
        let Some(roles) = &self.roles else { return Vec::new() };
        let login = (&self.connection, self.credential);
        let free = lock(&self.logins.ledger).conclude(login, roles, outcome, now);
        self.logins.news.notify_waiters();
        free
    }
}

impl Drop for LoginPermit<'_> {
    fn drop(&mut self) {
        if !self.is_concluded {
            self.settle(&LoginOutcome::Unknown, Timestamp::now());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::MountPath,
        verify::{
            session::Basis,
            testing::{app_role, at, versions},
        },
    };

    struct Scene {
        logins: Logins,
        connection: ConnectionRef,
        basis: Basis,
        roles: Roles,
    }

    fn scene(per_second: u32) -> Scene {
        let logins = Logins::new(per_second, Limits::default());
        let connection = ConnectionRef { namespace: "ns".into(), name: "a".into() };
        let basis = Basis { target: app_role().target, versions: versions("1") };
        let mount = MountPath::parse("approle").expect("valid");
        let roles = logins.roles(&connection, &basis.target, None, (&mount, &"role".into()));
        Scene { logins, connection, basis, roles }
    }

    impl Scene {
        async fn permit(
            &self,
            credential: Fingerprint,
            patience: Duration,
        ) -> Result<LoginPermit<'_>, NoPermit> {
            let attempt = Attempt {
                connection: &self.connection,
                basis: &self.basis,
                credential,
                answered: Some(Timestamp::now()),
            };
            let deadline = Instant::now() + patience;
            self.logins.permit(&History::default(), &attempt, Some(&self.roles), at(0), deadline).await
        }

        async fn soon(&self, credential: Fingerprint) -> Result<LoginPermit<'_>, NoPermit> {
            self.permit(credential, Duration::from_secs(10)).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_waits_for_the_answers_to_others_and_never_past_its_deadline() {
        let scene = scene(1000);
        let (first, second) =
            (scene.soon(1).await.expect("a permit"), scene.soon(2).await.expect("a permit"));
        assert_eq!(scene.soon(3).await.err(), Some(NoPermit::TimedOut), "both may be refused");
        first.conclude(&LoginOutcome::NotCounted, at(0));
        let (third, _) =
            tokio::join!(scene.soon(3), async { second.conclude(&LoginOutcome::Accepted, at(0)) });
        third.expect("a permit").conclude(&LoginOutcome::NotCounted, at(0));
    }

    #[tokio::test(start_paused = true)]
    async fn logins_without_an_answer_never_add_up_to_a_lock() {
        let scene = scene(1000);
        for credential in 1..=4 {
            drop(scene.soon(credential).await.expect("a permit"));
        }
        let held = scene.soon(5).await.err();
        assert!(matches!(held, Some(NoPermit::Held { fault: Fault::BudgetSpent, .. })), "{held:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn logins_at_one_instance_are_spaced_and_who_cannot_wait_takes_no_slot() {
        let scene = scene(10);
        let start = Instant::now();
        for _ in 0..11 {
            scene.soon(1).await.expect("a permit").conclude(&LoginOutcome::Accepted, at(0));
        }
        assert_eq!(start.elapsed().as_millis() / 100, 10);
        for _ in 0..100 {
            assert_eq!(scene.permit(1, Duration::ZERO).await.err(), Some(NoPermit::TimedOut));
        }
        scene.soon(1).await.expect("a permit").conclude(&LoginOutcome::Accepted, at(0));
        assert_eq!(start.elapsed().as_millis() / 100, 11);
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_cannot_be_listed_holds_up_logins_for_ten_seconds() {
        let scene = scene(1000);
        scene.logins.expect_lists(2);
        scene.logins.listed();
        let begin = Instant::now();
        assert!(scene.permit(1, Duration::from_secs(60)).await.is_ok());
        assert_eq!(begin.elapsed().as_secs(), 10);
    }
}
