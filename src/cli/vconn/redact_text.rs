//! What in a text looks like a credential. Pure.
//!
//! The operator writes no credential into logs, events or statuses. Whoever sends an archive to others must not have to rely on it,
//! and descriptions and arguments come from people. So this errs on the side of too much: an identifier that looks like a token goes.

/// What stands in the place of a value.
pub(super) const REDACTED: &str = "REDACTED";

/// The first parts of tokens of Vault and OpenBao: service, batch and recovery tokens, in their new and old form.
const TOKEN_PREFIXES: [&str; 6] = ["hvs", "hvb", "hvr", "s", "b", "r"];

/// How long the part of a token behind its prefix is, at least: 24 characters in the oldest form.
const MIN_TOKEN: usize = 16;

/// From this length, letters of both cases and digits together are no word or name.
const MIN_MIXED: usize = 24;

/// From this length, a hexadecimal number is a key rather than a hash of a template or a short identifier.
const MIN_HEX: usize = 32;

/// Names before `=`, `:` or in JSON, behind which a credential stands.
const NAMES: [&str; 14] = [
    "password",
    "passwd",
    "token",
    "secret_id",
    "secretid",
    "secret-id",
    "role_id",
    "roleid",
    "client_secret",
    "apikey",
    "api_key",
    "authorization",
    "x-vault-token",
    "secret",
];

/// What an `Authorization` header begins with.
const SCHEMES: [&str; 2] = ["bearer", "basic"];

/// The text without what looks like a credential.
pub(super) fn text(text: &str) -> String {
    let without_keys = without_private_keys(text);
    without_keys.split_inclusive('\n').map(|line| words(&without_users(line))).collect()
}

/// The text without its private keys in PEM form, whose lines may be written as `\n`.
fn without_private_keys(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(end_of_label) = rest.find("PRIVATE KEY-----") {
        let begin = rest[..end_of_label].rfind("-----BEGIN").unwrap_or(end_of_label);
        kept.push_str(&rest[..begin]);
        kept.push_str(REDACTED);
        let inside = &rest[end_of_label + "PRIVATE KEY-----".len()..];
        rest = inside.split_once("PRIVATE KEY-----").map_or("", |(_, after)| after);
    }
    kept.push_str(rest);
    kept
}

/// The text without the user information of URLs.
fn without_users(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        kept.push_str(before);
        kept.push_str("://");
        let end = after.find(['/', '?', '#', ' ', ',', '"', '\'', '\n']).unwrap_or(after.len());
        rest = match after[..end].rfind('@') {
            Some(at) => {
                kept.push_str(REDACTED);
                &after[at..]
            }
            None => after,
        };
    }
    kept.push_str(rest);
    kept
}

/// A line without words that look like credentials, or stand where one does.
fn words(line: &str) -> String {
    let mut kept = String::new();
    let mut rest = line;
    // Whether the next word is a credential whatever it looks like.
    let mut follows_name = false;
    while !rest.is_empty() {
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if length == 0 {
            let character = rest.chars().next().unwrap_or_default();
            kept.push(character);
            rest = &rest[character.len_utf8()..];
            continue;
        }
        let (word, after) = rest.split_at(length);
        let is_scheme = SCHEMES.contains(&word.to_lowercase().as_str());
        if word != REDACTED && ((follows_name && !is_scheme) || is_credential(word, &kept)) {
            kept.push_str(REDACTED);
        } else {
            kept.push_str(word);
        }
        follows_name = is_scheme && after.starts_with(' ') || names_value(word, after);
        rest = after;
    }
    kept
}

/// Whether a character is part of a word: those of tokens, and of base64 in both alphabets but for `/`, which paths have.
fn is_part(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.' | '+')
}

/// Whether the next word is the value of this name: `token=x`, `"token":"x"`, `X-Vault-Token: x`.
fn names_value(word: &str, after: &str) -> bool {
    if !NAMES.contains(&word.trim_start_matches('-').to_lowercase().as_str()) {
        return false;
    }
    // A sentence has a colon and a blank behind a word; a header has that, too.
    let is_header = word.contains('-') || word.eq_ignore_ascii_case("authorization");
    let mut begins = after.chars().filter(|c| *c != '\\');
    match (begins.next(), begins.next()) {
        (Some('='), _) => true,
        (Some('"'), Some(next)) => next == ':',
        (Some(':'), Some(next)) => is_header || is_part(next) || next == '"',
        _ => false,
    }
}

