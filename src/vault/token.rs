//! Our own token: look at it, renew it, end it.
//!
//! <https://developer.hashicorp.com/vault/api-docs/auth/token>

use std::time::Duration;

use super::{
    Operation, Request,
    answer::{Answer, ServerFault},
    fields::{Count, Label, Policies, Seconds, fields},
};

/// What Vault says of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenInfo {
    /// `service` or `batch`.
    pub kind: Option<String>,
    /// Its policies: the first of them, if `policies_cut`.
    pub policies: Vec<String>,
    /// Whether it has more policies than are kept.
    pub policies_cut: bool,
    /// What is left of its life; none when it does not expire.
    pub ttl: Option<Duration>,
    /// Whether it can be renewed.
    pub renewable: bool,
    /// How often it can still be used; none when that is not limited.
    pub uses_left: Option<i64>,
    /// Vault's name for the login.
    pub display_name: Option<String>,
    /// When it was created, in seconds since the epoch.
    pub created: Option<i64>,
    /// Its life if it is never renewed, or the longest that renewals can make it.
    pub longest_life: Option<Duration>,
    /// Its life as it was issued.
    pub issued_life: Option<Duration>,
    /// For a periodic token: the life that each renewal gives, without end.
    pub period: Option<Duration>,
    /// Whether it outlives the token that created it.
    pub orphan: Option<bool>,
    /// The Vault namespace that it belongs to.
    pub namespace: TokenNamespace,
}

/// The Vault namespace that a token belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TokenNamespace {
    /// The token was not looked up yet.
    #[default]
    NotReported,
    /// The root namespace, or that of a Vault which has no others.
    Root,
    /// Another one: its path, without a slash at its end. It is the server's own text.
    Path(String),
}

/// Why a token cannot be used on itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelfFault {
    /// The server cannot serve us.
    Server(ServerFault),
    /// The token is not accepted: wrong, expired, revoked, used up, or from an address that is not allowed.
    Rejected,
    /// The token was accepted, but its uses did not last for the check.
    UsedUp,
    /// The token is accepted, but its policies do not even allow this.
    NotPermitted {
        /// What they do not allow.
        at: Operation,
    },
    /// The Vault namespace does not exist.
    NamespaceNotFound,
    /// A Vault namespace is asked for, and this Vault has none.
    NamespacesUnsupported,
    /// The token belongs to another Vault namespace.
    NamespaceMismatch {
        /// The one that it belongs to; none for the root namespace.
        of: Option<String>,
    },
    /// An answer that Vault's documentation does not name.
    Unexpected {
        /// What was asked.
        at: Operation,
        /// Its HTTP status code.
        status: u16,
    },
}

fields! {
    struct LookupBody {
        data: Option<Lookup> = "data",
    }

    /// What `handleLookup` of HashiCorp's token store puts into `data`.
    struct Lookup {
        kind: Label = "type",
        policies: Policies = "policies",
        ttl: Seconds = "ttl",
        renewable: bool = "renewable",
        num_uses: Count = "num_uses",
        display_name: Label = "display_name",
        creation_time: Option<Count> = "creation_time",
        creation_ttl: Seconds = "creation_ttl",
        explicit_max_ttl: Seconds = "explicit_max_ttl",
        period: Seconds = "period",
        orphan: Option<bool> = "orphan",
        namespace_path: String = "namespace_path",
    }

    struct RenewBody {
        auth: Option<Renewed> = "auth",
    }

    struct Renewed {
        lease_duration: Seconds = "lease_duration",
    }
}

/// Asks what the token is.
pub fn lookup() -> Request {
    Request { operation: Operation::LookupSelf, path: "auth/token/lookup-self".to_owned(), body: None }
}

/// Asks for something that any living token may ask, and that spends no use of it: the path needs no login, but looks at the
/// token that comes along.
pub fn watch() -> Request {
    Request {
        operation: Operation::WatchToken,
        path: "sys/internal/ui/mounts/cubbyhole".to_owned(),
        body: None,
    }
}

/// Asks for a longer life.
pub fn renew() -> Request {
    let body = Some(b"{}".to_vec().into());
    Request { operation: Operation::RenewSelf, path: "auth/token/renew-self".to_owned(), body }
}

/// Ends the token, and every lease that hangs on it.
pub fn revoke() -> Request {
    let body = Some(b"{}".to_vec().into());
    Request { operation: Operation::RevokeSelf, path: "auth/token/revoke-self".to_owned(), body }
}

