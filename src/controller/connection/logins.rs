//! Who may log in now: at most so many logins a second at one instance, and no login that could lock a role.
//!
//! A login whose outcome is not known is tried alone for its role, so that two hundred connections with the same
//! stale secret id learn from the first two refusals. One that worked with the same credential before is not held up.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use secrecy::ExposeSecret;
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    time::{Instant, sleep_until, timeout_at},
};

use super::recollection::{Place, Recollection};
use crate::{
    api::desired::Target, refs::ConnectionRef, secrets::resolve::AppRolePair, verify::budget::Budget,
};

/// The logins of all connections.
#[derive(Debug)]
pub struct Logins {
    /// What earlier processes counted.
    pub recollection: Recollection,
    spacing: Duration,
    hasher: RandomState,
    roles: Mutex<HashMap<Role, Arc<AsyncMutex<Budget>>>>,
    next_slots: Mutex<HashMap<String, Instant>>,
}

/// A role, as Vault counts its refused logins. Of the role id only a number is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Role {
    place: Place,
    id_hash: u64,
}

/// What is known of a credential before it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect {
    /// The same was accepted the last time.
    Proven,
    /// It was changed after its connection had been refused.
    Changed,
    /// Nothing.
    Unknown,
}

/// The right to try one login.
#[derive(Debug)]
pub struct Turn {
    budget: Arc<AsyncMutex<Budget>>,
    alone: Option<OwnedMutexGuard<Budget>>,
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTurn {
    /// Enough logins of the role were refused; the next may be tried at this time.
    Spent(Timestamp),
    /// Others were before us until the deadline.
    TimedOut,
}

// === impl Logins ===

impl Logins {
    /// Allows so many logins a second at one instance; zero counts as one.
    pub fn new(per_second: u32) -> Self {
        Self {
            recollection: Recollection::default(),
            spacing: Duration::from_secs(1) / per_second.max(1),
            hasher: RandomState::new(),
            roles: Mutex::default(),
            next_slots: Mutex::default(),
        }
    }

    /// Names a role of a target. The id of the cluster joins the addresses of one Vault.
    pub fn role(&self, target: &Target, cluster_id: Option<&str>, pair: &AppRolePair) -> Role {
        Role {
            place: Place {
                cluster: cluster_id.unwrap_or(target.instance.as_str()).to_owned(),
                namespace: target.namespace.clone(),
                mount: pair.mount.clone(),
            },
            id_hash: self.hasher.hash_one(pair.role_id.expose_secret()),
        }
    }

    /// Waits for the right to log in.
    pub async fn turn(
        &self,
        role: &Role,
        prospect: Prospect,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Turn, NoTurn> {
        let budget = self.budget(role, now);
        let mut alone = None;
        if prospect != Prospect::Proven {
            alone = Some(self.alone(role, &budget, (now, prospect == Prospect::Changed), deadline).await?);
        }
        let slot = self.slot(&role.place.cluster);
        if slot > deadline {
            return Err(NoTurn::TimedOut);
        }
        sleep_until(slot).await;
        Ok(Turn { budget, alone })
    }

    /// Counts for its role what an earlier process saw refused to a connection, once.
    pub async fn recall(&self, connection: &ConnectionRef, role: &Role, now: Timestamp) {
        let budget = self.budget(role, now);
        let mut budget = budget.lock().await;
        budget.recall(&self.recollection.take(connection));
        self.recollection.tell();
    }

    /// Waits until nobody else tries a login of the role whose outcome is not known, and until one more could not lock
    /// the role, whatever earlier processes may have counted for it.
    async fn alone(
        &self,
        role: &Role,
        budget: &Arc<AsyncMutex<Budget>>,
        (now, changed): (Timestamp, bool),
        deadline: Instant,
    ) -> Result<OwnedMutexGuard<Budget>, NoTurn> {
        loop {
            let mut news = pin!(self.recollection.news());
            news.as_mut().enable();
            let lock = timeout_at(deadline, Arc::clone(budget).lock_owned());
            let mut guard = lock.await.map_err(|_| NoTurn::TimedOut)?;
            guard.permit(now, changed).map_err(NoTurn::Spent)?;
            let patience = match self.recollection.unsure(&role.place, now) {
                Ok(unsure) if guard.permits_beside(&unsure, now, changed) => return Ok(guard),
                Ok(_) => deadline,
                Err(give_up) => give_up.min(deadline),
            };
            // Whoever tells of the role needs the account that is held here.
            drop(guard);
            if timeout_at(patience, news).await.is_err() && Instant::now() >= deadline {
                return Err(NoTurn::TimedOut);
            }
        }
    }

    fn budget(&self, role: &Role, now: Timestamp) -> Arc<AsyncMutex<Budget>> {
        let mut roles = self.roles.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = roles.get(role) {
            return Arc::clone(budget);
        }
        // Only a new role makes the map grow, so this is the moment to let old ones go.
        roles.retain(|_, budget| {
            Arc::strong_count(budget) > 1 || budget.try_lock().is_ok_and(|budget| !budget.is_idle(now))
        });
        Arc::clone(roles.entry(role.clone()).or_default())
    }

    /// Takes the next free moment at an instance.
    fn slot(&self, cluster: &str) -> Instant {
        let now = Instant::now();
        let mut slots = self.next_slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(cluster).copied().unwrap_or(now).max(now);
        slots.retain(|_, next| *next > now);
        slots.insert(cluster.to_owned(), slot + self.spacing);
        slot
    }
}

// === impl Turn ===

impl Turn {
    /// Vault accepted the login.
    pub async fn accepted(self) {
        self.settle(Budget::accepted).await;
    }

