//! What to do about a reason: the entries of `docs/troubleshooting.md`, which is part of the program. Pure.
//!
//! There is no second list: an entry that is missing there is missing here, and a test of the documentation says so.

use super::{entry::Address, kinds::Kind};
use crate::{
    api::condition::Reason,
    cli::style::{UNBROKEN_BLANK, in_lines, wrap},
    names::text::printable,
};

/// The page, as it was when this program was built.
const PAGE: &str = include_str!("../../../docs/troubleshooting.md");

/// The names that the page uses in its commands.
const EXAMPLE: Example<'static> = Example {
    kind: Kind::Connection,
    namespace: "team-a",
    name: "my-vault-connection",
    secret: Some("vault-approle"),
    gateway: Some("private-network"),
    address: None,
};

/// The address of the instance on the page.
const ADDRESS_EXAMPLE: (&str, &str, &str) =
    ("https://vault.example.com:8200", "vault.example.com:8200", "vault.example.com");

/// Other names of the page, in entries that are about a token.
const TOKEN_EXAMPLE: (&str, &str) = ("my-vault-token", "vault-token");

/// Whose names stand in commands.
#[derive(Clone, Copy)]
pub(super) struct Example<'a> {
    pub(super) kind: Kind,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
    /// The Secret that it is about, if one is known.
    pub(super) secret: Option<&'a str>,
    pub(super) gateway: Option<&'a str>,
    /// The address of the instance, if it can stand in a command.
    pub(super) address: Option<&'a Address>,
}

/// Where the page has the entry of a reason.
pub(super) fn anchor(reason: Reason) -> String {
    format!("docs/troubleshooting.md#{}", reason.as_str().to_lowercase())
}

/// The entry of a reason as indented paragraphs, with the names of the object in its commands; none if the page has none.
pub(super) fn advice(reason: Reason, object: Example<'_>, width: usize) -> Option<String> {
    let mut text = String::new();
    for paragraph in paragraphs(entry(reason)?) {
        match paragraph {
            Paragraph::Text(words) => text.push_str(&hanging(&plain(&named(&words, object)), width)),
            Paragraph::Code(line) => {
                let line = named(line, object);
                text.push_str(format!("      {}", printable(&line)).trim_end());
                text.push('\n');
            }
        }
    }
    Some(text)
}

enum Paragraph<'a> {
    Text(String),
    Code(&'a str),
}

/// What stands below the heading of a reason.
fn entry(reason: Reason) -> Option<&'static str> {
    let (_, after) = PAGE.split_once(&format!("\n### {}\n", reason.as_str()))?;
    let end = ["\n### ", "\n## "].iter().filter_map(|heading| after.find(heading)).min();
    Some(&after[..end.unwrap_or(after.len())])
}

/// The list items and paragraphs of an entry, each in one line, and the lines of its code.
fn paragraphs(entry: &str) -> Vec<Paragraph<'_>> {
    let mut found = Vec::new();
    let mut in_code = false;
    let mut begins = true;
    for line in entry.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with("```") {
            (in_code, begins) = (!in_code, true);
        } else if in_code {
            found.push(Paragraph::Code(line.strip_prefix("  ").unwrap_or(line)));
        } else if trimmed.is_empty() {
            begins = true;
        } else if let Some(Paragraph::Text(words)) =
            found.last_mut().filter(|_| !begins && !trimmed.starts_with("- "))
        {
            words.push(' ');
            words.push_str(trimmed);
        } else {
            found.push(Paragraph::Text(trimmed.trim_start_matches("- ").to_owned()));
            begins = false;
        }
    }
    found
}

/// Markdown without its marks: emphasis, code, and links, of which the text stays.
fn plain(markdown: &str) -> String {
    let mut text = String::new();
    let mut in_code = false;
    let mut rest = markdown;
    while let Some(character) = rest.chars().next() {
        if let Some((label, after)) = link(rest).filter(|_| !in_code) {
            text.push_str(&plain(label));
            rest = after;
            continue;
        }
        let width = if !in_code && rest.starts_with("**") { 2 } else { character.len_utf8() };
        match character {
            '`' => in_code = !in_code,
            // So that a command can be copied as one line.
            ' ' if in_code => text.push(UNBROKEN_BLANK),
            '*' if !in_code => {}
            other => text.push(other),
        }
        rest = &rest[width..];
    }
    text
}

/// The text of the link that this begins with, and what follows it.
fn link(markdown: &str) -> Option<(&str, &str)> {
    let (label, after) = markdown.strip_prefix('[')?.split_once("](")?;
    let (_, after) = after.split_once(')')?;
    (!label.contains('[')).then_some((label, after))
}

