//! The address policy, as an administrator gives it and as users see it: by flags, by a file that changes, by the chart.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use vault_connection_operator::{
    api::{condition::Reason, gateway::VaultGateway},
    network::{address_policy::AddressPolicy, policy_file::PolicyHandle},
};

use crate::{
    faults_table::{Bench, check_now, fake_spec},
    support::{
        bed::{self, package, program, run, unique},
        cluster::Cluster,
        fakes::{
            Fake,
            gateway::FakeGateway,
            http::Answer,
            vault::{Ask, FakeVault, Misdeed, ROLE_ID, SECRET_ID},
        },
        operator::Operator,
        verdict::{assert_failed, is_ready},
        wait::{PATIENCE, eventually},
    },
};

const CONTACT: &str = "the network team (#net)";

/// A policy file as the kubelet keeps it: a link into a folder that is replaced as a whole.
struct PolicyFile {
    folder: PathBuf,
}

// === impl PolicyFile ===

impl PolicyFile {
    fn new(policy: &Value) -> Self {
        let folder = bed::folder("it").join(unique("policy"));
        fs::create_dir(&folder).expect("the bed's folder can be written");
        symlink("..data/policy.yaml", folder.join("policy.yaml")).expect("a link is made");
        let file = Self { folder };
        file.write(&policy.to_string());
        file
    }

    fn path(&self) -> String {
        self.folder.join("policy.yaml").display().to_string()
    }

    fn write(&self, text: &str) {
        let version = unique("version");
        let data = self.folder.join(&version);
        fs::create_dir(&data).expect("a folder is made");
        fs::write(data.join("policy.yaml"), text).expect("a file is written");
        symlink(&version, self.folder.join("..tmp")).expect("a link is made");
        fs::rename(self.folder.join("..tmp"), self.folder.join("..data")).expect("it is renamed");
    }
}

fn host(fake: &FakeVault) -> &str {
    fake.url.trim_start_matches("http://")
}

async fn write_credentials(cluster: &Cluster) {
    cluster.secret("credentials", &[("roleId", ROLE_ID), ("secretId", SECRET_ID)]).await;
}

#[tokio::test]
async fn entries_hold_for_their_namespaces_and_ports_only() {
    let (ours, other) = (Cluster::new("policy-a").await, Cluster::new("policy-b").await);
    let (of_ours, of_other) = (FakeVault::new().await, FakeVault::new().await);
    for cluster in [&ours, &other] {
        write_credentials(cluster).await;
    }
    let for_ours = format!("{}={}", ours.namespace, host(&of_ours));
    let for_other = format!("policy-b-*={}", host(&of_other));
    let flags =
        ["--allow-plain-http", "--watch-namespace", &other.namespace, "--address-policy-contact", CONTACT];
    let entries = ["--allow-address", &for_ours, "--allow-address", &for_other];
    let _operator = Operator::start_with(&ours, &[&flags[..], &entries].concat()).await;

    for (cluster, own, forbidden) in [(&ours, &of_ours, &of_other), (&other, &of_other, &of_ours)] {
        cluster.connect("own", &fake_spec(&own.url)).await;
        cluster.connect("forbidden", &fake_spec(&forbidden.url)).await;
        cluster.connect("elsewhere", &fake_spec("http://192.0.2.1:8200")).await;
        cluster.wait("own", "Ready", PATIENCE, is_ready).await;
        for (name, rule) in [
            ("forbidden", "127.0.0.1 is a loopback address"),
            ("elsewhere", "192.0.2.1:8200 is not allowed by the operator's address policy"),
        ] {
            let refused = cluster.wait_reason(name, Reason::AddressNotAllowed).await;
            assert_failed(name, &refused, Reason::AddressNotAllowed, rule);
            assert_failed(
                name,
                &refused,
                Reason::AddressNotAllowed,
                "Ask the network team (#net) to allow it",
            );
        }
        assert_eq!(own.asked(Ask::Login), 1);
    }
}

