//! The slips that people make when they write a credential into a Secret, told by the value.
//!
//! ```text
//!   certain     the value cannot be meant, or no server takes it: refused before a login is spent
//!   suspected   the value may be meant, since a role id, a secret id or a token can be any text: a hint after a refusal
//! ```
//!
//! What Vault makes has a form of its own (a UUID, `hvs.` and a long text, ...). A value that has something around that
//! form is not what somebody chose, but a slip. Nothing of a value leaves this module but the name of its slip.

use std::collections::BTreeMap;

use base64::{
    Engine,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use secrecy::zeroize::Zeroizing;
use serde::de::IgnoredAny;

use super::jwt::Claims;
use crate::{
    auth::Purpose,
    names::{path, text},
};

/// What is wrong with a value, or seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slip {
    /// It is in quotes.
    Quoted,
    /// It is encoded in base64 once more.
    EncodedTwice,
    /// It holds invisible characters, such as a byte order mark.
    Invisible,
    /// It holds control characters, as what was not encoded before it was decoded does.
    Garbled,
    /// There is white space in it.
    Spaced,
    /// The name of a variable, field or header stands before it.
    Prefixed,
    /// It is a whole document, such as the answer of a tool.
    Document,
    /// It is a token in the place of an id.
    TokenForId,
    /// It is an id in the place of a token.
    IdForToken,
    /// It is a template that was not filled in.
    Placeholder,
    /// It is not the id of a role, but perhaps its name.
    NameForId,
    /// It may be the accessor of a token.
    AccessorForToken,
    /// A part of an id is missing.
    CutOff,
    /// The role id and the secret id are the same.
    Twice,
    /// It is not a signed token.
    NotJwt,
    /// It cannot be the name of a user.
    NotUserName,
}

/// Names that stand before a value where it was copied from, in lower case, without what joins them to it.
const PREFIXES: &[&str] = &[
    "bearer",
    "export vault_token",
    "vault_token",
    "x-vault-token",
    "token",
    "client_token",
    "wrapping_token",
    "secret_id",
    "secretid",
    "secret-id",
    "role_id",
    "roleid",
    "role-id",
    "export secret_id",
    "export role_id",
    "vault_secret_id",
    "vault_role_id",
];

/// Fields of documents that hold credentials.
const FIELDS: &[&str] = &[
    "secret_id",
    "secretId",
    "role_id",
    "roleId",
    "token",
    "client_token",
    "data",
    "stringData",
    "auth",
    "wrap_info",
    "request_id",
    "value",
];

/// Base64 as people's tools write it, with or without `=` at its end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A slip that makes the value useless for certain.
pub fn certain(purpose: Purpose, value: &str) -> Option<Slip> {
    // A password may be any text.
    if purpose == Purpose::Password {
        return None;
    }
    if has_invisible(value) {
        return Some(Slip::Invisible);
    }
    let breaks_a_header = |c: char| matches!(c, '\n' | '\r') && purpose == Purpose::Token;
    if value.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return Some(Slip::Garbled);
    }
    around(value).or_else(|| value.contains(breaks_a_header).then_some(Slip::Spaced)).or_else(
        || match purpose {
            Purpose::RoleId | Purpose::SecretId if is_token(value) => Some(Slip::TokenForId),
            Purpose::Jwt if Claims::read(value).is_none() => Some(Slip::NotJwt),
            Purpose::UserName if !path::is_segment(value) => Some(Slip::NotUserName),
            Purpose::RoleId
            | Purpose::SecretId
            | Purpose::WrappingToken
            | Purpose::Token
            | Purpose::Jwt
            | Purpose::UserName
            | Purpose::Password => None,
        },
    )
}

/// A slip that would explain why a server refuses the value.
pub fn suspected(purpose: Purpose, value: &str) -> Option<Slip> {
    let holds = |patterns: &[&str]| patterns.iter().any(|pattern| value.contains(pattern));
    if unquoted(value).is_some() {
        Some(Slip::Quoted)
    } else if holds(&["${", "$(", "{{"]) || (value.starts_with('<') && value.ends_with('>')) {
        Some(Slip::Placeholder)
    } else if fields(value).is_some() {
        Some(Slip::Document)
    } else if without_prefix(value).is_some() {
        Some(Slip::Prefixed)
    } else if value.contains(char::is_whitespace) {
        Some(Slip::Spaced)
    } else if is_part_of_uuid(value) {
        Some(Slip::CutOff)
    } else if let Some(slip) = mistaken(purpose, value) {
        Some(slip)
    } else if decoded(value).is_some_and(|text| text.len() >= 8 && text.chars().all(is_plain)) {
        Some(Slip::EncodedTwice)
    } else {
        (purpose == Purpose::RoleId && !is_uuid(value)).then_some(Slip::NameForId)
    }
}

