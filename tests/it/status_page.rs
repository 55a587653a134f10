//! The status page of a real operator, in a real browser: what it shows, by keyboard, to a screen reader, in light and dark.

use std::{
    env, fs,
    io::{self, Write as _},
    path::Path,
};

use kube::{
    Api,
    api::{Patch, PatchParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use vault_connection_operator::api::{condition::Reason, connection::VaultConnection, gateway::VaultGateway};

use crate::support::{
    bed,
    browser::Browser,
    cluster::Cluster,
    operator::Operator,
    specs,
    vault::Vault,
    verdict::{gateway_ready, is_ready, ready},
    wait::PATIENCE,
};

const FLAGS: [&str; 4] = ["--allow-address", "127.0.0.1", "--allow-plain-http", "--status-page"];

/// What somebody writes who hopes that others open the page.
const HOSTILE: &str =
    "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">";

/// The rows of the table, each by its state, its name, and why.
const ROWS: &str = "[...document.querySelectorAll('tbody tr')].map(row => [
    row.cells[0].innerText, row.querySelector('.name').innerText, row.cells[2].querySelector('strong').innerText])";

/// What has the focus: its name for a screen reader, about.
const FOCUSED: &str = "(it => it.closest('label')?.firstChild.data || it.querySelector('caption')?.innerText || it.innerText)(document.activeElement)";

/// What the keyboard comes to, one after the other.
const ORDER: [&str; 16] = [
    "Skip to the list",
    "Reload",
    "Show exact times",
    "All: 6",
    "Needs attention: 3",
    "Ready: 2",
    "Connected: 2",
    "Unreachable: 1",
    "Misconfigured: 1",
    "Suspended: 1",
    "Text",
    "Namespace",
    "Kind",
    "State",
    "Filter",
    "Connections and gateways, the worst first: 1 to 6 of 6",
];

/// An operator that serves the page, with connections in different states and a gateway that does not work.
async fn stage() -> (Cluster, Operator) {
    let (cluster, vault) = (Cluster::new("team-orders").await, Vault::shared());
    let role = vault.app_role("approle", json!({"token_ttl": "1h"})).await;
    let secret_id = vault.secret_id(&role).await;
    cluster.secret("vault-approle", &specs::pair(&role, &secret_id)).await;
    let operator = Operator::start_with(&cluster, &FLAGS).await;
    let good = specs::app_role(&vault.address, &role.mount, "vault-approle");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut spec = good.clone();
        change(&mut spec);
        spec
    };
    gateway(&cluster, "private-network", "http://127.0.0.1:9").await;
    cluster.connect("orders", &with(&|spec| spec["description"] = json!("Vault of the order service"))).await;
    cluster.connect("reports", &with(&|spec| spec["suspend"] = json!(true))).await;
    cluster
        .connect("warehouse", &with(&|spec| spec["gatewayRef"] = json!({"name": "private-network"})))
        .await;
    cluster.connect("intruder", &with(&|spec| spec["description"] = json!(HOSTILE))).await;
    cluster.connect("billing", &specs::app_role(&vault.address, &role.mount, "missing")).await;
    for name in ["orders", "intruder"] {
        cluster.wait(name, "Ready", PATIENCE, is_ready).await;
    }
    cluster.wait_reason("reports", Reason::Suspended).await;
    cluster.wait_reason("billing", Reason::SecretNotFound).await;
    let fails = |it: &VaultConnection| ready(it).is_some_and(|ready| ready.status != "True");
    cluster.wait("warehouse", "failing", PATIENCE, fails).await;
    (cluster, operator)
}

/// Applies a gateway whose proxy is not there, and waits until that is known.
async fn gateway(cluster: &Cluster, name: &str, proxy: &str) {
    let gateways: Api<VaultGateway> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let manifest = json!({
        "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultGateway",
        "metadata": {"name": name}, "spec": {"endpoints": [{"url": proxy}]},
    });
    let params = PatchParams::apply("user").force();
    gateways.patch(name, &params, &Patch::Apply(manifest)).await.expect("it is accepted");
    let fails = |gateway: Option<&VaultGateway>| {
        gateway.and_then(gateway_ready).is_some_and(|ready| ready.status == "False")
    };
    let waited = tokio::time::timeout(PATIENCE, await_condition(gateways, name, fails));
    waited.await.expect("in time").expect("it can be watched");
}

/// The program in a variable that `hack/test` sets; without it, the test says so.
fn tool(variable: &str) -> Option<String> {
    let found = env::var(variable).ok().filter(|path| !path.is_empty());
    if found.is_none() {
        let _ = writeln!(io::stderr(), "skipped: {}: {variable} is not set", bed::test_name());
    }
    found
}

