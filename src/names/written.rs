//! The plain form in which users write addresses: a scheme, a host, perhaps a port and a path.
//!
//! Parsers of URLs understand far more (white space, backslashes, escapes, other digits), and no two of them the same.
//! What is read here is the part on which all agree. The rules of the CRD (`schema::rules`) describe the same form in CEL, and a
//! property test holds both to each other: a change here is a change there.

use std::net::Ipv6Addr;

use url::Host;

/// Letters beyond ASCII that a host may be written with, as ranges: the blocks of the living scripts. Symbols, full-width forms and
/// characters that cannot be seen stand outside. Whether such a name is one by IDNA, the parser of URLs decides.
pub const LETTERS: &[(char, char)] =
    &[('\u{c0}', '\u{167f}'), ('\u{1681}', '\u{1fff}'), ('\u{3041}', '\u{3163}'), ('\u{3165}', '\u{d7ff}')];

/// Most characters of a name of the DNS, without the dot at its end: RFC 1035, section 2.3.4.
pub const MAX_NAME: usize = 253;

/// Most characters between two dots of such a name, by the same section.
pub const MAX_LABEL: usize = 63;

/// The parts of a written address whose form has been checked.
#[derive(Debug)]
pub struct Written<'a> {
    /// What stands before `://`. Which schemes there are, the caller knows.
    pub scheme: &'a str,
    /// Empty, or what follows the authority, from its slash on.
    pub path: &'a str,
}

/// Why a text is no written address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenError {
    /// There is no `://` with something after it, or the path holds what must be escaped.
    Form,
    /// There is an `@`.
    UserInfo,
    /// There is a `?` or a `#`.
    QueryOrFragment,
    /// The host is neither a name nor an address.
    Host,
    /// The port is no number from 1 to 65535.
    Port,
}

// === impl Written ===

impl<'a> Written<'a> {
    /// Takes an address apart, and checks each part.
    pub fn parse(text: &'a str) -> Result<Self, WrittenError> {
        let (scheme, rest) = text.split_once("://").ok_or(WrittenError::Form)?;
        if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(WrittenError::Form);
        }
        if rest.contains('@') {
            return Err(WrittenError::UserInfo);
        }
        if rest.contains(['?', '#']) {
            return Err(WrittenError::QueryOrFragment);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.is_empty() || !is_path(path) {
            return Err(WrittenError::Form);
        }
        let (host, port) = split_port(authority);
        if !is_host(host) {
            return Err(WrittenError::Host);
        }
        if port.is_some_and(|port| !is_port(port)) {
            return Err(WrittenError::Port);
        }
        Ok(Self { scheme, path })
    }
}

/// Whether a text is a host's name, without a dot at its end: labels of letters, digits, `_` and `-`.
pub fn is_name(text: &str) -> bool {
    text.chars().count() <= MAX_NAME && text.split('.').all(is_label)
}

/// The same, with or without that dot.
pub fn is_dns_name(text: &str) -> bool {
    is_name(text.strip_suffix('.').unwrap_or(text))
}

/// Whether a name would be read as an IPv4 address, or as nothing at all: its last label is a number.
pub fn ends_in_a_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    let all = |text: &str, digit: fn(&u8) -> bool| text.as_bytes().iter().all(digit);
    !last.is_empty() && all(last, u8::is_ascii_digit)
        || hexadecimal.is_some_and(|digits| all(digits, u8::is_ascii_hexdigit))
}

fn is_label(label: &str) -> bool {
    let at_the_ends = |c: char| {
        let listed = |(first, last): &(char, char)| (*first..=*last).contains(&c);
        c.is_ascii_alphanumeric() || c == '_' || LETTERS.iter().any(listed)
    };
    label.chars().count() <= MAX_LABEL
        && label.starts_with(at_the_ends)
        && label.ends_with(at_the_ends)
        && label.chars().all(|c| at_the_ends(c) || c == '-')
}

