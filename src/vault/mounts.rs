//! Which secrets engine is mounted at a path.
//!
//! ```text
//!   sys/internal/ui/mounts/PATH    the engine that PATH lies in; needs a grant below it and no policy line
//!   sys/mounts                     every engine of the Vault namespace; needs `read` on sys/mounts
//! ```
//!
//! The first is asked first: its answer is small whatever the instance holds. It says the same of a mount that does not
//! exist as of one that the token may not use, so the second is asked when it says no.
//! No path of an answer is kept: it only tells which part of the path that was asked for is the mount.
//!
//! <https://developer.hashicorp.com/vault/api-docs/system/internal-ui-mounts>,
//! <https://developer.hashicorp.com/vault/api-docs/system/mounts>

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;

use super::{
    Operation, Request,
    answer::{Answer, ServerFault},
    token::{SelfFault, refusal},
};
use crate::{api::connection::KvVersion, names::MountPath};

/// A secrets engine, as far as a sync of secrets is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Key/value, of this version.
    Kv(KvVersion),
    /// Any other.
    Other,
}

/// What is mounted at the path that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// This engine.
    Mount(Engine),
    /// Nothing: the path lies inside of the engine that is mounted at this beginning of it.
    Inside(String),
    /// Nothing, and nothing at any beginning of it.
    Nothing,
}

/// What an answer tells of the path that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// What is there.
    Fingerprints(Place),
    /// Nothing is there, or nothing that the token may use. Vault does not tell which.
    Hidden,
    /// Nothing: the token, or something before Vault, does not let the request through.
    Unreadable,
}

#[derive(Deserialize)]
struct One<'a> {
    #[serde(borrow)]
    data: Entry<'a>,
}

#[derive(Deserialize)]
struct All<'a> {
    #[serde(borrow)]
    data: BTreeMap<Cow<'a, str>, Entry<'a>>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    path: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    options: Option<Options<'a>>,
}

#[derive(Deserialize)]
struct Options<'a> {
    #[serde(borrow, default)]
    version: Option<Cow<'a, str>>,
}

/// Asks for the engine that a path lies in.
pub fn request(mount: &MountPath) -> Request {
    let path = format!("sys/internal/ui/mounts/{}", mount.as_str());
    Request { operation: Operation::MountLookup, path, body: None }
}

/// Asks for every engine of the Vault namespace.
pub fn request_all() -> Request {
    Request { operation: Operation::MountLookup, path: "sys/mounts".to_owned(), body: None }
}

/// Reads the answer to [`request`].
pub fn read(answer: &Answer, mount: &MountPath) -> Result<Lookup, SelfFault> {
    if let Some(unreadable) = unreadable(answer) {
        return unreadable;
    }
    match answer.status {
        200 => {
            let place = answer.json::<One<'_>>().and_then(|One { data }| {
                let path = data.path.as_deref()?.to_owned();
                place(mount.as_str(), &path, &data)
            });
            Ok(place.map_or(Lookup::Unreadable, Lookup::Fingerprints))
        }
        403 if answer.error_says("preflight capability check") => Ok(Lookup::Hidden),
        _ => Ok(Lookup::Unreadable),
    }
}

/// Reads the answer to [`request_all`]. Mounts of child namespaces are not in it.
pub fn read_all(answer: &Answer, mount: &MountPath) -> Result<Lookup, SelfFault> {
    if let Some(unreadable) = unreadable(answer) {
        return unreadable;
    }
    if answer.status != 200 {
        let at = Operation::MountLookup;
        return match refusal(answer, at) {
            Err(SelfFault::NotPermitted { .. }) => Ok(Lookup::Unreadable),
            Err(fault) => Err(fault),
            Ok(()) => Err(SelfFault::Unexpected { at, status: answer.status }),
        };
    }
    let Some(All { data }) = answer.json::<All<'_>>() else { return Ok(Lookup::Unreadable) };
    // The longest mount on the way to the path is the one that serves it.
    let served = data.iter().filter_map(|(path, entry)| {
        let beginning = path.trim_end_matches('/');
        is_beginning(beginning, mount.as_str()).then_some((beginning.len(), path, entry))
    });
    let found = served.max_by_key(|(length, ..)| *length);
    let place = found.and_then(|(_, path, entry)| place(mount.as_str(), path, entry));
    Ok(Lookup::Fingerprints(place.unwrap_or(Place::Nothing)))
}