/// Reads the answer to [`lookup`].
pub fn read_lookup(answer: &Answer) -> Result<TokenInfo, SelfFault> {
    let at = Operation::LookupSelf;
    refusal(answer, at)?;
    let unexpected = SelfFault::Unexpected { at, status: answer.status };
    let data = answer.json::<LookupBody>().and_then(|body| body.data).ok_or(unexpected)?;
    Ok(TokenInfo {
        kind: data.kind.0,
        policies: data.policies.names,
        policies_cut: data.policies.cut,
        ttl: life(data.ttl.0),
        created: data.creation_time.map(|time| time.0),
        longest_life: match life(data.explicit_max_ttl.0) {
            None if data.renewable => None,
            None => life(data.creation_ttl.0),
            longest => longest,
        },
        issued_life: life(data.creation_ttl.0),
        period: life(data.period.0),
        orphan: data.orphan,
        renewable: data.renewable,
        // The answer counts the lookup itself: a token that was used up is no longer found.
        uses_left: uses(data.num_uses),
        display_name: data.display_name.0,
        namespace: TokenNamespace::of(data.namespace_path),
    })
}

/// Reads the answer to [`watch`]: whether the token is alive.
pub fn read_watch(answer: &Answer) -> Result<(), SelfFault> {
    // What is refused to the policies of a living token is refused in other words than a dead one.
    if answer.status == 403 && answer.error_says("preflight capability check") {
        return Ok(());
    }
    refusal(answer, Operation::WatchToken)
}

/// Reads the answer to [`renew`]: the life that it gave.
pub fn read_renew(answer: &Answer) -> Result<Duration, SelfFault> {
    let at = Operation::RenewSelf;
    refusal(answer, at)?;
    let unexpected = SelfFault::Unexpected { at, status: answer.status };
    let auth = answer.json::<RenewBody>().and_then(|body| body.auth).ok_or(unexpected)?;
    Ok(life(auth.lease_duration.0).unwrap_or_default())
}

/// How often a token can still be used. Vault writes zero for no limit
/// (<https://developer.hashicorp.com/vault/api-docs/auth/token#num_uses>), and less than that once the last use is gone.
pub(super) fn uses(count: Count) -> Option<i64> {
    (count.0 != 0).then(|| count.0.max(0))
}

/// A life in seconds, of which Vault writes zero for what is not limited. What is longer than a century does not end.
pub fn life(seconds: u64) -> Option<Duration> {
    const CENTURY: u64 = 100 * 365 * 24 * 60 * 60;
    Some(Duration::from_secs(seconds)).filter(|_| (1..CENTURY).contains(&seconds))
}

/// Tells whether Vault refuses what a token asks about itself.
pub fn refusal(answer: &Answer, at: Operation) -> Result<(), SelfFault> {
    if let Some(fault) = answer.server_fault() {
        return Err(SelfFault::Server(fault));
    }
    match answer.status {
        200 | 204 => Ok(()),
        // HashiCorp Vault says of a token that it does not know "2 errors occurred: permission denied, invalid token".
        403 if answer.error_says("invalid token") => Err(SelfFault::Rejected),
        // Both wrap the refusal of a policy ("1 error occurred: permission denied"), and OpenBao leaves that of a token
        // bare. Both count a token whose bound addresses exclude us among the bare ones.
        403 if answer.error_says("error occurred") => Err(SelfFault::NotPermitted { at }),
        403 => Err(SelfFault::Rejected),
        // Of a token that is no header value nothing is sent.
        400 if answer.error_says("missing client token") => Err(SelfFault::Rejected),
        404 if answer.error_says("namespace not found") => Err(SelfFault::NamespaceNotFound),
        status => Err(SelfFault::Unexpected { at, status }),
    }
}

// === impl TokenNamespace ===

impl TokenNamespace {
    /// Longest path that is kept, in bytes: longer than any that a spec can name, so that a cut one matches none.
    const MAX_BYTES: usize = 1024;