/// What axe finds wrong with the page as it is, one line each.
fn faults(browser: &mut Browser) -> Vec<Value> {
    let run = "axe.run(document, {preload: false}).then(found => found.violations.map(
        it => `${it.id}: ${it.help}: ${it.nodes.map(node => node.html + ' ' + node.failureSummary).join('; ')}`))";
    browser.eval(run).as_array().cloned().expect("a list")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_serves_everybody_and_nobody_takes_it_over() {
    let (Some(program), Some(axe)) = (tool("BROWSER"), tool("AXE")) else { return };
    let (_cluster, operator) = stage().await;
    let address = format!("http://{}/status", operator.address());
    let mut browser = Browser::start(&program);
    browser.resize(1280, 720);
    browser.open(&address);

    shows_the_worst_first(&mut browser);
    works_by_keyboard(&mut browser, &address);
    if let Some(folder) = env::var_os("SCREENSHOTS") {
        take_pictures(&mut browser, &address, Path::new(&folder));
    }
    fits_a_small_window(&mut browser, &address);
    let strangers: Vec<_> =
        browser.requested().into_iter().filter(|url| !url.starts_with(&address)).collect();
    assert!(strangers.iter().all(|url| *url == "data:,"), "{strangers:?}");
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());

    browser.eval(&fs::read_to_string(axe).expect("axe can be read"));
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        assert_eq!(faults(&mut browser), [Value::Null; 0], "{scheme}");
    }
    // It does judge.
    browser.eval("document.querySelector('main').append(new Image())");
    assert_ne!(faults(&mut browser), [Value::Null; 0]);
}

fn shows_the_worst_first(browser: &mut Browser) {
    let rows = browser.eval(ROWS);
    let rows: Vec<[String; 3]> = serde_json::from_value(rows).expect("three texts each");
    let of =
        |name: &str| rows.iter().position(|row| row[1] == name).unwrap_or_else(|| panic!("{name}: {rows:?}"));
    assert_eq!(rows.len(), 6, "{rows:?}");
    let row = |name: &str| [rows[of(name)][0].as_str(), rows[of(name)][2].as_str()];
    assert_eq!(row("orders"), ["✔ Connected", "Connected"]);
    assert_eq!(row("billing"), ["✖ Misconfigured", "SecretNotFound"]);
    assert_eq!(row("reports"), ["‖ Suspended", "Suspended"]);
    assert!(row("private-network")[0].ends_with("0 of 1 endpoints"), "{rows:?}");
    for bad in ["billing", "warehouse", "private-network"] {
        assert!(of(bad) < of("reports") && of("reports") < of("orders"), "{rows:?}");
    }
    let title = browser.eval("document.title");
    assert_eq!(title, "3 need attention - Vault connections", "nobody has taken it over");
    assert_eq!(browser.eval("document.scripts.length + document.images.length"), 0);
    let shown =
        browser.eval("document.body.innerText.includes(\"<script>document.title = 'taken'</script><img\")");
    assert_eq!(shown, true, "it is a text");
    let ages = browser.eval("[...document.querySelectorAll('td time')].every(it => it.title == it.dateTime && / ago|in /.test(it.innerText))");
    assert_eq!(ages, true);
}

/// From the skip link through the filter to the table, without a pointer.
fn works_by_keyboard(browser: &mut Browser, address: &str) {
    browser.press("Tab");
    assert_eq!(browser.eval(FOCUSED), "Skip to the list");
    assert_eq!(browser.eval("document.activeElement.getBoundingClientRect().left >= 0"), true, "it is seen");
    browser.press("Enter");
    assert_eq!(browser.eval("document.activeElement.id"), "objects");
    browser.open(address);
    let mut next = || {
        browser.press("Tab");
        browser.eval(FOCUSED)
    };
    let order: Vec<_> = ORDER.iter().map(|_| next()).collect();
    assert_eq!(order, ORDER);

    browser.open(address);
    browser.eval("document.querySelector('[name=text]').focus()");
    browser.type_text("SECRETNOTFOUND");
    browser.load(|browser| browser.press("Enter"));
    assert_eq!(browser.eval(ROWS)[0][1], "billing");
    assert_eq!(browser.eval("document.querySelectorAll('tbody tr').length"), 1);
    assert_eq!(browser.eval("document.querySelector('[name=text]').value"), "SECRETNOTFOUND");
}

/// The table scrolls in its own region; the page does not.
fn fits_a_small_window(browser: &mut Browser, address: &str) {
    browser.open(address);
    browser.resize(320, 640);
    let width = browser.eval("document.documentElement.scrollWidth").as_u64().expect("a number");
    assert!(width <= 320, "{width}");
    browser.resize(1280, 720);
}

fn take_pictures(browser: &mut Browser, address: &str, folder: &Path) {
    fs::create_dir_all(folder).expect("the folder can be made");
    browser.open(address);
    for (scheme, file) in [("light", "status-page.png"), ("dark", "status-page-dark.png")] {
        browser.prefer(scheme);
        browser.screenshot(&folder.join(file));
    }
}
