//! A name with several addresses: one that serves is found, and kept.
//!
//! There is no name server in the bed, so these tests hold the library to it, with names of their own.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use vault_connection_operator::{
    names::InstanceUrl,
    network::{
        address_policy::{AddressPolicy, Contact},
        connect::{Addresses, Names},
        dial::Dialer,
        faults::TransportFault,
        policy_file::PolicyHandle,
        route::Route,
    },
    references::{Versions, resolve::RouteMaterial, tls::TlsMaterial},
    spec::Desired,
    vault::{
        answer::{Answer, ServerFault},
        client::Client,
        health, login, token,
    },
};

use crate::support::{
    fakes::{
        http,
        openbao::MOUNT,
        vault::{Ask, BlackHole, FakeVault, Misdeed, ROLE_ID, SECRET_ID, Secrets},
    },
    operator::free_address,
    specs,
};

/// A name with two addresses.
const NAME: &str = "vault.example";

const FIRST: &str = "127.0.0.1";
const SECOND: &str = "127.0.0.2";

/// An address that [`NAME`] does not have.
const ELSEWHERE: &str = "127.0.0.3";

/// Enough for a request, but not for a silent server.
const SHORT: Duration = Duration::from_secs(2);

/// Names of a test.
struct Fixed(HashMap<&'static str, Vec<&'static str>>);

impl Names for Fixed {
    fn addresses<'a>(&'a self, name: &'a str, port: u16) -> Addresses<'a> {
        let found = self.0.get(name).into_iter().flatten();
        let found = found.map(|ip| SocketAddr::new(ip.parse().expect("an address"), port)).collect();
        Box::pin(async move { Ok(found) })
    }
}

/// A client of [`NAME`] at this port.
fn client(port: u16) -> Client {
    let names = Fixed(HashMap::from([
        (NAME, vec![FIRST, SECOND]),
        ("active.example", vec![SECOND]),
        ("evil.example", vec![ELSEWHERE]),
    ]));
    let allow = vec!["127.0.0.0/8".parse().expect("a range")];
    let policy = AddressPolicy::new(allow, Vec::new(), Contact::default());
    let dialer = Dialer::new(PolicyHandle::fixed(policy), true, Arc::new(names));
    let instance = InstanceUrl::parse(&format!("http://{NAME}:{port}")).expect("a URL");
    let material = RouteMaterial { tls: TlsMaterial::default(), gateway: None, rests_on: Versions::new() };
    let way = Route::new(&instance, "team-a", &material, &dialer.rules_for("team-a"));
    let (way, http) = dialer.client(way, &material);
    Client::new(http, &way, None, "ns")
}

async fn vault_at(ip: &str, port: u16) -> FakeVault {
    let ip: IpAddr = ip.parse().expect("an address");
    FakeVault::at(SocketAddr::new(ip, port)).await
}

fn free_port() -> u16 {
    free_address().parse::<SocketAddr>().expect("an address").port()
}

async fn ask_health(client: &Client) -> Result<Answer, TransportFault> {
    client.send(health::request(), None, Instant::now() + SHORT).await
}

fn status(outcome: &Result<Answer, TransportFault>) -> u16 {
    outcome.as_ref().unwrap_or_else(|fault| panic!("{fault:?}")).status
}

#[tokio::test]
async fn an_address_that_takes_no_connection_gives_way_to_the_next_which_is_kept() {
    let port = free_port();
    let second = vault_at(SECOND, port).await;
    let refused = client(port);
    assert_eq!(status(&ask_health(&refused).await), 200);
    let first = vault_at(FIRST, port).await;
    assert_eq!(status(&ask_health(&refused).await), 200);
    assert_eq!((first.connections(), second.connections()), (0, 2));

    let silent = BlackHole::new().await;
    let second = vault_at(SECOND, silent.address().port()).await;
    let lost = client(silent.address().port());
    for requests in 1..=2 {
        assert_eq!(status(&ask_health(&lost).await), 200, "within the deadline");
        assert_eq!(second.connections(), requests);
    }
}

