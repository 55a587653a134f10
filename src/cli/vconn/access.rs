//! The cluster, with the kubeconfig and the rights of the user.

use std::{error::Error, future::Future, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::api::{core::v1::Namespace, events::v1::Event};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams},
    client::AuthError,
};
use serde_json::Value;

use super::{
    args::Place,
    entry::Entry,
    kinds::{Kind, Name},
};
use crate::{cluster::config, names::text::printable};

/// Longest wait for one answer of the API server: what it takes itself before it gives up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest wait for a connection to the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many objects are read with one request.
const PAGE_SIZE: u32 = 500;

/// Who changes what the plugin changes.
const FIELD_MANAGER: &str = "kubectl-vconn";

/// Which objects are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// Those of every namespace, because the user said so.
    Everywhere,
    /// Those of every namespace, or of that of the context if the user may see no others.
    EverywhereIfAllowed,
    /// Those of one namespace.
    Namespace(String),
}

/// The cluster, as the kubeconfig names it.
pub(super) struct Access {
    pub(super) client: Client,
    /// Address of the API server.
    pub(super) url: http::Uri,
    /// The namespace for what is named without one.
    pub(super) namespace: String,
    place: Place,
}

// === impl Access ===

impl Access {
    /// Reads the kubeconfig. Nothing is asked yet.
    pub(super) fn connect(place: Place) -> anyhow::Result<Self> {
        let mut config = config::load(&place.choice())?;
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        if place.impersonate.is_some() {
            config.auth_info.impersonate.clone_from(&place.impersonate);
            config.auth_info.impersonate_groups = Some(place.impersonate_groups.clone());
        }
        let namespace = place.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let url = config.cluster_url.clone();
        let client = config::client(config)?;
        Ok(Self { client, url, namespace, place })
    }

    /// What a list is about: everything, unless a namespace is given.
    pub(super) fn scope_of_list(&self) -> Scope {
        match (&self.place.namespace, self.place.all_namespaces) {
            (Some(namespace), _) => Scope::Namespace(namespace.clone()),
            (None, true) => Scope::Everywhere,
            (None, false) => Scope::EverywhereIfAllowed,
        }
    }

    /// What a change of all objects is about: one namespace, unless all are asked for.
    pub(super) fn scope_of_change(&self) -> Scope {
        if self.place.all_namespaces { Scope::Everywhere } else { Scope::Namespace(self.namespace.clone()) }
    }

    /// Refuses `-A` for what is named.
    pub(super) fn refuse_all_namespaces(&self) -> anyhow::Result<()> {
        if self.place.all_namespaces {
            bail!("-A cannot be used with a name: write the namespace of the object with -n instead");
        }
        Ok(())
    }

    pub(super) fn api(&self, resource: &ApiResource, scope: &Scope) -> Api<DynamicObject> {
        match scope {
            Scope::Everywhere | Scope::EverywhereIfAllowed => Api::all_with(self.client.clone(), resource),
            Scope::Namespace(namespace) => Api::namespaced_with(self.client.clone(), namespace, resource),
        }
    }

    /// What the user may see of a scope: of all namespaces, or of that of the context. Says so if it is the latter.
    pub(super) async fn allowed(&self, scope: Scope) -> anyhow::Result<Scope> {
        if scope != Scope::EverywhereIfAllowed {
            return Ok(scope);
        }
        let api = self.api(&Kind::Connection.resource(), &scope);
        match within(api.list_metadata(&ListParams::default().limit(1))).await? {
            Err(kube::Error::Api(status)) if status.code == 403 => {
                super::note(&format!(
                    "showing namespace {} only, because you cannot list VaultConnections in all namespaces",
                    self.namespace
                ));
                Ok(Scope::Namespace(self.namespace.clone()))
            }
            Ok(_) | Err(_) => Ok(Scope::Everywhere),
        }
    }

    /// The objects of both kinds. A kind that cannot be listed keeps the other from nobody.
    pub(super) async fn list(&self, scope: &Scope, selector: Option<&str>) -> anyhow::Result<Vec<Entry>> {
        let mut entries = self.list_kind(Kind::Connection, scope, selector).await?;
        match self.list_kind(Kind::Gateway, scope, selector).await {
            Ok(gateways) => entries.extend(gateways),
            Err(error) => super::note(&format!("gateways are not shown: {}", super::chained(&error))),
        }
        Ok(entries)
    }

