//! Holds that every kind is whole: what a user finds of one kind, there is of each.

use crate::sources::{files, read};

/// A kind of ours, as its CRD names it.
struct Kind {
    kind: String,
    plural: String,
}

#[test]
fn every_kind_has_a_sample_documents_rights_and_metrics() {
    let [samples, docs, controller] =
        [("config/samples", ".yaml"), ("docs", ".md"), ("src/controller", ".rs")].map(|(folder, ending)| {
            files(folder, ending).into_iter().map(|source| source.text).collect::<String>()
        });
    let docs = docs + &read("README.md");
    let rights = read("config/rbac/role.yaml");
    for Kind { kind, plural } in kinds() {
        let holds: [(bool, &str); 7] = [
            (samples.contains(&format!("\nkind: {kind}\n")), "a manifest in config/samples"),
            (docs.contains(&format!("\nkind: {kind}\n")), "an example in docs/ or the README"),
            (docs.contains(&format!("`{kind}`")), "a page that names it"),
            (rights.contains(&plural), "a right to read it, in src/manifests/rights.rs"),
            (rights.contains(&format!("{plural}/status")), "a right to write its status"),
            // The engine counts and logs by this name.
            (controller.contains(&format!("const NAME: &'static str = {kind:?};")), "a kind of the engine"),
            (is_in_chart(&plural), "a CRD in the chart"),
        ];
        for (is_there, what) in holds {
            assert!(is_there, "{kind} lacks {what}");
        }
    }
}

/// The kinds of `crds/`.
fn kinds() -> Vec<Kind> {
    let field = |text: &str, name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix("    ")?.strip_prefix(name));
        value.unwrap_or_else(|| panic!("a CRD names its {name}")).trim().to_owned()
    };
    let crds = files("crds", "appconnections.dev.yaml");
    let kinds: Vec<_> = crds
        .iter()
        .map(|crd| Kind { kind: field(&crd.text, "kind:"), plural: field(&crd.text, "plural:") })
        .collect();
    assert!(kinds.len() > 1, "the CRDs were not found");
    kinds
}

fn is_in_chart(plural: &str) -> bool {
    let templates = files("charts/vault-connection-operator/templates", ".yaml");
    templates.iter().any(|template| template.text.contains(&format!("plural: {plural}")))
}
