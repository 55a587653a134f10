//! `sys/capabilities-self`: what our own token may do.
//!
//! <https://developer.hashicorp.com/vault/api-docs/system/capabilities-self>

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserializer, Serialize,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    Operation, Request,
    answer::Answer,
    fields::Label,
    token::{SelfFault, refusal},
};
use crate::api::connection::Verb;

#[derive(Serialize)]
struct Body<'a> {
    paths: Vec<&'a str>,
}

type Require = BTreeMap<String, Vec<Verb>>;

/// Asks for the capabilities on every required path.
pub fn request(require: &Require) -> Request {
    let body = Body { paths: require.keys().map(String::as_str).collect() };
    let body = serde_json::to_vec(&body).expect("a list of strings serializes");
    Request {
        operation: Operation::CapabilitiesSelf,
        path: "sys/capabilities-self".to_owned(),
        body: Some(body.into()),
    }
}

/// Reads the answer: what is required and not granted, by path. Empty means that all is granted.
pub fn read_missing(answer: &Answer, require: &Require) -> Result<Require, SelfFault> {
    let at = Operation::CapabilitiesSelf;
    refusal(answer, at)?;
    let mut json = serde_json::Deserializer::from_slice(&answer.body);
    let missing = Answered(require).deserialize(&mut json).ok().filter(|_| json.end().is_ok()).flatten();
    missing.ok_or(SelfFault::Unexpected { at, status: answer.status })
}

/// Reads the body: what `data` says of the required paths. Vault writes the paths beside `data`, too, so that one of them
/// may be called "data": the last field of that name that is an object is the one.
struct Answered<'r>(&'r Require);

/// Reads `data`. None when it is no object.
struct Data<'r>(&'r Require);

/// Reads the verbs that are missing on a path.
struct Path<'r>(&'r [Verb]);

impl<'de> DeserializeSeed<'de> for Answered<'_> {
    type Value = Option<Require>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Answered<'_> {
    type Value = Option<Require>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut missing = None;
        while let Some(key) = map.next_key::<String>()? {
            if key.eq_ignore_ascii_case("data") {
                missing = map.next_value_seed(Data(self.0))?.or(missing);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(missing)
    }
}

impl<'de> DeserializeSeed<'de> for Data<'_> {
    type Value = Option<Require>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Data<'_> {
    type Value = Option<Require>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, or a list of words")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut missing = self.0.clone();
        // Paths are no names of fields: their letter case counts.
        while let Some(path) = map.next_key::<String>()? {
            match self.0.get(&path) {
                Some(verbs) => drop(missing.insert(path, map.next_value_seed(Path(verbs))?)),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        missing.retain(|_, verbs| !verbs.is_empty());
        Ok(Some(missing))
    }
}

impl<'de> DeserializeSeed<'de> for Path<'_> {
    type Value = Vec<Verb>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Path<'_> {
    type Value = Vec<Verb>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of words")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(self.0.to_vec())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut missing = self.0.to_vec();
        while let Some(Label(word)) = list.next_element()? {
            // "root" grants everything; "deny" is never listed beside anything else.
            missing.retain(|verb| word.as_deref().is_none_or(|word| word != "root" && word != verb.as_str()));
        }
        Ok(missing)
    }
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
        for none in ["{}", r#"{"data":null}"#, r#"{"data":["deny"]}"#] {
            let unexpected = SelfFault::Unexpected { at: Operation::CapabilitiesSelf, status: 200 };
            assert_eq!(read(none), Err(unexpected), "{none}");
        }
        assert_eq!(read(r#"{"Data":{"kv/data/*":null,"x":[1]}}"#), Ok(require()));
    }

    #[test]
    fn a_path_may_be_called_data() {
        let require = BTreeMap::from([("data".to_owned(), vec![Verb::Read])]);
        let body = r#"{"data":["read"],"request_id":"x","data":{"data":["read"]}}"#;
        assert_eq!(read_missing(&json(200, body), &require), Ok(BTreeMap::new()));
    }
}
