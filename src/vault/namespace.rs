//! Whether a token is of any use in the Vault namespace that a connection names.
//!
//! Vault answers `lookup-self` with 200 in *any* namespace, whichever the token belongs to; there everything else that the token
//! asks is refused. So that answer alone does not earn a Ready: its `namespace_path` must fit. What OpenBao 2.7.2 does:
//!
//! | token of | used in | lookup-self | anything else |
//! |---|---|---|---|
//! | `team-a` | `team-a` | 200 | by its policies |
//! | `team-a` | root, `team-b` | 200 | 403 |
//! | `team-a` | `team-a/child` | 200 | 403, but for what its policies allow on `child/...` |
//! | root, policy `root` | any | 200 | allowed |
//!
//! Pure.

use super::{
    health::Health,
    token::{SelfFault, TokenInfo, TokenNamespace},
};
use crate::names::VaultNamespace;

/// Where a token comes from, and what is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Use<'a> {
    /// The namespace that the connection names; none for the root namespace.
    pub wanted: Option<&'a VaultNamespace>,
    /// Whether we logged in for it in that namespace, so that it can only be of another one if the server ignores namespaces.
    pub from_login: bool,
    /// Whether the server is asked what the token may do in that namespace.
    pub asks_capabilities: bool,
}

/// How the namespace of a token lies to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Same,
    Ancestor,
    Elsewhere,
}

/// Whether a namespace may be named at all, by what the instance tells of itself: HashiCorp's Community Edition has none, and
/// answers as if nothing had been said.
pub fn supported(wanted: Option<&VaultNamespace>, health: &Health) -> Result<(), SelfFault> {
    match wanted {
        Some(_) if health.has_no_namespaces() => Err(SelfFault::NamespacesUnsupported),
        _ => Ok(()),
    }
}

/// Whether a token that was looked up fits the namespace.
pub fn fits(token: &TokenInfo, usage: Use<'_>) -> Result<(), SelfFault> {
    match (&token.namespace, relation(&token.namespace, usage.wanted)) {
        // Nothing is known of it yet.
        (TokenNamespace::NotReported, _) | (_, Relation::Same) => Ok(()),
        (TokenNamespace::Root, Relation::Ancestor) if usage.from_login => {
            Err(SelfFault::NamespacesUnsupported)
        }
        (TokenNamespace::Root, Relation::Ancestor) if token.policies.iter().any(|name| name == "root") => {
            Ok(())
        }
        // What the policies of a parent allow in the child, the answer to that question tells.
        (_, Relation::Ancestor) if usage.asks_capabilities => Ok(()),
        (_, Relation::Ancestor | Relation::Elsewhere) => Err(mismatch(token)),
    }
}

/// What a refusal means for a token that was looked up: one of another namespace is refused everything.
pub fn explain(fault: SelfFault, token: Option<&TokenInfo>, wanted: Option<&VaultNamespace>) -> SelfFault {
    match (&fault, token) {
        (SelfFault::NotPermitted { .. }, Some(token))
            if relation(&token.namespace, wanted) != Relation::Same =>
        {
            mismatch(token)
        }
        _ => fault,
    }
}

fn mismatch(token: &TokenInfo) -> SelfFault {
    SelfFault::NamespaceMismatch {
        of: match &token.namespace {
            TokenNamespace::NotReported | TokenNamespace::Root => None,
            TokenNamespace::Path(path) => Some(path.clone()),
        },
    }
}

