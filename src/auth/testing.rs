//! What the tests of the methods have in common.

use super::{LoginFault, LoginMethod, Refusal, ServiceAccountRef};

/// Holds a method to what it says of answers with these texts: it explains each fault that it reads.
pub(crate) fn assert_refusals(method: &dyn LoginMethod, rows: &[(u16, &str, Option<LoginFault>)]) {
    for (status, text, expected) in rows {
        let text = text.to_lowercase();
        let refusal = Refusal { status: *status, says: &|words| text.contains(words) };
        assert_eq!(method.read_refusal(&refusal), *expected, "{status} {text}");
        let Some(fault) = expected else { continue };
        let explained = method.explain(fault, "POST auth/mount/login");
        assert!(explained.is_some_and(|text| text.ends_with('.')), "{fault:?} is not explained");
    }
}

pub(crate) fn service_account() -> ServiceAccountRef {
    let audiences = vec!["vault".to_owned()];
    ServiceAccountRef { name: "sync".to_owned(), audiences, expiration_seconds: 600 }
}
