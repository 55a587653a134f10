//! Our own token: look at it, renew it, end it.
//!
//! <https://developer.hashicorp.com/vault/api-docs/auth/token>

use std::time::Duration;

use serde::Deserialize;

use super::{
    Operation, Request,
    answer::{Answer, ServerFault},
};

/// What Vault says of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenInfo {
    /// `service` or `batch`.
    pub kind: Option<String>,
    /// Its policies.
    pub policies: Vec<String>,
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
    /// For a periodic token: the life that each renewal gives, without end.
    pub period: Option<Duration>,
    /// Whether it outlives the token that created it.
    pub orphan: Option<bool>,
}

/// Why a token cannot be used on itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelfFault {
    /// The server cannot serve us.
    Server(ServerFault),
    /// The token is not accepted: wrong, expired, revoked, used up, or from an address that is not allowed.
    Rejected,
    /// The token is accepted, but its policies do not even allow this.
    NotPermitted,
    /// The Vault namespace does not exist.
    NamespaceNotFound,
    /// An answer that Vault's documentation does not name.
    Unexpected {
        /// Its HTTP status code.
        status: u16,
    },
}

#[derive(Deserialize)]
struct LookupBody {
    data: Lookup,
}

#[derive(Deserialize)]
struct Lookup {
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    policies: Option<Vec<String>>,
    ttl: u64,
    #[serde(default)]
    renewable: bool,
    #[serde(default)]
    num_uses: i64,
    display_name: Option<String>,
    creation_time: Option<i64>,
    #[serde(default)]
    creation_ttl: u64,
    #[serde(default)]
    explicit_max_ttl: u64,
    #[serde(default)]
    period: u64,
    orphan: Option<bool>,
}

#[derive(Deserialize)]
struct RenewBody {
    auth: Renewed,
}

#[derive(Deserialize)]
struct Renewed {
    lease_duration: u64,
}

/// Asks what the token is.
pub fn lookup() -> Request {
    Request { operation: Operation::LookupSelf, path: "auth/token/lookup-self".to_owned(), body: None }
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
    refusal(answer)?;
    let Some(LookupBody { data }) = answer.json::<LookupBody>() else {
        return Err(SelfFault::Unexpected { status: answer.status });
    };
    Ok(TokenInfo {
        kind: data.kind,
        policies: data.policies.unwrap_or_default(),
        ttl: life(data.ttl),
        created: data.creation_time,
        longest_life: match life(data.explicit_max_ttl) {
            None if data.renewable => None,
            None => life(data.creation_ttl),
            longest => longest,
        },
        period: life(data.period),
        orphan: data.orphan,
        renewable: data.renewable,
        // The answer counts the lookup itself. Zero means no limit: a token that was used up is no longer found.
        uses_left: Some(data.num_uses).filter(|uses| *uses != 0),
        display_name: data.display_name,
    })
}

/// Reads the answer to [`renew`]: the life that it gave.
pub fn read_renew(answer: &Answer) -> Result<Duration, SelfFault> {
    refusal(answer)?;
    let body = answer.json::<RenewBody>().ok_or(SelfFault::Unexpected { status: answer.status })?;
    Ok(life(body.auth.lease_duration).unwrap_or_default())
}

/// A life in seconds, of which Vault writes zero for what is not limited. What is longer than a century does not end.
pub fn life(seconds: u64) -> Option<Duration> {
    const CENTURY: u64 = 100 * 365 * 24 * 60 * 60;
    Some(Duration::from_secs(seconds)).filter(|_| (1..CENTURY).contains(&seconds))
}

/// Tells whether Vault refuses what a token asks about itself.
pub fn refusal(answer: &Answer) -> Result<(), SelfFault> {
    if let Some(fault) = answer.server_fault() {
        return Err(SelfFault::Server(fault));
    }
    match answer.status {
        200 | 204 => Ok(()),
        // Vault wraps the refusal of a policy ("1 error occurred: ...") and leaves that of a token bare. It counts a
        // token whose bound addresses exclude us among the latter.
        403 if answer.error_says("error occurred") => Err(SelfFault::NotPermitted),
        403 => Err(SelfFault::Rejected),
        404 if answer.error_says("namespace not found") => Err(SelfFault::NamespaceNotFound),
        status => Err(SelfFault::Unexpected { status }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::testing::json;

    #[test]
    fn refusals_are_told_apart() {
        let table: &[(&str, u16, &str, SelfFault)] = &[
            ("a wrong token", 403, r#"{"errors":["permission denied"]}"#, SelfFault::Rejected),
            (
                "a token without the default policy",
                403,
                r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#,
                SelfFault::NotPermitted,
            ),
            ("no such namespace", 404, r#"{"errors":["namespace not found"]}"#, SelfFault::NamespaceNotFound),
            ("sealed", 503, r#"{"errors":["Vault is sealed"]}"#, SelfFault::Server(ServerFault::Sealed)),
            ("an empty success", 200, "{}", SelfFault::Unexpected { status: 200 }),
            ("a bad request", 400, r#"{"errors":[]}"#, SelfFault::Unexpected { status: 400 }),
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
    fn a_renewal_tells_the_new_life() {
        let renewed = read_renew(&json(200, r#"{"auth":{"client_token":"s.x","lease_duration":30}}"#));
        assert_eq!(renewed, Ok(Duration::from_secs(30)));
    }
}
