//! Completions: what kubectl asks its plugins for, scripts for shells, and man pages.
//!
//! kubectl runs a program `kubectl_complete-vconn` with the words of the command line, the last of which is being written, and
//! reads candidates, a line each, and a last line that says what the shell may add:
//! <https://pkg.go.dev/k8s.io/kubectl/pkg/cmd/plugin>. Our scripts for shells ask in the same way (`kubectl-vconn __complete`), so that
//! there is one answer to a command line.

use std::{ffi::OsString, io, path::Path};

use anyhow::Context as _;
use clap::{Arg, Command, CommandFactory as _};
use clap_complete::{Shell, generate};

use super::args::Plugin;

/// No file names beside the candidates.
const NO_FILES: &str = ":4";

/// File names, too.
const FILES: &str = ":0";

/// What may be added to the words that the command line itself allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    Nothing,
    /// Files and folders.
    Files,
    /// Names of connections.
    Connections,
    /// Names of connections and gateways.
    Objects,
    /// Names of namespaces.
    Namespaces,
    /// Names in the kubeconfig: `context`, `cluster` or `user`.
    Kubeconfig(Named),
}

/// Something that a kubeconfig has by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Context,
    Cluster,
    User,
}

/// What kubectl prints while a command line is being written, and what is asked for beside it.
pub(super) fn candidates(words: &[OsString]) -> (Vec<String>, More) {
    let mut root = Plugin::command();
    root.build();
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (current, before) =
        words.split_last().map_or(("", &[][..]), |(last, before)| (last.as_str(), before));
    let mut command = &root;
    let mut after_flag = None;
    for word in before {
        after_flag = flag(command, word).filter(|argument| !argument.is_require_equals_set());
        if let Some(subcommand) = command.find_subcommand(word) {
            command = subcommand;
        }
    }
    if let Some((word, _)) = of_flag(current) {
        after_flag = flag(command, word);
    }
    let value = typed(current);
    let starts = |text: &String| text.starts_with(value);
    if let Some(argument) = after_flag {
        let values = argument.get_possible_values();
        let values = values.iter().map(|value| value.get_name().to_owned());
        return (values.filter(starts).collect(), more(command, argument));
    }
    if current.starts_with('-') {
        let flags = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let flags = flags.filter_map(|argument| Some(format!("--{}", argument.get_long()?)));
        return (flags.filter(starts).collect(), More::Nothing);
    }
    if command.has_subcommands() {
        let subcommands = command.get_subcommands().filter(|it| !it.is_hide_set());
        return (subcommands.map(|it| it.get_name().to_owned()).filter(starts).collect(), More::Nothing);
    }
    let Some(positional) = command.get_positionals().next() else { return (Vec::new(), More::Nothing) };
    let values = positional.get_possible_values();
    let values = values.iter().map(|value| value.get_name().to_owned());
    (values.filter(starts).collect(), more(command, positional))
}

/// The flag of a command that is written so, if it takes a value.
fn flag<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|argument| {
        argument.get_action().takes_values()
            && (argument.get_long().is_some_and(|long| *word == format!("--{long}"))
                || argument.get_short().is_some_and(|short| *word == format!("-{short}")))
    })
}

/// The flag and the value of a word that holds both.
fn of_flag(word: &str) -> Option<(&str, &str)> {
    word.split_once('=').filter(|(flag, _)| flag.starts_with('-'))
}

/// What candidates for a word begin with: of `--flag=value`, shells replace the value alone.
pub(super) fn typed(word: &str) -> &str {
    of_flag(word).map_or(word, |(_, value)| value)
}

/// What an argument of a command takes.
fn more(command: &Command, argument: &Arg) -> More {
    let value = argument.get_value_names().and_then(<[_]>::first).map_or("", |name| name.as_str());
    match (argument.get_id().as_str(), value) {
        ("context", _) => More::Kubeconfig(Named::Context),
        ("cluster", _) => More::Kubeconfig(Named::Cluster),
        ("user", _) => More::Kubeconfig(Named::User),
        (_, "NAMESPACE") => More::Namespaces,
        (_, "FILE" | "DIRECTORY") => More::Files,
        (_, "NAME") if matches!(command.get_name(), "check" | "suspend" | "resume") => More::Connections,
        (_, "NAME") => More::Objects,
        _ => More::Nothing,
    }
}