/// The names of the example replaced by those of the object.
fn named(text: &str, Example { kind, namespace, name, secret, gateway, address }: Example<'_>) -> String {
    let (token_connection, token_secret) = TOKEN_EXAMPLE;
    let mut text = text.replace(token_connection, EXAMPLE.name);
    if let (Some(own), Some(secret)) = (EXAMPLE.secret, secret) {
        text = text.replace(own, secret).replace(token_secret, secret);
    }
    if let (Some(own), Some(gateway)) = (EXAMPLE.gateway, gateway) {
        text = text.replace(own, gateway);
    }
    if kind == Kind::Gateway {
        text = text.replace(&format!("vconn {}", EXAMPLE.name), &format!("vgw {name}"));
    }
    at_address(&text, address, |text| text.replace(EXAMPLE.name, name).replace(EXAMPLE.namespace, namespace))
}

/// The address of the page replaced by another, beside what else is replaced. Neither may change what the other has put in.
fn at_address(text: &str, address: Option<&Address>, others: impl FnOnce(String) -> String) -> String {
    let Some(Address { url, authority, host }) = address else { return others(text.to_owned()) };
    let (own_url, own_authority, own_host) = ADDRESS_EXAMPLE;
    let places =
        [(own_url, '\u{e001}', url), (own_authority, '\u{e002}', authority), (own_host, '\u{e003}', host)];
    let marked =
        places.iter().fold(text.to_owned(), |text, (own, mark, _)| text.replace(own, &mark.to_string()));
    places.iter().fold(others(marked), |text, (_, mark, new)| text.replace(*mark, new))
}

/// A paragraph whose later lines are indented further.
fn hanging(text: &str, width: usize) -> String {
    // What begins with a label has something beside it.
    let text = match text.split_once(": ").filter(|(label, _)| !label.contains(' ')) {
        Some((label, rest)) => format!("{label}:{UNBROKEN_BLANK}{rest}"),
        None => text.to_owned(),
    };
    let wrapped = wrap(&text, width.saturating_sub(2), "  ");
    let mut lines = wrapped.lines();
    let first = lines.next().map(|line| format!("{line}\n")).unwrap_or_default();
    first + &in_lines(lines.map(|line| format!("  {line}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::condition::{FailureClass, Truth};

    #[test]
    fn every_failure_has_advice_that_says_what_it_means_and_how_to_fix_it() {
        let failures = Reason::ALL
            .iter()
            .filter(|reason| reason.truth() != Truth::True || reason.failure_class() != FailureClass::None);
        for reason in failures {
            let text =
                advice(*reason, EXAMPLE, 100).unwrap_or_else(|| panic!("{} has no entry", reason.as_str()));
            for part in ["  Means: ", "  Fix: "] {
                assert!(text.contains(part), "{} has no {part:?}:\n{text}", reason.as_str());
            }
            assert!(!text.contains("**") && !text.contains("](#"), "{}:\n{text}", reason.as_str());
        }
    }

    #[test]
    fn marks_go_and_words_stay() {
        let plain = |markdown: &str| plain(markdown).replace(UNBROKEN_BLANK, " ");
        let table = [
            ("**Fix:** run `a * b`", "Fix: run a * b"),
            ("see [the page](#x) and [`Code`](y.md)", "see the page and Code"),
            ("`kubectl -o jsonpath='{.a[0]}'`", "kubectl -o jsonpath='{.a[0]}'"),
            ("*aside*, [no link]", "aside, [no link]"),
        ];
        for (markdown, expected) in table {
            assert_eq!(plain(markdown), expected);
        }
    }

    #[test]
    fn commands_have_the_names_of_the_object() {
        let object = Example {
            kind: Kind::Connection,
            namespace: "shop",
            name: "orders",
            secret: Some("login"),
            gateway: None,
            address: None,
        };
        let text = advice(Reason::Suspended, object, 400).expect("it has an entry");
        assert!(text.contains("kubectl -n shop get vconn orders -o jsonpath='{.spec.suspend}'"), "{text}");
        let text = advice(Reason::TokenForbidden, object, 400).expect("it has an entry");
        assert!(text.contains("\n      kind: Role\n") && text.contains("namespace: shop}"), "{text}");
        let text = advice(Reason::SecretNotLabelled, object, 400).expect("it has an entry");
        assert!(
            text.contains("kubectl -n shop label secret login appconnections.dev/credentials=true"),
            "{text}"
        );
        let gateway = Example { kind: Kind::Gateway, name: "edge", gateway: Some("edge"), ..object };
        let text = named("kubectl -n team-a get vconn my-vault-connection -o yaml", gateway);
        assert_eq!(text, "kubectl -n shop get vgw edge -o yaml");
    }
}
