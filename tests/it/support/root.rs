//! What a Vault of a test knows of tokens and leases, asked as root.

use std::{collections::BTreeSet, fs, time::Duration};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::vault::{Vault, http};

/// The administrator of a Vault.
pub struct Root {
    address: String,
    token: String,
    http: reqwest::Client,
}

// === impl Root ===

impl Root {
    pub fn of(vault: &Vault) -> Self {
        // `hack/bed` keeps both in the folder of the Vault.
        let file = vault.audit.with_file_name("root-token");
        let token = fs::read_to_string(file).expect("an initialized Vault has a root token");
        Self { address: vault.address.clone(), token: token.trim().to_owned(), http: http() }
    }

    /// The accessors of all living tokens.
    pub async fn accessors(&self) -> BTreeSet<String> {
        self.list("auth/token/accessors").await
    }

    /// The leases of the tokens that came from logins at a mount.
    pub async fn leases(&self, mount: &str) -> BTreeSet<String> {
        self.list(&format!("sys/leases/lookup/auth/{mount}/login")).await
    }

    /// How long each living token that came from a login at a mount will live, by its lease. (A look at each accessor would end
    /// tokens of other tests: Vault revokes one that it finds before its lease is stored.)
    pub async fn lives(&self, mount: &str) -> Vec<Duration> {
        let path = format!("auth/{mount}/login");
        let mut lives = Vec::new();
        for lease in self.list(&format!("sys/leases/lookup/{path}")).await {
            let url = format!("{}/v1/sys/leases/lookup", self.address);
            let body = json!({"lease_id": format!("{path}/{lease}")}).to_string();
            // One that is gone meanwhile has no data.
            let (_, lease) = self.answer(self.http.post(url).body(body)).await;
            lives.extend(lease["data"]["ttl"].as_u64().map(Duration::from_secs));
        }
        lives
    }

    async fn list(&self, path: &str) -> BTreeSet<String> {
        let (status, answer) =
            self.answer(self.http.get(format!("{}/v1/{path}?list=true", self.address))).await;
        // An empty list is not found.
        assert!(status == StatusCode::OK || status == StatusCode::NOT_FOUND, "{path}: {status} {answer}");
        let keys = answer["data"]["keys"].as_array().into_iter().flatten();
        keys.map(|key| key.as_str().expect("a key is a text").to_owned()).collect()
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> (StatusCode, Value) {
        let answer = request.header("x-vault-token", &self.token).send().await.expect("Vault answers");
        let status = answer.status();
        let bytes = answer.bytes().await.expect("Vault answers whole");
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}
