//! The metrics of a real operator, as Prometheus' own tool judges them.

use std::{
    env,
    io::{self, Write as _},
    process::{Command, Stdio},
};

use serde_json::json;

use crate::support::{bed, fakes::gateway::Speech, scene::Scene, verdict::is_ready, wait::PATIENCE};

/// What `promtool check metrics` says of a text: nothing, if it follows Prometheus' rules.
fn faults(promtool: &str, text: &str) -> String {
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    child.stdin.take().expect("it reads").write_all(text.as_bytes()).expect("it reads all");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    assert_eq!(output.status.success(), said.is_empty(), "{said}");
    said
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics_of_connections_and_a_gateway() {
    let Ok(promtool) = env::var("PROMTOOL") else {
        let _ = writeln!(io::stderr(), "skipped: {}: PROMTOOL names no promtool", bed::test_name());
        return;
    };
    let scene = Scene::new("promtool").await;
    let proxy = scene.proxy(Speech::Http).await;
    scene.gateway_every("10m", "gateway", &json!([scene.endpoint(&proxy)])).await;
    scene.cluster.connect("works", &scene.spec("gateway")).await;
    scene.cluster.wait("works", "Ready", PATIENCE, is_ready).await;
    let text = scene.operator.metrics().await;
    assert!(text.contains("vault_connection_ready{") && text.contains("vault_gateway_ready{"), "{text}");
    assert_eq!(faults(&promtool, &text), "", "{text}");
    // It does judge: a counter without _total, and without a help text.
    assert_ne!(faults(&promtool, "# TYPE bad_count counter\nbad_count 1\n"), "");
}