/// One credential in the place of another.
fn mistaken(purpose: Purpose, value: &str) -> Option<Slip> {
    let is_accessor = value.len() == 24 && value.chars().all(|c| c.is_ascii_alphanumeric());
    match purpose {
        Purpose::Token | Purpose::WrappingToken if is_uuid(value) => Some(Slip::IdForToken),
        Purpose::Token | Purpose::WrappingToken if is_accessor => Some(Slip::AccessorForToken),
        Purpose::RoleId
        | Purpose::SecretId
        | Purpose::Token
        | Purpose::WrappingToken
        | Purpose::Jwt
        | Purpose::UserName
        | Purpose::Password => None,
    }
}

/// What stands around something that Vault made.
fn around(value: &str) -> Option<Slip> {
    let is_made = |text: &str| is_uuid(text) || is_token(text);
    let bare = |text: &str| is_made(unquoted(text.trim()).unwrap_or(text.trim()));
    if is_made(value) {
        return None;
    }
    if unquoted(value).is_some_and(|inner| is_made(inner.trim())) {
        return Some(Slip::Quoted);
    }
    if without_prefix(value).is_some_and(bare) {
        return Some(Slip::Prefixed);
    }
    let joined: Zeroizing<String> = Zeroizing::new(value.split_whitespace().collect());
    if joined.len() < value.len() && is_made(&joined) {
        return Some(Slip::Spaced);
    }
    if decoded(&joined).is_some_and(|text| bare(&text)) {
        return Some(Slip::EncodedTwice);
    }
    let has_field =
        fields(value).is_some_and(|names| names.iter().any(|name| FIELDS.contains(&name.as_str())));
    // The table of `vault write`, and a manifest: one field in each line.
    let has_line =
        || value.lines().count() > 1 && value.lines().any(|line| without_prefix(line).is_some_and(bare));
    (has_field || has_line()).then_some(Slip::Document)
}

/// Whether something is there that nobody sees. Within text that is not ASCII such characters have a meaning: they join the
/// signs of an emoji, or part the letters of a word.
fn has_invisible(value: &str) -> bool {
    let mut last = None;
    value.chars().any(|c| {
        let before = last.replace(c);
        let joins_a_sign = matches!(c, '\u{fe0e}' | '\u{fe0f}');
        let is_hidden = !c.is_control() && !text::is_printable(c) && !joins_a_sign;
        is_hidden && before.is_none_or(|before: char| before.is_ascii())
    })
}

fn unquoted(value: &str) -> Option<&str> {
    let quotes = [("\"", "\""), ("'", "'"), ("`", "`"), ("\u{201c}", "\u{201d}"), ("\u{2018}", "\u{2019}")];
    quotes.iter().find_map(|(open, close)| value.strip_prefix(open)?.strip_suffix(close))
}

/// What stands behind a name and `=`, `:`, or white space.
fn without_prefix(value: &str) -> Option<&str> {
    let strip = |prefix: &&str| {
        let (before, rest) = value.trim_start().split_at_checked(prefix.len())?;
        let rest = Some(rest).filter(|_| before.eq_ignore_ascii_case(prefix))?;
        let bare = rest.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '=' | ':'));
        (bare.len() < rest.len() && !bare.is_empty()).then_some(bare)
    };
    PREFIXES.iter().find_map(strip)
}

/// The names of the fields of a JSON object.
#[expect(
    clippy::zero_sized_map_values,
    reason = "only the names are wanted, and a set cannot be read from an object"
)]
fn fields(value: &str) -> Option<Vec<String>> {
    let object: BTreeMap<String, IgnoredAny> = serde_json::from_str(value).ok()?;
    Some(object.into_keys().collect())
}

fn decoded(value: &str) -> Option<Zeroizing<String>> {
    let bytes = Zeroizing::new(BASE64.decode(value).ok()?);
    std::str::from_utf8(&bytes).ok().map(|text| Zeroizing::new(text.to_owned()))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() || matches!(c, ' ' | '\n')
}

