//! The accounts of all roles, by where their logins go.
//!
//! A role is known by the address that its logins are sent to, never by what a server says of itself: a hostile server could
//! claim to be another's. Only within one Kubernetes namespace, whose connections trust each other, do the logins of two addresses that name
//! the same cluster add up.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
};

use k8s_openapi::jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::{
    account::{Account, Answer, Fingerprint, Limits, Refusal, ends},
    decide::{Attempt, Decision, History, Rules, decide},
    restored::RestoredRefusals,
};
use crate::{
    names::{ConnectionRef, MountPath, ServerName, VaultNamespace},
    spec::Target,
    verify::observation::Fault,
};

/// Accounts that are kept before idle ones are looked for.
const MIN_ACCOUNTS_TO_PRUNE: usize = 64;

/// The accounts of all roles.
#[derive(Debug)]
pub struct Ledger {
    /// What earlier processes counted.
    pub restored: RestoredRefusals,
    limits: Limits,
    hasher: RandomState,
    accounts: HashMap<Role, Account>,
    prune_at: usize,
}

/// The accounts that a login counts in: that of its address, and that of its cluster within its Kubernetes namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(Vec<Role>);

/// A role, as Vault counts its refused logins. Of the role id only a number is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Role {
    /// Where it is: the roles of one place are told apart by their role ids alone.
    pub place: Place,
    alias: u64,
    tag: u16,
}

/// Where logins go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    route: Route,
    /// The Vault namespace.
    pub namespace: Option<VaultNamespace>,
    /// The auth method.
    pub mount: MountPath,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Route {
    Address {
        instance: String,
        /// Servers behind one address may be told apart by it.
        server_name: Option<ServerName>,
        /// The Kubernetes namespace and the name of the gateway.
        gateway: Option<(String, String)>,
    },
    Cluster {
        kubernetes_namespace: String,
        id: String,
    },
}

/// What became of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginOutcome {
    /// Vault accepted it.
    Accepted,
    /// Vault refused it, and counts that.
    Refused,
    /// Vault denied it, as it does while a role is locked, and does not count that.
    Denied,
    /// Vault answered in a way that it does not count.
    NotCounted,
    /// No answer came, so that Vault may have counted it.
    Unknown,
}

// === impl Ledger ===

impl Ledger {
    /// Begins with empty accounts.
    pub fn new(limits: Limits) -> Self {
        Self {
            restored: RestoredRefusals::default(),
            limits,
            hasher: RandomState::new(),
            accounts: HashMap::new(),
            prune_at: MIN_ACCOUNTS_TO_PRUNE,
        }
    }

    /// Names a role of a target. `cluster_id` is what the server says of itself.
    pub fn roles(
        &self,
        kubernetes_namespace: &str,
        target: &Target,
        cluster_id: Option<&str>,
        (mount, role_id): (&MountPath, &SecretString),
    ) -> Roles {
        let address = Route::Address {
            instance: target.instance.as_str().to_owned(),
            server_name: target.tls.server_name.clone(),
            gateway: target.gateway.clone().map(|name| (kubernetes_namespace.to_owned(), name)),
        };
        let cluster = cluster_id.map(|id| Route::Cluster {
            kubernetes_namespace: kubernetes_namespace.to_owned(),
            id: id.to_owned(),
        });
        let role = |route| Role {
            place: Place { route, namespace: target.namespace.clone(), mount: mount.clone() },
            alias: self.hasher.hash_one(role_id.expose_secret()),
            tag: tag(role_id.expose_secret()),
        };
        Roles(std::iter::once(address).chain(cluster).map(role).collect())
    }

    /// What tells a credential of a role from its others.
    pub fn fingerprint(&self, secret_id: &SecretString) -> Fingerprint {
        self.hasher.hash_one(secret_id.expose_secret())
    }

    /// Decides on a login. One that may be tried is under way from now on, until [`conclude`](Self::conclude).
    pub fn decide(
        &mut self,
        history: &History,
        attempt: &Attempt<'_>,
        roles: &Roles,
        now: Timestamp,
    ) -> Decision {
        self.prune(now);
        let restored = self.restored.concerning(roles, now);
        let empty = Account::default();
        let accounts: Vec<_> = roles.0.iter().map(|role| self.accounts.get(role).unwrap_or(&empty)).collect();
        let known = Rules { limits: self.limits, restored: &restored };
        let decision = decide(history, attempt, &accounts, &known, now);
        for role in &roles.0 {
            match &decision {
                Decision::Try => self.account(role).begin(attempt.credential),
                Decision::Hold { fault: Fault::BudgetSpent, .. } => {
                    self.account(role).wait(attempt.connection);
                }
                Decision::Wait | Decision::Hold { .. } => {}
            }
        }
        decision
    }