fn relation(own: &TokenNamespace, wanted: Option<&VaultNamespace>) -> Relation {
    let below =
        |path: &str, wanted: &str| wanted.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
    match (own, wanted.map(VaultNamespace::as_str)) {
        (TokenNamespace::NotReported, _) | (TokenNamespace::Root, None) => Relation::Same,
        (TokenNamespace::Root, Some(_)) => Relation::Ancestor,
        (TokenNamespace::Path(path), Some(wanted)) if path == wanted => Relation::Same,
        (TokenNamespace::Path(path), Some(wanted)) if below(path, wanted) => Relation::Ancestor,
        (TokenNamespace::Path(_), _) => Relation::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Operation;

    fn token(of: &str, policies: &[&str]) -> TokenInfo {
        let namespace = match of {
            "" => TokenNamespace::Root,
            path => TokenNamespace::Path(path.to_owned()),
        };
        TokenInfo {
            namespace,
            policies: policies.iter().map(|&name| name.to_owned()).collect(),
            ..TokenInfo::default()
        }
    }

    fn fit(
        token: &TokenInfo,
        wanted: &str,
        from_login: bool,
        asks_capabilities: bool,
    ) -> Result<(), SelfFault> {
        let wanted = VaultNamespace::parse(wanted).expect("valid");
        fits(token, Use { wanted: wanted.as_ref(), from_login, asks_capabilities })
    }

    #[test]
    fn a_users_token_serves_in_its_own_namespace() {
        let other = |of: &str| Err(SelfFault::NamespaceMismatch { of: Some(of.to_owned()) });
        let table = [
            ("", "p", "", false, Ok(())),
            ("team-a", "p", "team-a", false, Ok(())),
            ("team-a", "p", "", false, other("team-a")),
            ("team-a", "p", "", true, other("team-a")),
            ("team-a", "p", "team-b", false, other("team-a")),
            ("team-a", "p", "team-ab", false, other("team-a")),
            ("team-a", "p", "team-a/child", false, other("team-a")),
            ("team-a", "p", "team-a/child", true, Ok(())),
            ("team-a/child", "p", "team-a", true, other("team-a/child")),
            ("", "root", "team-a", false, Ok(())),
            ("", "p", "team-a", false, Err(SelfFault::NamespaceMismatch { of: None })),
            ("", "p", "team-a", true, Ok(())),
            ("team-a", "root", "team-b", true, other("team-a")),
        ];
        for (of, policy, wanted, asks, expected) in table {
            assert_eq!(fit(&token(of, &[policy]), wanted, false, asks), expected, "{of} in {wanted}");
        }
        assert_eq!(fit(&TokenInfo::default(), "team-a", false, false), Ok(()), "nothing is known yet");
    }

    #[test]
    fn a_login_in_a_namespace_that_gives_a_root_token_shows_that_the_header_was_ignored() {
        for asks in [false, true] {
            assert_eq!(fit(&token("", &["p"]), "team-a", true, asks), Err(SelfFault::NamespacesUnsupported));
            assert_eq!(fit(&token("team-a", &["p"]), "team-a", true, asks), Ok(()));
            assert_eq!(fit(&token("", &["p"]), "", true, asks), Ok(()));
        }
    }

    #[test]
    fn a_refusal_outside_of_the_tokens_namespace_is_reported_as_that() {
        let refused = SelfFault::NotPermitted { at: Operation::CapabilitiesSelf };
        let wanted = VaultNamespace::parse("team-a/child").expect("valid");
        let mismatch = SelfFault::NamespaceMismatch { of: Some("team-a".to_owned()) };
        assert_eq!(explain(refused.clone(), Some(&token("team-a", &[])), wanted.as_ref()), mismatch);
        assert_eq!(explain(refused.clone(), Some(&token("team-a/child", &[])), wanted.as_ref()), refused);
        assert_eq!(explain(refused.clone(), None, wanted.as_ref()), refused);
        assert_eq!(explain(SelfFault::Rejected, Some(&token("team-a", &[])), None), SelfFault::Rejected);
    }

    #[test]
    fn a_community_edition_has_no_namespaces() {
        let community = Health { enterprise: Some(false), ..Health::default() };
        let wanted = VaultNamespace::parse("team-a").expect("valid");
        assert_eq!(supported(wanted.as_ref(), &community), Err(SelfFault::NamespacesUnsupported));
        assert_eq!(supported(None, &community), Ok(()));
        assert_eq!(supported(wanted.as_ref(), &Health::default()), Ok(()));
    }
}
