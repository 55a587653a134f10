//! What is known of instances that fail: their connections share one question instead of asking each for itself.
//!
//! Only what `sys/health` shows is shared, since nothing else is equal for everybody. A healthy instance leaves no trace
//! here: each connection asks it for itself. What is shared is never older than a few seconds, and a Ready connection takes it only if it
//! was seen after its own last check.
//!
//! A failing instance is asked every five seconds as long as a connection waits for it, however long it has been failing and however few
//! they are: [`Instances::probers`] tells whose turn that is. So nobody waits for long once it serves again.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::{
    names::{ConnectionRef, GatewayName, ObjectName},
    network::{faults::TransportFault, route::Route},
    verify::observation::Fault,
};

/// How often a failing instance is asked, over all connections to it.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// How often is decided whether a failing instance is to be asked.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How many failing instances are asked at one tick, over all of them: who has thousands that fail asks each less often.
const MAX_PROBES: usize = 16;

/// The same for those of one Kubernetes namespace, so that no tenant takes the turns of all others.
const MAX_PROBES_PER_NAMESPACE: usize = 4;

/// After that time a probe that was begun has ended in any case: the longest `check.timeout`, and some time for the network.
const PROBE_TIMEOUT: Duration = Duration::from_secs(70);

/// The instances that fail.
#[derive(Debug, Default)]
pub struct Instances {
    failing: Mutex<HashMap<Arc<Route>, Failing>>,
    news: Notify,
}

/// Who wants to know of a failing instance.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The connection.
    pub connection: &'a ConnectionRef,
    /// How long it would wait for an answer.
    pub timeout: Duration,
    /// While it is Ready: when it last had an observation of its own or of another.
    pub ready_since: Option<Instant>,
    /// Whether it keeps a session, so that it needs no login when the instance serves again.
    pub has_session: bool,
}

#[derive(Debug)]
struct Failing {
    fault: Fault,
    asked: Instant,
    /// When the fault was seen, by somebody who was ready to wait so long.
    seen: (Instant, Duration),
    /// Who waits for the instance, and whether it keeps a session.
    waiting: BTreeMap<ConnectionRef, bool>,
}

// === impl Instances ===

impl Instances {
    /// Whether the instance failed when it was last asked.
    pub fn is_failing(&self, route: &Route) -> bool {
        self.lock().contains_key(route)
    }

    /// The fault that another connection has just seen, or is about to see again. None means: ask.
    pub fn known_fault(&self, route: &Route, asker: &Asker<'_>) -> Option<Fault> {
        let mut failing = self.lock();
        let failure = failing.get_mut(route)?;
        if failure.asked.elapsed() >= PROBE_INTERVAL {
            // This connection asks for all; the others do not wait for its answer.
            failure.asked = Instant::now();
            return None;
        }
        if !failure.serves(asker) {
            return None;
        }
        failure.waiting.insert(asker.connection.clone(), asker.has_session);
        Some(failure.fault.clone())
    }

    /// Notes that the instance failed when it was asked at `asked`.
    pub fn failed(&self, route: &Arc<Route>, by: &Asker<'_>, fault: &Fault, asked: Instant) {
        let mut failing = self.lock();
        forget_unused(&mut failing);
        let seen = (Instant::now(), by.timeout);
        let failure = failing.entry(Arc::clone(route)).or_insert_with(|| Failing {
            fault: fault.clone(),
            asked,
            seen,
            waiting: BTreeMap::new(),
        });
        (failure.fault, failure.seen) = (fault.clone(), seen);
        failure.waiting.insert(by.connection.clone(), by.has_session);
        self.news.notify_one();
    }

    /// Waits until failing instances are to be asked again, and tells which connections are to do that.
    pub async fn probers(&self) -> Vec<ConnectionRef> {
        loop {
            if self.lock().is_empty() {
                self.news.notified().await;
            }
            sleep(POLL_INTERVAL).await;
            let probers = self.take_probers();
            if !probers.is_empty() {
                return probers;
            }
        }
    }

    /// One connection for each instance that is to be asked now. It no longer waits, until it has asked; should it be gone, another
    /// one is next.
    fn take_probers(&self) -> Vec<ConnectionRef> {
        let mut failing = self.lock();
        forget_unused(&mut failing);
        let mut due: Vec<_> = failing.values_mut().filter(|it| it.is_probe_due()).collect();
        due.sort_by_key(|it| it.asked);
        let mut of_namespace: HashMap<Arc<str>, usize> = HashMap::new();
        let mut probers = Vec::new();
        for instance in due {
            let Some((connection, _)) = instance.waiting.first_key_value() else { continue };
            let taken = of_namespace.entry(connection.namespace.clone()).or_default();
            if *taken < MAX_PROBES_PER_NAMESPACE && probers.len() < MAX_PROBES {
                *taken += 1;
                probers.extend(instance.waiting.pop_first().map(|(connection, _)| connection));
            }
        }
        probers
    }

