//! Paths of Vault: mounts and Vault namespaces, with every name that Vault takes.

use crate::names::text::{HIDDEN, is_printable};

/// Blanks that look like the one of ASCII, or like nothing, as ranges.
const BLANKS: &[(char, char)] = &[
    ('\u{a0}', '\u{a0}'),
    ('\u{1680}', '\u{1680}'),
    ('\u{2000}', '\u{200a}'),
    ('\u{202f}', '\u{202f}'),
    ('\u{205f}', '\u{205f}'),
    ('\u{3000}', '\u{3000}'),
];

/// The control characters.
const CONTROLS: &[(char, char)] = &[('\u{0}', '\u{1f}'), ('\u{7f}', '\u{9f}')];

/// Characters that no path may hold, as ranges: those that cannot be seen, or be told from a blank. Vault refuses a request
/// whose path holds one of them.
pub fn unseen() -> impl Iterator<Item = (char, char)> {
    [CONTROLS, BLANKS, HIDDEN].into_iter().flatten().copied()
}

/// Characters of a URL that are more likely a slip than a name: a path is written as Vault shows it, not as a URL has it.
pub const OF_URLS: [char; 3] = ['?', '#', '%'];

/// Path of an auth method or secrets engine, without slashes at its ends: `approle`, `team-a/approle`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MountPath(String);

/// A text is no mount path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write the path of the mount as Vault lists it, such as approle or team-a/approle: not escaped, without '?', '#', '%', an empty part, or blanks at its ends"
)]
pub struct MountPathError;

/// A Vault namespace other than the root one: `admin/team-a`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VaultNamespace(String);

/// A text is no Vault namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write the path of the Vault namespace as Vault lists it, such as admin/team-a: not escaped, without '?', '#', '%', an empty part, or blanks at its ends; leave it out for the root namespace"
)]
pub struct VaultNamespaceError;

// === impl MountPath ===

impl MountPath {
    /// Accepts one slash at each end, as Vault's own tools do.
    pub fn parse(text: &str) -> Result<Self, MountPathError> {
        let path = inner(text);
        if is_path(path) { Ok(Self(path.to_owned())) } else { Err(MountPathError) }
    }

    /// The path without slashes at its ends, not escaped.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl VaultNamespace ===

impl VaultNamespace {
    /// Empty, `/` and `root` all mean the root namespace, for which no header is sent.
    pub fn parse(text: &str) -> Result<Option<Self>, VaultNamespaceError> {
        match inner(text) {
            "" if text.len() <= 1 => Ok(None),
            "root" => Ok(None),
            path if is_path(path) => Ok(Some(Self(path.to_owned()))),
            _ => Err(VaultNamespaceError),
        }
    }

    /// The path without slashes at its ends, not escaped. As bytes it is a value of the `X-Vault-Namespace` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text holds only what can be seen, and no blank at its ends.
pub fn is_plain(text: &str) -> bool {
    let blank = |c: char| BLANKS.iter().any(|(first, last)| (*first..=*last).contains(&c));
    text.chars().all(|c| is_printable(c) && !blank(c)) && !text.starts_with(' ') && !text.ends_with(' ')
}

/// Whether a text is one segment of a path, and stays that in the URL of a request.
pub fn is_segment(text: &str) -> bool {
    !text.contains('/') && is_path(text)
}

/// Escapes each segment of an API path, so that nothing in it means anything to a URL.
pub fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
            escaped.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
        }
    }
    escaped
}

/// The text without one slash at each end.
fn inner(text: &str) -> &str {
    let text = text.strip_prefix('/').unwrap_or(text);
    text.strip_suffix('/').unwrap_or(text)
}

/// Whether each segment of a path stays where it is, as what it is, in the URL of a request.
fn is_path(path: &str) -> bool {
    let sound = |segment: &str| !matches!(segment, "" | "." | "..") && is_plain(segment);
    !path.contains(OF_URLS) && path.split('/').all(sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_cannot_leave_their_place_in_the_path() {
        for text in [
            "approle",
            "/approle/",
            "team-a/approle",
            "a.b_c-d",
            "a b",
            "ä",
            "チーム/approle",
            "me@example.com",
            "a:b",
            "a+b*",
            "a\\b",
            ".hidden",
            "...",
            "a\"b",
        ] {
            assert!(MountPath::parse(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "/",
            "//",
            "//a",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/.",
            "a?b",
            "a#b",
            "a%2fb",
            " a",
            "a ",
            "a /b",
            "/ a/",
            "a\nb",
            "a\u{200b}",
            "a\u{a0}b",
            "\u{feff}a",
        ] {
            assert_eq!(MountPath::parse(text), Err(MountPathError), "{text:?}");
        }
    }

    #[test]
    fn the_root_namespace_has_several_spellings_and_no_header() {
        for text in ["", "/", "root", "root/", "/root", "/root/"] {
            assert_eq!(VaultNamespace::parse(text), Ok(None), "{text}");
        }
        for (text, expected) in [
            ("/admin/team-a/", "admin/team-a"),
            ("a b", "a b"),
            ("équipe/東京", "équipe/東京"),
            ("root/a", "root/a"),
        ] {
            let nested = VaultNamespace::parse(text).expect("valid").expect("not root");
            assert_eq!(nested.as_str(), expected);
        }
        for text in ["//", "a//b", "..", " ", "a ", "a%20b", "a\n"] {
            assert_eq!(VaultNamespace::parse(text), Err(VaultNamespaceError), "{text:?}");
        }
    }

    #[test]
    fn what_a_url_could_misread_is_escaped() {
        for (path, expected) in [
            ("auth/team-a/approle_1.x~/login", "auth/team-a/approle_1.x~/login"),
            ("auth/a b@c:d/login", "auth/a%20b%40c%3Ad/login"),
            ("チ\\?#%", "%E3%83%81%5C%3F%23%25"),
        ] {
            assert_eq!(escaped(path), expected);
        }
    }
}
