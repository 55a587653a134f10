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
    /// The same fields, to be written.
    fn header_mut(&mut self) -> Header<'_>;
}

/// The fields that the status of every kind holds.
pub struct Header<'a> {
    /// The generation of the spec that it is about.
    pub observed_generation: &'a mut Option<i64>,
    /// Its conditions.
    pub conditions: &'a mut Vec<Condition>,
    /// When the last check was.
    pub last_check_time: &'a mut Option<Time>,
    /// When the next one is planned.
    pub next_check_time: &'a mut Option<Time>,
    /// The last request for a check that was answered.
    pub last_handled_reconcile_at: &'a mut Option<String>,
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

            fn header_mut(&mut self) -> Header<'_> {
                Header {
                    observed_generation: &mut self.observed_generation,
                    conditions: &mut self.conditions,
                    last_check_time: &mut self.last_check_time,
                    next_check_time: &mut self.next_check_time,
                    last_handled_reconcile_at: &mut self.last_handled_reconcile_at,
                }
            }
        }
    };
}

object_status!(VaultConnectionStatus);
object_status!(VaultGatewayStatus);
