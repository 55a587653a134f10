//! The readers of Vault's answers: no body makes one panic, nothing is read out of an answer that is not in it, and no
//! text of the server reaches a message.
//!
//! Input: the HTTP status code, a newline, the body.

#![no_main]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use libfuzzer_sys::{Corpus, fuzz_target};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use vault_connection_operator::{
    api::connection::Verb,
    auth::LoginFault,
    names::MountPath,
    spec::Desired,
    vault::{
        Operation,
        answer::Answer,
        capabilities, health,
        login::{self, NoLogin},
        token::{self, SelfFault},
        wrapping::{self, WrapFault},
    },
    verify::{
        judge,
        observation::{Fault, Observation},
    },
};

/// What the seeds have in the place of a server's own words.
const CANARY: &str = "canary";

/// Longer lives do not end.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some(mut answer) = answer(input) else { return Corpus::Reject };
    let body = serde_json::from_slice::<Value>(&answer.body);
    if let Ok(body) = &body {
        if is_ambiguous(body) {
            return Corpus::Reject;
        }
        // Without the fields of equal name that a tree cannot hold.
        answer.body = body.to_string().into_bytes().into();
    }
    let body = body.unwrap_or_default();
    let faults = [
        read_health(&answer, &body),
        read_login(&answer, &body),
        read_own_token(&answer),
        read_capabilities(&answer, &body),
        read_wrapping(&answer, &body),
    ];
    for fault in faults.into_iter().flatten() {
        assert_tells_nothing(fault);
    }
    Corpus::Keep
});

fn answer(input: &[u8]) -> Option<Answer> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    let status =
        str::from_utf8(&input[..end]).ok()?.parse().ok().filter(|status| (100..1000).contains(status))?;
    // As Go's decoder takes it; a tree cannot hold other bytes in what nobody reads. The target `checks` sends any.
    let body = String::from_utf8_lossy(&input[end + 1..]).into_owned().into_bytes().into();
    Some(Answer { status, retry_after: None, location: None, certificate_end: None, body })
}

/// Whether names of fields differ in letter case only: which of them is read depends on their order, which a tree forgets.
fn is_ambiguous(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            let names: BTreeSet<_> = object.keys().map(|name| name.to_ascii_lowercase()).collect();
            names.len() < object.len() || object.values().any(is_ambiguous)
        }
        Value::Array(list) => list.iter().any(is_ambiguous),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A field of an object, in any letter case, as Go reads it.
