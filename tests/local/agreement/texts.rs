//! Texts for the fields of a spec: of each grammar, near it, and far from it.

use proptest::prelude::*;

/// Texts that have nothing to do with any grammar.
pub(super) fn anything() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,12}",
        any::<String>(),
        "[ -~]{0,12}",
        "[\u{0}-\u{20}\u{7f}-\u{a0}\u{ad}\u{200b}\u{2028}\u{3000}\u{feff}a]{1,3}",
        Just("<host>".to_owned()),
        Just("{{ .Values.x }}".to_owned()),
        Just("${X}".to_owned()),
    ]
}

/// Texts around a greatest length, in characters of one byte and of three.
pub(super) fn around(most: usize, prefix: &'static str) -> impl Strategy<Value = String> {
    let length = most.saturating_sub(2 + prefix.len())..=(most + 2 - prefix.len());
    (length, prop_oneof!["a", "あ"]).prop_map(move |(length, c)| format!("{prefix}{}", c.repeat(length)))
}

fn like(regex: &str) -> impl Strategy<Value = String> + use<> {
    proptest::string::string_regex(regex).expect("a regular expression")
}

/// Hosts, and what looks like one. International names are of letters that IDNA takes: of others only the operator knows.
pub(super) fn host() -> impl Strategy<Value = String> {
    let number = "(0|[1-9][0-9]{0,2}|0[0-7]{0,4}|0[xX][0-9a-fA-F]{0,4}|25[4-7]|65535|65536|16777215|16777216|4294967295|4294967296)";
    let label = "[a-zA-Z0-9_üя東-]{1,4}";
    prop_oneof![
        4 => like(&format!("{label}([.]{label}){{0,3}}[.]{{0,2}}")),
        4 => like(&format!("{number}([.]{number}){{0,4}}[.]{{0,2}}")),
        1 => like(&format!("{label}[.]{number}[.]?")),
        3 => r"\[([0-9a-fA-F]{0,5}:){0,8}[0-9a-fA-F]{0,4}\]",
        2 => like(&format!(r"\[([0-9a-f]{{1,4}}:){{0,3}}(:[0-9a-f]{{1,4}}){{0,3}}:{number}([.]{number}){{3}}\]")),
        1 => r"\[::[a-z0-9%:.]{0,6}\]?[a-z]?",
        1 => "[a-z\"'<>{}|^`\\\\%$&()*+,;=!~ \t\n]{1,4}",
        1 => (60_usize..66, 1_usize..5, 0_usize..64)
            .prop_map(|(length, count, rest)| format!("{}{}", format!("{}.", "a".repeat(length)).repeat(count), "b".repeat(rest))),
    ]
    .prop_filter("only the operator knows IDNA", |host| !host.to_ascii_lowercase().contains("xn--"))
}

pub(super) fn url(schemes: &'static str, path: &'static str) -> impl Strategy<Value = String> {
    let port = prop_oneof![
        4 => Just(String::new()),
        2 => ":[0-9]{0,5}",
        1 => (65_530_u32..65_540).prop_map(|port| format!(":{port}")),
        1 => ":[0-9a-z:+ -]{0,3}",
    ];
    (schemes, "(://|://|://|://|://|:/|:|)", host(), port, path)
        .prop_map(|(scheme, colon, host, port, path)| format!("{scheme}{colon}{host}{port}{path}"))
}

pub(super) fn instance_url() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => url("(https?|HTTPS|ftp|)", "(/[a-z./%0-9@:?#\"<>ü \\\\!$&'()*+,;=~^|{}\n-]{0,4}){0,2}"),
        1 => url(" ?https ?", "[ \n\\\\]?"),
        1 => around(2048, "https://a/"),
        1 => anything(),
    ]
    .prop_filter("only the operator knows IDNA", |text| !text.chars().any(is_exotic))
}

/// Letters that may stand in a host by their block, of which only IDNA says more.
pub(super) fn is_exotic(c: char) -> bool {
    !c.is_ascii() && !"üя東あ".contains(c)
}

pub(super) fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        5 => "/{0,2}[a-zA-Z0-9._@:+* \\\\ü東?#%-]{0,4}(/[a-z. ]{0,3}){0,3}/{0,2}",
        2 => "(root|/|[.]{1,3}|a| ){1,4}",
        1 => around(256, ""),
        1 => around(512, "a/"),
        2 => anything(),
    ]
}

pub(super) fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9.-]{0,6}",
        1 => "[a-zA-Z0-9._/,-]{0,6}",
        1 => around(63, ""),
        1 => around(253, ""),
        1 => anything(),
    ]
}

pub(super) fn duration() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "([0-9]{1,3}(ms|s|m|h)){1,3}",
        1 => "([0-9]{0,7}(ms|s|m|h|us|ns|d|)){0,3}",
        1 => "[+-]?[0-9]{1,2}([.][0-9])?(ms|s|m|h)",
        1 => "(9{6}h|0{1,6}s|10s|24h){1,8}",
        1 => anything(),
    ]
}
