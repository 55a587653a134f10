//! Manifests of others that people give to `check`: what each is, why it cannot be used, and what to give instead.

use serde_json::Value;

/// What a value looks like that SOPS has encrypted.
const SOPS_VALUE: &str = "ENC[AES256_GCM,";

/// What to tell of a manifest, if it is one of those that look as if they could be used. Goes on after its name.
pub(super) fn hint(version: &str, kind: &str, manifest: &Value) -> Option<&'static str> {
    if is_encrypted_by_sops(manifest) {
        return Some(
            "is encrypted with SOPS: decrypt it first, and pipe the result into check (sops --decrypt FILE | ... check -f -)",
        );
    }
    let group = version.split_once('/').map_or("", |(group, _)| group);
    match (group, kind) {
        ("bitnami.com", "SealedSecret") => Some(
            "can be decrypted only by the sealed-secrets controller: provide the Secret that it creates instead (kubectl get secret NAME -o yaml)",
        ),
        ("external-secrets.io", _) => Some(
            "does not contain the values, because External Secrets fetches the values in the cluster: provide the Secret that it creates instead (kubectl get secret NAME -o yaml)",
        ),
        ("secrets.hashicorp.com", "VaultConnection") => Some(
            "is for HashiCorp's Vault Secrets Operator, whose kind only has the same name: provide a VaultConnection with apiVersion appconnections.dev/v1alpha1",
        ),
        ("secrets.hashicorp.com", _) => Some(
            "does not contain the values, because HashiCorp's Vault Secrets Operator fetches the values in the cluster: provide the Secret that it creates instead (kubectl get secret NAME -o yaml)",
        ),
        ("isindir.github.com", "SopsSecret") => Some(
            "can be decrypted only by the sops-secrets-operator: provide the Secret that it creates instead (kubectl get secret NAME -o yaml)",
        ),
        ("secrets-store.csi.x-k8s.io", _) => Some(
            "does not contain the values, because the Secrets Store CSI driver fetches the values in the cluster: provide a Secret with them instead",
        ),
        ("kustomize.config.k8s.io", _) => Some("is a kustomization: check its directory with -k DIRECTORY"),
        ("appconnections.dev", _) if version != "appconnections.dev/v1alpha1" => {
            Some("has an unknown API version: write apiVersion appconnections.dev/v1alpha1")
        }
        ("", "VaultConnection" | "VaultGateway") => {
            Some("has no API group: write apiVersion appconnections.dev/v1alpha1")
        }
        _ => None,
    }
}

fn is_encrypted_by_sops(manifest: &Value) -> bool {
    let is_encrypted = |value: &Value| value.as_str().is_some_and(|text| text.starts_with(SOPS_VALUE));
    let holds =
        |field: &str| manifest[field].as_object().is_some_and(|values| values.values().any(is_encrypted));
    manifest["sops"]["mac"].is_string() || holds("data") || holds("stringData")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn manifests_of_others_get_a_hint() {
        let table: &[(&str, &str, Value, Option<&str>)] = &[
            ("bitnami.com/v1alpha1", "SealedSecret", json!({}), Some("sealed-secrets")),
            ("external-secrets.io/v1", "ExternalSecret", json!({}), Some("External Secrets")),
            ("external-secrets.io/v1beta1", "ExternalSecret", json!({}), Some("External Secrets")),
            ("secrets.hashicorp.com/v1beta1", "VaultConnection", json!({}), Some("only has the same name")),
            ("secrets.hashicorp.com/v1beta1", "VaultStaticSecret", json!({}), Some("fetches the values")),
            ("v1", "Secret", json!({"sops": {"mac": "ENC[...]"}}), Some("sops --decrypt")),
            ("v1", "Secret", json!({"stringData": {"a": "ENC[AES256_GCM,data:x]"}}), Some("SOPS")),
            ("v1", "Secret", json!({"data": {"a": "YQ=="}}), None),
            ("kustomize.config.k8s.io/v1beta1", "Kustomization", json!({}), Some("-k DIRECTORY")),
            ("appconnections.dev/v1", "VaultConnection", json!({}), Some("v1alpha1")),
            ("appconnections.dev/v1alpha1", "VaultConnection", json!({}), None),
            ("", "VaultConnection", json!({}), Some("apiVersion")),
            ("apps/v1", "Deployment", json!({}), None),
        ];
        for (version, kind, manifest, expected) in table {
            let hint = hint(version, kind, manifest);
            let fits = match (hint, expected) {
                (Some(hint), Some(expected)) => hint.contains(expected),
                (hint, expected) => hint.is_none() && expected.is_none(),
            };
            assert!(fits, "{version} {kind} {manifest}: {hint:?}");
        }
    }
}
