//! Completions: what kubectl asks its plugins for, scripts for shells, and man pages.
//!
//! kubectl runs a program `kubectl_complete-vconn` with the words of the command line, the last of which is being written, and
//! reads candidates, a line each, and a last line that says what the shell may add:
//! <https://pkg.go.dev/k8s.io/kubectl/pkg/cmd/plugin>.

use std::{ffi::OsString, io, path::Path};

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::args::Plugin;

/// No file names after these candidates.
const NO_FILES: &str = ":4";

/// File names, since no candidate is known.
const FILES: &str = ":0";

/// What kubectl prints while a command line is being written, and which names are asked for beside it.
pub(super) fn candidates(words: &[OsString]) -> (Vec<String>, bool) {
    let mut root = Plugin::command();
    root.build();
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (current, before) =
        words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut command = &root;
    let mut after_flag = None;
    for word in before {
        after_flag = command.get_arguments().find(|argument| {
            argument.get_action().takes_values()
                && (argument.get_long().is_some_and(|long| *word == format!("--{long}"))
                    || argument.get_short().is_some_and(|short| *word == format!("-{short}")))
        });
        if let Some(subcommand) = command.find_subcommand(word) {
            command = subcommand;
        }
    }
    let starts = |text: &String| text.starts_with(current);
    if let Some(argument) = after_flag {
        let values = argument.get_possible_values();
        let values = values.iter().map(|value| value.get_name().to_owned());
        return (values.filter(starts).collect(), false);
    }
    if current.starts_with('-') {
        let flags = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let flags = flags.filter_map(|argument| Some(format!("--{}", argument.get_long()?)));
        return (flags.filter(starts).collect(), false);
    }
    if command.has_subcommands() {
        let subcommands = command.get_subcommands().filter(|it| !it.is_hide_set());
        return (subcommands.map(|it| it.get_name().to_owned()).filter(starts).collect(), false);
    }
    let positional: Vec<_> = command.get_positionals().collect();
    let values = positional.iter().flat_map(|argument| argument.get_possible_values());
    let values: Vec<_> = values.map(|value| value.get_name().to_owned()).filter(starts).collect();
    let takes_names = positional.iter().any(|argument| {
        argument.get_value_names().is_some_and(|names| names.iter().any(|name| name == "NAME"))
    });
    (values, takes_names)
}

/// The lines for kubectl: candidates with the names of objects that begin as the last word does.
pub(super) fn lines(mut candidates: Vec<String>, names: Vec<String>, current: &str) -> String {
    candidates.extend(names.into_iter().filter(|name| name.starts_with(current)));
    let directive = if candidates.is_empty() { FILES } else { NO_FILES };
    candidates.push(directive.to_owned());
    candidates.join("\n") + "\n"
}

/// A script for a shell that completes the program under the name of the plugin.
pub(super) fn script(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    let mut command = Plugin::command().bin_name("kubectl-vconn");
    generate(shell, &mut command, "kubectl-vconn", &mut text);
    text
}

/// Writes a man page for the program and for each of its commands.
pub(super) fn man(folder: &Path) -> anyhow::Result<()> {
    let write = |command: Command| -> io::Result<()> {
        std::fs::create_dir_all(folder)?;
        clap_mangen::generate_to(command, folder)
    };
    let command = Plugin::command().disable_help_subcommand(true);
    write(command).with_context(|| format!("failed to write man pages into {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(words: &[&str]) -> (Vec<String>, bool) {
        candidates(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_completed_by_where_they_stand() {
        assert!(asked(&[""]).0.contains(&"status".to_owned()));
        assert!(!asked(&[""]).0.contains(&"man".to_owned()), "what is hidden is not offered");
        assert_eq!(asked(&["re"]).0, ["refresh", "resume"]);
        assert_eq!(asked(&["list", "-o", ""]).0, ["wide", "json", "yaml", "name"]);
        assert_eq!(asked(&["list", "-o", "w"]), (vec!["wide".to_owned()], false));
        assert!(asked(&["refresh", "--w"]).0.contains(&"--wait".to_owned()));
        assert!(asked(&["status", "--con"]).0.contains(&"--context".to_owned()));
        assert_eq!(asked(&["status", ""]), (vec![], true));
        assert_eq!(asked(&["-n", "team-a", "status", "a", "b"]), (vec![], true));
        assert!(!asked(&["list", ""]).1);
        assert!(asked(&["completion", ""]).0.contains(&"bash".to_owned()));
        assert!(!asked(&[]).1);
    }

    #[test]
    fn kubectl_gets_lines_and_a_directive() {
        assert_eq!(lines(vec!["a".to_owned()], vec!["ab".to_owned(), "b".to_owned()], "a"), "a\nab\n:4\n");
        assert_eq!(lines(Vec::new(), Vec::new(), "x"), ":0\n");
    }

    #[test]
    fn a_script_is_for_the_name_of_the_plugin() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell)).expect("it is text");
            assert!(script.contains("kubectl-vconn") && script.contains("refresh"), "{shell}");
        }
    }
}
