//! The fake gateway, held to what curl takes for a proxy.

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::support::{
    curl::{
        COULD_NOT_CONNECT, COULD_NOT_REACH_BY_SOCKS, Call, NOT_RECEIVED, NOT_TRUSTED, TIMED_OUT, TLS_FAILED,
        curl, file,
    },
    fakes::{
        gateway::{Behaviour, FakeGateway, NONSENSE, PAGE, Speech, Target},
        pki::Ca,
        vault::{Ask, FakeVault},
    },
};

/// A name that only a gateway knows.
const HOST: &str = "vault.private.example";

const LOGIN: (&str, &str) = ("team-a", "canary-password");

const TOKEN: &str = "s.canary-token";

const SPEECHES: [Speech; 3] = [Speech::Http, Speech::Https, Speech::Socks5];

/// A gateway that demands a login, a Vault behind it, and who certifies both.
struct Route {
    ca: Ca,
    gateway: FakeGateway,
    vault: FakeVault,
}

// === impl Route ===

impl Route {
    async fn by(speech: Speech) -> Self {
        let ca = Ca::new();
        let gateway = match speech {
            Speech::Http => FakeGateway::http().await,
            Speech::Https => FakeGateway::https(ca.serving()).await,
            Speech::Socks5 => FakeGateway::socks5().await,
        };
        let vault = FakeVault::with_tls(ca.serving_as(&[HOST]).config()).await;
        gateway.demand(LOGIN.0, LOGIN.1);
        gateway.resolve(HOST, vault.address);
        Self { ca, gateway, vault }
    }

    /// Asks for the health of the Vault through the gateway.
    async fn ask(&self, password: &str, more: &[&str]) -> Call {
        let (ca, url) = (file(&self.ca.pem), format!("{}/v1/sys/health", self.vault.url_at(HOST)));
        let (proxy, login) = (self.gateway.url(), format!("{}:{password}", LOGIN.0));
        let token = format!("x-vault-token: {TOKEN}");
        let arguments = ["--proxy", &proxy, "--proxy-cacert", &ca, "--cacert", &ca, "--header", &token, &url];
        curl(&[&arguments, ["--proxy-user", &login].as_slice(), more].concat()).await
    }

    fn target(&self) -> Target {
        Target { host: HOST.to_owned(), port: self.vault.address.port(), is_name: true }
    }
}

#[tokio::test]
async fn a_tunnel_stands_to_the_name_that_was_asked_for_and_its_tls_is_end_to_end() {
    for speech in SPEECHES {
        let way = Route::by(speech).await;
        let call = way.ask(LOGIN.1, &[]).await;
        assert_eq!((call.code, call.status), (0, 200), "{speech:?}: {call:?}");
        assert_eq!(way.gateway.targets(), [way.target()], "{speech:?}");
        let [visit] = &way.gateway.visits()[..] else { panic!("{speech:?}: one connection") };
        assert_eq!(visit.user.as_deref(), Some(LOGIN.0), "{speech:?}");
        assert_eq!(visit.handshake.is_some(), speech == Speech::Https);
        assert!(!visit.before.is_empty() && !visit.through.is_empty(), "{speech:?}");
        assert!(!way.gateway.has_seen(TOKEN.as_bytes()), "{speech:?}");
        let [handshake] = &way.vault.handshakes()[..] else { panic!("{speech:?}: one handshake") };
        assert_eq!(handshake.server_name.as_deref(), Some(HOST), "{speech:?}");
        assert_eq!(way.vault.asked(Ask::Health), 1);
    }
}

