//! How bad a verdict is for people who look after many objects: the order of lists that show the worst first.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::{
    api::condition::{ConditionType, FailureClass, Reason, Truth},
    conditions,
};

/// How bad it is. The order is that of a list, backwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// It works.
    Fine,
    /// Its user does not want it to be checked.
    Suspended,
    /// It works, and is about to fail.
    Warned,
    /// Nobody knows.
    NotKnown,
    /// It fails, and that may pass.
    Failing,
    /// It fails until a person acts.
    NeedsPerson,
}

// === impl Urgency ===

impl Urgency {
    /// How bad a condition is. Those beside Ready and its steps are bad when they are True.
    pub fn of(condition: &Condition) -> Self {
        let is = |other: ConditionType| condition.type_ == other.as_str();
        if is(ConditionType::CredentialsExpiring) || is(ConditionType::CertificateExpiring) {
            return Self::Warned;
        }
        if is(ConditionType::Stalled) {
            return Self::NeedsPerson;
        }
        if is(ConditionType::Reconciling) {
            return Self::Failing;
        }
        match conditions::reason(condition) {
            Some(Reason::Suspended) => Self::Suspended,
            _ if condition.status == Truth::True.as_str() => Self::Fine,
            _ if condition.status == Truth::Unknown.as_str() => Self::NotKnown,
            Some(reason) if reason.failure_class() == FailureClass::Terminal => Self::NeedsPerson,
            Some(_) | None => Self::Failing,
        }
    }

    /// How bad an object is, by its Ready. What is not about the present spec says nothing of it.
    pub fn of_object(ready: Option<&Condition>, is_current: bool, has_warnings: bool) -> Self {
        match ready.map(Self::of) {
            Some(Self::Fine) if !is_current => Self::NotKnown,
            Some(Self::Fine) if has_warnings => Self::Warned,
            Some(urgency) => urgency,
            None => Self::NotKnown,
        }
    }
}
