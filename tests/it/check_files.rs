//! Where `check` takes its manifests from, and how it tells what is wrong with them.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::json;

use crate::support::{
    check::{check, check_with, connection, documents, folder, reasons, secret, text},
    fakes::{
        openbao::MOUNT,
        vault::{FakeVault, ROLE_ID, SECRET_ID},
    },
    specs,
};

/// A connection that works, and its Secret.
fn good(vault: &FakeVault, name: &str) -> String {
    documents(&[
        connection(name, &specs::app_role(&vault.url, MOUNT, name)),
        secret(name, &[("roleId", ROLE_ID), ("secretId", SECRET_ID)]),
    ])
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
    fs::write(path, content).expect("it is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_is_reported_with_its_place_and_the_good_ones_are_checked() {
    let (vault, folder) = (FakeVault::new().await, folder());
    let broken = folder.join("broken.yaml");
    let typo = connection("typo", &json!({"instanceURL": "https://vault.example.com"}));
    write(&broken, &format!("a: [b\n---\n{typo}\n---\n# nothing\n---\nc: d: e\n"));
    let (broken, missing) = (broken.to_str().expect("UTF-8"), folder.join("missing.yaml"));
    let arguments = ["-f", broken, "-f", missing.to_str().expect("UTF-8"), "-f", "-", "-o", "json"];
    let output = check(&arguments, &good(&vault, "good"));
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), reasons(&output)), (Some(2), vec!["Connected".to_owned()]), "{said}");
    let lines: Vec<_> = said.lines().collect();
    let expected = [
        ("document 1 of", "line 1,"),
        ("document 2 (line 3) of", "\"typo\""),
        ("document 3 of", "line 7,"),
        ("failed to read", "missing.yaml"),
    ];
    assert_eq!(lines.len(), expected.len(), "{said}");
    for (line, (place, what)) in lines.iter().zip(expected) {
        assert!(line.starts_with("error: ") && line.contains(place) && line.contains(what), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_come_from_folders_and_patterns() {
    let (vault, folder) = (FakeVault::new().await, folder());
    for (file, name) in
        [("b.yaml", "b"), ("a.yml", "a"), ("c.json", "c"), ("in/d.yaml", "d"), ("in/x/e.yaml", "e")]
    {
        write(&folder.join(file), &good(&vault, name));
    }
    write(&folder.join("notes.txt"), "a: [b");
    let name = |path: &str| folder.join(path).to_str().expect("UTF-8").to_owned();
    let rows: [(&str, &[String], &[&str]); 7] = [
        ("a folder", &["-f".into(), name("")], &["a", "b", "c"]),
        ("folders in it", &["-R".into(), "-f".into(), name("")], &["a", "b", "c", "d", "e"]),
        ("a pattern", &["-f".into(), name("*.y*ml")], &["a", "b"]),
        ("a pattern of folders", &["-f".into(), name("*/*.yaml")], &["d"]),
        ("a pattern that fits a folder", &["-f".into(), name("i?")], &["d"]),
        ("several", &["-f".into(), name("b.yaml"), "-f".into(), name("a.yml")], &["b", "a"]),
        ("the same twice", &["-f".into(), name("b.yaml"), "-f".into(), name("b*")], &["b"]),
    ];
    for (row, arguments, expected) in rows {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let output = check(&arguments, "");
        let printed = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{row}: {}", text(&output.stderr));
        let names: Vec<_> = printed
            .lines()
            .filter_map(|line| line.strip_prefix("team-a/")?.split_once(':').map(|(name, _)| name))
            .collect();
        assert_eq!(names, expected, "{row}");
    }
    fs::create_dir(folder.join("empty")).expect("it is made");
    for (row, argument, expected) in [
        ("an empty folder", name("empty"), "failed to find a .yaml, .yml or .json file"),
        ("a pattern of nothing", name("*.toml"), "failed to find a file that matches"),
    ] {
        let output = check(&["-f", &argument], "");
        assert_eq!(output.status.code(), Some(2), "{row}");
        assert!(text(&output.stderr).contains(expected), "{row}: {}", text(&output.stderr));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kustomize_is_run_if_it_is_there() {
    let (vault, folder) = (FakeVault::new().await, folder());
    let (bin, path) = (folder.join("bin"), folder.to_str().expect("UTF-8"));
    let with = |program: &str| {
        write(&bin.join("kubectl"), program);
        fs::set_permissions(bin.join("kubectl"), fs::Permissions::from_mode(0o755)).expect("ours");
        let variables = [("PATH", &*format!("{}:/usr/bin:/bin", bin.display()))];
        check_with(&variables, &["--no-state-file", "-k", path, "-o", "json"], "")
    };
    write(&folder.join("all.txt"), &good(&vault, "mine"));
    let built = with("#!/bin/sh\n[ \"$1\" = kustomize ] && cat \"$2/all.txt\"\n");
    assert_eq!(reasons(&built), ["Connected"], "{}", text(&built.stderr));
    let failed = with("#!/bin/sh\necho 'error: no kustomization' >&2; exit 1\n");
    assert_eq!(failed.status.code(), Some(2));
    let said = text(&failed.stderr);
    assert!(said.contains("no kustomization") && said.contains("error: kubectl kustomize"), "{said}");
    let missing = check_with(&[("PATH", "/no-such-folder")], &["--no-state-file", "-k", path], "");
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("failed to find kubectl"), "{}", text(&missing.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_of_others_get_a_hint_and_what_is_ignored_is_reported_when_it_matters() {
    let vault = FakeVault::new().await;
    let sealed =
        json!({"apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret", "metadata": {"name": "s"}});
    let theirs = json!({"apiVersion": "secrets.hashicorp.com/v1beta1", "kind": "VaultConnection", "metadata": {"name": "v"}});
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}});
    let all =
        format!("{}\n---\n{}", documents(&[sealed, theirs.clone(), other.clone()]), good(&vault, "mine"));
    let output = check(&["-f", "-"], &all);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("note: SealedSecret \"s\"") && said.contains("only has the same name"), "{said}");
    assert!(!said.contains("Deployment"), "{said}");
    let verbose = check(&["-f", "-", "-v"], &all);
    assert!(text(&verbose.stderr).contains("Deployment \"d\" in document 3"), "{}", text(&verbose.stderr));
    let nothing = check(&["-f", "-"], &documents(&[theirs, other]));
    let said = text(&nothing.stderr);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(
        said.contains("nothing to check") && said.contains("Deployment") && said.contains("note: "),
        "{said}"
    );

    let mut encrypted =
        secret("mine", &[("roleId", ROLE_ID), ("secretId", "ENC[AES256_GCM,data:a,type:str]")]);
    encrypted["sops"] = json!({"mac": "ENC[AES256_GCM,data:b]"});
    let spec = specs::app_role(&vault.url, MOUNT, "mine");
    let before = vault.connections();
    let output = check(&["-f", "-"], &documents(&[connection("mine", &spec), encrypted]));
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("sops --decrypt"), "{said}");
    assert_eq!(vault.connections(), before, "nothing of it is sent");
}

#[test]
fn no_text_of_a_manifest_moves_the_terminal() {
    let clear = "\u{1b}[2J\u{202e}\u{2028}";
    let typo = json!({"instanceUrl": "https://vault.example.com", clear: 1, "auth": {}});
    let odd = json!({"apiVersion": "v1", "kind": clear, "metadata": {"name": clear}});
    let many = documents(&[
        connection(clear, &specs::token("https://vault.example.com", "token")),
        connection("typo", &typo),
        connection("url", &specs::token(clear, "token")),
        connection("mine", &specs::token("https://vault.invalid", clear)),
        odd,
    ]);
    let output = check(&["-f", "-", "-f", clear, "-v"], &many);
    let (said, printed) = (text(&output.stderr), text(&output.stdout));
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("typo") && said.contains("url"), "{said}");
    for character in ['\u{1b}', '\u{202e}', '\u{2028}'] {
        assert!(!said.contains(character) && !printed.contains(character), "{said:?} {printed:?}");
    }
}
