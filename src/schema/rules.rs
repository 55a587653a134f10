//! The CEL rules of the CRDs' texts: what [`crate::names`] and [`super::text`] accept, said again for the API server.
//!
//! A property test holds each of them to its parser. The API server reads regular expressions by RE2, the tests by Rust's `regex`:
//! only what means the same to both stands here, so no `\s`, no `\d` and no flags. Each rule is about a text with a
//! `maxLength`, for the API server weighs what a rule could cost before it takes a CRD.

use std::fmt::Write as _;

use kube::core::Rule;

use crate::names::{
    path::{OF_URLS, unseen},
    written::{LETTERS, MAX_LABEL, MAX_NAME},
};

/// A number from 0 to 255, as an IPv4 address has it.
const BYTE: &str = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";

/// The same as URLs may have it: also octal, after a zero, or hexadecimal.
const ANY_BYTE: &str =
    "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9]|0+[0-3]?[0-7]{0,2}|0[xX]0*[0-9A-Fa-f]{0,2})";

/// The last number of such an address, which stands for all bytes that are left: two, three or four of them.
const LAST_OF_3: &str = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}|\
                         0+[01]?[0-7]{0,5}|0[xX]0*[0-9A-Fa-f]{0,4})";
const LAST_OF_2: &str = "(1677721[0-5]|1677720[0-9]|16777[01][0-9]{2}|1677[0-6][0-9]{3}|167[0-6][0-9]{4}|16[0-6][0-9]{5}|\
                         1[0-5][0-9]{6}|[1-9][0-9]{0,6}|0+[0-7]{0,8}|0[xX]0*[0-9A-Fa-f]{0,6})";
const LAST_OF_1: &str = "(429496729[0-5]|42949672[0-8][0-9]|4294967[01][0-9]{2}|429496[0-6][0-9]{3}|42949[0-5][0-9]{4}|\
                         4294[0-8][0-9]{5}|429[0-3][0-9]{6}|42[0-8][0-9]{7}|4[01][0-9]{8}|[1-3][0-9]{9}|[1-9][0-9]{0,8}|\
                         0+[0-3]?[0-7]{0,10}|0[xX]0*[0-9A-Fa-f]{0,8})";

/// A number from 1 to 65535.
const PORT: &str = "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})";

/// A label that makes a parser of URLs expect an IPv4 address.
const NUMBER: &str = "([0-9]+|0[xX][0-9A-Fa-f]*)";

/// What RFC 3986 has in a path, without `@`.
const PATH: &str = r"(/([-/A-Za-z0-9._~!$&\x27()*+,;=:]|%[0-9A-Fa-f]{2})*)?";

/// Control characters and the blank.
const CONTROLS: &str = r"\x{0}-\x{20}";

/// A duration in Go's words, as far as CEL's `duration` and [`super::text`] read it alike.
const DURATION: &str = "^([0-9]{1,6}(ms|s|m|h))+$";

/// The name of an object of ours.
pub fn metadata_name() -> Rule {
    Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')").message(
        "metadata.name must be a DNS label of at most 63 characters: lower case letters, digits and '-'",
    )
}

/// The name of an object of the Kubernetes API.
pub fn object_name(kind: &str) -> Rule {
    rule(
        &matches("self", "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"),
        &format!("write the name of a {kind}: lower case letters, digits, '-' and '.'"),
    )
}

/// A key of an object's data.
pub fn key(kind: &str) -> Rule {
    rule(
        &matches("self", "^[-._A-Za-z0-9]+$"),
        &format!("write a key of the {kind}'s data: letters, digits, '-', '_' and '.'"),
    )
}

/// The name of a `VaultGateway`.
pub fn gateway_name() -> Rule {
    rule(
        &matches("self", "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"),
        "write the name of a VaultGateway: lower case letters, digits and '-'",
    )
}

/// The form of an instance URL.
pub fn instance_url() -> Rule {
    rule(
        &matches("self", &format!("^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@{CONTROLS}]+{PATH}$")),
        "write https://HOST[:PORT][/PREFIX], such as https://vault.example.com:8200; credentials, a query and a fragment do not belong there",
    )
}

