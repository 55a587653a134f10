//! Every reader, run over answers that were recorded from a real HashiCorp Vault, and over what may become of them.
//!
//! The bed's own server is an OpenBao; what HashiCorp's says otherwise is held here.

use std::collections::BTreeMap;

use proptest::prelude::*;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;

use vault_connection_operator::{
    api::connection::Verb,
    names::{MountPath, VaultNamespace},
    vault::{
        Operation,
        answer::Answer,
        capabilities, health,
        login::{self, NoLogin},
        namespace,
        token::{self, SelfFault, TokenInfo},
        wrapping,
    },
};

use crate::fixtures;

#[derive(Deserialize)]
struct File {
    answers: Vec<Recorded>,
}

#[derive(Clone, Debug, Deserialize)]
struct Recorded {
    case: String,
    request: Asked,
    status: u16,
    body: Value,
}

#[derive(Clone, Debug, Deserialize)]
struct Asked {
    path: String,
    #[serde(rename = "x-vault-namespace")]
    namespace: Option<String>,
}

fn recorded() -> Vec<Recorded> {
    let file: File = serde_json::from_str(include_str!("../../testdata/vault-1.21.3-answers.json"))
        .expect("the recorded answers are JSON");
    file.answers
}

fn of(case: &str) -> Answer {
    recorded().iter().find(|it| it.case == case).map(answer).expect("it was recorded")
}

fn answer(recorded: &Recorded) -> Answer {
    let body = if recorded.body.is_null() { String::new() } else { recorded.body.to_string() };
    fixtures::answer(recorded.status, &body)
}

fn require() -> BTreeMap<String, Vec<Verb>> {
    BTreeMap::from([("secret/data/*".to_owned(), vec![Verb::Read]), ("kv/none".to_owned(), vec![Verb::Read])])
}

/// What the reader of an answer makes of it, in a line. None for what the operator does not ask.
fn reading(path: &str, answer: &Answer) -> Option<String> {
    let described = |info: &TokenInfo| {
        format!(
            "{} {} ttl={:?} uses={:?}{}",
            info.kind.as_deref().unwrap_or("-"),
            info.policies.join("+"),
            info.ttl.map(|ttl| ttl.as_secs()),
            info.uses_left,
            if info.renewable { " renewable" } else { "" },
        )
    };
    let self_fault = |fault: SelfFault| format!("{fault:?}");
    Some(match path {
        "/v1/sys/health" => match health::read(answer) {
            Ok(health) => format!(
                "{:?} {} enterprise={:?} cluster={} time={:?}",
                health.role.expect("a health has a role"),
                health.version.as_deref().unwrap_or("-"),
                health.enterprise,
                health.cluster_id.is_some(),
                health.server_time,
            ),
            Err(fault) => format!("{fault:?}"),
        },
        path if path.starts_with("/v1/auth/") && path.ends_with("/login") => {
            match login::read(&fixtures::app_role().target.method, answer) {
                Ok(login) => format!("{} {}", login.token.expose_secret(), described(&login.info)),
                Err(NoLogin::Refused(fault)) => format!("{fault:?}"),
                Err(fault @ NoLogin::Server(_)) => format!("{fault:?}"),
            }
        }
        "/v1/auth/token/lookup-self" => token::read_lookup(answer).map_or_else(self_fault, |info| {
            let more = (
                info.created.is_some(),
                info.longest_life.map(|life| life.as_secs()),
                info.period,
                info.orphan,
            );
            format!("{} {more:?} {:?}", described(&info), info.namespace)
        }),
        "/v1/auth/token/renew-self" => {
            token::read_renew(answer).map_or_else(self_fault, |life| format!("renewed for {life:?}"))
        }
        "/v1/auth/token/revoke-self" => {
            token::refusal(answer, Operation::RevokeSelf).map_or_else(self_fault, |()| "revoked".to_owned())
        }
        "/v1/sys/capabilities-self" => capabilities::read_missing(answer, &require())
            .map_or_else(self_fault, |missing| {
                format!("missing on {:?}", missing.keys().collect::<Vec<_>>())
            }),
        "/v1/sys/wrapping/lookup" => {
            format!("{:?}", wrapping::read_lookup(answer, &MountPath::parse("approle").expect("valid"), None))
        }
        _ => return None,
    })
}

