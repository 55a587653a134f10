//! What is known of instances that fail: their connections share one question instead of asking each for itself.
//!
//! Only what `sys/health` shows is shared, since nothing else is equal for everybody. A healthy instance leaves no trace
//! here: each connection asks it for itself. So does a Ready connection when the instance answers that it cannot serve: what another saw
//! some seconds ago may be over, and nobody loses Ready by that. It shares only what takes long to find out: that no answer comes.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    names::{ConnectionRef, GatewayName, ObjectName},
    network::{faults::TransportFault, route::Route},
    verify::observation::Fault,
};

/// How often a failing instance is asked, over all connections to it.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The instances that fail.
#[derive(Debug, Default)]
pub struct Instances {
    failing: Mutex<HashMap<Arc<Route>, Failing>>,
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
}

#[derive(Debug)]
struct Failing {
    fault: Fault,
    asked: Instant,
    /// When the fault was seen, by somebody who was ready to wait so long.
    seen: (Instant, Duration),
    waiting: HashSet<ConnectionRef>,
}

// === impl Instances ===

impl Instances {
    /// Whether the instance failed when it was last asked.
    pub fn is_failing(&self, way: &Route) -> bool {
        self.lock().contains_key(way)
    }

    /// The fault that another connection has just seen, or is about to see again. None means: ask.
    pub fn known_fault(&self, way: &Route, asker: &Asker<'_>) -> Option<Fault> {
        let mut failing = self.lock();
        let fingerprints = failing.get_mut(way)?;
        if fingerprints.asked.elapsed() >= ASK_EVERY {
            // This connection asks for all; the others do not wait for its answer.
            fingerprints.asked = Instant::now();
            return None;
        }
        if !fingerprints.serves(asker) {
            return None;
        }
        fingerprints.waiting.insert(asker.connection.clone());
        Some(fingerprints.fault.clone())
    }

    /// Notes that the instance failed when it was asked at `asked`.
    pub fn failed(&self, way: &Arc<Route>, by: &Asker<'_>, fault: &Fault, asked: Instant) {
        let mut failing = self.lock();
        forget_unused(&mut failing);
        let seen = (Instant::now(), by.timeout);
        let fingerprints = failing.entry(Arc::clone(way)).or_insert_with(|| Failing {
            fault: fault.clone(),
            asked,
            seen,
            waiting: HashSet::new(),
        });
        (fingerprints.fault, fingerprints.seen) = (fault.clone(), seen);
        fingerprints.waiting.insert(by.connection.clone());
    }

    /// Notes that the instance serves, and tells which other connections waited for that.
    pub fn serves(&self, way: &Route, connection: &ConnectionRef) -> Vec<ConnectionRef> {
        let fingerprints = {
            let mut failing = self.lock();
            forget_unused(&mut failing);
            failing.remove(way)
        };
        let mut waiting =
            fingerprints.map(|mut fingerprints| mem::take(&mut fingerprints.waiting)).unwrap_or_default();
        waiting.remove(connection);
        waiting.into_iter().collect()
    }

    /// Forgets what was seen through a gateway that works again.
    pub fn forget_gateway(&self, gateway: &GatewayName) {
        let object = ObjectName::gateway(&gateway.name);
        let through = |way: &Route| {
            way.own.as_ref().is_some_and(|(namespace, objects)| {
                *namespace == gateway.namespace && objects.contains_key(&object)
            })
        };
        self.lock().retain(|way, _| !through(way));
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
        let is_silent = matches!(self.fault, Fault::Transport(_));
        let is_patient = timeout >= asker.timeout || self.fault != Fault::Transport(TransportFault::TimedOut);
        is_patient && asker.ready_since.is_none_or(|last| is_silent && seen > last)
    }
}

/// A way that no connection goes any more, since its spec or its CA bundle has changed, will not be asked about again.
fn forget_unused(failing: &mut HashMap<Arc<Route>, Failing>) {
    failing.retain(|way, _| Arc::strong_count(way) > 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        names::{InstanceUrl, ServerName},
        network::address_policy::AddressPolicy,
        vault::answer::ServerFault,
    };

    fn way() -> Arc<Route> {
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
        ConnectionRef { namespace: "ns".to_owned(), name: name.to_owned() }
    }

    fn asker(connection: &ConnectionRef) -> Asker<'_> {
        Asker { connection, timeout: Duration::from_secs(10), ready_since: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_instance_is_asked_once_in_five_seconds_over_all() {
        let (instances, way) = (Instances::default(), way());
        let sealed = Fault::Server(ServerFault::Sealed);
        let known_to = |name: &str| instances.known_fault(&way, &asker(&connection(name)));
        assert_eq!(known_to("a"), None);
        instances.failed(&way, &asker(&connection("a")), &sealed, Instant::now());
        assert_eq!(known_to("b"), Some(sealed.clone()));

        tokio::time::advance(ASK_EVERY).await;
        assert_eq!(known_to("c"), None, "c asks for all");
        assert_eq!(known_to("a"), Some(sealed.clone()));

        let another = Route { server_name: ServerName::parse("vault.internal").ok(), ..Route::clone(&way) };
        let answer = instances.known_fault(&another, &asker(&connection("d")));
        assert_eq!(answer, None, "another way, another answer");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ready_connection_asks_for_itself_unless_no_answer_comes() {
        let (a, b, way) = (connection("a"), connection("b"), way());
        let ready = |last| Asker { ready_since: Some(last), ..asker(&b) };
        let before = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        for (fault, shared) in
            [(Fault::Server(ServerFault::Sealed), false), (Fault::Transport(TransportFault::TimedOut), true)]
        {
            let instances = Instances::default();
            instances.failed(&way, &asker(&a), &fault, Instant::now());
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(instances.known_fault(&way, &ready(before)).is_some(), shared, "{fault:?}");
            let later = instances.known_fault(&way, &ready(Instant::now()));
            assert_eq!(later, None, "it has looked since");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_longer_is_not_told_that_no_answer_came() {
        let (instances, way) = (Instances::default(), way());
        let (a, b) = (connection("a"), connection("b"));
        let hasty = Asker { timeout: Duration::from_secs(1), ..asker(&a) };
        instances.failed(&way, &hasty, &Fault::Transport(TransportFault::TimedOut), Instant::now());
        assert_eq!(instances.known_fault(&way, &asker(&b)), None);
        assert!(instances.known_fault(&way, &hasty).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_waited_are_told_once_when_it_serves_again() {
        let (instances, way) = (Instances::default(), way());
        let sealed = Fault::Server(ServerFault::Sealed);
        instances.failed(&way, &asker(&connection("a")), &sealed, Instant::now());
        instances.known_fault(&way, &asker(&connection("b")));
        assert_eq!(instances.serves(&way, &connection("a")), [connection("b")]);
        assert_eq!(instances.serves(&way, &connection("a")), []);
        assert_eq!(instances.known_fault(&way, &asker(&connection("a"))), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_way_that_nobody_goes_any_more_is_forgotten() {
        let (instances, sealed) = (Instances::default(), Fault::Server(ServerFault::Sealed));
        let edited = |index: usize| {
            let name = ServerName::parse(&format!("vault-{index}.internal")).ok();
            Arc::new(Route { server_name: name, ..Route::clone(&way()) })
        };
        let last = edited(1_000);
        for index in 0..1_000 {
            instances.failed(&edited(index), &asker(&connection("a")), &sealed, Instant::now());
        }
        instances.failed(&last, &asker(&connection("a")), &sealed, Instant::now());
        assert_eq!(instances.lock().len(), 1);
        assert!(instances.is_failing(&last));
    }
}
