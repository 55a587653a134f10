//! The kinds that `kubectl vconn` shows, and how its users name an object of them. Pure.

use std::{fmt, str::FromStr};

use kube::{CustomResourceExt as _, Resource as _, api::ApiResource};

use crate::api::{connection::VaultConnection, gateway::VaultGateway};

/// A kind of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// `VaultConnection`
    Connection,
    /// `VaultGateway`
    Gateway,
}

/// An object as it is named on the command line: `NAME`, `connection/NAME` or `gateway/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) kind: Kind,
    pub(super) name: String,
}

// === impl Kind ===

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Connection, Self::Gateway];

    /// How the API server is asked for it.
    pub(super) fn resource(self) -> ApiResource {
        match self {
            Self::Connection => ApiResource::erase::<VaultConnection>(&()),
            Self::Gateway => ApiResource::erase::<VaultGateway>(&()),
        }
    }

    /// The word before the slash.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Gateway => "gateway",
        }
    }

    /// Whether a user means this kind: by its word, or by any name that kubectl takes.
    fn is_named(self, text: &str) -> bool {
        let ApiResource { group, kind, plural, .. } = self.resource();
        let short = match self {
            Self::Connection => VaultConnection::shortnames(),
            Self::Gateway => VaultGateway::shortnames(),
        };
        let text = text.to_lowercase();
        let text = text.strip_suffix(&format!(".{group}")).unwrap_or(&text);
        let plural_word = format!("{}s", self.word());
        short.contains(&text) || [self.word(), &plural_word, &kind.to_lowercase(), &plural].contains(&text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match self {
            Self::Connection => VaultConnection::kind(&()),
            Self::Gateway => VaultGateway::kind(&()),
        })
    }
}

// === impl Name ===

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            None => (Kind::Connection, text),
            Some((word, name)) => {
                let kind = Kind::ALL.into_iter().find(|kind| kind.is_named(word)).ok_or_else(|| {
                    format!(
                        "unknown kind {word:?}: write NAME or gateway/NAME, and write the namespace with -n"
                    )
                })?;
                (kind, name)
            }
        };
        // What the API server takes as a name. Anything else would become another path there.
        let inner =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
        if name.is_empty() || name.len() > 253 || !name.bytes().all(inner) || name.starts_with('.') {
            return Err("a name consists of lowercase letters, digits, '-' and '.'".to_owned());
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_kubectl_takes_too() {
        let connection = Some((Kind::Connection, "a"));
        let gateway = Some((Kind::Gateway, "a"));
        let table = [
            ("a", connection),
            ("connection/a", connection),
            ("vconn/a", connection),
            ("vaultconnections/a", connection),
            ("VaultConnection/a", connection),
            ("vaultconnection.appconnections.dev/a", connection),
            ("gateway/a", gateway),
            ("gateways/a", gateway),
            ("vgw/a", gateway),
            ("vaultgateway.appconnections.dev/a", gateway),
            ("team-a/a", None),
            ("connection/", None),
            ("", None),
            ("..", None),
            ("../secrets/a", None),
            ("gateway/../a", None),
            ("A", None),
            ("a b", None),
            ("a?watch=true", None),
        ];
        for (text, expected) in table {
            let parsed = text.parse::<Name>().ok();
            assert_eq!(parsed.as_ref().map(|name| (name.kind, name.name.as_str())), expected, "{text:?}");
        }
    }
}
