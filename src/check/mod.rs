//! The steps of one check: what `run` does for a connection that is due, and `check` for a manifest.
//!
//! ```text
//!   Checker ── what all checks share: references, dialer, instances, logins, metrics
//!   Subject ── what is checked, and why now ─┐
//!   CheckState ─ what is kept between checks ┴─▶ session::acquire ─▶ self-check ─▶ engine ─▶ Outcome
//! ```
//!
//! It knows neither a queue nor a status: whoever calls it judges the observation and publishes that. What it takes to have a login is
//! the business of [`session`](crate::session), of which a check is one user.

mod engine;
mod steps;

pub use self::steps::CheckState;
use self::steps::observe;
pub use crate::session::sessions::Subject;
use crate::{
    names::ConnectionRef,
    network::dial::Dialer,
    references::References,
    session::{instances::Instances, logins::Logins, sessions::Sessions},
    telemetry::metrics::Metrics,
    verify::observation::Observation,
};

/// What all checks share.
pub struct Checker<R> {
    /// Where objects are read.
    pub references: R,
    /// The route to instances.
    pub dialer: Dialer,
    /// Which instances fail.
    pub instances: Instances,
    /// Who may log in.
    pub logins: Logins,
    /// What is counted.
    pub metrics: Metrics,
}

/// What a check leads to.
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and it is taken apart at once")]
pub enum Outcome {
    /// It was made.
    Checked(Checked),
    /// The operator stops, or the connection is gone. That is no verdict, and says nothing of the instance.
    GivenUp,
}

/// What a check saw.
pub struct Checked {
    /// What was seen.
    pub observation: Observation,
    /// Other connections that waited for the instance, which serves again.
    pub waited: Vec<ConnectionRef>,
}

// === impl Checker ===

impl<R: References> Checker<R> {
    /// Checks a connection. `Err` says that the source of the references failed.
    pub async fn check(&self, subject: &Subject<'_>, state: &CheckState) -> Result<Outcome, R::Error> {
        observe(self, subject, state).await
    }

    /// Sessions, made with what all checks share.
    pub fn sessions(&self) -> Sessions<'_, R> {
        let Self { references, dialer, instances, logins, metrics } = self;
        Sessions { references, dialer, instances, logins, metrics }
    }
}
