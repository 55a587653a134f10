//! A cluster that gives the operator less than it wants, or objects that it cannot read.

use std::{fmt::Debug, path::Path, time::Duration};

use k8s_openapi::{
    ByteString,
    api::{coordination::v1::Lease, core::v1::Secret},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Config, CustomResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use vault_connection_operator::{
    api::{condition::Reason, connection::VaultConnection, gateway::VaultGateway},
    manifests,
};

use crate::support::{
    access::{OtherBed, apply, grant, kubeconfig_with},
    bed::{package, program, run, unique, variable},
    cluster::{Cluster, RELEASE, RELEASE_NAMESPACE, operator_kubeconfig},
    operator::Operator,
    process::Process,
    specs,
    tamper::Tamper,
    vault::Vault,
    verdict::{assert_failed, is_ready, ready},
    wait::{PATIENCE, eventually},
};

/// A changed Secret's verdict, or the first retry after a failure, and a busy machine.
const SOON: Duration = Duration::from_secs(10);

/// A first check on a busy machine, without the ten seconds for which a login waits for lists.
const SHORT: Duration = Duration::from_secs(8);

/// The longest wait before a refused watch is tried again, and a check.
const A_WATCH_AGAIN: Duration = Duration::from_secs(50);

/// What the operator may do, Secrets apart.
fn rules_without_secrets() -> Value {
    let mut rules = json!(manifests::rules());
    rules.as_array_mut().expect("it is a list").retain(|rule| rule["resources"] != json!(["secrets"]));
    rules
}

#[tokio::test]
async fn secrets_that_are_forbidden_in_one_namespace_do_not_stop_another() {
    let (a, b, vault) = (Cluster::new("rights-a").await, Cluster::new("rights-b").await, Vault::shared());
    let secrets = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"]}]);
    let everywhere = grant(&a.namespace, None, &rules_without_secrets(), &a.namespace);
    let in_a = grant("secrets", Some(&a.namespace), &secrets, &a.namespace);
    let admin = variable("KUBECONFIG");
    let server =
        json!({"server": variable("BED_APISERVER"), "certificate-authority": variable("BED_APISERVER_CA")});
    let grants = [everywhere, in_a].concat();
    let kubeconfig = kubeconfig_with(Path::new(&admin), &a.namespace, &server, &grants);
    let token = a_token(&vault).await;
    for cluster in [&a, &b] {
        cluster.secret("token", &[("token", &token)]).await;
    }
    let operator = Process::start(&kubeconfig, &[&a.namespace, &b.namespace]).await;
    for cluster in [&a, &b] {
        cluster.connect("connection", &specs::token(&vault.address, "token")).await;
    }
    let forbidden = b.wait_reason("connection", Reason::ReadForbidden).await;
    assert_failed("b", &forbidden, Reason::ReadForbidden, "Secret");
    a.wait("connection", "Ready", PATIENCE, is_ready).await;

    let before = a.connections().get("connection").await.expect("it is there");

    // What changes in A is noticed while the watch in B is refused, and A is Ready all the time.
    a.secret("token", &[("token", &a_token(&vault).await)]).await;
    let rotated = |now: &VaultConnection| is_ready(now) && versions(now) != versions(&before);
    let after = a.wait("connection", "Ready with the new token", SOON, rotated).await;
    let since = |connection| ready(connection).map(|ready| ready.last_transition_time.clone());
    assert_eq!(since(&after), since(&before));
    b.wait_reason("connection", Reason::ReadForbidden).await;

    apply(Path::new(&admin), &grant("secrets", Some(&b.namespace), &secrets, &a.namespace));
    b.wait("connection", "Ready", SOON * 2, is_ready).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_watched_namespace_without_rights_does_not_stop_the_others() {
    let (a, b, vault) = (Cluster::new("served").await, Cluster::new("forbidden").await, Vault::shared());
    let rules = json!(manifests::rules());
    let in_a = grant("operator", Some(&a.namespace), &rules, &a.namespace);
    let admin = variable("KUBECONFIG");
    let server =
        json!({"server": variable("BED_APISERVER"), "certificate-authority": variable("BED_APISERVER_CA")});
    let kubeconfig = kubeconfig_with(Path::new(&admin), &a.namespace, &server, &in_a);
    // A login after a start waits for what statuses tell of earlier ones; not for a list that is refused.
    let role = vault.app_role("rights", json!({"token_ttl": "1h"})).await;
    let secret_id = vault.secret_id(&role).await;
    for cluster in [&a, &b] {
        cluster.secret("credentials", &specs::pair(&role, &secret_id)).await;
        cluster.connect("connection", &specs::app_role(&vault.address, &role.mount, "credentials")).await;
    }
    let operator = Process::start(&kubeconfig, &[&b.namespace, &a.namespace]).await;
    a.wait("connection", "Ready", SHORT, is_ready).await;
    let told = |namespace: &str| format!("listed{{kind=\"VaultConnection\",namespace=\"{namespace}\"}}");
    let series = |namespace: &str| format!("vault_connection_operator_{}", told(namespace));
    let metrics = operator.metrics().await;
    for (namespace, value) in [(&a.namespace, 1), (&b.namespace, 0)] {
        let line = format!("{} {value}", series(namespace));
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }

    apply(Path::new(&admin), &grant("operator", Some(&b.namespace), &rules, &a.namespace));
    b.wait("connection", "Ready as soon as it may be served", A_WATCH_AGAIN, is_ready).await;
    operator.await_count(&told(&b.namespace), 1, PATIENCE).await;
    operator.stop().await;
}

async fn a_token(vault: &Vault) -> String {
    vault.issue_token(&json!({"policies": ["vault-connection"], "ttl": "1h"})).await
}

/// What the verdict on a connection rests on.
fn versions(connection: &VaultConnection) -> Vec<String> {
    let status = connection.status.iter();
    status.flat_map(|status| &status.credentials).map(|object| object.resource_version.clone()).collect()
}

/// A CRD as somebody left it who wanted no validation.
fn crd_without_a_schema<K: CustomResourceExt>() -> Value {
    let mut crd = manifests::crd::<K>();
    for version in crd["spec"]["versions"].as_array_mut().expect("it is a list") {
        version["schema"]["openAPIV3Schema"] =
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        // Fields that the schema does not name cannot be selected.
        version.as_object_mut().expect("an object").remove("selectableFields");
    }
    crd
}

async fn client(kubeconfig: &Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("the bed's kubeconfig can be read");
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("the bed's kubeconfig names a cluster");
    // A proxy of the environment is not for loopback.
    config.proxy_url = None;
    Client::try_from(config).expect("the cluster's configuration can be used")
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_reported_and_does_not_stop_the_others() {
    // The CRD is everybody's in a bed.
    let (bed, vault) = (OtherBed::up("no-schema"), Vault::shared());
    let (admin, namespace) = (Path::new(bed.variable("KUBECONFIG")), "no-schema");
    let namespaces = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let crds = [crd_without_a_schema::<VaultConnection>(), crd_without_a_schema::<VaultGateway>()];
    apply(admin, &[&[namespaces], crds.as_slice()].concat());
    let cluster = Cluster { client: client(admin).await, namespace: namespace.to_owned() };
    let token = a_token(&vault).await;
    cluster.secret("token", &[("token", &token)]).await;
    let server = json!({
        "server": bed.variable("BED_APISERVER"),
        "certificate-authority": bed.variable("BED_APISERVER_CA"),
    });
    let grants = grant("operator", None, &json!(manifests::rules()), namespace);
    let kubeconfig = kubeconfig_with(admin, namespace, &server, &grants);
    let kind = ApiResource::erase::<VaultConnection>(&());
    let objects: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), namespace, &kind);
    crd_is_served(&objects).await;

    let operator = Process::start(&kubeconfig, &[namespace]).await;
    let nonsense = json!({"instanceUrl": 42, "auth": "please"});
    let object = DynamicObject::new("nonsense", &kind).data(json!({"spec": nonsense}));
    objects.create(&PostParams::default(), &object).await.expect("nothing is validated here");
    cluster.connect("good", &specs::token(&vault.address, "token")).await;

    let told = |object: Option<&DynamicObject>| {
        object.is_some_and(|object| {
            let find = |kind| conditions(object).into_iter().find(|condition| condition["type"] == kind);
            find("Ready").is_some_and(|ready| ready["reason"] == Reason::InvalidSpec.as_str())
        })
    };
    let refused = tokio::time::timeout(PATIENCE, await_condition(objects.clone(), "nonsense", told)).await;
    let refused = refused.expect("it is judged in time").expect("the watch goes on").expect("it is there");
    let statuses: Vec<_> = conditions(&refused)
        .iter()
        .filter(|condition| condition["type"] == "Ready" || condition["type"] == "Stalled")
        .map(|condition| (condition["type"].clone(), condition["status"].clone()))
        .collect();
    assert!(statuses.contains(&(json!("Ready"), json!("False"))), "{statuses:?}");
    assert!(statuses.contains(&(json!("Stalled"), json!("True"))), "{statuses:?}");
    cluster.wait("good", "Ready", PATIENCE, is_ready).await;

    // A watch that tells of it once more is no trouble either.
    cluster.secret("token", &[("token", &format!("{token}\n"))]).await;
    cluster.wait_reason("good", Reason::WhitespaceInValue).await;
    assert_eq!(operator.count("cluster_failures_total").await, 0);
    operator.stop().await;
}

fn conditions(object: &DynamicObject) -> Vec<Value> {
    object.data["status"]["conditions"].as_array().cloned().unwrap_or_default()
}

/// Waits until the API server serves the kind.
async fn crd_is_served(objects: &Api<DynamicObject>) {
    eventually("the kind is served", PATIENCE, async || {
        objects.list(&ListParams::default()).await.ok().map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_values_of_a_secret_without_the_label_never_reach_the_operator() {
    const OBJECT: &[u8] = b"\"metadata\":{";
    const DATA: &[u8] = b"\"data\":{";
    let (cluster, vault) = (Cluster::new("no-label").await, Vault::shared());
    let token = a_token(&vault).await;
    let in_base64 = json!(ByteString(token.clone().into_bytes()));
    let tamper = Tamper::with(in_base64.as_str().expect("it is a text")).await;
    // It replaces a part by itself: what is of interest is how many answers have the token in them.
    tamper.spoil(Some((OBJECT, OBJECT)));
    cluster.raw_secret("token", &[("token", token.as_bytes())], false).await;
    // `kubectl apply` leaves an annotation that repeats the values.
    let applied = json!({"data": {"token": in_base64}}).to_string();
    annotate(&cluster, "token", &json!(applied)).await;
    let operator = Operator::start_tracing(&cluster, &tamper.kubeconfig).await;
    cluster.connect("connection", &specs::token(&vault.address, "token")).await;
    cluster.wait_reason("connection", Reason::SecretNotLabelled).await;
    assert_eq!((tamper.reads().0, tamper.spoiled()), (1, 0), "it was looked for by the label");

    annotate(&cluster, "token", &Value::Null).await;
    tamper.spoil(Some((DATA, DATA)));
    cluster.secret("token", &[("token", &token)]).await;
    cluster.wait("connection", "Ready", SOON, is_ready).await;
    assert_eq!(tamper.spoiled(), 1, "one answer to one reading, and none of a watch");
    operator.stop();
}

/// Writes what `kubectl apply` notes of a Secret.
async fn annotate(cluster: &Cluster, secret: &str, applied: &Value) {
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let annotations = json!({"kubectl.kubernetes.io/last-applied-configuration": applied});
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    secrets.patch_metadata(secret, &PatchParams::default(), &patch).await.expect("it is annotated");
}

fn is_forbidden<T: Debug>(outcome: Result<T, kube::Error>) -> bool {
    matches!(outcome, Err(kube::Error::Api(status)) if status.code == 403)
}

#[tokio::test]
async fn the_operator_may_hold_its_own_lease_and_no_other() {
    let admin = Cluster::new("lease-rights").await;
    let leases = |client| Api::<Lease>::namespaced(client, RELEASE_NAMESPACE);
    let (admins, operators) = (leases(admin.client), leases(client(&operator_kubeconfig()).await));
    let somebodys = unique("somebodys");
    let metadata = ObjectMeta { name: Some(somebodys.clone()), ..ObjectMeta::default() };
    let lease = Lease { metadata, spec: None };
    let lease = admins.create(&PostParams::default(), &lease).await.expect("an administrator may");

    assert!(is_forbidden(operators.get(&somebodys).await), "get another");
    let taken = operators.replace(&somebodys, &PostParams::default(), &lease).await;
    assert!(is_forbidden(taken), "update another");
    assert!(is_forbidden(operators.list(&ListParams::default()).await), "list");
    for name in [&somebodys, RELEASE] {
        let patch = Patch::Merge(json!({"spec": {"holderIdentity": "thief"}}));
        assert!(is_forbidden(operators.patch(name, &PatchParams::default(), &patch).await), "patch {name}");
        assert!(is_forbidden(operators.delete(name, &DeleteParams::default()).await), "delete {name}");
    }
    // Another test may hold it at the moment.
    operators.get_opt(RELEASE).await.expect("it may read its own");
    admins.delete(&somebodys, &DeleteParams::default()).await.expect("an administrator may");
}

/// The names that the rules of a role are limited to, and the Lease that its Deployment is started with.
fn lease_of(yaml: &str) -> (Vec<Value>, String) {
    let objects: Vec<Value> = serde_saphyr::from_multiple(yaml).expect("manifests are YAML");
    let role = objects.iter().find(|object| object["kind"] == "Role").expect("there is a role for the Lease");
    let names =
        role["rules"].as_array().into_iter().flatten().filter_map(|rule| rule["resourceNames"].as_array());
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").expect("there is one");
    let args = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let mut args = args.as_array().into_iter().flatten().filter_map(Value::as_str);
    let lease = args.find_map(|arg| arg.strip_prefix("--lease=")).expect("it takes a Lease");
    (names.flatten().cloned().collect(), lease.to_owned())
}

#[test]
fn the_role_is_limited_to_the_lease_that_the_deployment_takes() {
    let chart = package().join("charts/vault-connection-operator");
    for helm in ["helm3", "helm4"] {
        for release in [RELEASE, "another"] {
            let (names, lease) = lease_of(&run(program(helm).args(["template", release]).arg(&chart)));
            assert_eq!(names, [json!(lease)], "{helm}: {release}");
        }
    }
    let (names, lease) =
        lease_of(&run(program("kubectl").arg("kustomize").arg(package().join("config/default"))));
    assert_eq!(names, [json!(lease)]);
}
