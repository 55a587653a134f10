//! The part of a check that concerns the secrets engine that the login is for.

use super::steps::Check;
use crate::{
    references::References,
    session::{entry::Lease, sessions::Stop},
    vault::mounts,
    verify::engine,
};

impl<R: References> Check<'_, R> {
    /// Makes sure that the engine of `spec.require.secretSync` is there, when that is due. `is_granted` tells whether the
    /// login has every capability that is required; without them the engine is looked at always, since the mount may be
    /// what is wrong.
    pub(super) async fn check_engine(&mut self, lease: &Lease, is_granted: bool) -> Result<(), Stop> {
        let desired = self.subject.desired;
        let Some(required) = &desired.engine else { return Ok(()) };
        let versions = self.entry.known().memory.versions();
        {
            let mut memory = self.engine();
            if is_granted && !memory.is_due(desired, required, &versions) {
                memory.skipped();
                return Ok(());
            }
        }
        let answer =
            self.run.ask(&lease.client, mounts::request(&required.mount), Some(&lease.token)).await?;
        let one = mounts::read(&answer, &required.mount)?;
        // The first question costs no use of a token that has few; the second does.
        let all = if engine::needs_list(&one) && !lease.session().is_limited() {
            let answer = self.run.ask(&lease.client, mounts::request_all(), Some(&lease.token)).await?;
            Some(mounts::read_all(&answer, &required.mount)?)
        } else {
            None
        };
        engine::judge(required, &one, all.as_ref(), is_granted)?;
        if is_granted {
            self.engine().saw_good(desired, required, &versions);
        }
        Ok(())
    }
}
