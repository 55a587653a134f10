//! The TLS end of the fake Vault, held to what curl takes for a server.

use std::time::{Duration, SystemTime};

use rustls::{
    ProtocolVersion,
    version::{TLS12, TLS13},
};

use crate::support::{
    curl::{Call, NOT_TRUSTED, TLS_FAILED, curl, file},
    fakes::{
        pki::{Ca, Identity, Key},
        vault::{Ask, FakeVault},
    },
};

const HOST: &str = "vault.internal";

/// Asks for the health of a Vault by its name, trusting one authority.
async fn ask(fake: &FakeVault, ca: &Ca, more: &[&str]) -> Call {
    let (ca, url) = (file(&ca.pem), format!("{}/v1/sys/health", fake.url_at(HOST)));
    let found = format!("{HOST}:{}:127.0.0.1", fake.address.port());
    curl(&[&["--cacert", &ca, "--resolve", &found, &url], more].concat()).await
}

async fn ask_as(fake: &FakeVault, ca: &Ca, client: &Identity) -> Call {
    let (certificate, key) = (file(&client.pem), file(&client.key_pem));
    ask(fake, ca, &["--cert", &certificate, "--key", &key]).await
}

#[tokio::test]
async fn a_handshake_is_reported_with_its_name_protocols_and_version() {
    let ca = Ca::new();
    let rows = [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)];
    for (spoken, version) in rows {
        let fake =
            FakeVault::with_tls(ca.serving_as(&[HOST, "127.0.0.1"]).speaking_only(spoken).config()).await;
        assert_eq!(ask(&fake, &ca, &["--http1.1"]).await.status, 200, "{version:?}");
        let by_address = format!("{}/v1/sys/health", fake.url);
        assert_eq!(curl(&["--cacert", &file(&ca.pem), &by_address]).await.status, 200);
        let [named, unnamed] = &fake.handshakes()[..] else { panic!("two handshakes") };
        assert_eq!((named.server_name.as_deref(), named.version), (Some(HOST), Some(version)));
        assert_eq!(named.offered, ["http/1.1"]);
        assert_eq!((unnamed.server_name.as_deref(), unnamed.client.as_ref()), (None, None));
        assert_eq!(fake.hosts(), [format!("{HOST}:{}", fake.address.port()), fake.address.to_string()]);
    }
    let modern = FakeVault::with_tls(ca.serving_as(&[HOST]).speaking_only(&TLS13).config()).await;
    assert_eq!(ask(&modern, &ca, &["--tls-max", "1.2"]).await.code, TLS_FAILED);
    let [refused] = &modern.handshakes()[..] else { panic!("one handshake") };
    assert!(refused.version.is_none() && refused.failure.is_some(), "{refused:?}");
}

#[tokio::test]
async fn a_certificate_is_for_whom_and_for_as_long_as_a_test_says() {
    let ca = Ca::new();
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 3600);
    let rows = [
        ("good", ca.serving_as(&[HOST]).ending_in_days(13).config(), 0),
        ("ended", ca.serving_as(&[HOST]).ending(yesterday).config(), NOT_TRUSTED),
        ("long ended", ca.serving_expired(), NOT_TRUSTED),
        ("for another", ca.serving_another_name(), NOT_TRUSTED),
        ("by another", Ca::new().serving_as(&[HOST]).config(), NOT_TRUSTED),
        ("by a namesake", ca.namesake().serving_as(&[HOST]).config(), TLS_FAILED),
        ("by one below", ca.intermediate().serving_as(&[HOST]).config(), 0),
    ];
    for (name, config, code) in rows {
        let fake = FakeVault::with_tls(config).await;
        let call = ask(&fake, &ca, &[]).await;
        assert_eq!(call.code, code, "{name}: {call:?}");
        assert_eq!(fake.asked(Ask::Health), usize::from(code == 0), "{name}");
    }
}

#[tokio::test]
async fn a_client_without_the_certificate_that_is_asked_for_is_not_let_in() {
    let (ca, clients) = (Ca::new(), Ca::new());
    for spoken in [&TLS12, &TLS13] {
        let demanding = ca.serving_as(&[HOST]).speaking_only(spoken).demanding(&clients).config();
        let fake = FakeVault::with_tls(demanding).await;
        let right = clients.client("team-a");
        let wrong = Ca::new().client("team-a");
        let calls =
            [ask(&fake, &ca, &[]).await, ask_as(&fake, &ca, &wrong).await, ask_as(&fake, &ca, &right).await];
        assert!(calls[..2].iter().all(|call| call.code != 0), "{calls:?}");
        assert_eq!((calls[2].code, calls[2].status), (0, 200), "{calls:?}");
        let seen: Vec<_> =
            fake.handshakes().into_iter().map(|seen| (seen.client, seen.failure.is_some())).collect();
        assert_eq!(seen, [(None, true), (None, true), (Some(right.der.clone()), false)]);
    }
}

#[tokio::test]
async fn every_kind_and_form_of_key_is_one_that_others_can_read() {
    let (ca, clients) = (Ca::new(), Ca::new());
    let below = clients.intermediate();
    let fake = FakeVault::with_tls(ca.serving_as(&[HOST]).demanding(&clients).config()).await;
    for key in [Key::P256, Key::P384, Key::Ed25519, Key::Rsa2048] {
        for by in [&clients, &below] {
            let mut client = by.client_with("team-a", key);
            assert!(client.key_pem.starts_with("-----BEGIN PRIVATE KEY-----"), "{key:?}");
            assert_eq!(ask_as(&fake, &ca, &client).await.status, 200, "{key:?}");
            if !matches!(key, Key::Ed25519) {
                client.key_pem = client.traditional_key_pem();
                assert!(!client.key_pem.starts_with("-----BEGIN PRIVATE KEY-----"), "{key:?}");
                assert_eq!(ask_as(&fake, &ca, &client).await.status, 200, "{key:?} in its old form");
            }
        }
    }
}

#[tokio::test]
async fn certificates_of_both_sides_can_be_rotated_while_it_runs() {
    let (old, new, clients) = (Ca::new(), Ca::new(), [Ca::new(), Ca::new()]);
    let identities = clients.each_ref().map(|ca| ca.client("team-a"));
    let fake = FakeVault::with_tls(old.serving_as(&[HOST]).demanding(&clients[0]).config()).await;
    assert_eq!(ask_as(&fake, &old, &identities[0]).await.status, 200);
    fake.show(new.serving_as(&[HOST]).demanding(&clients[1]).config());
    assert_eq!(ask_as(&fake, &old, &identities[1]).await.code, NOT_TRUSTED);
    assert_ne!(ask_as(&fake, &new, &identities[0]).await.code, 0);
    assert_eq!(ask_as(&fake, &new, &identities[1]).await.status, 200);
}

#[tokio::test]
async fn a_port_without_tls_or_with_an_old_one_answers_as_such_servers_do() {
    let ca = Ca::new();
    for fake in [FakeVault::not_tls().await, FakeVault::with_old_tls().await] {
        let call = ask(&fake, &ca, &[]).await;
        assert_eq!(call.code, TLS_FAILED, "{call:?}");
        assert_eq!((fake.asked(Ask::Health), fake.connections()), (0, 1));
        fake.show(ca.serving_as(&[HOST]).config());
        assert_eq!(ask(&fake, &ca, &[]).await.status, 200);
    }
    let plain = FakeVault::not_tls().await;
    let url = plain.url.replace("https", "http") + "/v1/sys/health";
    assert_eq!(curl(&[&url]).await.status, 200);
}