/// The form of the URL of an endpoint.
pub fn endpoint_url() -> Rule {
    rule(
        &matches(
            "self",
            &format!("^([Hh][Tt][Tt][Pp][Ss]?|[Ss][Oo][Cc][Kk][Ss]5[Hh]?)://[^/?#@{CONTROLS}]+/?$"),
        ),
        "write http://HOST[:PORT], https://HOST[:PORT], socks5://HOST[:PORT] or socks5h://HOST[:PORT]; a login belongs into the Secret that credentials names",
    )
}

/// The host of a URL, where it has one at all.
pub fn host() -> Rule {
    let part = format!("[-A-Za-z0-9_{}]+", ranges(LETTERS.iter().copied()));
    let is_name = [
        matches("host", &format!("^{part}([.]{part})*[.]?$")),
        format!("!{}", matches("host", &format!("(^|[.])-|-([.]|$)|[^.]{{{}}}", MAX_LABEL + 1))),
        matches("host", &format!("^.{{1,{MAX_NAME}}}[.]?$")),
    ];
    let is_number = matches("host", &format!("(^|[.]){NUMBER}[.]?$"));
    let is_ipv4 = matches("host", &format!("^{}[.]?$", any_ipv4()));
    let has_host = matches("self", "^[A-Za-z0-9]+://[^/]");
    let is_ipv6 = matches("self", &format!(r"^[A-Za-z0-9]+://\[{}\](:|/|$)", ipv6()));
    rule(
        &format!(
            "!{has_host} || {is_ipv6} || [self.split('/')[2].split(':')[0]].all(host, {} && (!{is_number} || {is_ipv4}))",
            is_name.join(" && ")
        ),
        "the host must be a name of letters, digits, '-', '_' and '.', an IPv4 address such as 10.0.0.7, or an IPv6 address in brackets such as [2001:db8::1]",
    )
}

/// The port of a URL, where it has one.
pub fn port() -> Rule {
    let host = r"^[A-Za-z0-9]+://(\[[^\]/]*\]|[^:/\[]*):";
    let [has_port, is_port] =
        [host.to_owned(), format!("{host}{PORT}(/|$)")].map(|regex| matches("self", &regex));
    rule(
        &format!("!{has_port} || {is_port}"),
        "the port must be a number from 1 to 65535; leave it out for the usual one",
    )
}

/// A list of endpoints names each proxy once: upper case, a slash at the end and the usual port make no other.
pub fn each_endpoint_once() -> Rule {
    let bare = "it.url.lowerAscii().replace('/', '')";
    let usual =
        "(it.url.matches('^[Hh][Tt][Tt][Pp][Ss]:') ? ':443' : it.url.matches('^[Hh]') ? ':80' : ':1080')";
    let same = format!("{bare} + (it.url.matches(':[0-9]+/?$') ? '' : {usual})");
    let (one, other) = (same.replace("it.", "one."), same.replace("it.", "other."));
    rule(&format!("self.all(one, self.exists_one(other, {one} == {other}))"), "list each url once")
}

/// The name that a certificate is for.
pub fn server_name() -> Rule {
    let name = matches("self", "^[-A-Za-z0-9_]+([.][-A-Za-z0-9_]+)*$");
    let no_name = matches("self", &format!("(^|[.])-|-([.]|$)|[^.]{{{}}}|(^|[.]){NUMBER}$", MAX_LABEL + 1));
    let address = matches("self", &format!("^{BYTE}([.]{BYTE}){{3}}$"));
    rule(
        &format!("({name} && !{no_name}) || {address}"),
        "write the name in the server's certificate, such as vault.internal, or an IPv4 address such as 10.0.0.7, without scheme and port",
    )
}

/// The path of a mount. `listed` is the command that shows it.
pub fn mount(listed: &str, such_as: &str) -> Rule {
    rule(
        &path(),
        &format!(
            "write the path of the mount as `{listed}` shows it, such as {such_as}: not escaped, without '?', '#', '%', an empty part, or blanks at its ends"
        ),
    )
}

/// A Vault namespace.
pub fn vault_namespace() -> Rule {
    rule(
        &format!("self == '' || self == '/' || ({})", path()),
        "write the path of the Vault namespace, such as admin/team-a: not escaped, without '?', '#', '%', an empty part, or blanks at its ends; leave it out for the root namespace",
    )
}

/// A path in a policy does not begin with a slash.
pub fn no_leading_slash() -> Rule {
    Rule::new("!self.startsWith('/')")
        .message("write the path without a leading slash, as in a Vault policy: demo_mount/data/app")
}

