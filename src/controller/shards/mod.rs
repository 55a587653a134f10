//! Several replicas that share the Kubernetes namespaces: which of them works on which.
//!
//! ```text
//!   Lease NAME            held by all of them together: keeps replicas out that want to work alone
//!   Lease NAME.shard-0    held by one replica, which publishes in it what it claims
//!   Lease NAME.shard-1    held by another ...
//!
//!   list of the Leases, each second ─▶ Member (pure) ─▶ grant ─▶ engines
//!                                             ▲          └─▶ the next write of our Lease, once the engines have adopted it
//!                                             └── adopted ── engines
//! ```
//!
//! Each replica holds one slot, a Lease that it renews like the leader does. It is put out of it by a write to that Lease, once it
//! was not renewed for its whole duration; its own fence has closed before. So what the API server has is the truth about who
//! takes part. Why no two replicas act on one namespace is in [`member`].

pub mod member;
pub mod ownership;
mod sightings;
pub mod view;

use std::{collections::BTreeMap, sync::OnceLock, time::Duration};

use futures::future::{BoxFuture, join_all};
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, ResourceExt as _, api::ListParams};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, sleep_until, timeout},
};

use self::{
    member::Member,
    ownership::Grantor,
    sightings::{Sightings, VIEW, holder},
    view::{Slot, View},
};
use super::lease::{LeaseDuration, Lost, RETRY_INTERVAL, Tenure, give_back, held_by, work_while_held, write};
use crate::{
    network::fence::{self, Fence},
    telemetry::{
        logs::chain,
        metrics::Metrics,
        serve::{Readiness, Stage},
    },
};

/// The Leases of the replicas that share the namespaces.
pub struct Slots {
    /// Those of the operator's own namespace.
    pub api: Api<Lease>,
    /// The name of each, without its number.
    pub name: String,
    /// How many there are.
    pub count: Slot,
    /// How long each is valid after a renewal.
    pub duration: LeaseDuration,
}

/// A claim to one of the slots, in the name of one process.
pub struct Replica {
    slots: Slots,
    identity: String,
    fence: Fence,
    readiness: Readiness,
    metrics: Metrics,
    grantor: Mutex<Grantor>,
    slot: OnceLock<Slot>,
}

/// The slot that we hold.
pub(super) struct Held {
    slot: Slot,
    lease: Lease,
    /// When the last renewal began.
    renewed: Duration,
    member: Member,
    sightings: Sightings,
}

/// What became of a write of our own Lease.
enum Renewal {
    Done,
    /// Somebody has changed it, and we still hold it.
    Changed,
    Failed,
    Lost,
}

// === impl Replica ===

impl Replica {
    /// A claim to one of these slots. The identity must be this process's alone. The fence is open while the slot is held.
    pub fn new(
        slots: Slots,
        identity: String,
        fence: Fence,
        grantor: Grantor,
        (readiness, metrics): (Readiness, Metrics),
    ) -> Self {
        let (grantor, slot) = (Mutex::new(grantor), OnceLock::new());
        Self { slots, identity, fence, readiness, metrics, grantor, slot }
    }