    /// Notes that the instance serves, and tells which other connections waited for that: first those that keep a session, which
    /// are done soonest.
    pub fn serves(&self, route: &Route, connection: &ConnectionRef) -> Vec<ConnectionRef> {
        let failure = {
            let mut failing = self.lock();
            forget_unused(&mut failing);
            failing.remove(route)
        };
        let mut waiting = failure.map(|mut failure| mem::take(&mut failure.waiting)).unwrap_or_default();
        waiting.remove(connection);
        let mut waiting: Vec<_> = waiting.into_iter().collect();
        waiting.sort_by_key(|(_, has_session)| Reverse(*has_session));
        waiting.into_iter().map(|(connection, _)| connection).collect()
    }

    /// Forgets what was seen through a gateway that works again.
    pub fn forget_gateway(&self, gateway: &GatewayName) {
        let object = ObjectName::gateway(&gateway.name);
        let through = |route: &Route| {
            route.own.as_ref().is_some_and(|(namespace, objects)| {
                **namespace == *gateway.namespace && objects.contains(&object)
            })
        };
        self.lock().retain(|route, _| !through(route));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<Route>, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Failing ===

impl Failing {
    /// Whether what was seen says as much as this connection would see.
    fn serves(&self, asker: &Asker<'_>) -> bool {
        let (seen, timeout) = self.seen;
        let is_patient = timeout >= asker.timeout || self.fault != Fault::Transport(TransportFault::TimedOut);
        is_patient && asker.ready_since.is_none_or(|last| seen > last)
    }

    /// Whether somebody is to ask now: nobody does, and the server wants no longer rest.
    fn is_probe_due(&self) -> bool {
        let rest = PROBE_INTERVAL.max(self.fault.retry_after().unwrap_or_default());
        let is_answered = self.seen.0 >= self.asked || self.asked.elapsed() >= PROBE_TIMEOUT;
        is_answered && self.asked.elapsed() >= rest
    }
}

/// A route that no connection takes any more, since its spec or its CA bundle has changed, will not be asked about again.
fn forget_unused(failing: &mut HashMap<Arc<Route>, Failing>) {
    failing.retain(|route, _| Arc::strong_count(route) > 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::{InstanceUrl, ServerName},
        network::address_policy::AddressPolicy,
        vault::answer::ServerFault,
    };

    fn route() -> Arc<Route> {
        let instance = InstanceUrl::parse("https://vault.example.com").expect("valid");
        Arc::new(Route {
            instance,
            server_name: None,
            authorities: None,
            own: None,
            rules: AddressPolicy::default().rules_for("ns"),
        })
    }

    fn connection(name: &str) -> ConnectionRef {
        ConnectionRef { namespace: "ns".into(), name: name.into() }
    }

    fn asker(connection: &ConnectionRef) -> Asker<'_> {
        Asker { connection, timeout: Duration::from_secs(10), ready_since: None, has_session: false }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_instance_is_asked_once_in_five_seconds_over_all() {
        let (instances, route) = (Instances::default(), route());
        let sealed = Fault::Server(ServerFault::Sealed);
        let known_to = |name: &str| instances.known_fault(&route, &asker(&connection(name)));
        assert_eq!(known_to("a"), None);
        instances.failed(&route, &asker(&connection("a")), &sealed, Instant::now());
        assert_eq!(known_to("b"), Some(sealed.clone()));

        tokio::time::advance(PROBE_INTERVAL).await;
        assert_eq!(known_to("c"), None, "c asks for all");
        assert_eq!(known_to("a"), Some(sealed.clone()));

        let another = Route { server_name: ServerName::parse("vault.internal").ok(), ..Route::clone(&route) };
        let answer = instances.known_fault(&another, &asker(&connection("d")));
        assert_eq!(answer, None, "another route, another answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ready_connection_takes_only_what_was_seen_after_its_own_last_check() {
        let (a, b, route) = (connection("a"), connection("b"), route());
        let ready = |last| Asker { ready_since: Some(last), ..asker(&b) };
        let before = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        for fault in [Fault::Server(ServerFault::Sealed), Fault::Transport(TransportFault::TimedOut)] {
            let instances = Instances::default();
            instances.failed(&route, &asker(&a), &fault, Instant::now());
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(instances.known_fault(&route, &ready(before)), Some(fault.clone()));
            let later = instances.known_fault(&route, &ready(Instant::now()));
            assert_eq!(later, None, "it has checked since");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_longer_does_not_learn_that_no_answer_came() {
        let (instances, route) = (Instances::default(), route());
        let (a, b) = (connection("a"), connection("b"));
        let hasty = Asker { timeout: Duration::from_secs(1), ..asker(&a) };
        instances.failed(&route, &hasty, &Fault::Transport(TransportFault::TimedOut), Instant::now());
        assert_eq!(instances.known_fault(&route, &asker(&b)), None);
        assert!(instances.known_fault(&route, &hasty).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_waited_are_reported_once_when_it_serves_again() {
        let (instances, route) = (Instances::default(), route());
        let sealed = Fault::Server(ServerFault::Sealed);
        instances.failed(&route, &asker(&connection("a")), &sealed, Instant::now());
        instances.known_fault(&route, &asker(&connection("b")));
        assert_eq!(instances.serves(&route, &connection("a")), [connection("b")]);
        assert_eq!(instances.serves(&route, &connection("a")), []);
        assert_eq!(instances.known_fault(&route, &asker(&connection("a"))), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_that_nobody_goes_any_more_is_forgotten() {
        let (instances, sealed) = (Instances::default(), Fault::Server(ServerFault::Sealed));
        let edited = |index: usize| {
            let name = ServerName::parse(&format!("vault-{index}.internal")).ok();
            Arc::new(Route { server_name: name, ..Route::clone(&route()) })
        };
        let last = edited(1_000);
        for index in 0..1_000 {
            instances.failed(&edited(index), &asker(&connection("a")), &sealed, Instant::now());
        }
        instances.failed(&last, &asker(&connection("a")), &sealed, Instant::now());
        assert_eq!(instances.lock().len(), 1);
        assert!(instances.is_failing(&last));
    }

    /// The connections that are to ask in a number of ticks, each of which finds the instance failing.
    async fn ask_for(instances: &Instances, route: &Arc<Route>, ticks: u32, fault: &Fault) -> Vec<String> {
        let mut asked = Vec::new();
        for _ in 0..ticks {
            tokio::time::advance(POLL_INTERVAL).await;
            for prober in instances.take_probers() {
                assert_eq!(instances.known_fault(route, &asker(&prober)), None, "it is to ask");
                instances.failed(route, &asker(&prober), fault, Instant::now());
                asked.push(prober.name.to_string());
            }
        }
        asked
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_instance_is_asked_every_five_seconds_however_long_it_fails_and_however_many_wait() {
        const MINUTES: u32 = 60;
        let sealed = Fault::Server(ServerFault::Sealed);
        for waiting in [1, 3, 100] {
            let (instances, route) = (Instances::default(), route());
            instances.failed(&route, &asker(&connection("0")), &sealed, Instant::now());
            for name in 1..waiting {
                instances.known_fault(&route, &asker(&connection(&name.to_string())));
            }
            let asked = ask_for(&instances, &route, MINUTES * 120, &sealed).await;
            assert_eq!(asked.len(), 60 * 12, "{waiting} wait");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_to_wait_longer_is_left_alone_until_then() {
        let (instances, route) = (Instances::default(), route());
        let busy = Fault::Server(ServerFault::RateLimited { retry_after: Some(Duration::from_secs(30)) });
        instances.failed(&route, &asker(&connection("a")), &busy, Instant::now());
        assert_eq!(ask_for(&instances, &route, 120, &busy).await.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_under_way_is_not_asked_again_and_one_that_is_gone_stops_nobody() {
        let (instances, route) = (Instances::default(), route());
        let sealed = Fault::Server(ServerFault::Sealed);
        instances.failed(&route, &asker(&connection("a")), &sealed, Instant::now());
        instances.known_fault(&route, &asker(&connection("b")));
        tokio::time::advance(PROBE_INTERVAL).await;
        assert_eq!(instances.take_probers(), [connection("a")], "it was deleted, and asks nobody");
        assert_eq!(instances.take_probers(), [connection("b")]);
        assert_eq!(instances.known_fault(&route, &asker(&connection("b"))), None);
        instances.known_fault(&route, &asker(&connection("c")));
        tokio::time::advance(PROBE_INTERVAL * 2).await;
        assert_eq!(instances.take_probers(), [], "b still waits for an answer");
        instances.failed(&route, &asker(&connection("b")), &sealed, Instant::now() - PROBE_INTERVAL * 2);
        assert_eq!(instances.take_probers(), [connection("b")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_with_many_failing_instances_takes_a_bounded_number_of_turns() {
        let (instances, sealed) = (Instances::default(), Fault::Server(ServerFault::Sealed));
        let routes: Vec<_> = (0..100)
            .map(|index| {
                let name = ServerName::parse(&format!("vault-{index}.internal")).ok();
                Arc::new(Route { server_name: name, ..Route::clone(&route()) })
            })
            .collect();
        for (index, route) in routes.iter().enumerate() {
            instances.failed(route, &asker(&connection(&index.to_string())), &sealed, Instant::now());
        }
        let other = ConnectionRef { namespace: "other".into(), name: "a".into() };
        let used = route();
        instances.failed(&used, &asker(&other), &sealed, Instant::now());
        tokio::time::advance(PROBE_INTERVAL).await;
        let probers = instances.take_probers();
        assert_eq!(probers.len(), MAX_PROBES_PER_NAMESPACE + 1);
        assert!(probers.contains(&other));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_keep_a_session_go_first() {
        let (instances, route) = (Instances::default(), route());
        let sealed = Fault::Server(ServerFault::Sealed);
        for (name, has_session) in [("a", false), ("b", true), ("c", false), ("d", true)] {
            let connection = connection(name);
            instances.failed(&route, &Asker { has_session, ..asker(&connection) }, &sealed, Instant::now());
        }
        let order = instances.serves(&route, &connection("c"));
        assert_eq!(order, ["b", "d", "a"].map(connection));
    }
}