/// A user name, if it is written in the spec: it becomes a part of a path.
pub fn user_name() -> Rule {
    let foreign = matches("self.value", &format!("[/{}{}]", String::from_iter(OF_URLS), ranges(unseen())));
    let unsound = matches("self.value", r"^\x20|\x20$|^[.]{1,2}$");
    rule(
        &format!("!has(self.value) || (!{foreign} && !{unsound})"),
        "write the user name as Vault knows it: without '/', '?', '#', '%', and blanks at its ends",
    )
}

/// The audiences of a token.
pub fn audiences() -> Rule {
    rule(
        &format!("self.all(it, !{})", matches("it", &format!(r"^\x20|\x20$|[{}]", ranges(unseen())))),
        "write each audience on one line, without blanks at its ends and characters that cannot be seen",
    )
}

/// A text that holds only what can be seen, and no blank at its ends.
pub fn plain() -> Rule {
    rule(
        &format!("!{}", matches("self", &format!(r"^\x20|\x20$|[{}]", ranges(unseen())))),
        "write it on one line, without blanks at its ends and characters that cannot be seen",
    )
}

/// A duration between two bounds.
pub fn duration(min: &str, max: &str, such_as: &str) -> Rule {
    rule(
        &format!(
            "{} && duration(self) >= duration('{min}') && duration(self) <= duration('{max}')",
            matches("self", DURATION)
        ),
        &format!("write a duration from {min} to {max}, such as {such_as}"),
    )
}

/// A check ends before the next one begins.
pub fn timeout_within_interval() -> Rule {
    let readable = |field: &str| format!("self.{field}.matches('{DURATION}')");
    rule(
        &format!(
            "!{} || !{} || duration(self.timeout) <= duration(self.interval)",
            readable("interval"),
            readable("timeout")
        ),
        "timeout must not be longer than interval",
    )
}

fn rule(expression: &str, message: &str) -> Rule {
    Rule::new(expression).message(message)
}

/// The CEL expression that a text matches.
fn matches(text: &str, regex: &str) -> String {
    assert!(!regex.contains('\''), "a quote would end CEL's text: {regex}");
    format!("{text}.matches('{}')", regex.replace('\\', "\\\\"))
}

/// A path whose segments stay where they are.
fn path() -> String {
    let foreign = matches("self", &format!("[{}{}]", String::from_iter(OF_URLS), ranges(unseen())));
    let unsound = matches("self", r"(^|/)\x20|\x20(/|$)|(^|/)[.]{1,2}(/|$)|//|^/?$");
    format!("!{foreign} && !{unsound}")
}

fn ranges(ranges: impl Iterator<Item = (char, char)>) -> String {
    let mut text = String::new();
    for (first, last) in ranges {
        let _ = write!(text, r"\x{{{:X}}}", u32::from(first));
        if first != last {
            let _ = write!(text, r"-\x{{{:X}}}", u32::from(last));
        }
    }
    text
}

/// An IPv4 address as the parsers of URLs read it: one to four numbers.
fn any_ipv4() -> String {
    let byte = format!("{ANY_BYTE}[.]");
    format!("({byte}{byte}{byte}{ANY_BYTE}|{byte}{byte}{LAST_OF_3}|{byte}{LAST_OF_2}|{LAST_OF_1})")
}

/// An IPv6 address: eight groups, or fewer around one `::`; an IPv4 address may stand for the last two.
fn ipv6() -> String {
    const GROUP: &str = "[0-9A-Fa-f]{1,4}";
    let ipv4 = format!("{BYTE}([.]{BYTE}){{3}}");
    let mut forms = vec![format!("({GROUP}:){{6}}({GROUP}:{GROUP}|{ipv4})")];
    for before in 0..=7 {
        let first = match before {
            0 => String::new(),
            1 => GROUP.to_owned(),
            more => format!("{GROUP}(:{GROUP}){{{}}}", more - 1),
        };
        let after = match before {
            7 => String::new(),
            6 => format!("({GROUP})?"),
            5 => format!("({GROUP}(:{GROUP})?|{ipv4})?"),
            fewer => format!("({GROUP}(:{GROUP}){{0,{}}}|({GROUP}:){{0,{}}}{ipv4})?", 6 - fewer, 5 - fewer),
        };
        forms.push(format!("{first}::{after}"));
    }
    format!("({})", forms.join("|"))
}