/// `7d3b6a4e-0000-4000-8000-00000000b002`: a role id, a secret id, or a token of a Vault before 0.10.
fn is_uuid(text: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let mut parts = text.split('-');
    let is_part = |length: &usize| {
        parts.next().is_some_and(|part| part.len() == *length && part.chars().all(|c| c.is_ascii_hexdigit()))
    };
    lengths.iter().all(is_part) && parts.next().is_none()
}

/// A UUID that lacks its end or its begin.
fn is_part_of_uuid(text: &str) -> bool {
    let is_form = text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    is_form && (16..36).contains(&text.len()) && text.matches('-').count() >= 2
}

/// A token of Vault since 1.10 (`hvs.`, `hvb.`, `hvr.`), of an older one or of OpenBao (`s.`, `b.`, `r.`); the id of a Vault
/// namespace may stand behind it.
fn is_token(text: &str) -> bool {
    let Some((prefix, rest)) = text.split_once('.') else { return false };
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    let (body, suffix) = rest.split_once('.').unwrap_or((rest, "12345"));
    let long = match prefix {
        "hvs" | "hvb" | "hvr" => body.len() >= 24,
        "s" | "r" => body.len() == 24,
        "b" => body.len() >= 60,
        _ => false,
    };
    long && is_word(body) && (4..=8).contains(&suffix.len()) && is_word(suffix)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const ID: &str = "7d3b6a4e-0000-4000-8000-00000000b002";
    const OLD: &str = "s.AbCdEfGhIjKlMnOpQrStUvWx";
    const NEW: &str = "hvs.CAESIJ-canary_canary-canary_canary-canary_canary-canary_canary";

    const ALL: [Purpose; 4] = [Purpose::RoleId, Purpose::SecretId, Purpose::WrappingToken, Purpose::Token];

    #[test]
    fn what_cannot_be_meant_is_certain() {
        let encoded = |text: &str| STANDARD.encode(text);
        let table: &[(&str, String, Slip)] = &[
            ("in quotes", format!("\"{ID}\""), Slip::Quoted),
            ("in single quotes", format!("'{ID}'"), Slip::Quoted),
            ("in quotes of a word processor", format!("\u{201c}{ID}\u{201d}"), Slip::Quoted),
            ("a token in quotes", format!("\"{NEW}\""), Slip::Quoted),
            ("base64 twice", encoded(ID), Slip::EncodedTwice),
            ("without padding", encoded(OLD).trim_end_matches('=').to_owned(), Slip::EncodedTwice),
            ("base64 twice, with a newline", encoded(&format!("{ID}\n")), Slip::EncodedTwice),
            (
                "base64 twice, in lines",
                format!("{}\n{}", &encoded(NEW)[..76], &encoded(NEW)[76..]),
                Slip::EncodedTwice,
            ),
            ("a byte order mark", format!("\u{feff}{ID}"), Slip::Invisible),
            ("a zero width space at the end", format!("{ID}\u{200b}"), Slip::Invisible),
            ("a soft hyphen", "my\u{ad}secret".to_owned(), Slip::Invisible),
            ("a bidirectional mark", "abc\u{202e}def".to_owned(), Slip::Invisible),
            ("garbage", "\u{1}\u{2}x".to_owned(), Slip::Garbled),
            ("two lines of one id", format!("{}\n{}", &ID[..18], &ID[18..]), Slip::Spaced),
            ("a blank in an id", format!("{} {}", &ID[..18], &ID[18..]), Slip::Spaced),
            ("a header's value", format!("Bearer {NEW}"), Slip::Prefixed),
            ("a header", format!("X-Vault-Token: {OLD}"), Slip::Prefixed),
            ("a variable", format!("VAULT_TOKEN={NEW}"), Slip::Prefixed),
            ("an exported variable", format!("export VAULT_TOKEN=\"{NEW}\""), Slip::Prefixed),
            ("a line of YAML", format!("secretId: {ID}"), Slip::Prefixed),
            ("a form", format!("secret_id={ID}"), Slip::Prefixed),
            ("an object", format!("{{\"secret_id\": \"{ID}\"}}"), Slip::Document),
            ("a custom id in an object", r#"{"secret_id": "mine"}"#.to_owned(), Slip::Document),
            (
                "an answer",
                format!("{{\"request_id\": \"x\", \"data\": {{\"secret_id\": \"{ID}\"}}}}"),
                Slip::Document,
            ),
            (
                "a table",
                format!(
                    "Key                   Value\n---                   -----\nsecret_id             {ID}\nsecret_id_ttl         0s"
                ),
                Slip::Document,
            ),
        ];
        for (name, value, slip) in table {
            for purpose in ALL {
                assert_eq!(certain(purpose, value), Some(*slip), "{name}: {purpose:?}");
            }
        }
        for token in [OLD, NEW, "s.AbCdEfGhIjKlMnOpQrStUvWx.a1B2c"] {
            for (purpose, slip) in
                ALL.into_iter().zip([Some(Slip::TokenForId), Some(Slip::TokenForId), None, None])
            {
                assert_eq!(certain(purpose, token), slip, "{token}: {purpose:?}");
            }
        }
        assert_eq!(certain(Purpose::Token, "two\nlines"), Some(Slip::Spaced), "no header holds it");
    }

    #[test]
    fn what_may_be_meant_is_never_refused() {
        let secret_ids = [
            ID,
            "7D3B6A4E-0000-4000-8000-00000000B002",
            "p",
            "correct horse battery staple",
            "\"quoted\"",
            "it's",
            "two\nlines",
            "tab\tbed",
            "team-a:7d3b6a4e-0000-4000-8000-00000000b002",
            "token of mine",
            "secret_id=mine",
            "Bearer mine",
            "{\"mine\": 1}",
            "[1]",
            "12345",
            "aGVsbG8gd29ybGQ=",
            "cGFzc3dvcmQ",
            "s.short",
            "s.example.com",
            "hvs.short",
            "<mine>",
            "${MINE}",
            "übung-größe",
            "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
            "\u{645}\u{6cc}\u{200c}\u{62e}",
        ];
        for value in secret_ids {
            assert_eq!(certain(Purpose::SecretId, value), None, "{value}");
            assert_eq!(certain(Purpose::RoleId, value), None, "{value}");
        }
        for token in [ID, OLD, NEW, "root", "my own token", "a\"b", "übung"] {
            assert_eq!(certain(Purpose::Token, token), None, "{token}");
            assert_eq!(certain(Purpose::WrappingToken, token), None, "{token}");
        }
    }

    #[test]
    fn what_a_server_refused_is_looked_at_once_more() {
        let encoded = STANDARD.encode("hello world");
        let table: &[(&str, Purpose, &str, Option<Slip>)] = &[
            ("in quotes", Purpose::SecretId, "'mine'", Some(Slip::Quoted)),
            ("a template", Purpose::SecretId, "${SECRET_ID}", Some(Slip::Placeholder)),
            ("a template of an example", Purpose::Token, "<your token>", Some(Slip::Placeholder)),
            ("another document", Purpose::SecretId, "{\"a\": 1}", Some(Slip::Document)),
            ("a variable", Purpose::SecretId, "SECRET_ID=mine", Some(Slip::Prefixed)),
            ("a phrase", Purpose::SecretId, "two words", Some(Slip::Spaced)),
            ("two lines", Purpose::SecretId, "two\nlines", Some(Slip::Spaced)),
            ("encoded text", Purpose::SecretId, &encoded, Some(Slip::EncodedTwice)),
            ("a part of an id", Purpose::SecretId, "7d3b6a4e-0000-4000-8000-00000000b00", Some(Slip::CutOff)),
            ("an id for a token", Purpose::Token, ID, Some(Slip::IdForToken)),
            (
                "a secret id where a wrapping token should be",
                Purpose::WrappingToken,
                ID,
                Some(Slip::IdForToken),
            ),
            ("an accessor", Purpose::Token, "7DPLd6lw2mlWsXNWUlOwyO5v", Some(Slip::AccessorForToken)),
            ("a role's name", Purpose::RoleId, "vault-connection", Some(Slip::NameForId)),
            ("a good role id", Purpose::RoleId, ID, None),
            ("a good secret id", Purpose::SecretId, ID, None),
            ("a good token", Purpose::Token, NEW, None),
            ("a custom secret id", Purpose::SecretId, "mine", None),
            ("a custom token", Purpose::Token, "root", None),
        ];
        for (name, purpose, value, slip) in table {
            assert_eq!(suspected(*purpose, value), *slip, "{name}");
        }
    }
}
