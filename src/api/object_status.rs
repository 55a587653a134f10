//! What the status of every kind of ours holds.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{gateway::VaultGatewayStatus, status::VaultConnectionStatus};

/// What the status of every kind holds. A kind says so by a line at the end of this file.
pub trait ObjectStatus {
    /// The generation of the spec that it is about.
    fn observed_generation(&self) -> Option<i64>;
    /// Its conditions.
    fn conditions(&self) -> &[Condition];
    /// When the last check was.
    fn last_check_time(&self) -> Option<&Time>;
    /// The last request for a check that was answered.
    fn last_handled_reconcile_at(&self) -> Option<&str>;
}

macro_rules! object_status {
    ($status:ty) => {
        impl ObjectStatus for $status {
            fn observed_generation(&self) -> Option<i64> {
                self.observed_generation
            }

            fn conditions(&self) -> &[Condition] {
                &self.conditions
            }

            fn last_check_time(&self) -> Option<&Time> {
                self.last_check_time.as_ref()
            }

            fn last_handled_reconcile_at(&self) -> Option<&str> {
                self.last_handled_reconcile_at.as_deref()
            }
        }
    };
}

object_status!(VaultConnectionStatus);
object_status!(VaultGatewayStatus);
