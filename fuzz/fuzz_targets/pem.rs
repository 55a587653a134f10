//! CA bundles: whatever the bytes are, a bundle is refused, or it holds a certificate that is trusted from then on.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use rustls::RootCertStore;
use vault_connection_operator::{api::tls::Trust, secrets::resolve::CaPem, vault::tls};

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fuzz_target!(|input: &[u8]| {
    let system = Arc::new(RootCertStore::empty());
    let read = |pem: &[u8]| {
        let ca = CaPem { pem: pem.to_vec(), trust: Trust::Only };
        tls::roots(Some(&ca), &system).ok()
    };
    let Some(roots) = read(input) else { return };
    let begins = input.windows(BEGIN.len()).filter(|window| *window == BEGIN).count();
    assert!(!roots.is_empty() && roots.len() <= begins, "{} of {begins}", roots.len());
    let twice = [input, b"\n", input].concat();
    assert!(read(&twice).is_some(), "a bundle that is there twice is still one");
    // Some of what parses as a certificate could make the settings panic.
    drop(tls::client_config(roots));
});
