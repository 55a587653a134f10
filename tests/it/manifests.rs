//! The table of accepted and refused manifests, against a real API server.

#[path = "../manifests/table.rs"]
mod table;

use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, PostParams},
};
use serde_json::Value;
use vault_connection_operator::api::{connection::VaultConnection, gateway::VaultGateway};

use self::table::Row;
use crate::support::cluster::Cluster;

#[tokio::test]
async fn the_api_server_accepts_and_refuses_the_connections_that_the_table_says() {
    let rows = table::connections();
    assert!(rows.len() > 80, "the table is there");
    run(&ApiResource::erase::<VaultConnection>(&()), &rows).await;
}

#[tokio::test]
async fn the_api_server_accepts_and_refuses_the_gateways_that_the_table_says() {
    let rows = table::gateways();
    assert!(rows.len() > 30, "the table is there");
    run(&ApiResource::erase::<VaultGateway>(&()), &rows).await;
}

async fn run(kind: &ApiResource, rows: &[Row]) {
    let cluster = Cluster::new("manifests").await;
    let api: Api<DynamicObject> = Api::namespaced_with(cluster.client.clone(), &cluster.namespace, kind);
    let mut wrong = Vec::new();
    for row in rows {
        assert!(!row.only_schema || row.refused.is_some(), "{}: nobody refuses it", row.name);
        if let Some(difference) = difference(row, written(&api, row).await) {
            wrong.push(format!("{}: {difference}", row.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// Writes a row, and says with what words it was refused.
async fn written(api: &Api<DynamicObject>, row: &Row) -> Result<(), String> {
    let params = PostParams::default();
    let object =
        |manifest: &Value| serde_json::from_value::<DynamicObject>(manifest.clone()).expect("an object");
    let created = match api.create(&params, &object(&row.created)).await {
        Ok(created) => created,
        Err(error) if row.updated.is_none() => return Err(error.to_string()),
        Err(error) => panic!("{}: what is to be updated is not accepted: {error}", row.name),
    };
    let name = created.metadata.name.expect("an object has a name");
    let outcome = match &row.updated {
        None => Ok(()),
        Some(manifest) => {
            let mut update = object(manifest);
            update.metadata.resource_version = created.metadata.resource_version;
            api.replace(&name, &params, &update).await.map(drop).map_err(|error| error.to_string())
        }
    };
    api.delete(&name, &DeleteParams::default()).await.expect("it is deleted");
    outcome
}

fn difference(row: &Row, outcome: Result<(), String>) -> Option<String> {
    match (&row.refused, outcome) {
        (None, Ok(())) => None,
        (Some(_), Ok(())) if row.only_operator => None,
        (None, Err(said)) => Some(format!("is refused: {said}")),
        (Some(_), Ok(())) => Some("is accepted".to_owned()),
        (Some(words), Err(said)) if said.contains(words) => None,
        (Some(words), Err(said)) => Some(format!("{words:?} is not in {said:?}")),
    }
}
