//! The commands of the documentation: flags and files that exist, and scripts that a shell can read.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
};

use vault_connection_operator::cli;

use super::{Page, blocks, pages, prose};
use crate::support::bed::package;

/// What stands in backticks in the prose of a page.
fn spans(text: &str) -> Vec<String> {
    prose(text).split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn flags(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned);
    own.chain(command.get_subcommands().flat_map(flags)).collect()
}

/// Flags of other programs that the prose names by themselves.
const FOREIGN_FLAGS: [&str; 7] = [
    "help",
    "from-literal",
    "field-selector",
    "take-ownership",
    "reuse-values",
    "reset-then-reuse-values",
    "store-requeue-interval",
];

/// What a page says of our programs: flags alone, in its prose, and commands of ours.
fn commands(text: &str) -> Vec<String> {
    let is_ours = |text: &str| {
        ["vault-connection-operator ", "kubectl vconn "].iter().any(|begin| text.starts_with(begin))
    };
    let script = blocks(text, "sh").join("\n");
    let lines = script.lines().map(|line| line.trim().split(" # ").next().unwrap_or_default().to_owned());
    let spans = spans(text).into_iter().filter(|span| span.starts_with("--") || is_ours(span));
    lines.filter(|line| is_ours(line)).chain(spans).collect()
}

#[test]
fn every_flag_that_the_docs_name_exists() {
    let ours = flags(&cli::command());
    let mut unknown = BTreeSet::new();
    for Page { path, text } in
        pages().into_iter().filter(|page| page.path.starts_with("docs/") || page.path == "README.md")
    {
        for command in commands(&text) {
            let words = command.split_whitespace().filter_map(|word| word.strip_prefix("--"));
            let names = words.map(|word| word.split(['=', ',']).next().unwrap_or_default().to_owned());
            for name in names.filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase())) {
                if !ours.contains(&name) && !FOREIGN_FLAGS.contains(&name.as_str()) {
                    unknown.insert(format!("{path}: --{name} in {command}"));
                }
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn every_script_of_the_docs_is_one_that_a_shell_reads() {
    let mut seen = 0;
    for Page { path, text } in pages() {
        for script in blocks(&text, "sh") {
            let mut shell = Command::new("bash")
                .arg("-n")
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("there is bash");
            let mut input = shell.stdin.take().expect("it is piped");
            input.write_all(script.as_bytes()).expect("it reads");
            drop(input);
            let output = shell.wait_with_output().expect("it ends");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.is_empty(), "{path}: {said}\n{script}");
            seen += 1;
        }
    }
    assert!(seen > 30, "only {seen} scripts were found");
}

/// The files of the repository that a script names: what begins as one of our folders.
fn named_files(script: &str) -> Vec<String> {
    let words = script.split_whitespace().map(|word| word.trim_matches(['\'', '"', ';', '|']));
    let words = words.map(|word| word.rsplit_once('=').map_or(word, |(_, value)| value));
    let words = words.map(|word| word.trim_start_matches("./"));
    let is_ours = |word: &&str| {
        ["charts/", "config/", "crds/", "examples/", "hack/", "docs/"]
            .iter()
            .any(|begin| word.starts_with(begin))
    };
    words.filter(is_ours).map(|word| word.trim_end_matches(')').to_owned()).collect()
}

#[test]
fn every_file_that_a_command_of_the_docs_names_exists() {
    let (mut missing, mut seen) = (Vec::new(), 0);
    for Page { path, text } in pages() {
        for name in blocks(&text, "sh").iter().flat_map(|script| named_files(script)) {
            seen += 1;
            if !package().join(&name).exists() {
                missing.push(format!("{path}: {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(seen > 10, "only {seen} files were found");
}
