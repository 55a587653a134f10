//! Holds what may become part of the operator, as far as files of ours can tell: `cargo deny check` knows more, but not
//! everybody has it.

use std::{collections::BTreeMap, fs, path::PathBuf};

/// A file of the package. Asked when the tests run: a binary may have been built in another checkout.
fn read(name: &str) -> String {
    let root: PathBuf = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where").into();
    fs::read_to_string(root.join(name)).expect("a file of ours")
}

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
