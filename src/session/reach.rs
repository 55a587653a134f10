//! How an instance is reached: whether it may be dialled, over which client, and whether it serves.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    acquire::Acquisition,
    course::Event,
    entry::Link,
    instances::Asker,
    lending,
    sessions::{Stop, Subject},
};
use crate::{
    network::route::Route,
    references::{References, resolve::Resolved},
    vault::{
        client::Client,
        health::{self, Health},
        namespace,
    },
};

// === impl Acquisition ===

impl<R: References> Acquisition<'_, R> {
    /// Makes sure that the address may be dialled, and that the instance serves.
    pub(super) async fn reach(&mut self) -> Result<Event, Stop> {
        let link = self.dial()?;
        self.link = Some(link.clone());
        self.ask_health(&link).await?;
        if let Some(health) = &self.trace.seen.health {
            namespace::supported(self.subject.desired.target.namespace.as_ref(), health)?;
        }
        Ok(Event::Serves)
    }

    /// Makes sure that the address may be dialled, and finds the client for it. The connection may have been released meanwhile.
    fn dial(&mut self) -> Result<Link, Stop> {
        let Subject { connection, desired, .. } = *self.subject;
        let (target, dialer) = (&desired.target, self.sessions.dialer);
        let rules = dialer.rules_for(&connection.namespace);
        let mut known = self.entry.known();
        if known.link.as_ref().is_some_and(|link| link.target != *target) {
            // A session of another address or namespace cannot serve until the new one works.
            known.leave_target();
        }
        if let Err(fault) = dialer.permit(&rules, &target.instance) {
            known.give_up_route();
            return Err(fault.into());
        }
        let Some((Resolved { route: material, .. }, _)) = &self.read else {
            return known.link.clone().ok_or(Stop::GivenUp);
        };
        let route = Route::new(&target.instance, &connection.namespace, material, &rules);
        if let Some(link) = known.link.as_ref().filter(|link| link.target == *target && *link.route == route)
        {
            return Ok(link.clone());
        }
        let (route, http) = dialer.client(route, material);
        let client = Client::new(http, &route, target.namespace.clone(), &connection.namespace);
        let link = Link { target: target.clone(), route, client };
        known.lending.reroute(&link.lent());
        known.link = Some(link.clone());
        Ok(link)
    }

    async fn ask_health(&mut self, Link { route, client, .. }: &Link) -> Result<(), Stop> {
        let (instances, connection) = (self.sessions.instances, self.subject.connection);
        let from = {
            let mut known = self.entry.known();
            // What another connection sees of a failing instance saves this one from waiting for no answer, too.
            if !known.memory.needs_health() && !instances.is_failing(route) {
                known.memory.skipped_health();
                self.trace.seen.health = known.memory.health().cloned();
                return Ok(());
            }
            let ready_since = known.checked_at.filter(|_| self.subject.is_ready);
            let timeout = self.subject.desired.timeout;
            Asker { connection, timeout, ready_since, has_session: known.has_session() }
        };
        if let Some(fault) = instances.known_fault(route, &from) {
            return Err(fault.into());
        }
        let asked = Instant::now();
        match self.read_health(client).await {
            Ok(health) => {
                self.trace.waited.extend(instances.serves(route, connection));
                self.trace.seen.health = Some(health.clone());
                self.entry.known().memory.saw_health(health);
                Ok(())
            }
            Err(stop) => {
                // Who gives up has not waited for the answer, so that others can take nothing from it.
                if let Stop::Fault(fault) = &stop {
                    instances.failed(route, &from, fault, asked);
                }
                Err(stop)
            }
        }
    }

    async fn read_health(&mut self, client: &Client) -> Result<Health, Stop> {
        let answer = self.ask(client, health::request(), None).await?;
        match health::read(&answer) {
            // Where a firewall keeps the health from us, Vault is known by how it refuses. Nothing secret is sent until then.
            Err(_) if health::is_withheld(&answer) => {
                self.trace.seen.asked.is_refused();
                let answer = self.ask(client, health::probe(), None).await?;
                Ok(health::read_probe(&answer)?)
            }
            read => Ok(read?),
        }
    }
}

// === impl Link ===

impl Link {
    /// What a session has of it.
    pub(super) fn lent(&self) -> lending::Route {
        lending::Route { client: self.client.clone(), rules: Arc::clone(&self.route.rules) }
    }
}