/// What an answer tells that is none to the question, if it is such. A server that fails is asked again later.
fn unreadable(answer: &Answer) -> Option<Result<Lookup, SelfFault>> {
    match answer.server_fault()? {
        ServerFault::NotVault { .. } => Some(Ok(Lookup::Unreadable)),
        fault => Some(Err(SelfFault::Server(fault))),
    }
}

/// What is at `asked`, if the engine that serves it is mounted at `mounted`. None when that cannot be.
fn place(asked: &str, mounted: &str, entry: &Entry<'_>) -> Option<Place> {
    let mounted = mounted.trim_matches('/');
    // The name of a child namespace may stand before the mount. Vault leaves it out of the mount's path.
    let in_a_child = || asked.strip_suffix(mounted).is_some_and(|before| before.ends_with('/'));
    if mounted.is_empty() {
        None
    } else if asked == mounted {
        Some(Place::Mount(engine(entry)))
    } else if is_beginning(mounted, asked) {
        Some(Place::Inside(mounted.to_owned()))
    } else if in_a_child() {
        Some(Place::Mount(engine(entry)))
    } else {
        let inner = format!("/{mounted}/");
        let end = asked.find(&inner)? + inner.len() - 1;
        Some(Place::Inside(asked.get(..end)?.to_owned()))
    }
}

