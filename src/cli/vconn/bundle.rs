//! `kubectl vconn bundle`: what somebody who helps needs to see, in one archive, without credentials.
//!
//! ```text
//!   list of both kinds, events about them, Deployment, pods, logs and Lease of the operator ─▶ redact ─▶ tar.gz
//! ```
//!
//! No Secret is read, and what the user may not read is left out and noted in `missing.txt`.

use std::{collections::BTreeSet, fs::File, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::Context as _;
use k8s_openapi::{
    api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::Pod, events::v1::Event},
    jiff::Timestamp,
};
use kube::{
    Api, Resource, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, LogParams},
};
use serde_json::{Value, json};

use super::{
    Outcome,
    access::{Access, Scope, within},
    archive::Archive,
    args::BundleArgs,
    entry::Entry,
    explain::document,
    json_text,
    kinds::Kind,
    list::{self, Columns},
    print,
    redact::redact,
    redact_text, yaml_text,
};
use crate::{
    cli::style::{Style, in_lines},
    telemetry::logs::chain,
};

/// How operators are found in a cluster.
const OPERATORS: &str = "app.kubernetes.io/name=vault-connection-operator";

/// How much of a container's log is taken: the last hours of a busy operator.
const MAX_LOG_LINES: i64 = 20_000;

/// How long that may be. The kubelet counts bytes from the first line that is taken, so lines must be the tighter bound.
const MAX_LOG_BYTES: i64 = 32 << 20;

const README: &str = "\
Created by `kubectl vconn bundle`. Contains connections, gateways and their events, and the Deployment, pods, Leases and logs of
the operator. No Secret was read. Role IDs, values of environment variables, and everything that looks like a token or a key are
replaced by REDACTED. Addresses, names and descriptions are included: review the files before you share them. missing.txt lists
what could not be read.
";

/// A bundle that is being made.
struct Bundle<'a> {
    access: &'a Access,
    archive: Archive,
    missing: Vec<String>,
}

/// Makes the archive.
pub(super) async fn run(access: &Access, args: &BundleArgs) -> anyhow::Result<Outcome> {
    let now = Timestamp::now();
    let scope = access.allowed(access.scope_of_list()).await?;
    let mut bundle = Bundle { access, archive: Archive::default(), missing: Vec::new() };
    bundle.archive.add("README.txt", README);
    bundle.archive.add("version.json", super::version(super::VersionOutput::Json)?);
    bundle.connections(&scope, now).await?;
    bundle.events(&scope).await;
    bundle.operators(args.operator_namespace.as_deref()).await;
    let missing = in_lines(bundle.missing.clone());
    bundle.text("missing.txt", &missing);
    let path = args.file.clone().unwrap_or_else(|| format!("vconn-bundle-{}.tar.gz", now.as_second()).into());
    write(&path, &bundle.archive.bytes(now.as_second()))?;
    for what in &bundle.missing {
        super::note(&format!("not included: {what}"));
    }
    print(&format!("{}\n", path.display()))?;
    Ok(Outcome::Ready)
}

// === impl Bundle ===