/// Splits `HOST[:PORT]`. An IPv6 address keeps its brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    let from = if authority.starts_with('[') { authority.find(']').unwrap_or(0) } else { 0 };
    match authority[from..].find(':') {
        Some(colon) => (&authority[..from + colon], Some(&authority[from + colon + 1..])),
        None => (authority, None),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    is_name(name) && (!ends_in_a_number(name) || matches!(Host::parse(name), Ok(Host::Ipv4(_))))
}

fn is_port(port: &str) -> bool {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit()) && !port.starts_with('0');
    digits && port.parse::<u16>().is_ok()
}

/// Whether a path holds nothing but what RFC 3986 (section 3.3) has there; an `@` has been refused already.
fn is_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:".contains(&byte);
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let escaped = byte == b'%' && (0..2).all(|_| bytes.next().is_some_and(|b| b.is_ascii_hexdigit()));
        if !plain(byte) && !escaped {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_accepted_or_refused_by_the_part_that_is_wrong() {
        use WrittenError::{Form, Host, Port, QueryOrFragment, UserInfo};
        let label = "a".repeat(63);
        let name = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        let table: &[(&str, Option<WrittenError>)] = &[
            ("https://vault.example.com", None),
            ("https://vault.example.com:8200/prefix/", None),
            ("https://vault.example.com.:8200", None),
            ("https://bücher.example", None),
            ("https://_vault-1.example", None),
            ("https://10.0.0.7:1", None),
            ("https://0x7f.1", None),
            ("https://[2001:db8::1]:65535/a%20b", None),
            ("https://[::ffff:10.0.0.7]", None),
            (&format!("https://{name}"), None),
            (&format!("https://{name}.:8200"), None),
            ("vault.example.com", Some(Form)),
            ("https:/vault.example.com", Some(Form)),
            ("https://", Some(Form)),
            ("https:///vault.example.com", Some(Form)),
            ("https://vault.example.com/a b", Some(Form)),
            ("https://vault.example.com/a\"b", Some(Form)),
            ("https://vault.example.com/%2", Some(Form)),
            ("https://vault.example.com/ä", Some(Form)),
            ("https://user:word@vault.example.com", Some(UserInfo)),
            ("https://vault.example.com/@b", Some(UserInfo)),
            ("https://vault.example.com?a", Some(QueryOrFragment)),
            ("https://vault.example.com#a", Some(QueryOrFragment)),
            ("https://:8200", Some(Host)),
            ("https://<host>", Some(Host)),
            ("https://a\"b.example", Some(Host)),
            ("https://a'b.example", Some(Host)),
            ("https://{{ host }}", Some(Host)),
            ("https://$HOST", Some(Host)),
            ("https://vault example.com", Some(Host)),
            ("https://vault.example.com ", Some(Host)),
            ("https://vault\u{200b}.example.com", Some(Host)),
            ("https://vault\\x", Some(Host)),
            ("https://a..b", Some(Host)),
            ("https://.", Some(Host)),
            ("https://-a.example", Some(Host)),
            ("https://a-.example", Some(Host)),
            ("https://10.0.0.256", Some(Host)),
            ("https://1.2.3.4.5", Some(Host)),
            ("https://a.1", Some(Host)),
            ("https://[10.0.0.7]", Some(Host)),
            ("https://[::1", Some(Host)),
            ("https://[::1]x", Some(Host)),
            ("https://[fe80::1%25eth0]", Some(Host)),
            ("https://[1::2::3]", Some(Host)),
            ("https://::1", Some(Host)),
            (&format!("https://{name}a"), Some(Host)),
            (&format!("https://a{label}.example"), Some(Host)),
            ("https://vault.example.com:", Some(Port)),
            ("https://vault.example.com:0", Some(Port)),
            ("https://vault.example.com:08200", Some(Port)),
            ("https://vault.example.com:65536", Some(Port)),
            ("https://vault.example.com:+1", Some(Port)),
            ("https://vault.example.com:82:00", Some(Port)),
            ("https://[::1]:", Some(Port)),
        ];
        for (text, expected) in table {
            assert_eq!(Written::parse(text).err(), *expected, "{text}");
        }
    }
}