    /// By `namespace_path`, which Vault leaves out for the root namespace.
    fn of(mut path: String) -> Self {
        path.truncate(path.floor_char_boundary(Self::MAX_BYTES));
        match path.trim_matches('/') {
            "" => Self::Root,
            path => Self::Path(path.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::testing::json;

    #[test]
    fn refusals_are_distinguished() {
        let at = Operation::LookupSelf;
        let table: &[(&str, u16, &str, SelfFault)] = &[
            ("a wrong token", 403, r#"{"errors":["permission denied"]}"#, SelfFault::Rejected),
            (
                "a token without the default policy",
                403,
                r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#,
                SelfFault::NotPermitted { at },
            ),
            (
                "a wrong token, by HashiCorp Vault",
                403,
                r#"{"errors":["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"]}"#,
                SelfFault::Rejected,
            ),
            ("no token at all", 400, r#"{"errors":["missing client token"]}"#, SelfFault::Rejected),
            ("no such namespace", 404, r#"{"errors":["namespace not found"]}"#, SelfFault::NamespaceNotFound),
            ("sealed", 503, r#"{"errors":["Vault is sealed"]}"#, SelfFault::Server(ServerFault::Sealed)),
            ("an empty success", 200, "{}", SelfFault::Unexpected { at, status: 200 }),
            ("a bad request", 400, r#"{"errors":[]}"#, SelfFault::Unexpected { at, status: 400 }),
        ];
        for (name, status, body, expected) in table {
            assert_eq!(read_lookup(&json(*status, body)), Err(expected.clone()), "{name}");
        }
    }

    #[test]
    fn tokens_of_every_kind_are_described() {
        let service = read_lookup(&json(
            200,
            r#"{"data":{"type":"service","policies":["default"],"ttl":29,
            "renewable":true,"num_uses":2,"display_name":"approle"}}"#,
        ))
        .expect("described");
        assert_eq!((service.ttl, service.uses_left), (Some(Duration::from_secs(29)), Some(2)));

        let bounded = read_lookup(&json(
            200,
            r#"{"data":{"type":"service","policies":["p"],"ttl":3000,"renewable":true,
            "creation_time":1000,"creation_ttl":3600,"explicit_max_ttl":7200,"period":0,"orphan":true}}"#,
        ))
        .expect("described");
        assert_eq!((bounded.created, bounded.longest_life), (Some(1000), Some(Duration::from_secs(7200))));
        assert_eq!((bounded.period, bounded.orphan), (None, Some(true)));
        let fixed = read_lookup(&json(200, r#"{"data":{"ttl":3000,"renewable":false,"creation_ttl":3600}}"#))
            .expect("described");
        assert_eq!(fixed.longest_life, Some(Duration::from_secs(3600)));
        let absurd = format!(r#"{{"data":{{"ttl":{},"renewable":true,"period":{0}}}}}"#, u64::MAX);
        let absurd = read_lookup(&json(200, &absurd)).expect("described");
        assert_eq!((absurd.ttl, absurd.period), (None, None));
        let periodic = read_lookup(&json(200, r#"{"data":{"ttl":30,"renewable":true,"period":60}}"#))
            .expect("described");
        assert_eq!((periodic.longest_life, periodic.period), (None, Some(Duration::from_secs(60))));

        let root = read_lookup(&json(
            200,
            r#"{"data":{"type":"service","policies":["root"],"ttl":0,
            "expire_time":null,"num_uses":0,"display_name":"root"}}"#,
        ))
        .expect("described");
        assert_eq!((root.ttl, root.renewable, root.uses_left), (None, false, None));

        let batch = read_lookup(&json(
            200,
            r#"{"data":{"type":"batch","policies":null,"ttl":3599,
            "renewable":false,"num_uses":0}}"#,
        ))
        .expect("described");
        assert_eq!((batch.kind.as_deref(), batch.policies.len()), (Some("batch"), 0));
    }

    #[test]
    fn a_token_tells_its_namespace() {
        let of = |data: &str| {
            read_lookup(&json(200, &format!(r#"{{"data":{{{data}}}}}"#))).map(|info| info.namespace)
        };
        assert_eq!(of(r#""ttl":0"#), Ok(TokenNamespace::Root));
        assert_eq!(of(r#""namespace_path":null"#), Ok(TokenNamespace::Root));
        assert_eq!(of(r#""namespace_path":"""#), Ok(TokenNamespace::Root));
        assert_eq!(of(r#""namespace_path":"a/b/""#), Ok(TokenNamespace::Path("a/b".to_owned())));
        let long = format!(r#""namespace_path":"{}""#, "ü".repeat(1000));
        assert!(
            matches!(of(&long), Ok(TokenNamespace::Path(path)) if path.len() == TokenNamespace::MAX_BYTES)
        );
    }

    #[test]
    fn a_living_token_is_distinguished_from_a_dead_one() {
        let preflight = r#"{"errors":["preflight capability check returned 403, please ensure client's policies grant access to path \"cubbyhole/\""]}"#;
        assert_eq!(read_watch(&json(200, r#"{"data":{"type":"cubbyhole"}}"#)), Ok(()));
        assert_eq!(read_watch(&json(403, preflight)), Ok(()));
        assert_eq!(read_watch(&json(403, r#"{"errors":["permission denied"]}"#)), Err(SelfFault::Rejected));
    }

    #[test]
    fn a_renewal_tells_the_new_life() {
        let renewed = read_renew(&json(200, r#"{"auth":{"client_token":"s.x","lease_duration":30}}"#));
        assert_eq!(renewed, Ok(Duration::from_secs(30)));
    }
}