/// Whether a word is a credential by its looks. `before` is what stands before it.
fn is_credential(word: &str, before: &str) -> bool {
    let word = word.trim_matches(['.', '-']);
    let is_token = word.split_once('.').is_some_and(|(prefix, rest)| {
        let own = rest.split('.').next().unwrap_or_default();
        TOKEN_PREFIXES.contains(&prefix) && own.len() >= MIN_TOKEN
    });
    let holds_new_token = ["hvs.", "hvb.", "hvr."]
        .iter()
        .any(|prefix| word.find(prefix).is_some_and(|at| word.len() - at >= MIN_TOKEN));
    let is_jwt = word.starts_with("eyJ") && word.len() >= MIN_TOKEN;
    let is_hex = word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_digest = before.ends_with("sha256:");
    let has = |wanted: fn(&u8) -> bool| word.bytes().any(|byte| wanted(&byte));
    let is_mixed = word.len() >= MIN_MIXED
        && !word.contains('.')
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_digit);
    is_token
        || holds_new_token
        || is_jwt
        || holds_uuid(word)
        || is_mixed
        || (is_hex && word.len() >= MIN_HEX && !is_digest)
}

/// Whether a word is a UUID, as role IDs and secret IDs are, or has one in it.
fn holds_uuid(word: &str) -> bool {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let groups: Vec<_> = word.split(['-', '.', '_', '+']).collect();
    groups.windows(GROUPS.len()).any(|window| {
        window.iter().zip(GROUPS).all(|(group, length)| {
            group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_credential_goes() {
        let table = [
            ("token hvs.CAESIJlU0canary", "token REDACTED"),
            ("(hvb.AAAAAQcanary0123456789)", "(REDACTED)"),
            ("x-hvs.CAESIJlU0canary", "REDACTED"),
            ("s.AbcdefghijklmnopqrstuvWX", "REDACTED"),
            ("s.AbcdefghijklmnopqrstuvWX.ns1", "REDACTED"),
            ("jwt eyJhbGciOiJSUzI1.eyJpc3MiOiJr.c2ln-_x", "jwt REDACTED"),
            ("id 5f0e93f6-4b1a-a4a5-1c1f-6c7f0b3e0f3e.", "id REDACTED"),
            ("secret_id=short", "secret_id=REDACTED"),
            ("--password=hunter2 --lease=kept", "--password=REDACTED --lease=kept"),
            (r#"{"token":"hunter2","object":"a/b"}"#, r#"{"token":"REDACTED","object":"a/b"}"#),
            (r#"{\"token\":\"hunter2\"}"#, r#"{\"token\":\"REDACTED\"}"#),
            (r#"{"password": "hunter2"}"#, r#"{"password": "REDACTED"}"#),
            ("X-Vault-Token: hunter2", "X-Vault-Token: REDACTED"),
            ("Authorization: Bearer hunter2", "Authorization: Bearer REDACTED"),
            ("authorization: Basic aHVudGVyMg==", "authorization: Basic REDACTED=="),
            ("a https://user:hunter2@proxy:3128/p b", "a https://REDACTED@proxy:3128/p b"),
            ("http://a,http://u:p@b", "http://a,http://REDACTED@b"),
            ("key AKIAcanary0123456789abcdef", "key REDACTED"),
            ("key 0123456789abcdef0123456789abcdef", "key REDACTED"),
            ("a -----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY----- b\nc", "a REDACTED b\nc"),
            (r"-----BEGIN PRIVATE KEY-----\nMHcC\n-----END PRIVATE KEY-----\n", r"REDACTED\n"),
            ("-----BEGIN PRIVATE KEY-----\nMHcC", "REDACTED"),
        ];
        for (found, expected) in table {
            assert_eq!(text(found), expected, "{found}");
        }
    }

    #[test]
    fn what_helps_stays() {
        let table = [
            r#"2026-11-27T09:13:25.415981Z {"level":"WARN","message":"failed","kind":"VaultConnection","object":"team-a/orders","reason":"TokenRejected"}"#,
            "Vault rejected the token: it is wrong, expired, revoked, or used up.",
            "Vault rejected the token under key \"token\" in Secret \"payments\". Store a valid token there: this one is wrong",
            "vault-connection-operator-7d9c8b6f5-x2x9z_0123456789abcdef",
            "image registry.example.com/vault-connection-operator@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "https://s.internal.example.com:8200/v1/auth/approle/login",
            "system:serviceaccount:vault-connection-operator-system:vault-connection-operator",
            "kubernetes.io/config.hash status.conditions[0].lastTransitionTime",
            "VaultConnectionDefinitionWithAVeryLongName",
            "",
            "\n\n",
        ];
        for kept in table {
            assert_eq!(text(kept), kept);
        }
    }
}