#[tokio::test]
async fn a_target_is_reported_in_the_form_that_it_was_asked_in() {
    let (gateway, vault) = (FakeGateway::socks5().await, FakeVault::new().await);
    gateway.resolve("localhost", vault.address);
    let rows = [
        ("socks5", vault.url.clone(), "127.0.0.1", false),
        ("socks5h", vault.url.clone(), "127.0.0.1", false),
        ("socks5", vault.url_at("localhost"), "127.0.0.1", false),
        ("socks5h", vault.url_at("localhost"), "localhost", true),
    ];
    for (scheme, url, ..) in &rows {
        let (proxy, url) = (format!("{scheme}://{}", gateway.address), format!("{url}/v1/sys/health"));
        let call = curl(&["--ipv4", "--proxy", &proxy, &url]).await;
        assert_eq!((call.code, call.status), (0, 200), "{scheme} {url}: {call:?}");
    }
    for (target, (scheme, url, host, is_name)) in gateway.targets().iter().zip(rows) {
        let port = vault.address.port();
        assert_eq!(target, &Target { host: host.to_owned(), port, is_name }, "{scheme} {url}");
    }
    assert_eq!(gateway.connections(), 4);
    assert!(gateway.has_seen(b"/v1/sys/health"), "plain http is read on the way");
}

#[tokio::test]
async fn a_wrong_login_gets_nowhere() {
    for speech in SPEECHES {
        let way = Route::by(speech).await;
        let call = way.ask("wrong", &[]).await;
        assert_eq!(call.code, refused(speech), "{speech:?}: {call:?}");
        assert!(way.gateway.targets().is_empty() && way.vault.connections() == 0, "{speech:?}");
        assert!(way.gateway.visits()[0].user.is_none(), "{speech:?}");
        assert_eq!(way.ask(LOGIN.1, &[]).await.status, 200, "{speech:?}");
    }
}

/// What curl says of a proxy that says no.
fn refused(speech: Speech) -> i32 {
    if speech == Speech::Socks5 { COULD_NOT_REACH_BY_SOCKS } else { NOT_RECEIVED }
}

#[tokio::test]
async fn each_misdeed_keeps_a_request_from_vault() {
    for speech in SPEECHES {
        let way = Route::by(speech).await;
        let refused = refused(speech);
        let no_page = if speech == Speech::Socks5 { refused } else { TLS_FAILED };
        let closed = match speech {
            Speech::Http => NOT_RECEIVED,
            Speech::Https => TLS_FAILED,
            Speech::Socks5 => refused,
        };
        // In TLS within TLS, some versions of curl cannot tell why.
        let not_trusted = if speech == Speech::Https { TLS_FAILED } else { NOT_TRUSTED };
        let rows = [
            ("credentials", Behaviour::RefuseCredentials, refused),
            ("denied", Behaviour::DenyTarget, refused),
            ("unreachable", Behaviour::TargetUnreachable, refused),
            ("refuses", Behaviour::TargetRefuses, refused),
            ("silent", Behaviour::Silent, TIMED_OUT),
            ("closed", Behaviour::CloseAtOnce, closed),
            ("page", Behaviour::Garbage(PAGE), no_page),
            ("nonsense", Behaviour::Garbage(NONSENSE), refused),
            ("evil", Behaviour::Evil(Ca::new().serving_as(&[HOST]).config()), not_trusted),
        ];
        for (name, behaviour, code) in rows {
            way.gateway.behave(behaviour);
            let patience = if name == "silent" { "1" } else { "20" };
            let call = way.ask(LOGIN.1, &["--max-time", patience]).await;
            assert!([code, NOT_TRUSTED].contains(&call.code), "{speech:?} {name}: {call:?}");
        }
        assert_eq!(way.vault.connections(), 0, "{speech:?}");
        assert!(!way.gateway.has_seen(TOKEN.as_bytes()), "{speech:?}");
        way.gateway.behave(Behaviour::Forward);
        assert_eq!(way.ask(LOGIN.1, &[]).await.status, 200, "{speech:?}");
    }
}

#[tokio::test]
async fn an_evil_gateway_reads_what_one_tells_who_trusts_it() {
    for speech in SPEECHES {
        let way = Route::by(speech).await;
        way.gateway.behave(Behaviour::Evil(Ca::new().serving_as(&[HOST]).config()));
        let call = way.ask(LOGIN.1, &["--insecure", "--max-time", "1"]).await;
        assert_eq!(call.code, TIMED_OUT, "{speech:?}: it gives no answer: {call:?}");
        assert!(way.gateway.has_seen(TOKEN.as_bytes()), "{speech:?}");
        assert_eq!(way.vault.connections(), 0, "{speech:?}");
    }
}

