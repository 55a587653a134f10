//! The script that completes `kubectl-vconn` in bash, run by bash. Those for zsh and fish ask the same program in the same way.

use std::{os::unix::fs::symlink, path::Path, process::Command};

use super::{BINARY, api, unique_folder};
use crate::support::{check::text, operator::run_to_end};

/// What bash offers for a command line whose last word is being written.
fn completed(line: &[&str]) -> Vec<String> {
    let program = unique_folder().join("kubectl-vconn");
    symlink(BINARY, &program).expect("the folder can be written");
    let script = r#"
        source <(kubectl-vconn completion bash)
        COMP_WORDS=("$@"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        function=$(complete -p kubectl-vconn); function=${function#*-F }; "${function%% *}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut command = Command::new("bash");
    let folder = program.parent().and_then(Path::to_str).expect("UTF-8");
    command.env_clear().env("HOME", "/nonexistent").env("PATH", format!("{folder}:/usr/bin:/bin"));
    let output = run_to_end(command.args(["-c", script, "bash", "kubectl-vconn"]).args(line), "");
    assert_eq!(text(&output.stderr), "", "{line:?}");
    text(&output.stdout).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bash_completes_formats_commands_and_names() {
    let path = api().await.kubeconfig();
    let path = path.to_str().expect("UTF-8");
    let formats = ["wide", "json", "yaml", "name"];
    let table: &[(&[&str], &[&str])] = &[
        (&["re"], &["refresh", "resume"]),
        (&["list", "-o", ""], &formats),
        (&["-n", "team-a", "ls", "--output", "w"], &["wide"]),
        // Bash makes three words of --output=w.
        (&["list", "--output", "=", "w"], &["wide"]),
        (&["list", "--output", "="], &formats),
        (&["--kubeconfig", path, "status", "o"], &["orders"]),
        (&["list", "x"], &[]),
    ];
    for (line, expected) in table {
        assert_eq!(completed(line), *expected, "{line:?}");
    }
}