impl Bundle<'_> {
    async fn connections(&mut self, scope: &Scope, now: Timestamp) -> anyhow::Result<()> {
        let mut entries = self.access.list(scope, None).await?;
        list::worst_first(&mut entries);
        let columns = Columns { namespace: true, wide: true, headers: true, room: None };
        self.text("list.txt", &list::render(&entries, columns, now, Style::PLAIN));
        for kind in Kind::ALL {
            let objects = entries.iter().filter(|entry| entry.kind == kind).map(Entry::value).collect();
            self.objects(&format!("{}s.yaml", kind.word()), objects);
        }
        Ok(())
    }

    async fn events(&mut self, scope: &Scope) {
        for kind in Kind::ALL {
            let params = ListParams::default().fields(&format!("regarding.kind={kind}"));
            if let Some(events) = self.list::<Event>(&format!("events of {kind}s"), scope, &params).await {
                self.objects(&format!("events-{}s.yaml", kind.word()), events);
            }
        }
    }

    /// Everything of operators in one namespace, or in any.
    async fn operators(&mut self, namespace: Option<&str>) {
        let scope = namespace.map_or(Scope::Everywhere, |namespace| Scope::Namespace(namespace.to_owned()));
        let params = ListParams::default().labels(OPERATORS);
        let deployments =
            self.list::<Deployment>("Deployments of the operator", &scope, &params).await.unwrap_or_default();
        let found = deployments.iter().filter_map(|it| it["metadata"]["namespace"].as_str());
        let namespaces: BTreeSet<String> = found.chain(namespace).map(str::to_owned).collect();
        self.objects("operator/deployments.yaml", deployments);
        for namespace in namespaces {
            self.operator(&namespace, &params).await;
        }
    }

    async fn operator(&mut self, namespace: &str, params: &ListParams) {
        let scope = Scope::Namespace(namespace.to_owned());
        if let Some(leases) =
            self.list::<Lease>("Leases of the operator", &scope, &ListParams::default()).await
        {
            self.objects(&format!("operator/{namespace}/leases.yaml"), leases);
        }
        let Some(pods) = self.list::<Pod>("pods of the operator", &scope, params).await else { return };
        let names: Vec<_> =
            pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned).collect();
        self.objects(&format!("operator/{namespace}/pods.yaml"), pods);
        for name in names {
            self.logs(namespace, &name).await;
        }
    }

    /// The log of the operator's container, and of the one before it.
    async fn logs(&mut self, namespace: &str, pod: &str) {
        let pods: Api<Pod> = Api::namespaced(self.access.client.clone(), namespace);
        for previous in [false, true] {
            let params = LogParams {
                container: Some("operator".to_owned()),
                limit_bytes: Some(MAX_LOG_BYTES),
                tail_lines: Some(MAX_LOG_LINES),
                previous,
                timestamps: true,
                ..LogParams::default()
            };
            let suffix = if previous { ".previous" } else { "" };
            match within(pods.logs(pod, &params)).await {
                Ok(Ok(log)) => self.text(&format!("operator/{namespace}/{pod}{suffix}.log"), &log),
                // Most pods have no container before.
                Ok(Err(kube::Error::Api(_))) if previous => {}
                Ok(Err(error)) => {
                    self.missing.push(format!("log of pod {namespace}/{pod}: {}", chain(&error)));
                }
                Err(error) => self.missing.push(format!("log of pod {namespace}/{pod}: {error}")),
            }
        }
    }

    /// The objects of a kind; none if they cannot be listed, which is noted.
    async fn list<K: Resource<DynamicType = ()>>(
        &mut self,
        what: &str,
        scope: &Scope,
        params: &ListParams,
    ) -> Option<Vec<Value>> {
        let resource = ApiResource::erase::<K>(&());
        let error = match within(self.access.api(&resource, scope).list(params)).await {
            Ok(Ok(found)) => {
                let mut items = found.items;
                items.sort_by_key(|it| (it.namespace(), it.name_any()));
                let typed = |object: DynamicObject| {
                    let mut value = json!(object);
                    value["apiVersion"] = resource.api_version.clone().into();
                    value["kind"] = resource.kind.clone().into();
                    value
                };
                return Some(items.into_iter().map(typed).collect());
            }
            Ok(Err(error)) => chain(&error),
            Err(error) => error.to_string(),
        };
        self.missing.push(format!("{what}: {error}"));
        None
    }

    /// A text that others wrote.
    fn text(&mut self, path: &str, text: &str) {
        self.archive.add(path, redact_text::text(text));
    }

    fn objects(&mut self, path: &str, mut objects: Vec<Value>) {
        objects.iter_mut().for_each(redact);
        let list = document(objects, true);
        // What YAML cannot say, JSON can.
        let text = yaml_text(&list).unwrap_or_else(|_| json_text(&list));
        self.archive.add(path, text);
    }
}

/// A new file, readable by its user only; an existing one is left alone.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let file = File::options().create_new(true).write(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| file.write_all(bytes));
    written.with_context(|| format!("failed to write {}", path.display()))
}
