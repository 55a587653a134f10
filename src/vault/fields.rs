//! JSON, read as Go's decoder reads it, since Vault's own structs are the truth about its answers.
//!
//! Names of fields match in any letter case (ASCII), the last of two equal names wins, and null is as good as absent: the field
//! has its zero value then. Numbers may be whole, floats, or text. What nobody asks for is skipped where it stands, so that no
//! tree of it is ever built, and what is kept is bounded.
//!
//! Pure.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// Longest name that Vault gives to something of its own and that we keep, in bytes: a policy, a cluster, a version.
pub const MAX_NAME_BYTES: usize = 256;

/// How many policies of a token are kept. A token with more is told to have more.
pub const MAX_POLICIES: usize = 64;

/// A struct whose fields all have a zero value: the one that is read when they are null or absent.
pub trait Fields: Default {
    /// What it is, for the error when it is something else.
    const WHAT: &'static str;

    /// The names of its fields.
    const NAMES: &'static [&'static str];

    /// Reads the value of one of [`Self::NAMES`].
    fn read<'de, A: MapAccess<'de>>(&mut self, name: &'static str, map: &mut A) -> Result<(), A::Error>;
}

/// Defines structs that are read as [`Fields`].
macro_rules! fields {
    ($( $(#[$meta:meta])* struct $struct:ident { $( $field:ident: $type:ty = $name:literal, )+ } )+) => { $(
        $(#[$meta])*
        #[derive(Default)]
        struct $struct { $( $field: $type, )+ }

        impl $crate::vault::fields::Fields for $struct {
            const WHAT: &'static str = stringify!($struct);
            const NAMES: &'static [&'static str] = &[$( $name, )+];

            fn read<'de, A: serde::de::MapAccess<'de>>(
                &mut self,
                name: &'static str,
                map: &mut A,
            ) -> Result<(), A::Error> {
                $( if name == $name {
                    if let Some(value) = map.next_value::<Option<$type>>()? {
                        self.$field = value;
                    }
                    return Ok(());
                } )+
                map.next_value::<serde::de::IgnoredAny>().map(|_| ())
            }
        }

        impl<'de> serde::Deserialize<'de> for $struct {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::vault::fields::deserialize(deserializer)
            }
        }
    )+ };
}
pub(super) use fields;

/// Reads an object into a struct.
pub fn deserialize<'de, T: Fields, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_map(Object(PhantomData))
}

struct Object<T>(PhantomData<T>);

impl<'de, T: Fields> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the object {}", T::WHAT)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut read = T::default();
        while let Some(known) = map.next_key_seed(Name(T::NAMES))? {
            match known {
                Some(name) => read.read(name, &mut map)?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(read)
    }
}

/// One of these names, in any letter case. None for another.
struct Name(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().copied().find(|name| name.eq_ignore_ascii_case(text)))
    }
}

/// Something that is there and not null, whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present(pub bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// Any JSON object that is not deeper than a parser follows, of which nothing is kept.
pub struct AnyObject;

/// Any value. Unlike `IgnoredAny` it counts against the parser's limit of depth.
struct AnyValue;

impl<'de> Deserialize<'de> for AnyObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AnyValue).map(|_| Self)
    }
}

impl<'de> Deserialize<'de> for AnyValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<IgnoredAny, Self>()?.is_some() {}
        Ok(self)
    }
}

/// A name that Vault gives to something. One that is empty or longer than [`MAX_NAME_BYTES`] is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label(pub Option<String>);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(LabelVisitor)
    }
}

struct LabelVisitor;

impl Visitor<'_> for LabelVisitor {
    type Value = Label;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Label, E> {
        let is_name = (1..=MAX_NAME_BYTES).contains(&text.len());
        Ok(Label(is_name.then(|| text.to_owned())))
    }
}

/// The names of policies, at most [`MAX_POLICIES`] of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// The first of them.
    pub names: Vec<String>,
    /// Whether there are more, or some with longer names.
    pub cut: bool,
}

impl<'de> Deserialize<'de> for Policies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(PoliciesVisitor)
    }
}

struct PoliciesVisitor;

impl<'de> Visitor<'de> for PoliciesVisitor {
    type Value = Policies;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Policies, A::Error> {
        let mut policies = Policies::default();
        while let Some(Label(name)) = list.next_element::<Option<Label>>()?.map(Option::unwrap_or_default) {
            match name.filter(|_| policies.names.len() < MAX_POLICIES) {
                Some(name) => policies.names.push(name),
                None => policies.cut = true,
            }
        }
        // Those of each session are kept.
        policies.names.shrink_to_fit();
        Ok(policies)
    }
}

/// A span of time in whole seconds: a number, or text as Go writes it ("30", "30s", "1h30m"). What is negative is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seconds(pub u64);

