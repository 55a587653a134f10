//! How many logins of one role may be refused before nobody may try.
//!
//! Vault locks an AppRole for everybody after 5 refused logins within 15 minutes, for 15 minutes:
//! <https://developer.hashicorp.com/vault/docs/concepts/user-lockout>. We spend two of the five on credentials that just
//! do not work, and two more on those that a person has put in their place. The fifth is never ours.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;

use super::session::later;

/// How long a refused login counts. Vault's own default.
pub const WINDOW: Duration = Duration::from_mins(15);

/// How many refused logins there may be in one window before a login is tried whose outcome is not known.
const MOST_REFUSED: usize = 2;

/// The same for a credential that was changed after its connection had been refused: it is likely to be right.
const MOST_REFUSED_BEFORE_A_CHANGE: usize = 4;

/// The refused logins of one role, over all connections that use it.
#[derive(Clone, Debug, Default)]
pub struct Budget {
    refused: Vec<Timestamp>,
}

// === impl Budget ===

impl Budget {
    /// Whether a login may be tried whose outcome is not known; if not, when it may. `changed` says that the credential
    /// was changed after its connection had been refused.
    pub fn permit(&mut self, now: Timestamp, changed: bool) -> Result<(), Timestamp> {
        self.refused.retain(|time| now < later(*time, WINDOW));
        let most = if changed { MOST_REFUSED_BEFORE_A_CHANGE } else { MOST_REFUSED };
        match self.refused.iter().rev().nth(most - 1) {
            // Once it leaves the window, fewer than `most` are left.
            Some(time) => Err(later(*time, WINDOW)),
            None => Ok(()),
        }
    }

    /// Whether a login would be permitted if these refused ones were of the same role as well.
    pub fn permits_beside(&self, unsure: &[Timestamp], now: Timestamp, changed: bool) -> bool {
        let mut worst = self.clone();
        worst.recall(unsure);
        worst.permit(now, changed).is_ok()
    }

    /// Notes a login that was refused.
    pub fn refused(&mut self, now: Timestamp) {
        self.refused.push(now);
    }

    /// Notes refused logins that an earlier process saw.
    pub fn recall(&mut self, refused: &[Timestamp]) {
        self.refused.extend(refused);
        self.refused.sort_unstable();
    }

    /// Notes a login that was accepted: Vault then forgets the refused ones, and so do we.
    pub fn accepted(&mut self) {
        self.refused.clear();
    }

    /// Whether nothing would be lost by dropping it.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        self.refused.iter().all(|time| now >= later(*time, WINDOW))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::testing::at;

    #[test]
    fn two_refused_logins_in_a_window_are_enough() {
        let mut budget = Budget::default();
        assert_eq!(budget.permit(at(0), false), Ok(()));
        budget.refused(at(0));
        assert_eq!(budget.permit(at(60), false), Ok(()));
        budget.refused(at(60));
        assert_eq!(budget.permit(at(61), false), Err(at(900)));
        assert_eq!(budget.permit(at(899), false), Err(at(900)));
        assert_eq!(budget.permit(at(900), false), Ok(()));
        budget.refused(at(900));
        assert_eq!(budget.permit(at(901), false), Err(at(960)));
        assert!(!budget.is_idle(at(1799)) && budget.is_idle(at(1800)));
    }

    #[test]
    fn a_changed_credential_may_try_again_but_never_spends_the_fifth() {
        let mut budget = Budget::default();
        for second in 0..2 {
            budget.refused(at(second));
        }
        assert_eq!(budget.permit(at(2), false), Err(at(900)));
        for second in 2..4 {
            assert_eq!(budget.permit(at(second), true), Ok(()));
            budget.refused(at(second));
        }
        assert_eq!(budget.permit(at(4), true), Err(at(900)));
        assert_eq!(budget.permit(at(4), false), Err(at(902)), "the two that others spent count longer");
    }

    #[test]
    fn what_an_earlier_process_saw_counts() {
        let mut budget = Budget::default();
        budget.refused(at(31));
        assert!(budget.permits_beside(&[], at(31), false) && !budget.permits_beside(&[at(0)], at(31), false));
        assert!(budget.permits_beside(&[at(0)], at(900), false), "it counts no longer");
        budget.recall(&[at(0)]);
        assert_eq!(budget.permit(at(31), false), Err(at(900)));
    }

    #[test]
    fn an_accepted_login_clears_the_account() {
        let mut budget = Budget::default();
        budget.refused(at(0));
        budget.refused(at(1));
        budget.accepted();
        assert_eq!(budget.permit(at(2), false), Ok(()));
    }
}
