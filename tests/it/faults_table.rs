//! Faults as rows: each has a fake of its own, all are seen side by side by one operator, mended, and looked at again.

use std::time::Duration;

use serde_json::{Value, json};
use vault_connection_operator::api::{condition::Reason, connection::VaultConnection};

use crate::support::{
    cluster::Cluster,
    fakes::{
        openbao::MOUNT,
        vault::{FakeVault, ROLE_ID, SECRET_ID},
    },
    operator::Operator,
    specs,
    verdict::{assert_failed, is_ready},
    wait::{PATIENCE, eventually},
};

/// The first wait of a fault that has just begun.
pub const FIRST_WAIT: Duration = Duration::from_secs(5);

/// How long a refused login is not made again.
pub const HELD: Duration = Duration::from_secs(15 * 60);

/// How long after its mend a connection may still wait, on a busy machine.
const MENDED: Duration = Duration::from_secs(20);

/// A cluster, and an operator in it. Fakes accept the pair in the Secret `credentials`.
pub struct Bench {
    pub cluster: Cluster,
    pub operator: Operator,
}

/// A Vault that misbehaves, and what a user sees of it.
pub struct Row {
    pub name: &'static str,
    pub fake: FakeVault,
    /// The deadline of a check.
    timeout: &'static str,
    reason: Reason,
    /// Part of the message: what the reader is to do.
    next_step: &'static str,
    /// How long the operator waits after the first check.
    waits: Duration,
    /// Logins whose answers do not arrive. Their tokens are known to nobody and end by their TTL.
    lost_logins: usize,
}

pub fn row(name: &'static str, fake: FakeVault, reason: Reason, next_step: &'static str) -> Row {
    Row { name, fake, timeout: "10s", reason, next_step, waits: FIRST_WAIT, lost_logins: 0 }
}

// === impl Row ===

impl Row {
    pub fn with_timeout(self, timeout: &'static str) -> Self {
        Self { timeout, ..self }
    }

    /// The login is not tried again before Vault would have forgotten a refused one.
    pub fn that_is_held(self) -> Self {
        Self { waits: HELD, ..self }
    }

    pub fn that_loses_a_login(self) -> Self {
        Self { lost_logins: 1, ..self }
    }

    async fn await_sessions(&self, kept: usize) {
        let what = format!("{}: {kept} session and {} lost", self.name, self.lost_logins);
        let wanted = kept + self.lost_logins;
        eventually(&what, PATIENCE, async || (self.fake.sessions() == wanted).then_some(())).await;
    }
}

// === impl Bench ===

impl Bench {
    pub async fn new(prefix: &str) -> Self {
        let cluster = Cluster::new(prefix).await;
        cluster.secret("credentials", &[("roleId", ROLE_ID), ("secretId", SECRET_ID)]).await;
        let operator = Operator::start(&cluster).await;
        Self { cluster, operator }
    }

    /// Connects to each row's fake with what `adapt` makes of a good spec, and holds what is seen to the contract: the
    /// reason, the conditions, the next step, and the first waiting time.
    pub async fn assert_seen(&self, rows: &[Row], adapt: impl Fn(&mut Value)) {
        for row in rows {
            let mut spec = fake_spec(&row.fake.url);
            spec["check"] = json!({"timeout": row.timeout});
            adapt(&mut spec);
            self.cluster.connect(row.name, &spec).await;
        }
        for row in rows {
            let connection = self.cluster.wait_reason(row.name, row.reason).await;
            assert_failed(row.name, &connection, row.reason, row.next_step);
            assert_waits(row.name, &connection, row.waits);
            let text = json!(connection.status).to_string();
            assert!(!text.contains("canary"), "{}: the server's own words are not shown: {text}", row.name);
        }
    }

    /// Mends every fake, and waits until its connection is Ready by itself, with one session.
    pub async fn assert_mends_itself(&self, rows: &[Row]) {
        for row in rows {
            row.fake.behave();
        }
        for row in rows {
            self.cluster.wait(row.name, "Ready by itself", MENDED, is_ready).await;
            row.await_sessions(1).await;
        }
    }

    /// Asks for a check now, and waits until it was made.
    pub async fn check_now(&self, name: &str) -> VaultConnection {
        check_now(&self.cluster, name).await
    }

    /// Stops the operator: no fake has a token left then. A stop blocks, so the fakes need a runtime of several threads.
    pub async fn assert_leaves_no_session(self, rows: &[Row]) {
        self.operator.stop();
        for row in rows {
            row.await_sessions(0).await;
        }
    }
}

/// A good connection to a fake.
pub fn fake_spec(url: &str) -> Value {
    specs::app_role(url, MOUNT, "credentials")
}

/// Asks for a check now, and waits until it was made.
pub async fn check_now(cluster: &Cluster, name: &str) -> VaultConnection {
    let request = crate::support::bed::unique("request");
    cluster.request_check(name, &request).await;
    cluster
        .wait(name, "checked", PATIENCE, |connection| {
            let handled = connection.status.as_ref().and_then(|it| it.last_handled_reconcile_at.as_deref());
            handled == Some(request.as_str())
        })
        .await
}

/// Holds the time until the next check to the wanted one, with the tenth that jitter adds and the second that times in a
/// status are rounded by.
pub fn assert_waits(name: &str, connection: &VaultConnection, wanted: Duration) {
    let waits = waits(connection);
    let longest = wanted.mul_f64(1.1) + Duration::from_secs(1);
    assert!(waits >= wanted && waits <= longest, "{name} waits {waits:?}, not {wanted:?}");
}

/// The time from the last check until the next.
pub fn waits(connection: &VaultConnection) -> Duration {
    let status = connection.status.as_ref().expect("there is a status");
    let (last, next) = (status.last_check_time.as_ref(), status.next_check_time.as_ref());
    let (last, next) = last.zip(next).expect("a check that was made tells both times");
    Duration::try_from(next.0.duration_since(last.0)).expect("the next check is later")
}