/// A whole number, or text that is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count(pub i64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = deserializer.deserialize_any(Number(span))?;
        Ok(Self(u64::try_from(seconds).unwrap_or(if seconds < 0 { 0 } else { u64::MAX })))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let count = deserializer.deserialize_any(Number(|text| text.trim().parse().ok()))?;
        Ok(Self(i64::try_from(count).unwrap_or(if count < 0 { i64::MIN } else { i64::MAX })))
    }
}

/// A number, with what reads one that comes as text.
struct Number(fn(&str) -> Option<i128>);

impl Visitor<'_> for Number {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i128, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i128, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<i128, E> {
        whole(number).ok_or_else(|| E::custom("this is no number"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<i128, E> {
        (self.0)(text).ok_or_else(|| E::custom("this text is no number"))
    }
}

/// The whole part of a number.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast from a float saturates, and the fraction is not wanted"
)]
fn whole(number: f64) -> Option<i128> {
    number.is_finite().then(|| number.trunc() as i128)
}

/// Reads a span of time in seconds, as `parseutil.ParseDurationSecond` of HashiCorp does: a number, or numbers with units.
fn span(text: &str) -> Option<i128> {
    let text = text.trim();
    if text.is_empty() {
        return Some(0);
    }
    if let Ok(number) = text.parse::<f64>() {
        return whole(number);
    }
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match &rest[..unit] {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = &rest[unit..];
    }
    whole(sign * seconds)
}

#[cfg(test)]
mod tests {
    use secrecy::{ExposeSecret, SecretString};

    use super::*;

    fields! {
        /// For the tests.
        struct Sample {
            token: SecretString = "client_token",
            life: Seconds = "lease_duration",
            uses: Count = "num_uses",
            name: Label = "name",
            policies: Policies = "policies",
            inner: Option<Inner> = "inner",
            flag: bool = "flag",
            there: Present = "there",
        }
        /// For the tests.
        struct Inner {
            name: Label = "name",
        }
    }

    fn read(text: &str) -> Option<Sample> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn names_match_in_any_case_and_null_is_absent() {
        let sample = read(
            r#"{"Client_Token":"t","LEASE_DURATION":null,"x":{"y":[{}]},"name":"a","Name":"b","inner":{"NAME":"c"},"there":0}"#,
        )
        .expect("it is read");
        assert_eq!(sample.token.expose_secret(), "t");
        assert_eq!((sample.life, sample.uses, sample.flag), (Seconds(0), Count(0), false));
        assert_eq!(sample.name, Label(Some("b".to_owned())), "the last one wins");
        assert_eq!(sample.inner.map(|inner| inner.name), Some(Label(Some("c".to_owned()))));
        assert_eq!(sample.there, Present(true));
        let empty = read("{}").expect("it is read");
        assert_eq!(
            (empty.inner.is_none(), empty.there, empty.policies),
            (true, Present(false), Policies::default())
        );
        for other in ["[]", "null", "1", r#"{"flag":"yes"}"#, r#"{"policies":"p"}"#, r#"{"inner":[]}"#, ""] {
            assert!(read(other).is_none(), "{other}");
        }
    }

    #[test]
    fn numbers_may_be_floats_or_text() {
        let life = |text: &str| read(&format!(r#"{{"lease_duration":{text}}}"#)).map(|it| it.life.0);
        let table: &[(&str, Option<u64>)] = &[
            ("30", Some(30)),
            ("30.9", Some(30)),
            ("3e1", Some(30)),
            (r#""30""#, Some(30)),
            (r#""30s""#, Some(30)),
            (r#""1h30m""#, Some(5400)),
            (r#""768h0m0s""#, Some(2_764_800)),
            (r#""1.5m""#, Some(90)),
            (r#""2d""#, Some(172_800)),
            (r#""500ms""#, Some(0)),
            (r#""""#, Some(0)),
            ("-1", Some(0)),
            (r#""-1h""#, Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("1e300", Some(u64::MAX)),
            (r#""soon""#, None),
            (r#""1x""#, None),
            (r#""h""#, None),
            ("true", None),
            ("[]", None),
        ];
        for (text, expected) in table {
            assert_eq!(life(text), *expected, "{text}");
        }
        let uses = |text: &str| read(&format!(r#"{{"num_uses":{text}}}"#)).map(|it| it.uses.0);
        assert_eq!(
            [uses("-1"), uses("2.0"), uses(r#""3""#), uses(r#""x""#)],
            [Some(-1), Some(2), Some(3), None]
        );
        assert_eq!([uses("1e300"), uses("-1e300")], [Some(i64::MAX), Some(i64::MIN)]);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        let sample =
            read(&format!(r#"{{"name":"{long}","policies":["p","{long}",null,"q"]}}"#)).expect("read");
        assert_eq!(sample.name, Label(None));
        assert_eq!(sample.policies, Policies { names: vec!["p".to_owned(), "q".to_owned()], cut: true });
        let many = vec![r#""p""#; MAX_POLICIES + 1].join(",");
        let sample = read(&format!(r#"{{"policies":[{many}]}}"#)).expect("read");
        assert_eq!((sample.policies.names.len(), sample.policies.cut), (MAX_POLICIES, true));
    }
}
