//! The table of hostile instance URLs, against a real API server. What becomes of those that it takes is tested beside
//! the address policy.

#[path = "../hostile/table.rs"]
mod table;

use std::collections::BTreeMap;

use futures::{StreamExt, stream};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, PostParams},
};
use serde_json::json;
use vault_connection_operator::api::connection::VaultConnection;

use self::table::Apply;
use crate::support::{cluster::Cluster, specs};

/// How many manifests are under way at once.
const AT_ONCE: usize = 16;

#[tokio::test]
async fn the_api_server_takes_the_hostile_urls_that_the_table_says() {
    let cluster = Cluster::new("hostile").await;
    let kind = ApiResource::erase::<VaultConnection>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, &kind);
    // The same URL stands under several policies, which the API server does not know.
    let rows: BTreeMap<_, _> = table::rows().into_iter().map(|row| (row.url, row.apply)).collect();
    let written = |(url, expected): (String, Apply)| {
        let api = api.clone();
        async move {
            let manifest = json!({
                "apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultConnection",
                "metadata": {"generateName": "hostile-"}, "spec": specs::token(&url, "token"),
            });
            let object: DynamicObject = serde_json::from_value(manifest).expect("an object");
            let params = PostParams { dry_run: true, ..PostParams::default() };
            let said = api.create(&params, &object).await.err().map(|error| error.to_string());
            let found = if said.is_none() { Apply::Accepted } else { Apply::Refused };
            let by_rule = said.as_ref().is_none_or(|said| said.contains("spec.instanceUrl"));
            (found != expected || !by_rule).then(|| format!("{url:?} is {found:?}: {said:?}"))
        }
    };
    let wrong: Vec<_> =
        stream::iter(rows).map(written).buffered(AT_ONCE).filter_map(async |it| it).collect().await;
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}