/// Whether `path` is `beginning`, or lies below it.
fn is_beginning(beginning: &str, path: &str) -> bool {
    path.strip_prefix(beginning).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn engine(entry: &Entry<'_>) -> Engine {
    let version = entry.options.as_ref().and_then(|options| options.version.as_deref());
    match (&*entry.kind, version) {
        ("kv", Some("2")) => Engine::Kv(KvVersion::V2),
        // `generic` is what version 1 was called before Vault 0.10, and still is where it was mounted then.
        ("kv" | "generic", None | Some("" | "1")) => Engine::Kv(KvVersion::V1),
        _ => Engine::Other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::vault::testing;

    const V1: Place = Place::Mount(Engine::Kv(KvVersion::V1));
    const V2: Place = Place::Mount(Engine::Kv(KvVersion::V2));
    type Read = Result<Lookup, SelfFault>;

    const OTHER: Place = Place::Mount(Engine::Other);

    fn mount(path: &str) -> MountPath {
        MountPath::parse(path).expect("valid")
    }

    fn inside(path: &str) -> Place {
        Place::Inside(path.to_owned())
    }

    fn entry(path: &str, kind: &str, options: &Value) -> Value {
        json!({"data": {"path": path, "type": kind, "options": options, "accessor": "x", "config": {"a": 1}}})
    }

    #[test]
    fn the_engine_at_a_path_is_reported_by_type_and_version() {
        let v2 = json!({"version": "2"});
        let table: &[(&str, &str, Value, Option<Place>)] = &[
            ("kv", "kv/", entry("kv/", "kv", &v2), Some(V2)),
            ("kv", "kv/", entry("kv/", "kv", &json!({"version": "1"})), Some(V1)),
            ("kv", "kv/", entry("kv/", "kv", &Value::Null), Some(V1)),
            ("kv", "kv/", entry("kv/", "kv", &json!({})), Some(V1)),
            ("kv", "kv/", entry("kv/", "kv", &json!({"version": null})), Some(V1)),
            ("kv", "kv/", entry("kv/", "generic", &Value::Null), Some(V1)),
            ("kv", "kv/", entry("kv/", "kv", &json!({"version": "3"})), Some(OTHER)),
            ("transit", "transit/", entry("transit/", "transit", &json!({})), Some(OTHER)),
            ("transit", "transit/", entry("transit/", "transit", &v2), Some(OTHER)),
            ("a nested mount", "a/b/kv", entry("a/b/kv/", "kv", &v2), Some(V2)),
            ("a path inside", "kv/data", entry("kv/", "kv", &v2), Some(inside("kv"))),
            ("a long path inside", "kv/data/a/b", entry("kv/", "kv", &v2), Some(inside("kv"))),
            ("a path inside of a nested mount", "a/kv/data", entry("a/kv/", "kv", &v2), Some(inside("a/kv"))),
            ("a mount of a child namespace", "team-a/kv", entry("kv/", "kv", &v2), Some(V2)),
            ("inside of one", "team-a/kv/data", entry("kv/", "kv", &v2), Some(inside("team-a/kv"))),
            ("a mount that repeats its name", "kv/kv", entry("kv/", "kv", &v2), Some(inside("kv"))),
            ("a longer name", "kv2", entry("kv/", "kv", &v2), None),
            ("another end", "team-kv", entry("kv/", "kv", &v2), None),
            ("another mount", "kv", entry("secret/", "kv", &v2), None),
            ("no path", "kv", entry("", "kv", &v2), None),
            ("a path of no text", "kv", json!({"data": {"path": null, "type": "kv"}}), None),
            ("no type", "kv", json!({"data": {"path": "kv/"}}), None),
            ("no data", "kv", json!({"data": null}), None),
        ];
        for (name, asked, body, place) in table {
            let read = read(&testing::json(200, &body.to_string()), &mount(asked));
            let expected = place.clone().map_or(Lookup::Unreadable, Lookup::Fingerprints);
            assert_eq!(read, Ok(expected), "{name}: {asked}");
        }
    }

    #[test]
    fn a_list_tells_what_is_not_there() {
        let v2 = json!({"type": "kv", "options": {"version": "2"}});
        let body = json!({"data": {"kv/": v2, "kv/nested/": {"type": "transit", "options": null}, "sys/": {"type": "system"}}});
        let list = testing::json(200, &body.to_string());
        let table = [
            ("kv", V2),
            ("kv/data", inside("kv")),
            ("kv/nested", OTHER),
            ("kv/nested/data", inside("kv/nested")),
            ("kv2", Place::Nothing),
            ("k", Place::Nothing),
        ];
        for (asked, place) in table {
            assert_eq!(read_all(&list, &mount(asked)), Ok(Lookup::Fingerprints(place)), "{asked}");
        }
    }

    #[test]
    fn a_refusal_is_distinguished_from_an_answer_of_something_else() {
        let preflight = r#"{"errors":["preflight capability check returned 403, please ensure client's policies grant access to path \"kv/\""]}"#;
        let denied = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
        let server = |fault| Err(SelfFault::Server(fault));
        let error = ServerFault::ProxyError { status: 502, retry_after: None };
        let table: &[(&str, u16, &str, Read, Read)] = &[
            ("no such mount", 403, preflight, Ok(Lookup::Hidden), Err(SelfFault::Rejected)),
            ("a policy", 403, denied, Ok(Lookup::Unreadable), Ok(Lookup::Unreadable)),
            ("a firewall", 403, "<html>", Ok(Lookup::Unreadable), Ok(Lookup::Unreadable)),
            ("an old server", 404, r#"{"errors":[]}"#, Ok(Lookup::Unreadable), {
                Err(SelfFault::Unexpected { at: Operation::MountLookup, status: 404 })
            }),
            (
                "a dead token",
                403,
                r#"{"errors":["permission denied"]}"#,
                Ok(Lookup::Unreadable),
                Err(SelfFault::Rejected),
            ),
            ("a list that is cut", 200, r#"{"data":{"kv/":"#, Ok(Lookup::Unreadable), Ok(Lookup::Unreadable)),
            ("a failure", 502, "", server(error.clone()), server(error)),
        ];
        for (name, status, body, one, all) in table {
            let answer = testing::json(*status, body);
            assert_eq!(
                (read(&answer, &mount("kv")), read_all(&answer, &mount("kv"))),
                (one.clone(), all.clone()),
                "{name}"
            );
        }
    }
}
