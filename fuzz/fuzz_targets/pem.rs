//! CA bundles and client certificates: whatever the bytes are, they are refused, or hold what is used from then on.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use vault_connection_operator::{
    api::tls::Trust,
    network::tls,
    references::{
        anchors::Anchors,
        tls::{Authorities, Identity, TlsMaterial},
    },
};

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

fuzz_target!(|input: &[u8]| {
    // A file that holds a certificate and its key can be named for both.
    let identity = Identity::parse(input, input).ok();
    let Ok(bundle) = Authorities::parse(input, Trust::Only) else { return };
    let begins = input.windows(BEGIN.len()).filter(|window| *window == BEGIN).count();
    let held = bundle.anchors.len();
    assert!(held > 0 && held <= begins, "{held} of {begins}");
    let twice = [input, b"\n", input].concat();
    assert!(Authorities::parse(&twice, Trust::Only).is_ok(), "a bundle that is there twice is still one");
    // Some of what parses as a certificate could make the settings panic.
    let material = TlsMaterial { authorities: Some(bundle), identity, server_name: None };
    drop(tls::Client::new(&material, &Arc::new(Anchors::of([]))).config());
});