    async fn list_kind(
        &self,
        kind: Kind,
        scope: &Scope,
        selector: Option<&str>,
    ) -> anyhow::Result<Vec<Entry>> {
        let api = self.api(&kind.resource(), scope);
        let mut params = ListParams::default().limit(PAGE_SIZE);
        params.label_selector = selector.map(str::to_owned);
        let mut entries = Vec::new();
        loop {
            let page = within(api.list(&params)).await?;
            let page = page.map_err(|error| self.refused(error, &format!("list {kind}s"), kind))?;
            entries.extend(page.items.into_iter().map(|object| Entry::new(kind, object)));
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(entries);
            }
        }
    }

    /// One object of the namespace.
    pub(super) async fn get(&self, wanted: &Name) -> anyhow::Result<Entry> {
        let Name { kind, name } = wanted;
        match within(self.here(*kind).get(name)).await? {
            Ok(object) => Ok(Entry::new(*kind, object)),
            Err(error) if is_about_missing(&error, name) => Err(self.not_found(wanted).await),
            Err(error) => Err(self.refused(error, &format!("read {kind} {name:?}"), *kind)),
        }
    }

    /// Changes one object of the namespace by a merge patch.
    pub(super) async fn change(&self, changed: &Name, patch: &Value) -> anyhow::Result<Entry> {
        let Name { kind, name } = changed;
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match within(self.here(*kind).patch(name, &params, &Patch::Merge(patch))).await? {
            Ok(object) => Ok(Entry::new(*kind, object)),
            Err(error) if is_about_missing(&error, name) => Err(self.not_found(changed).await),
            Err(error) => Err(self.refused(error, &format!("change {kind} {name:?}"), *kind)),
        }
    }

    /// The same in another namespace.
    pub(super) fn elsewhere(&self, namespace: &str) -> Self {
        Self {
            client: self.client.clone(),
            url: self.url.clone(),
            namespace: namespace.to_owned(),
            place: self.place.clone(),
        }
    }

    /// The events about one object of the namespace.
    pub(super) async fn events(&self, name: &Name) -> anyhow::Result<Vec<Event>> {
        // An object that does not exist has no events, which would be no answer to a typo.
        self.get(name).await?;
        let Name { kind, name } = name;
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = ListParams::default().fields(&format!("regarding.kind={kind},regarding.name={name}"));
        let found = within(api.list(&params)).await?;
        Ok(found.map_err(|error| self.refused(error, "list events", *kind))?.items)
    }

    /// The names of all namespaces.
    pub(super) async fn namespaces(&self) -> anyhow::Result<Vec<String>> {
        let found = within(Api::<Namespace>::all(self.client.clone()).list_metadata(&ListParams::default()))
            .await??;
        Ok(found.items.iter().map(ResourceExt::name_any).collect())
    }

    /// The objects of a kind in the namespace.
    pub(super) fn here(&self, kind: Kind) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &kind.resource())
    }

    /// What to say of an object that does not exist, with what may have been meant instead.
    async fn not_found(&self, Name { kind, name }: &Name) -> anyhow::Error {
        let other = match kind {
            Kind::Connection => Kind::Gateway,
            Kind::Gateway => Kind::Connection,
        };
        let hint = match within(self.here(other).get_opt(name)).await {
            _ if name.parse::<kube::core::Duration>().is_ok() => {
                format!("; a duration is written with an equals sign: --wait={name}")
            }
            Ok(Ok(Some(_))) => format!("; there is a {other} of this name: write {}/{name}", other.word()),
            Ok(Ok(None) | Err(_)) | Err(_) => "; -n selects another namespace".to_owned(),
        };
        anyhow!("{kind} {name:?} does not exist in namespace {:?}{hint}", self.namespace)
    }

    /// Why a request failed: what the API server says, or what keeps us from it.
    pub(super) fn refused(&self, error: kube::Error, doing: &str, kind: Kind) -> anyhow::Error {
        let server = self.url.authority().map_or("", |authority| authority.as_str());
        let server = printable(server.rsplit('@').next().unwrap_or_default());
        match error {
            kube::Error::Api(status) if status.code == 401 => anyhow!(
                "failed to {doing}: the API server {server} rejected your credentials; log in to the cluster again, or choose another --context"
            ),
            kube::Error::Api(status) if status.code == 404 => anyhow!(
                "failed to {doing}: the CRD of {kind} is not installed in the cluster at {server}; install the operator there, or choose another --context"
            ),
            kube::Error::Api(status) => anyhow!("failed to {doing}: {}", status.message),
            error @ (kube::Error::HyperError(_) | kube::Error::Service(_)) => match last_cause(&error) {
                Some(cause) => anyhow!(
                    "failed to {doing}: cannot reach the API server {server}: {cause}; check the network, or choose another --context"
                ),
                None => anyhow::Error::new(error).context(format!("failed to {doing}")),
            },
            error => anyhow::Error::new(error).context(format!("failed to {doing}")),
        }
    }
}

/// The answer of the API server, unless it takes too long.
pub(super) async fn within<T>(call: impl Future<Output = T>) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, call).await;
    answer.with_context(|| format!("the API server did not answer within {} s", ANSWER_TIMEOUT.as_secs()))
}

/// Whether the API server knows the kind, and no object of this name. Of an unknown kind it does not name an object.
fn is_about_missing(error: &kube::Error, name: &str) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 && status.message.contains(&format!("{name:?} not found")))
}

/// What a request to the API server failed of in the end: the causes before it are layers of the client. None if it is about
/// credentials, of which every cause matters.
fn last_cause(error: &kube::Error) -> Option<String> {
    let mut last: &(dyn Error + 'static) = error;
    while let Some(next) = last.source() {
        if next.is::<AuthError>() {
            return None;
        }
        last = next;
    }
    Some(last.to_string())
}
