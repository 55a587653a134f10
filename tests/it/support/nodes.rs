//! Three OpenBao nodes that are one instance, for a test of its own.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};

use super::{
    bed::{self, hack_bed, signal, unique},
    vault::http,
    wait::{PATIENCE, eventually},
};

/// How many there are.
pub const COUNT: usize = 3;

/// How long a node may take to answer somebody outside. One that has lost its leader may be silent.
const ANSWER: Duration = Duration::from_secs(2);

/// The nodes, which end with their test.
pub struct Nodes {
    folder: PathBuf,
    token: String,
    http: reqwest::Client,
}

// === impl Nodes ===

impl Nodes {
    /// Starts them, and waits until each can become the leader.
    pub fn up(prefix: &str) -> Self {
        let folder = bed::folder("it").join(unique(prefix));
        hack_bed(&["cluster-up", folder.to_str().expect("the bed's folder has a name in UTF-8")]);
        let token = fs::read_to_string(folder.join("node-1/root-token")).expect("it is initialized");
        Self { folder, token: token.trim().to_owned(), http: http() }
    }

    fn node(&self, node: usize) -> PathBuf {
        self.folder.join(format!("node-{}", node + 1))
    }

    /// The address of a node.
    pub fn address(&self, node: usize) -> String {
        let port = fs::read_to_string(self.node(node).join("port")).expect("it was started");
        format!("http://127.0.0.1:{}", port.trim())
    }

    /// The node that leads, once there is one that says so of itself.
    pub async fn leader(&self) -> usize {
        self.leader_among(&[0, 1, 2]).await
    }

    /// The same, once it is another than `former`.
    pub async fn leader_but(&self, former: usize) -> usize {
        let others: Vec<_> = (0..COUNT).filter(|node| *node != former).collect();
        self.leader_among(&others).await
    }

    async fn leader_among(&self, nodes: &[usize]) -> usize {
        eventually("a node leads", PATIENCE * 6, async || {
            for node in nodes {
                if self.ask(*node, "sys/leader", None).await.is_some_and(|answer| answer["is_self"] == true) {
                    return Some(*node);
                }
            }
            None
        })
        .await
    }

    /// Makes the leader give up its office. It does not stand for it again for 10 s.
    pub async fn step_down(&self, leader: usize) {
        let answer = self.ask(leader, "sys/step-down", Some(&json!({}))).await;
        answer.expect("the leader steps down");
    }

    /// Asks a node as its administrator. None: it did not answer, or with a failure.
    async fn ask(&self, node: usize, path: &str, body: Option<&Value>) -> Option<Value> {
        let url = format!("{}/v1/{path}", self.address(node));
        let request = match body {
            Some(body) => self.http.post(url).body(body.to_string()),
            None => self.http.get(url),
        };
        let answer = request.header("x-vault-token", &self.token).timeout(ANSWER).send().await.ok()?;
        let answer = answer.error_for_status().ok()?;
        let bytes = answer.bytes().await.ok()?;
        Some(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Sets up a role by the leader, and returns its role id and a secret id.
    pub async fn role(&self, role: &str, settings: &Value) -> [String; 2] {
        let leader = self.leader().await;
        let path = format!("auth/approle/role/{role}");
        let asked = async |path: String, body: Option<&Value>| {
            let answer = self.ask(leader, &path, body).await;
            answer.unwrap_or_else(|| panic!("{path} is not answered by the leader"))
        };
        asked(path.clone(), Some(settings)).await;
        let role_id = asked(format!("{path}/role-id"), None).await["data"]["role_id"].clone();
        let secret_id =
            asked(format!("{path}/secret-id"), Some(&json!({}))).await["data"]["secret_id"].clone();
        [role_id, secret_id].map(|value| value.as_str().expect("a role has both").to_owned())
    }

    /// Sends a signal to the process of a node.
    pub fn signal(&self, node: usize, name: &str) {
        let pid =
            fs::read_to_string(self.node(node).join("pids/openbao.pid")).expect("hack/bed notes the process");
        signal(pid.trim().parse().expect("a process has a number"), name);
    }

    /// Ends a node; what it has agreed to stays.
    pub fn stop(&self, node: usize) {
        self.bed("vault-down", node);
    }

    /// Starts it again, at the same address.
    pub fn start(&self, node: usize) {
        self.bed("vault-up", node);
    }

    fn bed(&self, command: &str, node: usize) {
        hack_bed(&[command, self.node(node).to_str().expect("the bed's folder has a name in UTF-8")]);
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        hack_bed(&["cluster-down", self.folder.to_str().expect("the bed's folder has a name in UTF-8")]);
    }
}
