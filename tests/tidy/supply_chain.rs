//! Holds what may become part of the operator, as far as files of ours can tell. `cargo deny check`, which `make test`
//! runs, knows more, but takes a program that `cargo test` alone does not have.

use std::{collections::BTreeMap, process::Command};

use crate::sources::{files, read};

/// The crates of `Cargo.lock`, and how many versions of each there are.
fn locked() -> BTreeMap<String, usize> {
    let text = read("Cargo.lock");
    let names = text.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    let mut locked = BTreeMap::new();
    for name in names {
        *locked.entry(name.to_owned()).or_default() += 1;
    }
    locked
}

#[test]
fn nothing_that_is_denied_is_locked() {
    let (locked, deny) = (locked(), read("deny.toml"));
    let denied: Vec<_> = deny
        .lines()
        .filter_map(|line| line.trim().strip_prefix("{ crate = \"")?.split_once('"').map(|(name, _)| name))
        .collect();
    for name in ["aws-lc-rs", "aws-lc-sys", "native-tls", "openssl", "openssl-sys"] {
        assert!(denied.contains(&name), "{name} is not denied");
    }
    for name in denied {
        assert!(!locked.contains_key(name), "{name} is in Cargo.lock");
    }
}

#[test]
fn there_is_one_tls_stack_with_one_provider() {
    let locked = locked();
    for name in ["rustls", "ring"] {
        assert_eq!(locked.get(name), Some(&1), "{name}");
    }
    // Others that implement TLS, or a provider for rustls. (`schannel` and `openssl-probe` only find the system's CAs.)
    for name in ["boring", "graviola", "mbedtls", "rustls-openssl", "rustls-rustcrypto", "s2n-tls", "wolfssl"]
    {
        assert!(!locked.contains_key(name), "{name} is in Cargo.lock");
    }
}

#[test]
fn unsafe_code_is_forbidden() {
    let manifest = read("Cargo.toml");
    let (_, lints) = manifest.split_once("[lints.rust]\n").expect("there are lints");
    let lints = lints.split("\n[").next().unwrap_or_default();
    assert!(lints.lines().any(|line| line == "unsafe_code = \"forbid\""), "{lints}");
}

#[test]
fn a_base_image_without_a_digest_is_refused() {
    let dockerfile = read("Dockerfile");
    let bases: Vec<_> = dockerfile.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert_eq!(bases, ["${RUST_IMAGE} AS build", "scratch"], "no other image is built from");
    let defaults = dockerfile.lines().filter(|line| line.starts_with("ARG RUST_IMAGE"));
    assert!(defaults.clone().count() > 0 && defaults.into_iter().all(|line| line == "ARG RUST_IMAGE"));
    let (_, build) = dockerfile.split_once(" AS build\n").expect("there is a stage");
    let guard = build.lines().find_map(|line| line.strip_prefix("RUN ")).expect("it begins with the guard");
    let digest = "0123456789abcdef".repeat(4);
    for (image, accepted) in [
        (format!("rust@sha256:{digest}"), true),
        (format!("registry.example.com:5000/rust:1.95-alpine@sha256:{digest}"), true),
        ("rust:1.95-alpine".to_owned(), false),
        ("rust:1.95-alpine@sha256:".to_owned(), false),
        (format!("rust@sha256:{digest}:latest"), false),
        (format!("rust:sha256-{digest}"), false),
        (String::new(), false),
    ] {
        let outcome = Command::new("sh").args(["-c", guard]).env("RUST_IMAGE", &image).output();
        let outcome = outcome.expect("there is a shell");
        assert_eq!(outcome.status.success(), accepted, "{image:?}");
    }
}

