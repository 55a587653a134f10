//! Which of several operators works: the one that holds the Lease.
//!
//! The rules are those of Kubernetes' own components: a holder renews, and the others take over what was not renewed for
//! its whole duration, by their own clocks. <https://kubernetes.io/docs/concepts/architecture/leases/>

use std::{future::Future, ops::RangeInclusive, pin::pin, time::Duration};

use futures::{FutureExt, channel::oneshot, future::BoxFuture};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, api::PostParams};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    network::fence::{self, Fence},
    telemetry::{
        logs::chain,
        serve::{Readiness, Stage},
    },
};

/// How often the others read the Lease, and how soon a renewal that failed is tried again. Who takes over from a holder that has
/// stopped by itself works within two of these.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// What a holder does after it stopped renewing takes up to 4.5 s, so that it must begin to stop this long before its Lease
/// ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Before the end of a Lease, nothing is sent any more for this time: whoever takes over may have another clock rate.
const SAFETY_MARGIN: Duration = Duration::from_millis(500);

/// Shortest wait for a Lease: at the very end of its duration it is still held.
const MIN_WAIT: Duration = Duration::from_millis(1);

/// No answer of the API server is waited for longer, however long a Lease is valid.
const MAX_ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a Lease is valid, and what follows from that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseDuration(Duration);

/// A claim to the Lease, in the name of one process.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    duration: LeaseDuration,
    fence: Fence,
    readiness: Readiness,
}

/// The holder of a Lease that several processes keep together, so that no process works that wants it alone.
const SHARED: &str = "shared";

/// The Lease is lost: another operator may be at work.
#[derive(Debug, thiserror::Error)]
#[error("failed to keep the Lease {0}: another operator may be at work now")]
pub struct Lost(pub(super) String);

/// The last state of the Lease that was read, and when it was read first, by our own clock.
pub(super) struct Observed {
    pub(super) spec: LeaseSpec,
    pub(super) since: Instant,
}

/// The right to work, which ends when it is not renewed.
pub(super) trait Tenure {
    /// What has been acquired.
    type Held;

    /// Waits until it is ours.
    fn acquire(&self) -> impl Future<Output = Self::Held>;

    /// Renews it until it is lost.
    fn renew(&self, held: Self::Held) -> impl Future<Output = ()>;

    /// Gives it back, so that nobody has to wait for its end.
    fn release(&self) -> impl Future<Output = ()>;

    /// What is lost.
    fn lost(&self) -> Lost;
}