#[tokio::test]
async fn an_address_that_does_not_serve_is_left_at_the_next_request() {
    let rows = [
        ("silent", Misdeed::Silence),
        ("resets", Misdeed::Reset),
        ("sealed", Misdeed::Answer(http::Answer::error(503, "Vault is sealed"))),
        ("a load balancer's page", Misdeed::Answer(http::Answer::page(502))),
    ];
    for (name, misdeed) in rows {
        let port = free_port();
        let first = vault_at(FIRST, port).await.that(Ask::Health, misdeed);
        let second = vault_at(SECOND, port).await;
        let client = client(port);
        let outcome = ask_health(&client).await;
        assert!(!outcome.is_ok_and(|answer| answer.status == 200), "{name}: what happens is told");
        for _ in 0..2 {
            assert_eq!(status(&ask_health(&client).await), 200, "{name}");
        }
        assert_eq!((first.connections(), second.connections()), (1, 2), "{name}");
    }
}

#[tokio::test]
async fn a_standby_that_redirects_to_an_address_of_the_same_name_is_left_for_it() {
    for location in [SECOND, "active.example"] {
        let port = free_port();
        let elsewhere = |path: &str| {
            let answer =
                http::Answer::new(307, "").with(&format!("location: http://{location}:{port}{path}"));
            Misdeed::Answer(answer)
        };
        let first = vault_at(FIRST, port)
            .await
            .that(Ask::Login, elsewhere("/v1/auth/approle/login"))
            .that(Ask::LookupSelf, elsewhere("/v1/auth/token/lookup-self"));
        let secrets = secrets();
        let second = vault_at(SECOND, port).await.that_knows(&secrets);
        let client = client(port);
        assert_eq!(status(&ask_health(&client).await), 200);
        assert_eq!((first.connections(), second.connections()), (1, 0));

        let spec = serde_json::from_value(specs::app_role("https://vault.example", MOUNT, "s"));
        let desired = Desired::parse(&spec.expect("a spec")).expect("valid");
        let method = desired.target.method.clone();
        let request = method.request(&[ROLE_ID.into(), SECRET_ID.into()]).expect("it logs in");
        let request = login::request(request);
        let answer = client.send(request, None, Instant::now() + SHORT).await;
        assert_eq!(status(&answer), 200, "the same request, with its body, succeeds there");
        let stayed = first.connections();
        let token = secrets.token.as_str().into();
        let answer = client.send(token::lookup(), Some(&token), Instant::now() + SHORT).await;
        assert_eq!(status(&answer), 200);
        assert_eq!((first.connections(), second.connections()), (stayed, 2), "{location}: it is kept");
        let authority = format!("{NAME}:{port}");
        assert!(second.hosts().iter().all(|host| *host == authority), "{:?}", second.hosts());
    }
}

#[tokio::test]
async fn a_redirect_to_anything_else_is_reported_and_not_followed() {
    let secrets = secrets();
    for host in [ELSEWHERE, "evil.example", "unknown.example", "10.255.255.1"] {
        let port = free_port();
        let location = format!("location: http://{host}:{port}/v1/auth/token/lookup-self");
        let first = vault_at(FIRST, port)
            .await
            .that(Ask::LookupSelf, Misdeed::Answer(http::Answer::new(307, "").with(&location)));
        let (second, evil) = (vault_at(SECOND, port).await, vault_at(ELSEWHERE, port).await);
        let token = secrets.token.as_str().into();
        let answer = client(port).send(token::lookup(), Some(&token), Instant::now() + SHORT).await;
        let told = ServerFault::NoActiveNode { host: Some(format!("{host}:{port}")) };
        assert_eq!(answer.expect("an answer").server_fault(), Some(told));
        assert_eq!((first.connections(), second.connections(), evil.connections()), (1, 0, 0), "{host}");
    }
}

#[tokio::test]
async fn standbys_that_redirect_to_each_other_are_asked_once_each() {
    let port = free_port();
    let to = |ip: &str| {
        Misdeed::Answer(http::Answer::new(307, "").with(&format!("location: http://{ip}:{port}/")))
    };
    let first = vault_at(FIRST, port).await.that(Ask::Health, to(SECOND));
    let second = vault_at(SECOND, port).await.that(Ask::Health, to(FIRST));
    let answer = ask_health(&client(port)).await.expect("an answer");
    assert!(matches!(answer.server_fault(), Some(ServerFault::Redirected { .. })));
    assert_eq!((first.connections(), second.connections()), (1, 1));
}

/// The pair that every fake accepts, and a token.
fn secrets() -> Secrets {
    Secrets {
        role_id: ROLE_ID.to_owned(),
        secret_id: SECRET_ID.to_owned(),
        wrapping_token: "s.wrapping".to_owned(),
        token: "s.canary".to_owned(),
    }
}
