//! Holds that every kind is whole: what a user finds of one kind, there is of each.

use std::path::Path;

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

/// The names of a gateway, by which the files that know the kind are found.
const NAMES_OF_ONE: [&str; 6] =
    ["VaultGateway", "Gateways", "GatewayName", "vaultgateways", "pub mod gateway", "gateways: Arc"];

/// The files that the table says must change for a new kind are there, and each knows the kinds that there are.
#[test]
fn the_files_that_a_new_kind_needs_are_those_that_the_architecture_names() {
    let text = read("docs/architecture.md");
    let row = text.lines().find(|line| line.starts_with("| add a kind ")).expect("the row of a new kind");
    let named: Vec<_> = row.split('`').filter(|word| word.starts_with("src/")).collect();
    assert!(named.len() > 10, "{named:?}");
    for path in &named {
        let known = path.replace("NAME", "gateway");
        let is_file = Path::new(&known).extension().is_some();
        let text: String = if is_file {
            read(&known)
        } else {
            files(&known, ".rs").into_iter().map(|source| source.text).collect()
        };
        assert!(NAMES_OF_ONE.iter().any(|name| text.contains(name)), "{path} need not change for a new kind");
    }
    // Wherever the engine or the context of the controller names one kind, a new one must be named, too.
    for source in files("src/controller", ".rs") {
        let code = source.code();
        let is_named = named.contains(&source.path.as_str());
        let is_kind =
            ["connection", "gateway"].iter().any(|kind| source.path.contains(&format!("controller/{kind}/")));
        let names_it = ["Gateways", "VaultGateway", "GatewayName"].iter().any(|name| code.contains(name));
        assert!(
            is_named || is_kind || !names_it,
            "{} names a kind, and the row does not name it",
            source.path
        );
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