/// Every answer to something that the operator asks, in the order of the file.
const READINGS: &[(&str, &str)] = &[
    ("health, active", "Active 1.21.3 enterprise=Some(false) cluster=true time=Some(1795732610)"),
    ("approle login", "hvs.TOKEN service default+sync ttl=Some(30) uses=None renewable"),
    (
        "approle login with a namespace header on Community Edition: ignored",
        "hvs.TOKEN service default+sync ttl=Some(30) uses=None renewable",
    ),
    (
        "lookup-self",
        "service default+sync ttl=Some(30) uses=None renewable (true, None, None, Some(true)) Root",
    ),
    (
        "lookup-self with a namespace header: ignored",
        "service default+sync ttl=Some(30) uses=None renewable (true, None, None, Some(true)) Root",
    ),
    ("capabilities-self", r#"missing on ["kv/none"]"#),
    ("renew-self", "renewed for 30s"),
    ("revoke-self", "revoked"),
    ("lookup-self, revoked token", "Rejected"),
    ("wrong secret id", "InvalidCredentials"),
    ("wrong role id", "InvalidCredentials"),
    ("no secret id", "InvalidCredentials"),
    ("no such mount", "Denied"),
    ("secret id bound to other addresses", "SourceAddress"),
    (
        "login, token bound to other addresses",
        "hvs.TOKEN service default+sync ttl=Some(2764800) uses=None renewable",
    ),
    ("login, token_num_uses=1", "hvs.TOKEN service default+sync ttl=Some(2764800) uses=Some(1) renewable"),
    (
        "token_num_uses=1: lookup-self 1",
        "service default+sync ttl=Some(2764800) uses=Some(0) renewable (true, None, None, Some(true)) Root",
    ),
    ("token_num_uses=1: lookup-self 2", "Rejected"),
    ("login, token_num_uses=2", "hvs.TOKEN service default+sync ttl=Some(2764800) uses=Some(2) renewable"),
    (
        "token_num_uses=2: lookup-self 1",
        "service default+sync ttl=Some(2764800) uses=Some(1) renewable (true, None, None, Some(true)) Root",
    ),
    (
        "token_num_uses=2: lookup-self 2",
        "service default+sync ttl=Some(2764800) uses=Some(0) renewable (true, None, None, Some(true)) Root",
    ),
    ("token_num_uses=2: lookup-self 3", "Rejected"),
    ("login, no default policy", "hvs.TOKEN service sync ttl=Some(2764800) uses=None renewable"),
    ("no default policy: lookup-self", "NotPermitted { at: LookupSelf }"),
    ("no default policy: capabilities-self", "NotPermitted { at: CapabilitiesSelf }"),
    ("login, batch", "hvs.TOKEN batch default+sync ttl=Some(2764800) uses=None"),
    (
        "batch: lookup-self",
        "batch default+sync ttl=Some(2764800) uses=None (true, Some(2764800), None, Some(true)) Root",
    ),
    ("batch: revoke-self", "Unexpected { at: RevokeSelf, status: 400 }"),
    (
        "user's token {'ttl': '1h'}: lookup-self",
        "service default+sync ttl=Some(3600) uses=None renewable (true, None, None, Some(false)) Root",
    ),
    (
        "user's token {'period': '24h'}: lookup-self",
        "service default+sync ttl=Some(86400) uses=None renewable (true, None, Some(86400s), Some(false)) Root",
    ),
    (
        "user's token {'ttl': '1h', 'explicit_max_ttl': '2h', 'no_parent': True}: lookup-self",
        "service default+sync ttl=Some(3600) uses=None renewable (true, Some(7200), None, Some(true)) Root",
    ),
    (
        "user's token {'num_uses': 3}: lookup-self",
        "service default+sync ttl=Some(2764800) uses=Some(2) renewable (true, None, None, Some(false)) Root",
    ),
    ("root token: lookup-self", "service root ttl=None uses=None (true, None, None, Some(true)) Root"),
    ("garbage token: lookup-self", "Rejected"),
    ("wrapping lookup", "Ok(())"),
    ("login with MFA enforced", "MfaRequired"),
    ("rate limit quota", "Server(RateLimited { retry_after: None })"),
    ("locked role, right secret id", "Denied"),
    ("health, sealed", "Sealed"),
    ("login, sealed", "Server(Sealed)"),
];

/// The fields whose value is part of a reading, or which must be there for one.
const READ_FIELDS: &[&str] = &[
    "initialized",
    "sealed",
    "version",
    "enterprise",
    "cluster_id",
    "server_time_utc",
    "errors",
    "auth",
    "data",
    "client_token",
    "token_type",
    "policies",
    "lease_duration",
    "renewable",
    "num_uses",
    "mfa_requirement",
    "type",
    "ttl",
    "creation_time",
    "creation_ttl",
    "explicit_max_ttl",
    "period",
    "orphan",
    "creation_path",
    "secret/data/*",
];

fn asked() -> impl Iterator<Item = (Recorded, String)> {
    recorded()
        .into_iter()
        .filter_map(|it| reading(&it.request.path, &answer(&it)).map(|reading| (it, reading)))
}

/// Whether Vault's fields are in here, not somebody's own names or paths.
fn has_fields(path: &[String]) -> bool {
    match path {
        [] => true,
        [parent] => matches!(parent.as_str(), "auth" | "data"),
        _ => false,
    }
}

/// Changes every field of Vault's own; `change` takes the object, its path and the name of one field.
fn each_field(value: &mut Value, change: &mut dyn FnMut(&mut serde_json::Map<String, Value>, &str)) {
    fn walk(
        value: &mut Value,
        path: &mut Vec<String>,
        change: &mut dyn FnMut(&mut serde_json::Map<String, Value>, &str),
    ) {
        let Some(object) = value.as_object_mut().filter(|_| has_fields(path)) else { return };
        let names: Vec<_> = object.keys().cloned().collect();
        for name in &names {
            if let Some(inner) = object.get_mut(name) {
                path.push(name.clone());
                walk(inner, path, change);
                path.pop();
            }
            if !name.contains('/') {
                change(object, name);
            }
        }
    }
    walk(value, &mut Vec::new(), change);
}

fn read_again(recorded: &Recorded, body: Value) -> String {
    let changed = Recorded { body, ..recorded.clone() };
    reading(&recorded.request.path, &answer(&changed)).expect("it was read before")
}

#[test]
fn every_recorded_answer_is_read_as_expected() {
    let read: Vec<_> = asked().map(|(it, reading)| (it.case, reading)).collect();
    let expected: Vec<_> =
        READINGS.iter().map(|&(case, reading)| (case.to_owned(), reading.to_owned())).collect();
    assert_eq!(read, expected);
}

#[test]
fn a_field_that_is_null_is_read_as_one_that_is_absent_and_what_nobody_reads_changes_nothing() {
    for (it, reading) in asked() {
        let mut names = Vec::new();
        each_field(&mut it.body.clone(), &mut |_, name| names.push(name.to_owned()));
        for name in names {
            let (mut null, mut absent) = (it.body.clone(), it.body.clone());
            each_field(&mut null, &mut |object, field| {
                if field == name {
                    object.insert(name.clone(), Value::Null);
                }
            });
            each_field(&mut absent, &mut |object, field| {
                if field == name {
                    object.remove(&name);
                }
            });
            let (null, absent) = (read_again(&it, null), read_again(&it, absent));
            assert_eq!(null, absent, "{}: {name}", it.case);
            assert!(null == reading || READ_FIELDS.contains(&name.as_str()), "{}: {name}: {null}", it.case);
        }
    }
}

#[test]
fn the_namespace_header_that_a_community_edition_ignores_is_noticed_twice() {
    let wanted = VaultNamespace::parse("admin/team-a").expect("valid");
    let health = health::read(&of("health, active")).expect("healthy");
    assert_eq!(namespace::supported(wanted.as_ref(), &health), Err(SelfFault::NamespacesUnsupported));
    let usage = namespace::Use { wanted: wanted.as_ref(), from_login: true, asks_capabilities: false };
    let token = token::read_lookup(&of("lookup-self with a namespace header: ignored")).expect("looked up");
    assert_eq!(namespace::fits(&token, usage), Err(SelfFault::NamespacesUnsupported));
    let header = |it: &Recorded| it.request.namespace.is_some();
    assert_eq!(
        recorded().iter().filter(|it| header(it) && it.status == 200).count(),
        2,
        "it answers as for root"
    );
}

proptest! {
    #[test]
    fn letter_case_and_the_form_of_numbers_change_no_reading(seed in any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        for (it, reading) in asked() {
            let mut body = it.body.clone();
            each_field(&mut body, &mut |object, name| {
                let Some(value) = object.remove(name) else { return };
                let value = match (value.as_i64(), random.u8(0..3)) {
                    (Some(number), 0) => Value::from(number.to_string()),
                    #[expect(clippy::cast_precision_loss, reason = "the recorded numbers are small")]
                    (Some(number), 1) => Value::from(number as f64),
                    _ => value,
                };
                let name = name.chars().map(|c| if random.bool() { c.to_ascii_uppercase() } else { c }).collect();
                object.insert(name, value);
            });
            prop_assert_eq!(read_again(&it, body), reading, "{}", it.case);
        }
    }

    #[test]
    fn whatever_is_null_no_reader_panics_or_makes_a_login_out_of_nothing(seed in any::<u64>()) {
        let mut random = fastrand::Rng::with_seed(seed);
        for (it, _) in asked() {
            let mut body = it.body.clone();
            each_field(&mut body, &mut |object, name| {
                match random.u8(0..6) {
                    0 => drop(object.insert(name.to_owned(), Value::Null)),
                    1 => drop(object.remove(name)),
                    2 => drop(object.insert(name.to_owned(), Value::from(vec![1]))),
                    3 => drop(object.insert(name.to_owned(), Value::from("x"))),
                    _ => {}
                }
            });
            let body = fixtures::answer(it.status, &body.to_string());
            if let Ok(login) = login::read(&fixtures::app_role().target.method, &body) {
                prop_assert!(!login.token.expose_secret().is_empty());
            }
            let _ = reading(&it.request.path, &body);
        }
    }
}