#[tokio::test]
async fn an_address_that_a_changed_file_forbids_gets_nothing_more_and_one_that_it_allows_is_dialled() {
    let (cluster, fake) = (Cluster::new("policy-file").await, FakeVault::new().await);
    write_credentials(&cluster).await;
    let allows = json!({"rules": [{"namespaces": ["policy-*"], "allow": [host(&fake)]}]});
    let forbids = json!({"contact": CONTACT, "rules": [{"allow": ["192.0.2.0/24"]}]});
    let file = PolicyFile::new(&allows);
    let flags = ["--allow-plain-http", "--address-policy-file", &file.path()];
    let operator = Operator::start_with(&cluster, &flags).await;
    cluster.connect("kept", &fake_spec(&fake.url)).await;
    cluster.wait("kept", "Ready", PATIENCE, is_ready).await;
    assert_eq!(fake.sessions(), 1);

    // Long before its interval of a minute is over.
    file.write(&forbids.to_string());
    let refused = cluster.wait_reason("kept", Reason::AddressNotAllowed).await;
    assert_failed("kept", &refused, Reason::AddressNotAllowed, "Ask the network team (#net)");
    let asked = fake.asked_in_all();
    check_now(&cluster, "kept").await;
    cluster.delete("kept").await;
    eventually("the operator has forgotten it", PATIENCE, async || {
        (operator.count("connections{").await == 0).then_some(())
    })
    .await;
    assert_eq!((fake.asked_in_all(), fake.sessions()), (asked, 1), "not even a revocation is sent there");

    cluster.connect("later", &fake_spec(&fake.url)).await;
    cluster.wait_reason("later", Reason::AddressNotAllowed).await;
    let is_ok = async |wanted| (operator.count("address_policy_file_ok").await == wanted).then_some(());
    file.write("rules: [{allow: [https://vault.example.com]}]");
    eventually("the file is seen to be bad", PATIENCE, async || is_ok(0).await).await;
    let still = check_now(&cluster, "later").await;
    assert_failed("later", &still, Reason::AddressNotAllowed, "Ask the network team (#net)");
    assert_eq!(fake.asked_in_all(), asked);

    file.write(&allows.to_string());
    cluster.wait("later", "Ready", PATIENCE, is_ready).await;
    assert!(is_ok(1).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_of_a_redirect_gets_nothing_whatever_was_asked() {
    let bench = Bench::new("redirects").await;
    // It listens where the policy allows it: what keeps credentials from it is that no redirect is followed.
    let target = Fake::silent().await;
    let mut fakes = Vec::new();
    for status in [301, 302, 303, 307, 308] {
        for (step, ask) in [
            ("health", Ask::Health),
            ("login", Ask::Login),
            ("look", Ask::LookupSelf),
            ("rights", Ask::CapabilitiesSelf),
        ] {
            let location = format!("location: {}/v1/canary?token=canary", target.url());
            let redirect = Misdeed::Answer(Answer::new(status, "").with(&location));
            let fake = FakeVault::new().await.that(ask, redirect.clone()).that(Ask::RevokeSelf, redirect);
            let name = format!("{step}-{status}");
            let mut spec = fake_spec(&fake.url);
            if ask == Ask::CapabilitiesSelf {
                spec["require"] = json!({"secretSync": {"mount": "demo_mount"}});
            }
            bench.cluster.connect(&name, &spec).await;
            fakes.push((name, ask, fake));
        }
    }
    for (name, ask, fake) in &fakes {
        let told = bench.cluster.wait_reason(name, Reason::Redirected).await;
        assert_failed(name, &told, Reason::Redirected, &target.address);
        assert!(!json!(told.status).to_string().contains("canary"), "{name}: only the host is told");
        assert!(fake.asked(*ask) > 0, "{name}");
    }
    bench.operator.stop();
    let revoked: usize = fakes.iter().map(|(_, _, fake)| fake.asked(Ask::RevokeSelf)).sum();
    assert!(revoked > 0, "the end of a token was redirected, too");
    assert_eq!(target.connections(), 0);
}

#[tokio::test]
async fn a_gateway_is_no_way_around_the_policy() {
    let cluster = Cluster::new("policy-gateway").await;
    write_credentials(&cluster).await;
    let (allowed, forbidden) = (FakeGateway::http().await, FakeGateway::http().await);
    let entry = allowed.url().replace("http://", "");
    // Of a name that the proxy resolves, no range of addresses says anything.
    let flags = ["--allow-address", &entry, "--allow-address", "vault.example.com"];
    let _operator = Operator::start_with(&cluster, &flags).await;
    let gateways: Api<VaultGateway> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    for (name, proxy) in [("allowed", &allowed), ("forbidden", &forbidden)] {
        let gateway = json!({
            "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultGateway",
            "metadata": {"name": name}, "spec": {"endpoints": [{"url": proxy.url()}]},
        });
        let params = PatchParams::apply("user").force();
        gateways.patch(name, &params, &Patch::Apply(gateway)).await.expect("it is accepted");
    }
    for (name, url, gateway, rule) in [
        ("proxy", "https://vault.example.com", "forbidden", "is a loopback address"),
        ("metadata", "https://169.254.169.254", "allowed", "is a link-local address"),
        (
            "elsewhere",
            "https://vault.example.org",
            "allowed",
            "is not allowed by the operator's address policy",
        ),
        ("unlisted", "https://192.0.2.1", "allowed", "is not allowed by the operator's address policy"),
    ] {
        let mut spec = fake_spec(url);
        spec["gatewayRef"] = json!({"name": gateway});
        cluster.connect(name, &spec).await;
        let refused = cluster.wait_reason(name, Reason::AddressNotAllowed).await;
        assert_failed(name, &refused, Reason::AddressNotAllowed, rule);
    }
    assert_eq!(forbidden.connections(), 0);
    // A gateway's own check asks for a name that does not exist.
    let asked = allowed.targets();
    assert!(asked.iter().all(|target| target.host == "vault-connection-operator.invalid"), "{asked:?}");
}

#[test]
fn the_charts_rules_are_a_file_that_the_operator_takes() {
    let rules = json!([
        {"allow": ["vault.example.com:8200"]},
        {"namespaces": ["team-*"], "allow": ["*.corp.example.com", "[fd00::/8]:8200", "10.0.0.0/8:8200-8210"]},
    ]);
    let chart = package().join("charts/vault-connection-operator");
    for helm in ["helm3", "helm4"] {
        let yaml = run(program(helm)
            .args(["template", "release"])
            .arg(&chart)
            .args(["--set-json", &format!("addressPolicy.rules={rules}")])
            .args(["--set", "addressPolicy.contact=the network team (#net)"])
            .args(["--set", "addressPolicy.allow={team-*=10.0.0.7:8200}"]));
        let objects: Vec<Value> = serde_saphyr::from_multiple(&yaml).expect("helm prints YAML");
        let find = |kind: &str| objects.iter().find(|object| object["kind"] == kind).expect("it is there");
        let (config_map, pod) = (find("ConfigMap"), &find("Deployment")["spec"]["template"]["spec"]);

        let container = &pod["containers"][0];
        let mount = &container["volumeMounts"][0];
        let path = Path::new(mount["mountPath"].as_str().expect("it is mounted")).join("policy.yaml");
        let args: Vec<_> =
            container["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for wanted in [
            &format!("--address-policy-file={}", path.display()),
            "--address-policy-contact=the network team (#net)",
            "--allow-address=team-*=10.0.0.7:8200",
        ] {
            assert!(args.contains(&wanted), "{helm}: {wanted} is not in {args:?}");
        }
        assert_eq!(pod["volumes"][0]["name"], mount["name"], "{helm}");
        assert_eq!(pod["volumes"][0]["configMap"]["name"], config_map["metadata"]["name"], "{helm}");

        let file = bed::folder("it").join(unique("chart-policy"));
        fs::write(&file, config_map["data"]["policy.yaml"].as_str().expect("a text")).expect("it is written");
        let policy = PolicyHandle::with_file(AddressPolicy::default(), file).expect("the operator takes it");
        let text = format!("{:?}", policy.rules_for("team-a"));
        for entry in ["vault.example.com", "corp.example.com", "fd00::/8", "10.0.0.0/8"] {
            assert!(text.contains(entry), "{helm}: {entry} is not in {text}");
        }
    }
}