    /// Notes what became of a login that was under way. Returns the connections that may try again because of it.
    pub fn conclude(
        &mut self,
        (connection, credential): (&ConnectionRef, Fingerprint),
        roles: &Roles,
        outcome: &LoginOutcome,
        now: Timestamp,
    ) -> Vec<ConnectionRef> {
        let mut free = Vec::new();
        if *outcome == LoginOutcome::Accepted {
            self.restored.take(connection);
        }
        for role in &roles.0 {
            let account = self.account(role);
            account.end(credential);
            let refusal = |answer| {
                let namespace = connection.namespace.clone();
                Refusal { at: now, namespace, answer, is_forgiven: false }
            };
            match outcome {
                LoginOutcome::Accepted => free.extend(account.accept(credential)),
                LoginOutcome::Refused => account.refuse(refusal(Answer::Refused(credential))),
                LoginOutcome::Denied => account.refuse(refusal(Answer::Denied(credential))),
                LoginOutcome::Unknown => account.refuse(refusal(Answer::Missing(credential))),
                LoginOutcome::NotCounted => {}
            }
        }
        free.retain(|other| other != connection);
        free.sort_unstable();
        free.dedup();
        free
    }

    /// Counts for its role what an earlier process saw refused to a connection, once. `credential` is what it was refused with, if
    /// that is still known.
    pub fn recall(&mut self, connection: &ConnectionRef, roles: &Roles, credential: Option<Fingerprint>) {
        for at in self.restored.take(connection) {
            for role in &roles.0 {
                let answer = credential.map_or(Answer::Restored, Answer::Refused);
                let namespace = connection.namespace.clone();
                self.account(role).refuse(Refusal { at, namespace, answer, is_forgiven: false });
            }
        }
    }

    /// When each failed login that counts against a role at its address ceases to count.
    pub fn failed(&self, roles: &Roles, now: Timestamp) -> Vec<Timestamp> {
        let account = self.accounts.get(roles.address());
        account.into_iter().flat_map(|account| account.counting(now)).map(|it| ends(it.at)).collect()
    }

    fn account(&mut self, role: &Role) -> &mut Account {
        self.accounts.entry(role.clone()).or_default()
    }

    /// Forgets idle accounts, when there are twice as many as were in use the last time.
    fn prune(&mut self, now: Timestamp) {
        if self.accounts.len() < self.prune_at {
            return;
        }
        self.restored.prune(now);
        self.accounts.retain(|_, account| !account.is_idle(now));
        self.prune_at = (self.accounts.len() * 2).max(MIN_ACCOUNTS_TO_PRUNE);
    }
}

// === impl Roles ===

impl Roles {
    /// The role at the address that the login is sent to.
    pub fn address(&self) -> &Role {
        self.0.first().expect("every login goes to an address")
    }

    /// Where its logins count.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.0.iter().map(|role| &role.place)
    }
}

// === impl Role ===

impl Role {
    /// A short tag of the role id, the same in every process.
    pub fn tag(&self) -> String {
        format!("{:04x}", self.tag)
    }
}

// === impl Place ===

impl Place {
    /// Whether logins go to that address, whatever name its certificate must have.
    pub fn is_address(&self, instance: &str, gateway: Option<(&str, &str)>) -> bool {
        match &self.route {
            Route::Address { instance: own, gateway: through, .. } => {
                let through = through.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
                own == instance && through == gateway
            }
            Route::Cluster { .. } => false,
        }
    }

    /// Whether logins go to that cluster, as far as a Kubernetes namespace believes.
    pub fn is_cluster(&self, kubernetes_namespace: &str, cluster_id: &str) -> bool {
        match &self.route {
            Route::Address { .. } => false,
            Route::Cluster { kubernetes_namespace: own, id } => {
                own == kubernetes_namespace && id == cluster_id
            }
        }
    }
}

