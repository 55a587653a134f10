//! How many failed logins count against each role now, for as long as some do. Bounded, and switched off with the metrics of
//! single objects: it names instances.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::jiff::Timestamp;

use super::catalogue::FAILED_LOGINS;

/// How many roles are reported, those with most failed logins: whoever has more looks for what they have in common.
const MAX_REPORTED: usize = 100;

/// How many roles are remembered.
const MAX_ROLES: usize = 1_000;

/// The roles with failed logins. A clone is the same table.
#[derive(Clone, Debug, Default)]
pub struct Budgets {
    roles: Option<Arc<Mutex<Roles>>>,
}

/// When each failed login of a role ceases to count.
type Roles = BTreeMap<FailingRole, Vec<Timestamp>>;

/// A role with failed logins. Of its role ID only the tag is known that statuses show, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FailingRole {
    /// The address of the instance.
    pub instance_url: String,
    /// The Vault namespace; empty for the root namespace.
    pub vault_namespace: String,
    /// The path of the auth method.
    pub mount: String,
    /// The tag of the role ID.
    pub role: String,
}

// === impl Budgets ===

impl Budgets {
    /// A table that is kept, or one that stays empty.
    pub fn new(enabled: bool) -> Self {
        Self { roles: enabled.then(Arc::default) }
    }

    /// Notes when each failed login that counts against a role ceases to count.
    pub fn note(
        &self,
        role: impl FnOnce() -> FailingRole,
        ends: impl FnOnce() -> Vec<Timestamp>,
        now: Timestamp,
    ) {
        let Some(mut roles) = self.lock() else { return };
        let (role, ends) = (role(), ends());
        if ends.is_empty() {
            roles.remove(&role);
            return;
        }
        if roles.len() >= MAX_ROLES {
            roles.retain(|_, ends| counting(ends, now) > 0);
        }
        if roles.len() < MAX_ROLES || roles.contains_key(&role) {
            roles.insert(role, ends);
        }
    }

    /// Writes them in `OpenMetrics`.
    pub fn write(&self, text: &mut String, now: Timestamp) {
        let Some(roles) = self.lock() else { return };
        let counted = roles.iter().map(|(role, ends)| (role.clone(), counting(ends, now)));
        let mut counted: Vec<_> = counted.filter(|(_, count)| *count > 0).collect();
        drop(roles);
        counted.sort_by_key(|(_, count)| Reverse(*count));
        counted.truncate(MAX_REPORTED);
        FAILED_LOGINS.write_head(text);
        for (FailingRole { instance_url, vault_namespace, mount, role }, count) in counted {
            let _ = write!(text, "{}{{instance_url=\"{}\"", FAILED_LOGINS.name, escaped(&instance_url));
            let _ = write!(text, ",vault_namespace=\"{}\"", escaped(&vault_namespace));
            let _ = writeln!(text, ",mount=\"{}\",role=\"{}\"}} {count}", escaped(&mount), escaped(&role));
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Roles>> {
        Some(self.roles.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many have not ended.
fn counting(ends: &[Timestamp], now: Timestamp) -> usize {
    ends.iter().filter(|end| **end > now).count()
}

/// A text as the value of a label: a mount can have any character that Vault takes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn role(mount: &str) -> FailingRole {
        FailingRole {
            instance_url: "https://vault.example.com".to_owned(),
            vault_namespace: "admin".to_owned(),
            mount: mount.to_owned(),
            role: "0a1b".to_owned(),
        }
    }

    fn series(budgets: &Budgets, now: i64) -> Vec<String> {
        let mut text = String::new();
        budgets.write(&mut text, at(now));
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn a_failed_login_is_reported_until_it_no_longer_counts() {
        let budgets = Budgets::new(true);
        budgets.note(|| role("a \"b\"\\"), || vec![at(10), at(20)], at(0));
        let line = |count| {
            format!(
                r#"{}{{instance_url="https://vault.example.com",vault_namespace="admin",mount="a \"b\"\\",role="0a1b"}} {count}"#,
                FAILED_LOGINS.name
            )
        };
        assert_eq!(series(&budgets, 0), [line(2)]);
        assert_eq!(series(&budgets, 10), [line(1)]);
        assert_eq!(series(&budgets, 20), [""; 0]);
        budgets.note(|| role("a \"b\"\\"), Vec::new, at(0));
        assert_eq!(series(&budgets, 0), [""; 0], "a login was accepted");
    }

    #[test]
    fn the_roles_with_most_are_reported_and_no_more_than_some() {
        let budgets = Budgets::new(true);
        for number in 0..2 * MAX_ROLES {
            budgets.note(|| role(&number.to_string()), || vec![at(10)], at(0));
        }
        budgets.note(|| role("7"), || vec![at(10); 4], at(0));
        let lines = series(&budgets, 0);
        assert_eq!(lines.len(), MAX_REPORTED);
        assert!(lines[0].contains("mount=\"7\"") && lines[0].ends_with(" 4"), "{}", lines[0]);
        budgets.note(|| role("late"), || vec![at(30)], at(20));
        assert_eq!(series(&budgets, 20).len(), 1, "those that ended make room");
        let off = Budgets::default();
        off.note(|| panic!("nobody asks"), || panic!("nobody asks"), at(0));
        assert_eq!(series(&off, 0), [""; 0]);
    }
}