#[test]
fn a_release_runs_scripts_of_ours_with_actions_and_a_compiler_that_cannot_change() {
    let (workflow, manifest) = (read(".github/workflows/release.yaml"), read("Cargo.toml"));
    let steps = |key: &str| {
        let lines = workflow.lines().map(|line| line.trim().trim_start_matches("- "));
        lines.filter_map(|line| line.strip_prefix(key).map(str::to_owned)).collect::<Vec<_>>()
    };
    let (uses, runs) = (steps("uses: "), steps("run: "));
    assert!(uses.len() > 3 && runs.len() > 7, "the steps were not found");
    for action in uses {
        let commit =
            action.split_once('@').and_then(|(_, rest)| rest.split_once(" # v")).map(|(commit, _)| commit);
        let whole = |commit: &str| commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(
            commit.is_some_and(whole),
            "{action:?} is not pinned by its commit, with the version beside it"
        );
    }
    let script = read("hack/release");
    for command in runs {
        let step = command.strip_prefix("hack/release ").and_then(|rest| rest.split(' ').next());
        let step = step.unwrap_or_else(|| panic!("{command:?} is not a step of hack/release"));
        assert!(
            script.contains(&format!("#   hack/release {step} ")),
            "hack/release does not explain {step:?}"
        );
        // An expression in a command would be text of whoever names a tag, run by a shell.
        assert!(!command.contains("${{"), "{command:?}");
    }
    let rust = manifest.lines().find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'));
    let rust = format!("RUSTUP_TOOLCHAIN: {}.", rust.expect("there is an oldest version"));
    assert!(workflow.contains(&rust), "the workflow does not have {rust:?}");
}

/// Whether `.dockerignore` leaves the file out: the last line that matches it decides. Its lines here are `/NAME`, `/FOLDER/*` and
/// `/*ENDING`, and the same with an exclamation mark.
fn left_out_of_the_image(ignored: &str, path: &str) -> bool {
    let mut left_out = false;
    for line in ignored.lines().filter(|line| !line.starts_with('#')) {
        let (pattern, verdict) = line.strip_prefix('!').map_or((line, true), |pattern| (pattern, false));
        let pattern =
            pattern.strip_prefix('/').unwrap_or_else(|| panic!("{line:?} does not begin at the root"));
        let below = |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        let matches = match pattern.split_once('*') {
            Some(("", ending)) => !path.contains('/') && path.ends_with(ending),
            Some((folder, _)) => path.starts_with(folder),
            None => path == pattern || below(pattern),
        };
        if matches {
            left_out = verdict;
        }
    }
    left_out
}

/// The files outside `src` that are compiled into the program: what `include_str!` and `include_bytes!` name from their folders.
fn included() -> Vec<String> {
    let mut included = Vec::new();
    for source in files("src", ".rs") {
        for call in source.text.split("include_").skip(1) {
            let Some((_, path)) = call.split_once('"').filter(|(before, _)| before.contains("!(")) else {
                continue;
            };
            let path = path.split('"').next().unwrap_or_default();
            let mut folders: Vec<_> = source.path.split('/').collect();
            folders.pop();
            for part in path.split('/') {
                if part == ".." {
                    folders.pop();
                } else {
                    folders.push(part);
                }
            }
            included.push(folders.join("/"));
        }
    }
    included.retain(|path| !path.starts_with("src/"));
    included
}

#[test]
fn the_context_of_the_image_has_what_it_is_built_from() {
    let (dockerfile, ignored) = (read("Dockerfile"), read(".dockerignore"));
    let script = dockerfile.split_whitespace().find(|word| word.starts_with("hack/"));
    let script = script.expect("it gathers the licences").to_owned();
    let mut needed = included();
    assert!(needed.len() > 2, "the files were not found: {needed:?}");
    needed.extend(["Cargo.toml", "Cargo.lock", "LICENSE", "src/main.rs"].map(str::to_owned));
    needed.push(script);
    for path in needed {
        assert!(!left_out_of_the_image(&ignored, &path), ".dockerignore leaves {path} out");
    }
    for path in
        [".git/config", "target/debug/x", "config/rbac/role.yaml", "docs/status.md", "README.md", "hack/test"]
    {
        assert!(left_out_of_the_image(&ignored, path), "{path} would only spoil the cache");
    }
}
