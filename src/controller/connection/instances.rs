//! What is known of instances that fail: their connections share one question instead of asking each for itself.
//!
//! Only what `sys/health` shows is shared, since nothing else is equal for everybody. A healthy instance leaves no trace
//! here: each connection asks it for itself.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    gateway::way::Way,
    refs::{ConnectionRef, GatewayName, ObjectName},
    verify::observation::Fault,
};

/// How often a failing instance is asked, over all connections to it.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The instances that fail.
#[derive(Debug, Default)]
pub struct Instances {
    failing: Mutex<HashMap<Way, Failing>>,
}

#[derive(Debug)]
struct Failing {
    fault: Fault,
    asked: Instant,
    waiting: HashSet<ConnectionRef>,
}

// === impl Instances ===

impl Instances {
    /// Whether the instance failed when it was last asked.
    pub fn is_failing(&self, way: &Way) -> bool {
        self.lock().contains_key(way)
    }

    /// The fault that another connection has just seen, or is about to see again. None means: ask.
    pub fn known_fault(&self, way: &Way, connection: &ConnectionRef) -> Option<Fault> {
        let mut failing = self.lock();
        let known = failing.get_mut(way)?;
        if known.asked.elapsed() >= ASK_EVERY {
            // This connection asks for all; the others do not wait for its answer.
            known.asked = Instant::now();
            return None;
        }
        known.waiting.insert(connection.clone());
        Some(known.fault.clone())
    }

    /// Notes that the instance failed when it was asked at `asked`.
    pub fn failed(&self, way: &Way, connection: &ConnectionRef, fault: &Fault, asked: Instant) {
        let mut failing = self.lock();
        let known = failing.entry(way.clone()).or_insert_with(|| Failing {
            fault: fault.clone(),
            asked,
            waiting: HashSet::new(),
        });
        known.fault = fault.clone();
        known.waiting.insert(connection.clone());
    }

    /// Notes that the instance serves, and tells which other connections waited for that.
    pub fn serves(&self, way: &Way, connection: &ConnectionRef) -> Vec<ConnectionRef> {
        let known = self.lock().remove(way);
        let mut waiting = known.map(|mut known| mem::take(&mut known.waiting)).unwrap_or_default();
        waiting.remove(connection);
        waiting.into_iter().collect()
    }

    /// Forgets what was seen through a gateway that works again.
    pub fn forget_gateway(&self, gateway: &GatewayName) {
        let object = ObjectName::gateway(&gateway.name);
        let through = |way: &Way| {
            way.own.as_ref().is_some_and(|(namespace, objects)| {
                *namespace == gateway.namespace && objects.contains_key(&object)
            })
        };
        self.lock().retain(|way, _| !through(way));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Way, Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        gateway::route::AddressPolicy,
        refs::{InstanceUrl, ServerName},
        vault::answer::ServerFault,
    };

    fn way() -> Way {
        let instance = InstanceUrl::parse("https://vault.example.com").expect("valid");
        Way {
            instance,
            server_name: None,
            authorities: None,
            own: None,
            rules: AddressPolicy::default().rules_for("ns"),
        }
    }

    fn connection(name: &str) -> ConnectionRef {
        ConnectionRef { namespace: "ns".to_owned(), name: name.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_instance_is_asked_once_in_five_seconds_over_all() {
        let instances = Instances::default();
        let sealed = Fault::Server(ServerFault::Sealed);
        assert_eq!(instances.known_fault(&way(), &connection("a")), None);
        instances.failed(&way(), &connection("a"), &sealed, Instant::now());
        assert_eq!(instances.known_fault(&way(), &connection("b")), Some(sealed.clone()));

        tokio::time::advance(ASK_EVERY).await;
        assert_eq!(instances.known_fault(&way(), &connection("c")), None, "c asks for all");
        assert_eq!(instances.known_fault(&way(), &connection("a")), Some(sealed.clone()));

        let another = Way { server_name: ServerName::parse("vault.internal").ok(), ..way() };
        assert_eq!(instances.known_fault(&another, &connection("d")), None, "another way, another answer");
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_waited_are_told_once_when_it_serves_again() {
        let instances = Instances::default();
        let sealed = Fault::Server(ServerFault::Sealed);
        instances.failed(&way(), &connection("a"), &sealed, Instant::now());
        instances.known_fault(&way(), &connection("b"));
        assert_eq!(instances.serves(&way(), &connection("a")), [connection("b")]);
        assert_eq!(instances.serves(&way(), &connection("a")), []);
        assert_eq!(instances.known_fault(&way(), &connection("a")), None);
    }
}
