//! Which names the API server takes.

use std::fmt;

/// What a name must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameRule {
    /// A DNS label.
    Label,
    /// DNS labels with dots between.
    Subdomain,
}

/// Whether a name follows a rule.
pub(super) fn is_valid(name: &str, rule: NameRule) -> bool {
    let inner = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| inner(&byte))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match rule {
        NameRule::Label => name.len() <= 63 && is_label(name),
        NameRule::Subdomain => name.len() <= 253 && name.split('.').all(is_label),
    }
}

impl fmt::Display for NameRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Label => {
                "a DNS label of at most 63 characters: lowercase letters, digits and '-', with a letter or digit at both ends"
            }
            Self::Subdomain => {
                "a DNS name of at most 253 characters: lowercase letters, digits, '-' and '.', with a letter or digit at both ends of each part"
            }
        })
    }
}
