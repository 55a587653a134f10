//! `sys/capabilities-self`: what our own token may do.
//!
//! <https://developer.hashicorp.com/vault/api-docs/system/capabilities-self>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Operation, Request,
    answer::Answer,
    token::{SelfFault, refusal},
};
use crate::api::connection::Verb;

#[derive(Serialize)]
struct Body<'a> {
    paths: Vec<&'a str>,
}

#[derive(Deserialize)]
struct Success {
    data: BTreeMap<String, Vec<String>>,
}

/// Asks for the capabilities on every required path.
pub fn request(require: &BTreeMap<String, Vec<Verb>>) -> Request {
    let body = Body { paths: require.keys().map(String::as_str).collect() };
    let body = serde_json::to_vec(&body).expect("a list of strings serializes");
    Request {
        operation: Operation::CapabilitiesSelf,
        path: "sys/capabilities-self".to_owned(),
        body: Some(body.into()),
    }
}

/// Reads the answer: what is required and not granted, by path. Empty means that all is granted.
pub fn read_missing(
    answer: &Answer,
    require: &BTreeMap<String, Vec<Verb>>,
) -> Result<BTreeMap<String, Vec<Verb>>, SelfFault> {
    refusal(answer)?;
    let Some(Success { data }) = answer.json::<Success>() else {
        return Err(SelfFault::Unexpected { status: answer.status });
    };
    let missing_on = |path: &String, verbs: &Vec<Verb>| -> Vec<Verb> {
        let granted = data.get(path).map(Vec::as_slice).unwrap_or_default();
        // "root" grants everything; "deny" is never listed beside anything else.
        let may = |verb: &Verb| granted.iter().any(|word| word == "root" || word == verb.as_str());
        verbs.iter().copied().filter(|verb| !may(verb)).collect()
    };
    Ok(require
        .iter()
        .map(|(path, verbs)| (path.clone(), missing_on(path, verbs)))
        .filter(|(_, missing)| !missing.is_empty())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::testing::json;

    fn require() -> BTreeMap<String, Vec<Verb>> {
        BTreeMap::from([
            ("kv/data/*".to_owned(), vec![Verb::Create, Verb::Read]),
            ("sys/mounts".to_owned(), vec![Verb::Read]),
        ])
    }

    #[test]
    fn what_is_missing_is_named_by_path() {
        let read = |body: &str| read_missing(&json(200, body), &require());
        let all = r#"{"data":{"kv/data/*":["create","read"],"sys/mounts":["read","sudo"]}}"#;
        assert_eq!(read(all), Ok(BTreeMap::new()));
        let root = r#"{"data":{"kv/data/*":["root"],"sys/mounts":["root"]}}"#;
        assert_eq!(read(root), Ok(BTreeMap::new()));
        let some = r#"{"data":{"kv/data/*":["read"],"sys/mounts":["deny"]}}"#;
        assert_eq!(
            read(some),
            Ok(BTreeMap::from([
                ("kv/data/*".to_owned(), vec![Verb::Create]),
                ("sys/mounts".to_owned(), vec![Verb::Read]),
            ]))
        );
        assert_eq!(
            read(r#"{"data":{}}"#),
            Ok(require()),
            "an answer that leaves a path out grants nothing on it"
        );
        assert_eq!(read("{}"), Err(SelfFault::Unexpected { status: 200 }));
    }
}
