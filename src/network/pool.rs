//! Which endpoints of the gateways work, as far as anybody has seen, and in which order to try them.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    names::{EndpointUrl, GatewayName},
    network::faults::EndpointProblem,
};

/// The endpoints that failed when they were last used or checked.
#[derive(Debug, Default)]
pub struct Pool {
    failing: Mutex<HashSet<(GatewayName, EndpointUrl)>>,
}

// === impl Pool ===

impl Pool {
    /// The order in which to try the endpoints of a gateway: those that work in random order, then those that do not.
    /// `random` gives a number below the one given to it.
    pub(super) fn order<'a, E>(
        &self,
        gateway: &GatewayName,
        endpoints: &'a [E],
        url: impl Fn(&E) -> &EndpointUrl,
        mut random: impl FnMut(usize) -> usize,
    ) -> Vec<&'a E> {
        let mut order: Vec<&E> = endpoints.iter().collect();
        for end in (1..order.len()).rev() {
            order.swap(end, random(end + 1));
        }
        let failing = self.lock();
        order.sort_by_key(|endpoint| failing.contains(&(gateway.clone(), url(endpoint).clone())));
        order
    }

    /// Notes what became of a try. A proxy that gives no connection to one target may give it to another.
    pub fn note(&self, gateway: &GatewayName, endpoint: &EndpointUrl, problem: Option<&EndpointProblem>) {
        let key = (gateway.clone(), endpoint.clone());
        match problem {
            None | Some(EndpointProblem::TargetRefused) => self.lock().remove(&key),
            Some(
                EndpointProblem::Unreachable(_)
                | EndpointProblem::LoginRefused
                | EndpointProblem::LoginSchemes(_)
                | EndpointProblem::NotProxy,
            ) => self.lock().insert(key),
        };
    }

    /// Forgets a gateway.
    pub fn forget(&self, gateway: &GatewayName) {
        self.lock().retain(|(of, _)| of != gateway);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<(GatewayName, EndpointUrl)>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_work_come_first_in_random_order() {
        let gateway = GatewayName { namespace: "ns".into(), name: "g".into() };
        let endpoints =
            ["a", "b", "c"].map(|host| EndpointUrl::parse(&format!("http://{host}")).expect("valid"));
        let pool = Pool::default();
        let order = |first: bool| -> Vec<String> {
            let random = |below: usize| if first { 0 } else { below - 1 };
            let order = pool.order(&gateway, &endpoints, |url| url, random);
            order.into_iter().map(|url| url.host.to_string()).collect()
        };
        assert_eq!(order(false), ["a", "b", "c"]);
        assert_eq!(order(true), ["b", "c", "a"]);
        pool.note(&gateway, &endpoints[1], Some(&EndpointProblem::NotProxy));
        assert_eq!(order(false), ["a", "c", "b"]);
        assert_eq!(order(true), ["c", "a", "b"]);
        pool.note(&gateway, &endpoints[1], Some(&EndpointProblem::TargetRefused));
        assert_eq!(order(false), ["a", "b", "c"], "a proxy that answers works");
        pool.note(&gateway, &endpoints[0], Some(&EndpointProblem::LoginRefused));
        pool.forget(&gateway);
        assert_eq!(order(false), ["a", "b", "c"]);
    }
}