fn field(object: &Value, name: &str) -> Value {
    let mut fields = object.as_object().into_iter().flatten();
    let found = fields.find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// Whether a refusal is in Vault's envelope.
fn is_vaults_own(body: &Value) -> bool {
    field(body, "errors").is_array() || field(body, "request_id").is_string()
}

fn read_health(answer: &Answer, body: &Value) -> Option<Fault> {
    match health::read(answer) {
        Ok(health) => {
            assert!(matches!(answer.status, 200 | 429 | 473), "{}", answer.status);
            assert!(
                field(body, "initialized").is_boolean() && field(body, "sealed").is_boolean(),
                "it is no Vault's"
            );
            let version = field(body, "version");
            let version = version.as_str().filter(|version| (1..=256).contains(&version.len()));
            assert_eq!(health.version.as_deref(), version);
            None
        }
        Err(fault) => Some(fault.into()),
    }
}

fn read_login(answer: &Answer, body: &Value) -> Option<Fault> {
    let general = answer.server_fault();
    match login::read(&app_role().target.method, answer) {
        Ok(login) => {
            assert_eq!((answer.status, general), (200, None));
            let token = login.token.expose_secret();
            assert!(!token.is_empty());
            assert_eq!(
                field(&field(body, "auth"), "client_token").as_str(),
                Some(token),
                "a token comes from nowhere else"
            );
            assert!(login.info.ttl.is_none_or(|ttl| !ttl.is_zero() && ttl < CENTURY));
            None
        }
        Err(fault) => {
            assert!(general.is_none_or(|general| fault == NoLogin::Server(general)));
            // Each of these ends in a lockout, so that each must be Vault's own word.
            let refused =
                matches!(fault, NoLogin::Refused(LoginFault::InvalidCredentials | LoginFault::Denied));
            assert!(!refused || is_vaults_own(body), "a refusal is Vault's own word");
            Some(fault.into())
        }
    }
}

fn read_own_token(answer: &Answer) -> Option<Fault> {
    let general = answer.server_fault();
    if let Ok(life) = token::read_renew(answer) {
        assert!(general.is_none() && life < CENTURY);
    }
    assert_eq!(
        token::refusal(answer, Operation::LookupSelf).is_ok(),
        general.is_none() && matches!(answer.status, 200 | 204)
    );
    match token::read_lookup(answer) {
        Ok(info) => {
            assert_eq!(general, None);
            let lives = [info.ttl, info.longest_life, info.period];
            assert!(lives.iter().flatten().all(|life| !life.is_zero() && *life < CENTURY), "{info:?}");
            assert!(info.uses_left.is_none_or(|uses| uses >= 0), "what is used up has none left");
            None
        }
        Err(fault) => {
            assert!(general.is_none_or(|general| fault == SelfFault::Server(general)));
            Some(fault.into())
        }
    }
}

fn read_capabilities(answer: &Answer, body: &Value) -> Option<Fault> {
    let path = "kv/data/app";
    let require = BTreeMap::from([(path.to_owned(), vec![Verb::Read, Verb::Update])]);
    let missing = capabilities::read_missing(answer, &require).ok()?;
    assert_eq!(answer.server_fault(), None);
    let data = field(body, "data");
    let is_granted = |verb: &Verb| {
        let granted = data[path].as_array().into_iter().flatten().filter_map(Value::as_str);
        granted.into_iter().any(|word| word == "root" || word == verb.as_str())
    };
    let expected: Vec<_> = require[path].iter().copied().filter(|verb| !is_granted(verb)).collect();
    assert_eq!(missing.get(path).cloned().unwrap_or_default(), expected);
    (!missing.is_empty()).then_some(Fault::Missing(missing))
}

fn read_wrapping(answer: &Answer, body: &Value) -> Option<Fault> {
    let mount = MountPath::parse("approle").expect("it is a mount");
    let general = answer.server_fault();
    if let Ok(unwrapped) = wrapping::read_unwrap(answer) {
        assert_eq!((answer.status, &general), (200, &None));
        assert_eq!(
            field(&field(body, "data"), "secret_id").as_str(),
            Some(unwrapped.secret_id.expose_secret())
        );
    }
    match wrapping::read_lookup(answer, &mount, None) {
        Ok(()) => {
            let path = field(&field(body, "data"), "creation_path");
            let path = path.as_str().expect("it was read");
            let role =
                path.strip_prefix("auth/approle/role/").and_then(|rest| rest.strip_suffix("/secret-id"));
            assert!(role.is_some_and(|role| !role.is_empty() && !role.contains('/')), "{path}");
            None
        }
        Err(fault) => {
            assert!(general.is_none_or(|general| fault == WrapFault::Server(general)));
            Some(fault.into())
        }
    }
}

/// A connection that logs in with an AppRole.
fn app_role() -> Desired {
    let spec = json!({
        "instanceUrl": "https://vault.example.com",
        "auth": {"appRole": {
            "roleId": {"value": "role"},
            "secretId": {"secretRef": {"name": "s", "key": "k"}},
        }},
    });
    let spec = serde_json::from_value(spec).expect("it is a spec");
    Desired::parse(&spec).expect("it makes sense")
}

/// No text of the server is told, and what is told is short.
fn assert_tells_nothing(fault: Fault) {
    let desired = app_role();
    let observation = Observation { fault: Some(fault), ..Observation::default() };
    for verdict in judge::judge(&desired, &observation, Timestamp::UNIX_EPOCH) {
        assert!(!verdict.message.is_empty() && verdict.message.len() <= 1024);
        assert!(!verdict.message.contains(CANARY), "{}", verdict.message);
    }
}