/// The lines for kubectl: candidates with the names that begin as the last word does.
pub(super) fn lines(mut candidates: Vec<String>, names: Vec<String>, current: &str, more: More) -> String {
    candidates.extend(names.into_iter().filter(|name| name.starts_with(typed(current))));
    candidates.push(if more == More::Files { FILES } else { NO_FILES }.to_owned());
    candidates.join("\n") + "\n"
}

/// A script for a shell that completes the program under the name of the plugin.
pub(super) fn script(shell: Shell) -> Vec<u8> {
    let ours = match shell {
        Shell::Bash => include_str!("completions/bash.sh"),
        Shell::Zsh => include_str!("completions/zsh.zsh"),
        Shell::Fish => include_str!("completions/fish.fish"),
        // Commands and flags alone.
        _ => return generated(shell),
    };
    ours.as_bytes().to_vec()
}

fn generated(shell: Shell) -> Vec<u8> {
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

    fn asked(words: &[&str]) -> (Vec<String>, More) {
        candidates(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_completed_by_where_they_stand() {
        assert!(asked(&[""]).0.contains(&"status".to_owned()));
        assert!(!asked(&[""]).0.contains(&"man".to_owned()), "what is hidden is not offered");
        assert_eq!(asked(&["re"]).0, ["refresh", "resume"]);
        assert_eq!(asked(&["list", "-o", ""]).0, ["wide", "json", "yaml", "name"]);
        assert_eq!(asked(&["list", "-o", "w"]), (vec!["wide".to_owned()], More::Nothing));
        assert_eq!(asked(&["list", "--output="]).0, ["wide", "json", "yaml", "name"]);
        assert_eq!(asked(&["list", "-o=j"]), (vec!["json".to_owned()], More::Nothing));
        assert!(asked(&["refresh", "--w"]).0.contains(&"--wait".to_owned()));
        assert!(asked(&["status", "--con"]).0.contains(&"--context".to_owned()));
        assert!(asked(&["completion", ""]).0.contains(&"bash".to_owned()));
        let table: &[(&[&str], More)] = &[
            (&["status", ""], More::Objects),
            (&["-n", "team-a", "status", "a", "b"], More::Objects),
            (&["refresh", "--wait", ""], More::Objects),
            (&["suspend", ""], More::Connections),
            (&["check", ""], More::Connections),
            (&["check", "-f", ""], More::Files),
            (&["check", "-k", ""], More::Files),
            (&["list", "-n", ""], More::Namespaces),
            (&["list", "--context", ""], More::Kubeconfig(Named::Context)),
            (&["--kubeconfig", ""], More::Files),
            (&["list", ""], More::Nothing),
            (&["bundle", "--operator-namespace", ""], More::Namespaces),
            (&["list", "--namespace="], More::Namespaces),
            (&["check", "--filename=a"], More::Files),
            (&["list", "--no-such-flag="], More::Nothing),
            (&[], More::Nothing),
        ];
        for (words, expected) in table {
            assert_eq!(asked(words).1, *expected, "{words:?}");
        }
    }

    #[test]
    fn kubectl_gets_lines_and_a_directive() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(lines(texts(&["a"]), texts(&["ab", "b"]), "a", More::Objects), "a\nab\n:4\n");
        assert_eq!(lines(Vec::new(), texts(&["ab", "b"]), "-n=a", More::Namespaces), "ab\n:4\n");
        assert_eq!(lines(Vec::new(), Vec::new(), "x", More::Objects), ":4\n", "files are no names");
        assert_eq!(lines(Vec::new(), Vec::new(), "x", More::Files), ":0\n");
    }

    #[test]
    fn a_script_is_for_the_name_of_the_plugin() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell)).expect("it is text");
            assert!(script.contains("kubectl-vconn __complete "), "{shell}");
        }
        let others = String::from_utf8(script(Shell::PowerShell)).expect("it is text");
        assert!(others.contains("kubectl-vconn") && others.contains("refresh"));
    }
}
