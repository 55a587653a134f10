//! Instance URLs that try to get where they may not: the policy that they meet, and what becomes of them.
//!
//! The same table runs against the pure policy in the unit tests and, as far as it is about manifests, against a real
//! API server.

use std::{collections::BTreeSet, net::IpAddr};

use serde::Deserialize;

/// The fewest hostile forms that the table must hold.
const LEAST: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    allow: Vec<String>,
    rows: Vec<RawRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRow {
    url: String,
    #[serde(default)]
    leads_to: Option<IpAddr>,
    is: Outcome,
    #[serde(default)]
    apply: Apply,
}

/// What the operator makes of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    Allowed,
    Invalid,
    NotListed,
    Loopback,
    LinkLocal,
    Metadata,
    ApiServer,
    Reserved,
}

/// Whether a manifest with the URL is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Apply {
    #[default]
    Accepted,
    Refused,
}

/// One URL under one policy.
pub(crate) struct Row {
    pub(crate) allow: Vec<String>,
    pub(crate) url: String,
    /// An address that its name resolves to.
    pub(crate) leads_to: Option<IpAddr>,
    pub(crate) outcome: Outcome,
    pub(crate) apply: Apply,
}

/// Every row of the table, each another one. At least [`LEAST`] are hostile.
pub(crate) fn rows() -> Vec<Row> {
    let groups: Vec<Group> = serde_saphyr::from_str(include_str!("table.yaml")).expect("the table is YAML");
    let row = |allow: &[String], raw: RawRow| Row {
        allow: allow.to_vec(),
        url: raw.url,
        leads_to: raw.leads_to,
        outcome: raw.is,
        apply: raw.apply,
    };
    let rows: Vec<_> = groups
        .into_iter()
        .flat_map(|group| group.rows.into_iter().map(move |raw| row(&group.allow, raw)))
        .collect();
    let distinct: BTreeSet<_> = rows.iter().map(|row| (&row.allow, &row.url, row.leads_to)).collect();
    assert_eq!(distinct.len(), rows.len(), "a row is there twice");
    for row in rows.iter().filter(|row| row.outcome == Outcome::Allowed) {
        assert_eq!(row.apply, Apply::Accepted, "{}: what may be dialled can be applied", row.url);
    }
    let hostile = rows.iter().filter(|row| row.outcome != Outcome::Allowed).map(|row| &row.url);
    let hostile: BTreeSet<_> = hostile.collect();
    assert!(hostile.len() >= LEAST, "the table holds only {} hostile forms", hostile.len());
    rows
}