/// Waits for the right to work, and works while it is held. `work` is given a future that resolves when it must end, and has
/// until [`LeaseDuration::send_deadline`] to do so. None when it had to end before it began.
pub(super) async fn work_while_held<T: Tenure, F: Future>(
    tenure: &T,
    stop: impl Future<Output = ()>,
    work: impl FnOnce(BoxFuture<'static, ()>) -> F,
) -> Result<Option<F::Output>, Lost> {
    let mut stop = pin!(stop);
    let held = tokio::select! {
        held = tenure.acquire() => held,
        () = &mut stop => return Ok(None),
    };
    let (end, ended) = oneshot::channel::<()>();
    let mut work = pin!(work(ended.map(drop).boxed()));
    let mut renewal = pin!(tenure.renew(held));
    let lost = tokio::select! {
        output = &mut work => {
            tenure.release().await;
            return Ok(Some(output));
        }
        () = stop => false,
        () = &mut renewal => true,
    };
    drop(end);
    if !lost {
        // To revoke many sessions can take longer than a renewal lasts.
        tokio::select! {
            output = &mut work => {
                tenure.release().await;
                return Ok(Some(output));
            }
            () = &mut renewal => {}
        }
    }
    work.await;
    Err(tenure.lost())
}

// === impl LeaseDuration ===

impl LeaseDuration {
    /// The shortest leaves time for two tries of a renewal; the longest is what anybody would wait for a new leader.
    pub const SECONDS: RangeInclusive<u64> = 10..=300;

    /// A duration of whole seconds within [`SECONDS`](Self::SECONDS).
    pub fn new(duration: Duration) -> Option<Self> {
        let is_valid = Self::SECONDS.contains(&duration.as_secs()) && duration.subsec_nanos() == 0;
        is_valid.then_some(Self(duration))
    }

    /// What is left of it after this time.
    pub(super) fn checked_sub(self, age: Duration) -> Option<Duration> {
        self.0.checked_sub(age).map(|rest| rest + MIN_WAIT)
    }

    /// When the holder that could not renew it stops working.
    pub(super) fn renew_deadline(self) -> Duration {
        self.0.saturating_sub(STOP_TIMEOUT)
    }

    /// After what time without a renewal nothing is sent any more, whatever is in flight: before anybody else may begin.
    pub(super) fn send_deadline(self) -> Duration {
        self.0.saturating_sub(SAFETY_MARGIN)
    }

    /// How often the holder renews it: every two seconds by default, as Kubernetes' own components do.
    pub(super) fn renew_interval(self) -> Duration {
        self.renew_deadline() / 4
    }

    /// Longest wait for one answer of the API server: two tries fit before the renew deadline.
    pub(super) fn answer_timeout(self) -> Duration {
        (self.renew_deadline().saturating_sub(self.renew_interval()) / 2).min(MAX_ANSWER_TIMEOUT)
    }
}

impl Default for LeaseDuration {
    /// Another replica sees a renewal up to [`RETRY_INTERVAL`] late, so that it works within 15 s of a crash.
    fn default() -> Self {
        Self(Duration::from_secs(13))
    }
}

// === impl Candidate ===

impl Candidate {
    /// A claim to the Lease of this name. The identity must be this process's alone, such as the name of its pod. The fence is
    /// open while the Lease is held.
    pub fn new(
        api: Api<Lease>,
        (name, duration): (String, LeaseDuration),
        identity: String,
        fence: Fence,
        readiness: Readiness,
    ) -> Self {
        Self { api, name, identity, duration, fence, readiness }
    }

    /// A claim to the Lease of this name that several processes make together: it keeps those out that want it alone.
    pub fn shared(
        api: Api<Lease>,
        (name, duration): (String, LeaseDuration),
        fence: Fence,
        readiness: Readiness,
    ) -> Self {
        Self::new(api, (name, duration), SHARED.to_owned(), fence, readiness)
    }

    fn is_shared(&self) -> bool {
        self.identity == SHARED
    }

    /// Waits for the Lease and works while it is held. `work` is given a future that resolves when it must end. None when it had to
    /// end before it began.
    pub async fn lead<F: Future>(
        &self,
        stop: impl Future<Output = ()>,
        work: impl FnOnce(BoxFuture<'static, ()>) -> F,
    ) -> Result<Option<F::Output>, Lost> {
        work_while_held(self, stop, work).await
    }
}

impl Tenure for Candidate {
    type Held = (Lease, Duration);

    /// Waits until the Lease is ours. Returns it, and when the claim began.
    async fn acquire(&self) -> (Lease, Duration) {
        let mut observed: Option<Observed> = None;
        let mut reported = None;
        loop {
            match self.observe(&mut observed).await {
                Ok(Some(lease)) => match wait_until_free(&lease, observed.as_ref(), &self.identity) {
                    None => {
                        let began = fence::now();
                        if let Ok(Ok(lease)) =
                            timeout(self.duration.answer_timeout(), self.claim(lease)).await
                        {
                            self.readiness.set(Stage::Starting);
                            self.fence.extend(began + self.duration.send_deadline());
                            if !self.is_shared() {
                                tracing::info!(
                                    lease = self.name,
                                    identity = self.identity,
                                    "acquired the Lease; this replica is active"
                                );
                            }
                            return (lease, began);
                        }
                    }
                    Some(wait) => {
                        self.readiness.set(Stage::Standby);
                        sleep(wait.min(RETRY_INTERVAL)).await;
                        continue;
                    }
                },
                Ok(None) => {}
                Err(error) => {
                    let error = chain(&error);
                    if reported.as_ref() != Some(&error) {
                        tracing::warn!(error, lease = self.name, "failed to read the Lease; retrying");
                        reported = Some(error);
                    }
                }
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Renews the Lease until it is lost, or was not renewed in time. Whether it was is asked before anything is sent: this
    /// process may have stood still.
    async fn renew(&self, (mut lease, mut renewed): (Lease, Duration)) {
        let mut wait = self.duration.renew_interval();
        loop {
            sleep(wait).await;
            let began = fence::now();
            let Some(left) = (renewed + self.duration.renew_deadline()).checked_sub(began) else { return };
            wait = RETRY_INTERVAL;
            match timeout(left.min(self.duration.answer_timeout()), self.claim(lease.clone())).await {
                Ok(Ok(claimed)) => {
                    (lease, renewed, wait) = (claimed, began, self.duration.renew_interval());
                    self.fence.extend(renewed + self.duration.send_deadline());
                }
                Ok(Err(kube::Error::Api(status))) if status.code == 409 || status.code == 404 => {
                    // Somebody else has changed it, or an answer of ours was lost.
                    if (renewed + self.duration.renew_deadline()).checked_sub(fence::now()).is_none() {
                        return;
                    }
                    if let Ok(Ok(found)) =
                        timeout(self.duration.answer_timeout(), self.api.get(&self.name)).await
                    {
                        let holder = found.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
                        if holder != Some(&self.identity) {
                            return;
                        }
                        lease = found;
                        if self.is_shared() {
                            // Another one that shares it was quicker; we need an answer of our own.
                            wait = Duration::ZERO;
                        }
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = chain(&error),
                        lease = self.name,
                        "failed to renew the Lease; retrying"
                    );
                }
                Err(_) => {
                    tracing::warn!(lease = self.name, "timed out renewing the Lease; retrying");
                }
            }
        }
    }

    /// One that is shared is left to the others.
    async fn release(&self) {
        self.fence.close();
        if !self.is_shared() {
            let given_back = give_back(&self.api, &self.name, &self.identity);
            let _ = timeout(self.duration.answer_timeout(), given_back).await;
        }
    }

    fn lost(&self) -> Lost {
        Lost(self.name.clone())
    }
}

impl Candidate {
    /// Reads the Lease, or makes an empty one that can be claimed.
    async fn observe(&self, observed: &mut Option<Observed>) -> Result<Option<Lease>, kube::Error> {
        let Ok(found) = timeout(self.duration.answer_timeout(), self.api.get_opt(&self.name)).await else {
            return Ok(None);
        };
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let lease = found?.unwrap_or(Lease { metadata, spec: None });
        let spec = lease.spec.clone().unwrap_or_default();
        if observed.as_ref().is_none_or(|observed| observed.spec != spec) {
            *observed = Some(Observed { spec, since: Instant::now() });
        }
        Ok(Some(lease))
    }

    /// Writes our name into the Lease. The resource version of what was read lets one claim win.
    async fn claim(&self, lease: Lease) -> Result<Lease, kube::Error> {
        write(&self.api, &self.name, &held_by(lease, &self.identity, self.duration)).await
    }
}

/// A Lease as its holder writes it.
pub(super) fn held_by(mut lease: Lease, identity: &str, duration: LeaseDuration) -> Lease {
    let before = lease.spec.take().unwrap_or_default();
    let ours = before.holder_identity.as_deref() == Some(identity);
    let now = Some(MicroTime(Timestamp::now()));
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(duration.0.as_secs()).ok(),
        acquire_time: if ours { before.acquire_time } else { now.clone() },
        renew_time: now,
        lease_transitions: Some(before.lease_transitions.unwrap_or_default() + i32::from(!ours)),
        ..before
    });
    lease
}

/// Writes a Lease, if it is still in the state that was read.
pub(super) async fn write(api: &Api<Lease>, name: &str, lease: &Lease) -> Result<Lease, kube::Error> {
    let params = PostParams::default();
    if lease.metadata.resource_version.is_some() {
        api.replace(name, &params, lease).await
    } else {
        api.create(&params, lease).await
    }
}

/// Gives a Lease back, if it is still held by us. It ends by itself otherwise.
pub(super) async fn give_back(api: &Api<Lease>, name: &str, identity: &str) -> Result<(), kube::Error> {
    let mut lease = api.get(name).await?;
    if let Some(spec) = lease.spec.as_mut().filter(|spec| spec.holder_identity.as_deref() == Some(identity)) {
        spec.holder_identity = None;
        api.replace(name, &PostParams::default(), &lease).await?;
    }
    Ok(())
}

/// How long until a Lease may be claimed, as far as can be known now. None: at once, since nobody holds it, we do, or it was
/// not renewed for its whole duration.
pub(super) fn wait_until_free(
    lease: &Lease,
    observed: Option<&Observed>,
    identity: &str,
) -> Option<Duration> {
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    if holder.is_empty() || holder == identity {
        return None;
    }
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds);
    let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    let age = observed.map_or(Duration::ZERO, |observed| observed.since.elapsed());
    seconds.map_or_else(LeaseDuration::default, LeaseDuration).checked_sub(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: Option<&str>) -> Lease {
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        Lease { metadata: ObjectMeta::default(), spec: Some(spec) }
    }

    #[test]
    fn a_holder_has_stopped_before_its_lease_ends_whatever_its_duration() {
        for seconds in LeaseDuration::SECONDS {
            let duration = LeaseDuration::new(Duration::from_secs(seconds)).expect("within bounds");
            let tries = duration.renew_interval() + duration.answer_timeout() * 2;
            assert!(tries <= duration.renew_deadline(), "{seconds}: two tries fit");
            assert!(duration.answer_timeout() >= Duration::from_secs(1), "{seconds}");
            assert!(duration.renew_deadline() + Duration::from_millis(4500) <= duration.send_deadline());
            assert!(duration.send_deadline() < duration.0, "{seconds}");
        }
        assert_eq!(LeaseDuration::default().renew_interval(), Duration::from_secs(2));
        for refused in [Duration::from_secs(9), Duration::from_secs(301), Duration::from_millis(13_500)] {
            assert_eq!(LeaseDuration::new(refused), None, "{refused:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_free_when_nobody_renews_it() {
        let observed =
            |lease: &Lease| Observed { spec: lease.spec.clone().unwrap_or_default(), since: Instant::now() };
        let held = lease(Some("other"));
        let since = observed(&held);
        let is_free = |lease: &Lease, observed: &Observed, identity| {
            wait_until_free(lease, Some(observed), identity).is_none()
        };
        assert!(!is_free(&held, &since, "us"));
        assert!(is_free(&held, &since, "other"), "it is ours");
        for free in [lease(None), lease(Some("")), Lease::default()] {
            assert!(is_free(&free, &observed(&free), "us"));
        }
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(!is_free(&held, &since, "us"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(is_free(&held, &since, "us"));
    }
}