    /// Vault refused the login.
    pub async fn refused(self, now: Timestamp) {
        self.settle(|budget| budget.refused(now)).await;
    }

    async fn settle(self, outcome: impl FnOnce(&mut Budget)) {
        match self.alone {
            Some(mut budget) => outcome(&mut budget),
            None => outcome(&mut *self.budget.lock().await),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        api::{desired::Desired, status::VaultConnectionStatus},
        refs::MountPath,
        secrets::Versions,
        vault::login::LoginFault,
        verify::{
            budget,
            memory::Memory,
            observation::{Fault, Observation},
            report::{Circumstances, checked},
            session::Basis,
        },
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn role(logins: &Logins, role_id: &str) -> Role {
        let mount = MountPath::parse("approle").expect("valid");
        let pair = AppRolePair { mount, role_id: role_id.into(), secret_id: "unused".into(), wrapped: false };
        logins.role(&desired().target, None, &pair)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[tokio::test(start_paused = true)]
    async fn two_refusals_hold_up_everybody_but_those_that_worked() {
        let logins = Logins::new(1000);
        let role_a = role(&logins, "a");
        for second in [0, 1] {
            logins
                .turn(&role_a, Prospect::Unknown, at(second), soon())
                .await
                .expect("a turn")
                .refused(at(second))
                .await;
        }
        assert_eq!(
            logins.turn(&role_a, Prospect::Unknown, at(2), soon()).await.err(),
            Some(NoTurn::Spent(at(900)))
        );
        let other = logins.turn(&role(&logins, "b"), Prospect::Unknown, at(2), soon()).await;
        assert!(other.is_ok(), "another role has its own budget");
        logins.turn(&role_a, Prospect::Proven, at(2), soon()).await.expect("a turn").accepted().await;
        assert!(
            logins.turn(&role_a, Prospect::Unknown, at(3), soon()).await.is_ok(),
            "an accepted login clears the account"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_unproven_login_waits_for_the_outcome_of_another() {
        let logins = Logins::new(1000);
        let role = role(&logins, "a");
        let first = logins.turn(&role, Prospect::Unknown, at(0), soon()).await.expect("a turn");
        let second = logins.turn(&role, Prospect::Unknown, at(0), soon());
        assert_eq!(second.await.err(), Some(NoTurn::TimedOut));
        first.accepted().await;
        assert!(logins.turn(&role, Prospect::Unknown, at(0), soon()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn logins_at_one_instance_are_spaced() {
        let logins = Logins::new(10);
        let role = role(&logins, "a");
        let start = Instant::now();
        for _ in 0..11 {
            logins.turn(&role, Prospect::Proven, at(0), soon()).await.expect("a turn").accepted().await;
        }
        assert_eq!(start.elapsed().as_millis() / 100, 10);
        let hurried = logins.turn(&role, Prospect::Proven, at(0), Instant::now()).await;
        assert_eq!(hurried.err(), Some(NoTurn::TimedOut));
    }

    /// A connection with a stale secret id, as `sessions` treats it: what is held is not tried, what is tried is refused.
    async fn try_stale(
        logins: &Logins,
        (connection, role): (&ConnectionRef, &Role),
        memory: &mut Memory,
        now: Timestamp,
    ) -> (Observation, bool) {
        let basis = Basis { target: desired().target, versions: Versions::new() };
        let (fault, until, tried) = match memory.hold(&basis, now) {
            Some((fault, until)) => {
                logins.recall(connection, role, now).await;
                (fault, until, false)
            }
            None => match logins.turn(role, Prospect::Unknown, now, soon()).await {
                Ok(turn) => {
                    turn.refused(now).await;
                    let until = memory.refused(basis, LoginFault::InvalidCredentials, now);
                    (LoginFault::InvalidCredentials.into(), until, true)
                }
                Err(NoTurn::Spent(until)) => {
                    memory.hold_back(basis, Fault::BudgetSpent, until);
                    (Fault::BudgetSpent, until, false)
                }
                Err(NoTurn::TimedOut) => panic!("nobody else is in the way"),
            },
        };
        let (no_login_before, refused) = (Some(until), memory.refused_lately(now));
        let seen = Observation { fault: Some(fault), no_login_before, refused, ..Observation::default() };
        (seen, tried)
    }

    #[tokio::test(start_paused = true)]
    async fn fifty_stale_connections_never_spend_what_vault_locks_by_over_restarts() {
        let desired = desired();
        let mut statuses = vec![VaultConnectionStatus::default(); 50];
        let mut refused: Vec<i64> = Vec::new();
        // An operator that lives for three minutes, again and again, and looks at each connection every half minute.
        for start in (0..40 * 60).step_by(180) {
            let logins = Logins::new(1000);
            let role = role(&logins, "a");
            let restore = |status: &VaultConnectionStatus| Memory::restore(&desired.target, status);
            let mut memories: Vec<_> = statuses.iter().map(restore).collect();
            for (index, status) in statuses.iter().enumerate() {
                logins.recollection.found(&connection(&index.to_string()), status);
            }
            for second in (start..start + 180).step_by(30) {
                for (index, (status, memory)) in statuses.iter_mut().zip(&mut memories).enumerate() {
                    let subject = (&connection(&index.to_string()), &role);
                    let (seen, tried) = try_stale(&logins, subject, memory, at(second)).await;
                    let around =
                        Circumstances { generation: 1, requested_at: None, now: at(second), jitter: 0.0 };
                    *status = checked(status, &around, &desired, &seen).0;
                    refused.extend(tried.then_some(second));
                }
            }
        }
        let most = refused
            .iter()
            .map(|from| refused.iter().filter(|time| (*from..from + 900).contains(*time)).count());
        assert_eq!(most.max(), Some(2), "refused at {refused:?}");
        assert!(refused.len() >= 4, "it tries again in the next window: {refused:?}");
    }

    fn connection(name: &str) -> ConnectionRef {
        ConnectionRef { namespace: "ns".to_owned(), name: name.to_owned() }
    }

    /// The status of a connection whose login was refused at that time.
    fn refused_at(second: i64) -> VaultConnectionStatus {
        let seen = Observation {
            fault: Some(LoginFault::InvalidCredentials.into()),
            no_login_before: Some(at(second) + budget::WINDOW),
            refused: vec![at(second)],
            ..Observation::default()
        };
        let around = Circumstances { generation: 1, requested_at: None, now: at(second), jitter: 0.0 };
        checked(&VaultConnectionStatus::default(), &around, &desired(), &seen).0
    }

    /// A new process, which was told of two refused logins that the one before it had seen.
    fn restarted() -> Logins {
        let logins = Logins::new(1000);
        logins.recollection.expect_lists(1);
        for (second, name) in ["a", "b"].into_iter().enumerate() {
            let second = i64::try_from(second).expect("it is small");
            logins.recollection.found(&connection(name), &refused_at(second));
        }
        logins.recollection.listed();
        logins
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_does_not_spend_what_an_earlier_process_has_spent() {
        let logins = restarted();
        let (shared, other) = (role(&logins, "shared"), role(&logins, "other"));
        let early = logins.turn(&shared, Prospect::Unknown, at(2), soon()).await;
        assert_eq!(early.err(), Some(NoTurn::TimedOut), "nobody has looked at the older ones yet");
        logins
            .turn(&shared, Prospect::Proven, at(2), soon())
            .await
            .expect("what worked before is not held up");

        let waiting = logins.turn(&shared, Prospect::Unknown, at(2), soon());
        let older = async {
            logins.recall(&connection("a"), &shared, at(2)).await;
            logins.recall(&connection("b"), &shared, at(2)).await;
        };
        let (outcome, ()) = tokio::join!(waiting, older);
        assert_eq!(outcome.err(), Some(NoTurn::Spent(at(900))), "the older ones use the same role");
        let of_another = logins.turn(&other, Prospect::Unknown, at(2), soon()).await;
        assert!(of_another.is_ok(), "the older ones are known to use another role");
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_process_counted_is_held_against_nobody_for_ever() {
        let logins = restarted();
        let shared = role(&logins, "shared");
        let changed = logins.turn(&shared, Prospect::Changed, at(2), soon()).await;
        changed.expect("two more are for those that changed").refused(at(2)).await;
        assert!(
            logins.turn(&shared, Prospect::Unknown, at(901), soon()).await.is_ok(),
            "two have left their window"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_namespace_that_cannot_be_listed_holds_up_logins_for_ten_seconds() {
        let logins = Logins::new(1000);
        logins.recollection.expect_lists(2);
        logins.recollection.listed();
        let (role, begin) = (role(&logins, "a"), Instant::now());
        let patient = Instant::now() + Duration::from_secs(60);
        assert!(logins.turn(&role, Prospect::Unknown, at(0), patient).await.is_ok());
        assert_eq!(begin.elapsed().as_secs(), 10);
    }

    fn desired() -> Desired {
        let spec = json!({
            "instanceUrl": "https://vault.example.com",
            "auth": {"appRole": {
                "roleId": {"value": "a"},
                "secretId": {"secretRef": {"name": "s", "key": "k"}},
            }},
        });
        Desired::parse(&serde_json::from_value(spec).expect("a spec")).expect("valid")
    }
}