#[tokio::test]
async fn a_gateway_that_redirects_says_where_to() {
    let (way, elsewhere) = (Route::by(Speech::Http).await, FakeVault::new().await);
    way.gateway.behave(Behaviour::Redirect(elsewhere.url.clone()));
    let call = way.ask(LOGIN.1, &["--location", "--include"]).await;
    assert_eq!(call.code, NOT_RECEIVED, "{call:?}");
    assert!(call.body.contains(&format!("location: {}", elsewhere.url)), "{call:?}");
    assert_eq!(elsewhere.connections() + way.vault.connections(), 0);
}

#[tokio::test]
async fn a_gateway_can_ask_for_a_certificate_and_change_its_mind() {
    let way = Route::by(Speech::Https).await;
    let clients = Ca::new();
    let identity = clients.client("operator");
    let (certificate, key) = (file(&identity.pem), file(&identity.key_pem));
    let shown = ["--proxy-cert", &certificate, "--proxy-key", &key];
    way.gateway.show(way.ca.serving_as(&["127.0.0.1"]).demanding(&clients).config());
    assert_ne!(way.ask(LOGIN.1, &[]).await.code, 0);
    let call = way.ask(LOGIN.1, &shown).await;
    assert_eq!((call.code, call.status), (0, 200), "{call:?}");
    let handshakes = way.gateway.visits().into_iter().filter_map(|visit| visit.handshake);
    let clients_seen: Vec<_> = handshakes.map(|handshake| handshake.client).collect();
    assert_eq!(clients_seen, [None, Some(identity.der.clone())]);
    way.gateway.show(way.ca.serving_as(&["127.0.0.1"]).demanding(&Ca::new()).config());
    assert_ne!(way.ask(LOGIN.1, &shown).await.code, 0);
}

#[tokio::test]
async fn a_gateway_goes_away_and_comes_back_at_the_same_address() {
    let way = Route::by(Speech::Socks5).await;
    way.gateway.behave(Behaviour::Silent);
    let waiting = tokio::spawn({
        let proxy = way.gateway.url();
        async move { curl(&["--proxy", &proxy, "http://127.0.0.1:1/"]).await }
    });
    let held = async || (way.gateway.connections() == 1).then_some(());
    crate::support::wait::eventually("it is called", crate::support::wait::PATIENCE, held).await;
    way.gateway.stop().await;
    assert_ne!(waiting.await.expect("it does not panic").code, TIMED_OUT, "what was open was closed");
    assert_eq!(way.ask(LOGIN.1, &[]).await.code, COULD_NOT_CONNECT);
    way.gateway.behave(Behaviour::Forward);
    way.gateway.start().await;
    assert_eq!(way.ask(LOGIN.1, &[]).await.status, 200);
}

#[tokio::test]
async fn what_no_proxy_should_be_asked_fails_the_test() {
    let elsewhere: SocketAddr = "192.0.2.1:8200".parse().expect("an address");
    let vault = FakeVault::new().await;
    let url = format!("{}/v1/sys/health", vault.url);
    let rows: [(&str, &[&str]); 3] = [
        ("no tunnel", &[&url]),
        ("a header for Vault", &["--proxytunnel", "--proxy-header", "x-vault-token: s.canary", &url]),
        ("out of the machine", &["--proxytunnel", "http://vault.example.com:8200"]),
    ];
    for (name, arguments) in rows {
        let gateway = FakeGateway::http().await;
        gateway.resolve("vault.example.com", elsewhere);
        let proxy = gateway.url();
        curl(&[&["--proxy", &proxy], arguments].concat()).await;
        let told = catch_unwind(AssertUnwindSafe(|| drop(gateway))).expect_err(name);
        let told = told.downcast_ref::<String>().expect("an assertion has a text");
        assert!(told.contains("nobody should ask") && !told.contains("canary"), "{name}: {told}");
    }
    assert_eq!(vault.connections(), 0);
}
