//! Holds that a login method is one file and one line in the list of `auth`: whatever is its own comes from its file.

use crate::sources::{Source, files, modules, read};

/// A method of the list in `auth`.
struct Method {
    /// Its module.
    module: String,
    /// Its variant.
    variant: String,
    /// Its file.
    source: Source,
}

/// Nothing else names it, so that a new one needs no other change.
#[test]
fn nothing_but_its_own_file_names_a_login_method() {
    for Method { module: own, variant, .. } in methods() {
        let names = [format!("::{variant}("), format!("{variant}Login")];
        let users = modules().into_iter().filter(|(_, text)| names.iter().any(|name| text.contains(name)));
        let others = |it: &String| *it != own && !matches!(it.as_str(), "auth" | "verify::testing");
        let users: Vec<_> = users.map(|(module, _)| module).filter(others).collect();
        assert!(users.is_empty(), "{variant} is named by {users:?}");
    }
}

/// What a refusal means is read, explained and tested in the file of the method; of the messages for all methods, none is about it.
#[test]
fn a_method_brings_how_its_refusals_read() {
    let messages = read("src/verify/messages/login.rs");
    let mut count = 0;
    for Method { source, .. } in methods() {
        let (path, code) = (&source.path, source.code());
        for part in ["fn parse(", "fn read_refusal(", "fn explain(", "fn denied("] {
            assert!(code.contains(part), "{path} lacks {part}...)");
        }
        let tests = &source.text[code.len()..];
        for fault in faults(function(code, "fn read_refusal(")) {
            let name = format!("LoginFault::{fault}");
            assert!(
                tests.contains("assert_refusals(") && tests.contains(&name),
                "{path} does not test {name}"
            );
            let arm = messages.lines().find(|line| line.trim().starts_with(&format!("{name} =>")));
            let arm = arm.unwrap_or_else(|| panic!("{name} has no reason in the messages"));
            assert!(arm.ends_with(", explained()),"), "{name} is explained for {path}, and not by it: {arm}");
            count += 1;
        }
    }
    assert!(count >= 10, "the refusals were not found");
}

/// The methods of the list.
fn methods() -> Vec<Method> {
    let list = read("src/auth/mod.rs");
    let (_, list) = list.split_once("\nmethods! {").expect("the list of methods");
    let (list, _) = list.split_once("\n}").expect("its end");
    let sources = files("src/auth", ".rs");
    let line = |line: &str| {
        let (file, rest) = line.trim().split_once(" \"")?;
        let (variant, _) = rest.split_once(": ")?.1.split_once('(')?;
        let source = sources.iter().find(|source| source.path == format!("src/auth/{file}.rs"))?;
        let source = Source { path: source.path.clone(), text: source.text.clone() };
        Some(Method { module: format!("auth::{file}"), variant: variant.to_owned(), source })
    };
    let methods: Vec<_> = list.lines().filter_map(line).collect();
    assert!(methods.len() >= 7, "{list}");
    methods
}

/// The text of a method of an `impl`, up to the next one.
fn function<'a>(code: &'a str, begin: &str) -> &'a str {
    let text = &code[code.find(begin).unwrap_or(code.len())..];
    &text[..text.find("\n    }\n").unwrap_or(text.len())]
}

/// The faults that a text names.
fn faults(text: &str) -> Vec<&str> {
    let names = text.split("LoginFault::").skip(1);
    names.map(|rest| &rest[..rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len())]).collect()
}