/// FNV-1a, folded to 16 bits. It need not be hard to invert: of so few bits there is nothing to find.
fn tag(role_id: &str) -> u16 {
    let hash = role_id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let folded = (hash >> 48) ^ (hash >> 32) ^ (hash >> 16) ^ hash;
    u16::try_from(folded & 0xffff).expect("it was masked")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        api::status::VaultConnectionStatus,
        auth::LoginFault,
        network::faults::TransportFault,
        session::account::LOCKOUT_WINDOW,
        spec::TargetFields,
        vault::health::Health,
        verify::{
            memory::Memory,
            observation::Observation,
            report::checked,
            session::{Basis, later},
            status::Circumstances,
            testing::{app_role, at, versions},
        },
    };

    /// How many refused logins lock a role of the real server.
    const LOCKS: usize = 5;

    /// The cluster that the real server is, and that the lying one claims to be.
    const CLUSTER: &str = "public";

    fn connection(namespace: &str, name: usize) -> ConnectionRef {
        ConnectionRef { namespace: namespace.into(), name: name.to_string().into() }
    }

    fn target(instance: &str) -> Target {
        let instance = crate::names::InstanceUrl::parse(instance).expect("valid");
        TargetFields { instance, ..TargetFields::clone(&app_role().target) }.into()
    }

    fn roles(ledger: &Ledger, namespace: &str, target: &Target, role_id: &str) -> Roles {
        let mount = MountPath::parse("approle").expect("valid");
        ledger.roles(namespace, target, Some(CLUSTER), (&mount, &role_id.into()))
    }

    /// What happens to a connection, or to the operator.
    #[derive(Clone, Debug)]
    enum Event {
        /// It wants to log in.
        Begin(usize),
        /// The answer to the oldest login under way comes, or never does.
        Answer { lost: bool },
        /// Somebody writes another secret id.
        Rotate(usize, bool),
        /// Somebody asks for a check.
        Request(usize),
        /// The right secret ids stop to be right.
        Destroy,
        /// Somebody else locks the role, or unlocks it.
        Lock(bool),
        /// Another process takes over. What was under way may have counted.
        Restart,
        /// So many seconds go by.
        Pass(u64),
    }

    fn any_event() -> impl Strategy<Value = Event> {
        prop_oneof![
            12 => (0_usize..8).prop_map(Event::Begin),
            10 => prop::bool::weighted(0.1).prop_map(|lost| Event::Answer { lost }),
            2 => (0_usize..8, any::<bool>()).prop_map(|(index, right)| Event::Rotate(index, right)),
            2 => (0_usize..8).prop_map(Event::Request),
            1 => Just(Event::Destroy),
            1 => any::<bool>().prop_map(Event::Lock),
            1 => Just(Event::Restart),
            4 => (0_u64..300).prop_map(Event::Pass),
        ]
    }

    /// One connection. Two Kubernetes namespaces share an address of one server, another reaches a second server by two addresses, and
    /// the last has a server of its own that claims to be all of them.
    struct Tenant {
        name: ConnectionRef,
        target: Target,
        secret: usize,
        right: bool,
        memory: Memory,
        status: VaultConnectionStatus,
    }

    impl Tenant {
        fn new(index: usize) -> Self {
            let (namespace, instance) = match index {
                0..=2 => ("a", "https://vault.example.com"),
                3 => ("b", "https://vault.example.com"),
                4..=5 => ("d", "https://second.example.com"),
                6 => ("d", "https://second.internal"),
                _ => ("c", "https://lying.example.com"),
            };
            Self {
                name: connection(namespace, index),
                target: target(instance),
                secret: 0,
                right: true,
                memory: Memory::default(),
                status: VaultConnectionStatus::default(),
            }
        }

        fn basis(&self) -> Basis {
            Basis { target: self.target.clone(), versions: versions(&self.secret.to_string()) }
        }

        fn lies(&self) -> bool {
            &*self.name.namespace == "c"
        }

        /// Which of the two real servers it logs in to.
        fn server(&self) -> usize {
            usize::from(&*self.name.namespace == "d")
        }
    }

    /// The operator, and the real servers' own accounts of the role.
    struct World {
        tenants: Vec<Tenant>,
        ledger: Ledger,
        in_flight: Vec<(usize, Roles, Basis, Fingerprint)>,
        counted: [Vec<Timestamp>; 2],
        /// Somebody else has locked the role, on both.
        is_locked: bool,
        now: Timestamp,
    }

    impl World {
        fn live(&mut self, event: &Event) -> Result<(), TestCaseError> {
            match *event {
                Event::Begin(index) => self.begin(index),
                Event::Answer { lost } => return self.answer(lost),
                Event::Rotate(index, right) => {
                    self.tenants[index].secret += 1;
                    self.tenants[index].right = right;
                }
                Event::Request(index) => self.tenants[index].memory.request(),
                Event::Lock(is_locked) => self.is_locked = is_locked,
                Event::Destroy => self.tenants.iter_mut().for_each(|tenant| tenant.right = false),
                Event::Restart => {
                    while !self.in_flight.is_empty() {
                        self.answer(false)?;
                    }
                    self.ledger = Ledger::new(Limits::default());
                    for tenant in &mut self.tenants {
                        tenant.memory = Memory::restore(&tenant.target, &tenant.status);
                        self.ledger.restored.found(&tenant.name, &tenant.status);
                    }
                }
                Event::Pass(seconds) => self.now = later(self.now, Duration::from_secs(seconds)),
            }
            Ok(())
        }

        fn begin(&mut self, index: usize) {
            if self.in_flight.iter().any(|(other, ..)| *other == index) {
                return;
            }
            let tenant = &mut self.tenants[index];
            let roles = roles(&self.ledger, &tenant.name.namespace, &tenant.target, "role");
            tenant.memory.has_role(roles.address().tag());
            self.ledger.recall(&tenant.name, &roles, None);
            let (basis, name) = (tenant.basis(), tenant.name.clone());
            let credential = self.ledger.fingerprint(&format!("{index}-{}", tenant.secret).into());
            let attempt = Attempt { connection: &name, basis: &basis, credential, answered: Some(self.now) };
            let decision = self.ledger.decide(
                &History::of(&tenant.memory, &basis, self.now),
                &attempt,
                &roles,
                self.now,
            );
            tenant.memory.answer_request();
            match decision {
                Decision::Try => self.in_flight.push((index, roles, basis, credential)),
                Decision::Hold { .. } => tenant.memory.not_tried(basis),
                Decision::Wait => {}
            }
        }

        fn answer(&mut self, lost: bool) -> Result<(), TestCaseError> {
            if self.in_flight.is_empty() {
                return Ok(());
            }
            let (index, roles, basis, credential) = self.in_flight.remove(0);
            let (tenant, now) = (&mut self.tenants[index], self.now);
            // A lying server accepts and refuses as it likes; the real one refuses what is wrong, and counts that.
            let accepted = if tenant.lies() { tenant.secret % 2 == 0 } else { tenant.right && !lost };
            let is_denied = !tenant.lies() && self.is_locked;
            let accepted = accepted && !is_denied;
            let counted = &mut self.counted[tenant.server()];
            if !tenant.lies() && !accepted && !tenant.right && !is_denied {
                counted.retain(|time| now < later(*time, LOCKOUT_WINDOW));
                counted.push(now);
                prop_assert!(counted.len() < LOCKS, "the role is locked");
            }
            if accepted && !tenant.lies() {
                counted.clear();
            }
            let outcome = match (accepted, lost) {
                (true, _) => LoginOutcome::Accepted,
                (false, true) => LoginOutcome::Unknown,
                (false, false) if is_denied => LoginOutcome::Denied,
                (false, false) => LoginOutcome::Refused,
            };
            self.ledger.conclude((&tenant.name, credential), &roles, &outcome, now);
            let fault = match outcome {
                LoginOutcome::Accepted => {
                    tenant.memory.accepted(basis.clone(), now);
                    None
                }
                LoginOutcome::Refused => {
                    let fault = LoginFault::InvalidCredentials;
                    tenant.memory.refused(basis.clone(), fault.clone(), now);
                    Some(Fault::from(fault))
                }
                LoginOutcome::Denied => {
                    tenant.memory.refused(basis.clone(), LoginFault::Denied, now);
                    Some(LoginFault::Denied.into())
                }
                LoginOutcome::Unknown => {
                    tenant.memory.may_have_been_refused(now);
                    Some(Fault::Transport(TransportFault::TimedOut))
                }
                LoginOutcome::NotCounted => return Ok(()),
            };
            let health = Health { cluster_id: Some(CLUSTER.to_owned()), ..Health::default() };
            let seen = Observation {
                health: Some(health),
                no_login_before: fault.is_some().then(|| later(now, LOCKOUT_WINDOW)),
                fault,
                versions: basis.versions,
                refused: tenant.memory.refused_lately(now),
                refused_role: tenant.memory.role_tag().cloned(),
                ..Observation::default()
            };
            let around = Circumstances { generation: 1, requested_at: None, now, jitter: 0.0 };
            let desired = crate::spec::Desired { target: tenant.target.clone(), ..app_role() };
            tenant.status = checked(&tenant.status, &around, &desired, &seen).0;
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn no_history_locks_a_role(history in prop::collection::vec(any_event(), 0..120)) {
            let mut world = World {
                tenants: (0..8).map(Tenant::new).collect(),
                ledger: Ledger::new(Limits::default()),
                in_flight: Vec::new(),
                counted: [Vec::new(), Vec::new()],
                is_locked: false,
                now: at(1_000_000),
            };
            for event in &history {
                world.live(event)?;
            }
        }
    }

    /// A ledger in which logins of a connection to a server were refused so often, each with another credential.
    fn refused(namespace: &str, instance: &str, times: usize) -> Ledger {
        let mut ledger = Ledger::new(Limits::default());
        let roles = roles(&ledger, namespace, &target(instance), "role");
        for number in 0..times {
            let outcome = LoginOutcome::Refused;
            let credential = u64::try_from(number).expect("small");
            ledger.conclude((&connection(namespace, number), credential), &roles, &outcome, at(0));
        }
        ledger
    }

    fn decided(ledger: &mut Ledger, namespace: &str, instance: &str) -> Decision {
        let (target, name) = (target(instance), connection(namespace, 99));
        let roles = roles(ledger, namespace, &target, "role");
        let basis = Basis { target, versions: versions("1") };
        let attempt = Attempt { connection: &name, basis: &basis, credential: 99, answered: None };
        ledger.decide(&History::default(), &attempt, &roles, at(1))
    }

    #[test]
    fn what_a_server_says_of_itself_counts_within_a_kubernetes_namespace_alone() {
        let (real, lying) = ("https://vault.example.com", "https://lying.example.com");
        let held = |decision: Decision| matches!(decision, Decision::Hold { .. });
        assert!(held(decided(&mut refused("b", real, 2), "b", real)));
        assert!(!held(decided(&mut refused("a", lying, 4), "b", real)), "a stranger's server spends nothing");
        assert!(
            held(decided(&mut refused("b", "https://vault.internal", 2), "b", real)),
            "two addresses of one server"
        );

        let mut cleared = refused("b", real, 2);
        let others = roles(&cleared, "a", &target(lying), "role");
        cleared.conclude((&connection("a", 1), 1), &others, &LoginOutcome::Accepted, at(0));
        assert!(held(decided(&mut cleared, "b", real)), "and clears nothing");
    }

    #[test]
    fn who_could_not_try_is_called_when_a_login_of_the_role_is_accepted() {
        let real = "https://vault.example.com";
        let mut ledger = refused("b", real, 2);
        decided(&mut ledger, "b", real);
        let roles = roles(&ledger, "b", &target(real), "role");
        let triggered = ledger.conclude((&connection("b", 1), 1), &roles, &LoginOutcome::Accepted, at(2));
        assert_eq!(triggered, [connection("b", 99)]);
        assert_eq!(decided(&mut ledger, "b", real), Decision::Try);
    }

    #[test]
    fn a_wrong_credential_is_not_tried_again_because_another_was_accepted() {
        let real = "https://vault.example.com";
        let mut ledger = Ledger::new(Limits::default());
        let roles = roles(&ledger, "b", &target(real), "role");
        for second in [0, 1] {
            ledger.conclude((&connection("b", 1), 99), &roles, &LoginOutcome::Refused, at(second));
        }
        ledger.conclude((&connection("b", 2), 2), &roles, &LoginOutcome::Accepted, at(2));
        assert!(matches!(decided(&mut ledger, "b", real), Decision::Hold { .. }));
    }

    #[test]
    fn what_is_restored_counts_for_its_role_and_not_for_others_of_the_mount() {
        let desired = app_role();
        let refusal = |second| {
            let seen = Observation {
                fault: Some(LoginFault::InvalidCredentials.into()),
                no_login_before: Some(at(second + 900)),
                refused: vec![at(second)],
                refused_role: Some(
                    roles(&Ledger::new(Limits::default()), "b", &desired.target, "role").address().tag(),
                ),
                ..Observation::default()
            };
            let around = Circumstances { generation: 1, requested_at: None, now: at(second), jitter: 0.0 };
            checked(&VaultConnectionStatus::default(), &around, &desired, &seen).0
        };
        let mut ledger = Ledger::new(Limits::default());
        for (second, name) in [(0, 1), (1, 2)] {
            ledger.restored.found(&connection("b", name), &refusal(second));
        }
        let mut decide_for = |role_id: &str| {
            let (name, roles) = (connection("d", 99), roles(&ledger, "d", &desired.target, role_id));
            let basis = Basis { target: desired.target.clone(), versions: versions("1") };
            let attempt = Attempt { connection: &name, basis: &basis, credential: 99, answered: None };
            ledger.decide(&History::default(), &attempt, &roles, at(2))
        };
        assert!(matches!(decide_for("role"), Decision::Hold { .. }));
        assert_eq!(decide_for("another role"), Decision::Try);
    }
}
