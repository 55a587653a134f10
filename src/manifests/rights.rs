//! What the operator may do in Kubernetes: one list, from which come the rules of the chart and the table for people.
//!
//! It is the least that works. A right stands here with what it is for, and what happens without it.

use std::fmt::Write as _;

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::{
    api::GROUP,
    controller::shards::view::{MAX_SHARDS, lease_of},
};

/// The rights to one resource.
struct Right {
    group: &'static str,
    resource: &'static str,
    verbs: &'static [Verb],
}

/// What the operator may do to the one object of a resource that has its name, and what no rule can limit to a name.
struct NamedRight {
    /// Kubernetes does not know the name of an object that is being created, so these hold for any name.
    any_name: Right,
    own_name: Right,
}

/// One verb of a right: what it is for, and what happens without it.
struct Verb(&'static str, &'static str, &'static str);

/// What the operator may do in the cluster, or in each namespace that it watches. Credentials and CA certificates are
/// read, never written.
const RIGHTS: &[Right] = &[
    Right {
        group: GROUP,
        resource: "vaultconnections",
        verbs: &[
            Verb(
                "list",
                "to find them at startup, and after a watch ends",
                "the operator does not start, and says why",
            ),
            Verb("watch", "to notice changes", "changes and new objects are not noticed"),
        ],
    },
    Right {
        group: GROUP,
        resource: "vaultgateways",
        verbs: &[
            Verb(
                "get",
                "to read the gateway that a connection names",
                "connections that name one fail with `ReadForbidden`",
            ),
            Verb("list", "to find them at startup, and after a watch ends", "gateways are not checked"),
            Verb("watch", "to notice changes", "changes and new objects are not noticed"),
        ],
    },
    Right {
        group: GROUP,
        resource: "vaultconnections/status",
        verbs: &[Verb("patch", "to write the result of a check", "no status is written; the log says so")],
    },
    Right {
        group: GROUP,
        resource: "vaultgateways/status",
        verbs: &[Verb("patch", "to write the result of a check", "no status is written; the log says so")],
    },
    Right {
        group: "",
        resource: "configmaps",
        verbs: &[
            Verb(
                "get",
                "to read CA certificates that a connection names",
                "connections that name one fail with `ReadForbidden`",
            ),
            Verb("list", "to start the watch: only metadata of labelled objects", "as without `watch`"),
            Verb(
                "watch",
                "to notice changes of labelled objects: only metadata",
                "a change is not noticed until the object is read again",
            ),
        ],
    },
    Right {
        group: "",
        resource: "secrets",
        verbs: &[
            Verb(
                "get",
                "to learn whether a Secret exists and its `resourceVersion`: without values and annotations",
                "connections that name one of these fail with `ReadForbidden`",
            ),
            Verb(
                "list",
                "to read a Secret by its name *and* the label, so that the API server never sends the values of others; \
                 and to start the watch: only metadata of labelled objects",
                "connections that name one fail with `ReadForbidden`",
            ),
            Verb(
                "watch",
                "to notice changes of labelled objects: only metadata",
                "a change is not noticed until the Secret is read again, such as for a login",
            ),
        ],
    },
    Right {
        group: "events.k8s.io",
        resource: "events",
        verbs: &[Verb("create", "to report transitions", "no event; the log says so")],
    },
];

/// What the operator may do in its own namespace: hold the Lease that it is started with.
const LEASE_RIGHT: NamedRight = NamedRight {
    any_name: Right {
        group: LEASE_GROUP,
        resource: "leases",
        verbs: &[Verb(
            "create",
            "to create its own at the first start",
            "no replica works until somebody creates it",
        )],
    },
    own_name: Right {
        group: LEASE_GROUP,
        resource: "leases",
        verbs: &[
            Verb("get", "to see who holds it", "no replica works"),
            Verb("update", "to take it, renew it and release it", "no replica works"),
        ],
    },
};

/// What it may do there in addition, if several replicas share the namespaces: each holds one of the Leases NAME.shard-0, NAME.shard-1 and so on.
const SHARD_RIGHT: NamedRight = NamedRight {
    any_name: Right {
        group: LEASE_GROUP,
        resource: "leases",
        verbs: &[Verb("list", "to see which replicas share the namespaces", "no replica works")],
    },
    own_name: Right {
        group: LEASE_GROUP,
        resource: "leases",
        verbs: &[
            Verb("get", "to see who holds the Lease of a replica", "no replica works"),
            Verb(
                "update",
                "to take the Lease of a replica, renew it and release it, and to end that of one that failed",
                "no replica works",
            ),
        ],
    },
};

const LEASE_GROUP: &str = "coordination.k8s.io";

/// What the operator may do in the cluster, or in each namespace that it watches.
pub fn rules() -> Vec<PolicyRule> {
    RIGHTS.iter().map(Right::rule).collect()
}

/// What the operator may do in its own namespace, with the name of its Lease.
pub fn lease_rules(lease: &str) -> Vec<PolicyRule> {
    let NamedRight { any_name, own_name } = &LEASE_RIGHT;
    let named = PolicyRule { resource_names: Some(vec![lease.to_owned()]), ..own_name.rule() };
    vec![any_name.rule(), named]
}

/// What it may do there in addition, if several replicas share the namespaces.
pub fn shard_rules(lease: &str) -> Vec<PolicyRule> {
    let NamedRight { any_name, own_name } = &SHARD_RIGHT;
    let leases = (0..MAX_SHARDS).map(|slot| lease_of(lease, slot)).collect();
    let named = PolicyRule { resource_names: Some(leases), ..own_name.rule() };
    vec![any_name.rule(), named]
}

/// What a user may do who only reads. The status is part of an object, and what happened to it is in its events.
pub(super) fn view_rules() -> Vec<PolicyRule> {
    const READ_ONLY: &[&str] = &["get", "list", "watch"];
    let events = PolicyRule {
        api_groups: Some(vec!["events.k8s.io".to_owned()]),
        resources: Some(vec!["events".to_owned()]),
        verbs: READ_ONLY.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    };
    vec![user_rule(READ_ONLY), events]
}

/// What a user may do, in addition, who makes connections. Statuses are the operator's.
pub(super) fn edit_rules() -> Vec<PolicyRule> {
    vec![user_rule(&["create", "delete", "deletecollection", "patch", "update"])]
}

fn user_rule(verbs: &[&str]) -> PolicyRule {
    let kinds = RIGHTS.iter().filter(|right| right.group == GROUP && !right.resource.contains('/'));
    PolicyRule {
        api_groups: Some(vec![GROUP.to_owned()]),
        resources: Some(kinds.map(|right| right.resource.to_owned()).collect()),
        verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        ..PolicyRule::default()
    }
}

/// The table of all rights, for people.
pub(super) fn table() -> String {
    let mut text = String::from(
        "| API group | Resource | Verb | What it is for | Without it |\n| --- | --- | --- | --- | --- |\n",
    );
    let rights = RIGHTS.iter().map(|right| (right, ""));
    let in_own_namespace = [
        (&LEASE_RIGHT.any_name, ""),
        (&LEASE_RIGHT.own_name, ", its own only"),
        (&SHARD_RIGHT.any_name, " of its namespace, only with sharding"),
        (&SHARD_RIGHT.own_name, " of its replicas, only with sharding"),
    ];
    for (Right { group, resource, verbs }, limit) in rights.chain(in_own_namespace) {
        let group = if group.is_empty() { "core" } else { group };
        for Verb(verb, purpose, without) in *verbs {
            let _ = writeln!(text, "| {group} | `{resource}`{limit} | `{verb}` | {purpose} | {without} |");
        }
    }
    text
}

// === impl Right ===

impl Right {
    fn rule(&self) -> PolicyRule {
        PolicyRule {
            api_groups: Some(vec![self.group.to_owned()]),
            resources: Some(vec![self.resource.to_owned()]),
            verbs: self.verbs.iter().map(|Verb(verb, ..)| (*verb).to_owned()).collect(),
            ..PolicyRule::default()
        }
    }
}
