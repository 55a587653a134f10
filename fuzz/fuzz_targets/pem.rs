//! CA bundles and client certificates: whatever the bytes are, they are refused, or hold what is used from then on.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use rustls::RootCertStore;
use vault_connection_operator::{
    api::tls::Trust,
    secrets::tls::{Authorities, Identity},
    vault::tls,
};

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fuzz_target!(|input: &[u8]| {
    let system = Arc::new(RootCertStore::empty());
    // A file that holds a certificate and its key can be named for both.
    let identity = Identity::parse(input, input);
    let Some(bundle) = Authorities::parse(input, Trust::Only) else { return };
    let begins = input.windows(BEGIN.len()).filter(|window| *window == BEGIN).count();
    let held = bundle.certificates.len();
    assert!(held > 0 && held <= begins, "{held} of {begins}");
    let twice = [input, b"\n", input].concat();
    assert!(Authorities::parse(&twice, Trust::Only).is_some(), "a bundle that is there twice is still one");
    // Some of what parses as a certificate could make the settings panic.
    drop(tls::client_config(Some(&bundle), identity.as_ref(), &system));
});
