//! The tunnel out of a private network, held to the real OpenBao: nothing but it leads there.

use serde_json::Value;

use crate::support::{
    bed::variable,
    curl::{COULD_NOT_CONNECT, COULD_NOT_REACH_BY_SOCKS, curl},
    tunnel::Tunnel,
};

/// A name that only the private side knows.
const HOST: &str = "vault.private.example";

const HEALTH: &str = "/v1/sys/health";

#[tokio::test]
async fn nothing_but_the_tunnel_leads_into_the_private_network_and_it_can_be_cut_and_restored() {
    let mut tunnel = Tunnel::to(&variable("BED_VAULT_ADDR"), HOST).await;
    let (proxy, url) = (tunnel.url(), tunnel.url_of("http", HOST) + HEALTH);
    let directly = tunnel.url_of("http", "127.0.0.1") + HEALTH;
    assert_ne!(curl(&[&directly]).await.code, 0, "only the tunnel is let in");
    assert_eq!((tunnel.door.admitted(), tunnel.door.refused()), (0, 1));

    let call = curl(&["--proxy", &proxy, &url]).await;
    let health: Value = serde_json::from_str(&call.body).unwrap_or_default();
    assert_eq!((call.status, &health["sealed"]), (200, &Value::Bool(false)), "{call:?}");
    assert_eq!((tunnel.door.admitted(), tunnel.door.refused()), (1, 1));

    tunnel.cut().await;
    assert_eq!(curl(&["--proxy", &proxy, &url]).await.code, COULD_NOT_CONNECT);
    tunnel.restore().await;
    let call = curl(&["--proxy", &proxy, &url]).await;
    assert_eq!(call.status, 200, "{call:?}");
    assert_eq!((tunnel.door.admitted(), tunnel.door.refused()), (2, 1));
}

#[tokio::test]
async fn a_name_is_resolved_at_the_private_side_and_tls_is_end_to_end() {
    let tunnel = Tunnel::to(&variable("BED_VAULT_TLS_ADDR"), HOST).await;
    let (proxy, ca) = (tunnel.url(), variable("BED_VAULT_CA"));
    let named = tunnel.url_of("https", HOST) + HEALTH;
    // The real server's certificate is for another name, which is what the client has to see.
    let call = curl(&["--proxy", &proxy, "--cacert", &ca, &named]).await;
    assert!(call.code != 0 && tunnel.door.admitted() == 1, "{call:?}");
    assert_eq!(curl(&["--proxy", &proxy, "--insecure", &named]).await.status, 200);
    assert!(
        tunnel.private_log().contains(&format!("connect host {HOST} ([127.0.0.1]:")),
        "it was resolved there"
    );

    // What it cannot reach, OpenSSH does not answer at all: it closes the connection.
    let unknown = tunnel.url_of("https", "other.private.example") + HEALTH;
    for url in [unknown, format!("https://{HOST}:1{HEALTH}")] {
        assert_eq!(curl(&["--proxy", &proxy, &url]).await.code, COULD_NOT_REACH_BY_SOCKS, "{url}");
    }
    for told in ["connect_to other.private.example: unknown host", "port 1: failed"] {
        assert!(tunnel.private_log().contains(told), "{told}: {}", tunnel.private_log());
    }
    assert_eq!((tunnel.door.admitted(), tunnel.door.refused()), (2, 0));
}
