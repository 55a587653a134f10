//! Three real nodes that are one instance: what a connection says that is addressed at each of them, while the leader
//! steps down or dies, and while a follower is cut off.
//!
//! ```text
//!   connection "at-0" ─▶ node 0 ─┐
//!   connection "at-1" ─▶ node 1 ─┼─ raft: one leads, the others send on what they cannot answer themselves
//!   connection "at-2" ─▶ node 2 ─┘
//! ```
//!
//! Until another node leads, a standby answers 307 to the one that does not lead any more, or 500. That passes; nobody
//! has to change a spec because of it.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::block_in_place;
use vault_connection_operator::api::{condition::Reason, status::State};

use crate::support::{
    cluster::Cluster,
    history::{History, Seen, shown},
    nodes::{COUNT, Nodes},
    operator::Operator,
    specs,
    verdict::is_ready,
    wait::{PATIENCE, eventually},
};

/// A node that is elected in less than this has taken office before a Ready connection may be doubted.
const PROMPT: Duration = Duration::from_secs(5);

/// Whether a verdict sends a person to a spec or a credential, where nothing is to be found.
fn is_misleading(reason: &str) -> bool {
    let reason = Reason::ALL.iter().find(|it| it.as_str() == reason);
    reason.is_some_and(|reason| {
        matches!(reason.state(), State::Misconfigured | State::Rejected | State::Denied)
            || matches!(reason, Reason::UnexpectedAnswer)
    })
}

/// A connection at each node whose session is kept, and one that logs in for each check.
struct Stage {
    nodes: Nodes,
    cluster: Cluster,
    operator: Operator,
    history: History,
    start: Instant,
}

fn names(node: usize) -> [String; 2] {
    [format!("kept-at-{node}"), format!("each-at-{node}")]
}

// === impl Stage ===

impl Stage {
    async fn new(prefix: &str) -> Self {
        let (nodes, cluster) = (block_in_place(|| Nodes::up(prefix)), Cluster::new(prefix).await);
        let roles = [("kept", json!({"token_ttl": "1h"})), ("each", json!({"token_ttl": "12s"}))];
        for (role, settings) in roles {
            let [role_id, secret_id] = nodes.role(role, &settings).await;
            cluster.secret(role, &[("roleId", &role_id), ("secretId", &secret_id)]).await;
        }
        let operator = Operator::start(&cluster).await;
        let history = History::of(&cluster);
        for node in 0..COUNT {
            for (name, secret) in names(node).iter().zip(["kept", "each"]) {
                let mut spec = specs::app_role(&nodes.address(node), "approle", secret);
                spec["check"] = json!({"interval": "10s", "timeout": "3s"});
                cluster.connect(name, &spec).await;
            }
        }
        let stage = Self { nodes, cluster, operator, history, start: Instant::now() };
        stage.await_ready("at first").await;
        stage
    }

    async fn await_ready(&self, what: &str) {
        for node in 0..COUNT {
            for name in names(node) {
                self.cluster.wait(&name, &format!("Ready {what}"), PATIENCE * 2, is_ready).await;
            }
        }
    }

    /// Asks for a check of every connection, and waits until another node than `former` leads. Nobody at the `addressed` nodes
    /// lost Ready by it, if it was elected promptly.
    async fn await_another_leader(&self, former: usize, addressed: &[usize], what: &str) -> usize {
        let begin = Instant::now();
        for name in addressed.iter().copied().flat_map(names) {
            self.cluster.request_check(&name, what).await;
        }
        let leader = self.nodes.leader_but(former).await;
        let was_prompt = begin.elapsed() < PROMPT;
        for name in addressed.iter().copied().flat_map(names) {
            self.cluster.wait(&name, &format!("Ready {what}"), PATIENCE * 2, is_ready).await;
            let history = self.history.of_connection(&name);
            let since_ready = || history.iter().skip_while(|seen| !seen.is_ready());
            let kept = since_ready().all(Seen::is_ready);
            assert!(kept || !was_prompt, "{what}: {name}: {}", shown(&history, self.start));
        }
        leader
    }

    /// Nobody was sent to mend a spec or a credential that is right.
    fn assert_never_misled(&self, what: &str) {
        for name in (0..COUNT).flat_map(names) {
            let history = self.history.of_connection(&name);
            let misled = history
                .iter()
                .any(|seen| seen.verdict.as_ref().is_some_and(|verdict| is_misleading(&verdict.reason)));
            assert!(!misled, "{what}: {name}: {}", shown(&history, self.start));
        }
    }

    async fn assert_no_login_was_refused(&self) {
        let refused = self.operator.count("vault_requests_total{operation=\"login\",answer=\"4xx\"").await;
        assert_eq!(refused, 0, "every credential is right");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_steps_down_or_is_killed_concerns_at_most_those_that_are_addressed_at_a_dead_node() {
    let stage = Stage::new("nodes-leader").await;
    let first = stage.nodes.leader().await;
    stage.nodes.step_down(first).await;
    let second = stage.await_another_leader(first, &[0, 1, 2], "after a step-down").await;

    stage.nodes.signal(second, "KILL");
    let survivors: Vec<_> = (0..COUNT).filter(|node| *node != second).collect();
    stage.await_another_leader(second, &survivors, "after the leader was killed").await;
    for name in names(second) {
        stage.cluster.wait_reason(&name, Reason::ConnectionRefused).await;
    }
    block_in_place(|| stage.nodes.start(second));
    stage.await_ready("after the killed node is back").await;
    stage.assert_never_misled("the leader changed");
    stage.assert_no_login_was_refused().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_cut_off_concerns_only_those_that_are_addressed_at_it() {
    let stage = Stage::new("nodes-follower").await;
    let leader = stage.nodes.leader().await;
    let follower = (leader + 1) % COUNT;
    stage.nodes.signal(follower, "STOP");
    for name in names(follower) {
        stage.cluster.wait(&name, "told that its node is silent", PATIENCE * 2, |it| !is_ready(it)).await;
    }
    for name in (0..COUNT).filter(|node| *node != follower).flat_map(names) {
        let history = stage.history.of_connection(&name);
        let mut since_ready = history.iter().skip_while(|seen| !seen.is_ready());
        assert!(since_ready.all(Seen::is_ready), "{name}: {}", shown(&history, stage.start));
    }
    stage.nodes.signal(follower, "CONT");
    stage.await_ready("after the follower goes on").await;

    let others: Vec<_> = (0..COUNT).filter(|node| *node != follower).collect();
    for node in &others {
        block_in_place(|| stage.nodes.stop(*node));
    }
    let [_, each] = names(follower);
    stage.cluster.wait(&each, "told that no login can be made", PATIENCE * 2, |it| !is_ready(it)).await;
    for node in &others {
        block_in_place(|| stage.nodes.start(*node));
    }
    eventually("the nodes have a leader again", PATIENCE, async || Some(stage.nodes.leader().await)).await;
    stage.await_ready("after the others are back").await;
    stage.assert_never_misled("a follower was cut off");
    stage.assert_no_login_was_refused().await;
}
