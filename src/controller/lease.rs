//! Which of several operators works: the one that holds the Lease.
//!
//! The rules are those of Kubernetes' own components: a holder renews, and the others take over what was not renewed for
//! its whole duration, by their own clocks. <https://kubernetes.io/docs/concepts/architecture/leases/>

use std::{future::Future, pin::pin, time::Duration};

use futures::{FutureExt, channel::oneshot, future::BoxFuture};
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff::Timestamp,
};
use kube::{Api, api::PostParams};
use tokio::time::{Instant, sleep, timeout};

/// How long a Lease is valid after its last renewal.
const VALID: Duration = Duration::from_secs(15);

/// How often the holder renews it: three times before it ends.
const RENEW: Duration = Duration::from_secs(5);

/// When the holder that could not renew it stops working: before anybody else may begin.
const GIVE_UP: Duration = Duration::from_secs(10);

/// How often the others look.
const LOOK: Duration = Duration::from_secs(2);

/// Longest wait for one answer of the API server: two tries fit before [`GIVE_UP`].
const ANSWER: Duration = Duration::from_secs(4);

/// A claim to the Lease, in the name of one process.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// The Lease is lost: another operator may be at work.
#[derive(Debug, thiserror::Error)]
#[error("failed to keep the Lease {0}: another operator may be at work now")]
pub struct Lost(String);

/// The last state of the Lease that was seen, and when it was seen first, by our own clock.
struct Seen {
    spec: LeaseSpec,
    since: Instant,
}

// === impl Candidate ===

impl Candidate {
    /// A claim to the Lease of this name. The identity must be this process's alone, such as the name of its pod.
    pub fn new(api: Api<Lease>, name: String, identity: String) -> Self {
        Self { api, name, identity }
    }

    /// Waits for the Lease and works while it is held. `work` is given a future that resolves when it must end, and has
    /// until [`VALID`] is over to do so.
    pub async fn lead<F: Future<Output = ()>>(
        &self,
        stop: impl Future<Output = ()>,
        work: impl FnOnce(BoxFuture<'static, ()>) -> F,
    ) -> Result<(), Lost> {
        let mut stop = pin!(stop);
        tokio::select! {
            () = self.acquire() => tracing::info!(lease = self.name, identity = self.identity, "this operator leads"),
            () = &mut stop => return Ok(()),
        }
        let (end, ended) = oneshot::channel::<()>();
        let mut work = pin!(work(ended.map(drop).boxed()));
        let lost = tokio::select! {
            () = &mut work => {
                self.release().await;
                return Ok(());
            }
            () = stop => false,
            () = self.keep() => true,
        };
        drop(end);
        work.await;
        if lost {
            return Err(Lost(self.name.clone()));
        }
        self.release().await;
        Ok(())
    }

    async fn acquire(&self) {
        let mut seen: Option<Seen> = None;
        loop {
            match self.look(&mut seen).await {
                Ok(Some(lease)) if is_free(&lease, seen.as_ref(), &self.identity) => {
                    if self.claim(lease).await.is_ok() {
                        return;
                    }
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, lease = self.name, "the Lease could not be read"),
            }
            sleep(LOOK).await;
        }
    }

    /// Reads the Lease, or makes an empty one that can be claimed.
    async fn look(&self, seen: &mut Option<Seen>) -> Result<Option<Lease>, kube::Error> {
        let Ok(found) = timeout(ANSWER, self.api.get_opt(&self.name)).await else { return Ok(None) };
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let lease = found?.unwrap_or(Lease { metadata, spec: None });
        let spec = lease.spec.clone().unwrap_or_default();
        if seen.as_ref().is_none_or(|seen| seen.spec != spec) {
            *seen = Some(Seen { spec, since: Instant::now() });
        }
        Ok(Some(lease))
    }

    /// Writes our name into the Lease. The resource version of what was read lets one claim win.
    async fn claim(&self, mut lease: Lease) -> Result<Lease, kube::Error> {
        let before = lease.spec.take().unwrap_or_default();
        let ours = before.holder_identity.as_ref() == Some(&self.identity);
        let now = Some(MicroTime(Timestamp::now()));
        lease.spec = Some(LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(VALID.as_secs()).ok(),
            acquire_time: if ours { before.acquire_time } else { now.clone() },
            renew_time: now,
            lease_transitions: Some(before.lease_transitions.unwrap_or_default() + i32::from(!ours)),
            ..before
        });
        let params = PostParams::default();
        if lease.metadata.resource_version.is_some() {
            self.api.replace(&self.name, &params, &lease).await
        } else {
            self.api.create(&params, &lease).await
        }
    }

    /// Renews the Lease until it is lost.
    async fn keep(&self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < GIVE_UP {
            sleep(if renewed.elapsed() < RENEW { RENEW } else { LOOK }).await;
            let began = Instant::now();
            match timeout(ANSWER, self.renew()).await {
                Ok(Ok(true)) => renewed = began,
                Ok(Ok(false)) => break,
                Ok(Err(error)) => tracing::warn!(%error, lease = self.name, "the Lease could not be renewed"),
                Err(_) => tracing::warn!(lease = self.name, "the Lease could not be renewed in time"),
            }
        }
    }

    /// Tells whether it is still ours.
    async fn renew(&self) -> Result<bool, kube::Error> {
        let lease = self.api.get(&self.name).await?;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref());
        if holder != Some(&self.identity) {
            return Ok(false);
        }
        self.claim(lease).await.map(|_| true)
    }

    /// Gives the Lease back, so that nobody has to wait for its end.
    async fn release(&self) {
        let give_back = async {
            let mut lease = self.api.get(&self.name).await?;
            if let Some(spec) =
                lease.spec.as_mut().filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity))
            {
                spec.holder_identity = None;
                self.api.replace(&self.name, &PostParams::default(), &lease).await?;
            }
            Ok::<_, kube::Error>(())
        };
        // It ends by itself otherwise.
        let _ = timeout(LOOK, give_back).await;
    }
}

/// Whether a Lease may be claimed: nobody holds it, we do, or it was not renewed for its whole duration.
fn is_free(lease: &Lease, seen: Option<&Seen>, identity: &str) -> bool {
    let spec = lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    if holder.is_empty() || holder == identity {
        return true;
    }
    let valid =
        spec.and_then(|spec| spec.lease_duration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
    seen.is_some_and(|seen| seen.since.elapsed() > valid.map_or(VALID, Duration::from_secs))
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

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_free_when_nobody_renews_it() {
        let seen =
            |lease: &Lease| Seen { spec: lease.spec.clone().unwrap_or_default(), since: Instant::now() };
        let held = lease(Some("other"));
        let since = seen(&held);
        assert!(!is_free(&held, Some(&since), "us"));
        assert!(is_free(&held, Some(&since), "other"), "it is ours");
        for free in [lease(None), lease(Some("")), Lease::default()] {
            assert!(is_free(&free, Some(&seen(&free)), "us"));
        }
        tokio::time::advance(Duration::from_secs(15)).await;
        assert!(!is_free(&held, Some(&since), "us"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(is_free(&held, Some(&since), "us"));
    }
}
