//! Holds what may become part of the operator, as far as files of ours can tell. `cargo deny check`, which `make test`
//! runs, knows more, but takes a program that `cargo test` alone does not have.

use std::{collections::BTreeMap, process::Command};

use crate::sources::read;

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
