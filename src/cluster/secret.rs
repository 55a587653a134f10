//! The read of one Secret, of which nothing comes unless it has our label.
//!
//! ```text
//!   its state, without a value ─┬─ there is none ──────────────────────▶ missing
//!                               └─ list by name and label, not older ─┬▶ found
//!                                                                     └▶ not labelled
//! ```
//!
//! Such a list alone would do. But without a `resourceVersion`, the API server first waits until its cache has caught up with
//! etcd, and while others write, that takes up to a tenth of a second: the cache of Secrets hears of other writes only that often
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#the-resourceversion-parameter>). The state comes from etcd at
//! once, and the cache has it already.

use http::{
    Uri,
    header::{ACCEPT, CONNECTION, HeaderValue},
};
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ListMeta};
use kube::{
    Resource as _,
    api::{GetParams, ListParams, ObjectList, Request, VersionMatch},
};
use secrecy::zeroize::Zeroizing;
use serde::Deserialize;

use super::{Cluster, ReadFault, version};
use crate::{
    api::{CREDENTIALS_LABEL, CREDENTIALS_LABEL_VALUE},
    references::{Lookup, Object},
};

/// An object as a row for people, and nothing else of it: an annotation may repeat the values.
/// <https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables>
const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// That row, of which only the state of the object is read.
#[derive(Debug, Deserialize)]
struct Table {
    metadata: ListMeta,
}

// === impl Cluster ===

impl Cluster {
    /// Reads a Secret. The values of one without our label never come.
    pub(super) async fn read_secret(&self, namespace: &str, name: &str) -> Result<Lookup, ReadFault> {
        let Some(state) = self.secret_state(namespace, name).await? else { return Ok(Lookup::Missing) };
        let listed = self.list_secret(namespace, name, &state).await?;
        let Some(secret) = listed else { return Ok(Lookup::NotLabelled) };
        let data = secret.data.unwrap_or_default();
        Ok(Lookup::Found(Object {
            version: version(&secret.metadata),
            labelled: true,
            data: data.into_iter().map(|(key, value)| (key, Zeroizing::new(value.0))).collect(),
        }))
    }

    /// The `resourceVersion` of a Secret as etcd has it now; none if there is no such Secret.
    async fn secret_state(&self, namespace: &str, name: &str) -> Result<Option<String>, ReadFault> {
        let request = Request::new(Secret::url_path(&(), Some(namespace))).get(name, &GetParams::default());
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        let uri = format!("{}?includeObject=None", request.uri());
        *request.uri_mut() = uri.parse::<Uri>().map_err(|_| ReadFault::Unreadable)?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(AS_TABLE));
        match self.client.request::<Table>(request).await {
            Ok(Table { metadata }) => metadata.resource_version.map(Some).ok_or(ReadFault::Unreadable),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A Secret in this state or a later one, by a list that the API server narrows to our label.
    ///
    /// The request is made by hand. kube logs an answer that it cannot read, values and all; and it keeps the connection,
    /// whose buffers would hold the values until something else overwrites them. This one ends with its answer.
    async fn list_secret(
        &self,
        namespace: &str,
        name: &str,
        state: &str,
    ) -> Result<Option<Secret>, ReadFault> {
        let params = ListParams::default()
            .fields(&format!("metadata.name={name}"))
            .labels(&format!("{CREDENTIALS_LABEL}={CREDENTIALS_LABEL_VALUE}"))
            .at(state)
            .matching(VersionMatch::NotOlderThan);
        let request = Request::new(Secret::url_path(&(), Some(namespace))).list(&params);
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let text = Zeroizing::new(self.client.request_text(request).await?);
        let list: ObjectList<Secret> = serde_json::from_str(&text).map_err(|_| ReadFault::Unreadable)?;
        Ok(list.items.into_iter().next())
    }
}