    /// Waits for a slot, and works while it is held, on what the others leave to us.
    pub async fn share<F: Future>(
        &self,
        stop: impl Future<Output = ()>,
        work: impl FnOnce(BoxFuture<'static, ()>) -> F,
    ) -> Result<(), Lost> {
        work_while_held(self, stop, work).await.map(|_| ())
    }

    /// Claims the first slot that is free.
    async fn claim_one(&self, leases: &BTreeMap<Slot, Lease>, sightings: &Sightings) -> Option<Held> {
        for slot in sightings.free(self.slots.count, self.slots.duration) {
            let metadata = ObjectMeta { name: Some(self.slots.name_of(slot)), ..ObjectMeta::default() };
            let lease = leases.get(&slot).cloned().unwrap_or(Lease { metadata, spec: None });
            let began = fence::now();
            if let Ok(Ok(lease)) =
                timeout(self.slots.duration.answer_timeout(), self.write(slot, lease, View::EMPTY)).await
            {
                let (member, sightings) = (Member::new(slot), Sightings::default());
                return Some(Held { slot, lease, renewed: began, member, sightings });
            }
        }
        None
    }

    /// Renews our Lease, or takes one, and publishes a view in it.
    async fn write(&self, slot: Slot, lease: Lease, view: View) -> Result<Lease, kube::Error> {
        let mut lease = held_by(lease, &self.identity, self.slots.duration);
        lease.annotations_mut().insert(VIEW.to_owned(), view.to_string());
        write(&self.slots.api, &self.slots.name_of(slot), &lease).await
    }

    /// Takes in a list of the Leases that began after so many publications of ours. Returns when to list them again.
    async fn take_in(&self, held: &mut Held, leases: &BTreeMap<Slot, Lease>, publications: u64) -> Duration {
        held.sightings.saw(leases);
        let others: Vec<_> = held.sightings.held(held.slot, self.slots.duration).collect();
        let waits = others.iter().map(|(_, seen)| seen.wait(self.slots.duration));
        let wait = waits.flatten().min().map_or(RETRY_INTERVAL, |wait| wait.min(RETRY_INTERVAL));
        let expired = others.iter().filter(|(_, seen)| seen.wait(self.slots.duration).is_none());
        // All at once: our own renewal waits for that.
        let put_out = join_all(expired.filter_map(|(_, seen)| seen.lease()).map(|it| self.put_out(it))).await;
        let claims = others.iter().map(|(slot, seen)| (*slot, seen.claim())).collect();
        let before = held.member.target();
        held.member.listed(&claims, publications);
        let shared_by = held.member.target();
        if before != shared_by {
            tracing::info!(replicas = %shared_by, slot = held.slot, "the replicas that share the namespaces changed");
            self.metrics.shards(shared_by.slots().count());
        }
        if put_out.contains(&true) { Duration::ZERO } else { wait }
    }

    /// Ends the hold of a replica that has not renewed its Lease. It has stopped sending before that, by its own clock. Of several
    /// that try one succeeds. Returns whether it is this one.
    async fn put_out(&self, lease: &Lease) -> bool {
        let mut free = lease.clone();
        if let Some(spec) = &mut free.spec {
            spec.holder_identity = None;
        }
        let name = lease.name_any();
        let is_out = matches!(timeout(RETRY_INTERVAL, write(&self.slots.api, &name, &free)).await, Ok(Ok(_)));
        if is_out {
            tracing::warn!(
                lease = name,
                holder = holder(lease),
                "a replica has not renewed its Lease; its namespaces move"
            );
        }
        is_out
    }

    /// Renews our Lease, and publishes in it what is to be published. Whether there is time for that is asked before anything is
    /// sent: this process may have stood still.
    async fn write_own(&self, held: &mut Held) -> Renewal {
        let (began, duration) = (fence::now(), self.slots.duration);
        let Some(left) = (held.renewed + duration.renew_deadline()).checked_sub(began) else {
            return Renewal::Lost;
        };
        let view = held.member.publish();
        let (patience, lease) = (left.min(duration.answer_timeout()), self.slots.name_of(held.slot));
        match timeout(patience, self.write(held.slot, held.lease.clone(), view)).await {
            Ok(Ok(written)) => {
                (held.lease, held.renewed) = (written, began);
                self.fence.extend(began + duration.send_deadline());
                held.member.published(view);
                Renewal::Done
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Renewal::Lost,
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => {
                match timeout(duration.answer_timeout(), self.slots.api.get(&lease)).await {
                    Ok(Ok(found)) if holder(&found) == Some(&self.identity) => {
                        held.lease = found;
                        Renewal::Changed
                    }
                    Ok(Ok(_)) => Renewal::Lost,
                    Ok(Err(_)) | Err(_) => Renewal::Failed,
                }
            }
            Ok(Err(error)) => {
                let error = chain(&error);
                tracing::warn!(error, lease, "failed to renew the Lease; retrying");
                Renewal::Failed
            }
            Err(_) => {
                tracing::warn!(lease, "timed out renewing the Lease; retrying");
                Renewal::Failed
            }
        }
    }
}

impl Tenure for Replica {
    type Held = Held;

    async fn acquire(&self) -> Held {
        let (mut sightings, mut reported) = (Sightings::default(), None);
        loop {
            match self.slots.list().await {
                Ok(leases) => {
                    sightings.saw(&leases);
                    if let Some(held) = self.claim_one(&leases, &sightings).await {
                        self.readiness.set(Stage::Starting);
                        self.fence.extend(held.renewed + self.slots.duration.send_deadline());
                        let lease = self.slots.name_of(held.slot);
                        tracing::info!(
                            lease,
                            identity = self.identity,
                            "acquired a Lease; this replica shares the namespaces"
                        );
                        let _ = self.slot.set(held.slot);
                        // How long the others have not renewed theirs goes on counting.
                        return Held { sightings, ..held };
                    }
                    self.readiness.set(Stage::Standby);
                }
                Err(error) if reported.as_ref() != Some(&error) => {
                    tracing::warn!(error, "failed to list the Leases; retrying");
                    reported = Some(error);
                }
                Err(_) => {}
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    async fn renew(&self, mut held: Held) {
        let duration = self.slots.duration;
        let mut grantor = self.grantor.lock().await;
        let mut reported = None;
        let look = async |wait: Duration, publications: u64| {
            sleep(wait).await;
            (publications, self.slots.list().await)
        };
        let mut list = Box::pin(look(Duration::ZERO, held.member.publications()));
        let (mut renew_at, mut publish_from) = (Instant::now() + duration.renew_interval(), Instant::now());
        loop {
            grantor.grant(held.member.grant());
            let write_at = if held.member.must_publish() { publish_from.min(renew_at) } else { renew_at };
            let adopted = held.member.has_adopted();
            tokio::select! {
                (publications, leases) = &mut list => {
                    let wait = match leases {
                        Ok(leases) => self.take_in(&mut held, &leases, publications).await,
                        Err(error) => {
                            if reported.as_ref() != Some(&error) {
                                tracing::warn!(error, "failed to list the Leases; retrying");
                                reported = Some(error);
                            }
                            RETRY_INTERVAL
                        }
                    };
                    list = Box::pin(look(wait, held.member.publications()));
                }
                number = grantor.adopted(adopted) => held.member.adopt(number),
                () = sleep_until(write_at) => {
                    let before = held.member.publications();
                    let (renew_in, publish_in) = match self.write_own(&mut held).await {
                        Renewal::Done => (duration.renew_interval(), Duration::ZERO),
                        Renewal::Changed => (Duration::ZERO, Duration::ZERO),
                        Renewal::Failed => (RETRY_INTERVAL, RETRY_INTERVAL),
                        Renewal::Lost => return,
                    };
                    let now = Instant::now();
                    (renew_at, publish_from) = (now + renew_in, now + publish_in);
                    if held.member.publications() != before {
                        // What the others claim now is to be seen at once.
                        list = Box::pin(look(Duration::ZERO, held.member.publications()));
                    }
                }
            }
        }
    }

    async fn release(&self) {
        self.fence.close();
        if let Some(slot) = self.slot.get() {
            let name = self.slots.name_of(*slot);
            let given_back = give_back(&self.slots.api, &name, &self.identity);
            // It ends by itself otherwise.
            let _ = timeout(self.slots.duration.answer_timeout(), given_back).await;
        }
    }

    fn lost(&self) -> Lost {
        Lost(self.slot.get().map_or_else(|| self.slots.name.clone(), |slot| self.slots.name_of(*slot)))
    }
}

// === impl Slots ===

impl Slots {
    fn name_of(&self, slot: Slot) -> String {
        view::lease_of(&self.name, slot)
    }

    /// The slot that a Lease is. Those above our count are of replicas that were started with another one.
    fn number_of(&self, lease: &Lease) -> Option<Slot> {
        view::slot_of(&self.name, lease.metadata.name.as_deref()?)
    }

    /// The Leases of the slots, as they are now: not as a cache of the API server has them.
    async fn list(&self) -> Result<BTreeMap<Slot, Lease>, String> {
        let numbered = |lease: Lease| self.number_of(&lease).map(|slot| (slot, lease));
        match timeout(self.duration.answer_timeout(), self.api.list(&ListParams::default())).await {
            Ok(Ok(list)) => Ok(list.items.into_iter().filter_map(numbered).collect()),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }
}
