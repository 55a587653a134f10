# shellcheck shell=bash
# config/samples with the bed's addresses and credentials in it, as a user would do it: a kustomization that patches
# them. Sourced by hack/demo; needs common.sh. The files are private, since they hold credentials.

SAMPLES=config/samples

# write_overlay DIR: makes a kustomization in DIR.
write_overlay() {
  local dir=$1
  mkdir -p "$dir"
  # The methods that this OpenBao is set up for. A kustomization may name no file outside its own folder.
  cp "$SAMPLES"/{approle,token,tls-private-ca}.yaml "$dir"
  secret_manifest vault-approle \
    roleId "$(bao read -field role_id auth/approle/role/demo/role-id)" \
    secretId "$(bao write -force -field secret_id auth/approle/role/demo/secret-id)" >"$dir/vault-approle.yaml"
  secret_manifest vault-token \
    token "$(bao token create -policy vault-connection -ttl 1h -field token)" >"$dir/vault-token.yaml"
  ca_manifest <"$BED_VAULT_CA" >"$dir/vault-ca.yaml"
  kustomization >"$dir/kustomization.yaml"
}

kustomization() {
  cat <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [approle.yaml, token.yaml, tls-private-ca.yaml, tunnel.yaml]
patches:
  - path: vault-approle.yaml
  - path: vault-token.yaml
  - path: vault-ca.yaml
  - target: {kind: VaultConnection, name: my-vault-connection|my-vault-token}
    patch: |-
      - {op: replace, path: /spec/instanceUrl, value: "$BED_VAULT_ADDR"}
  - target: {kind: VaultConnection, name: my-private-vault}
    patch: |-
      - {op: replace, path: /spec/instanceUrl, value: "$BED_VAULT_TLS_ADDR"}
YAML
}

# secret_manifest NAME [KEY VALUE]...
secret_manifest() {
  cat <<YAML
apiVersion: v1
kind: Secret
metadata:
  name: $1
  labels: {appconnections.dev/credentials: "true"}
stringData:
YAML
  shift
  while (($#)); do
    printf '  %s: "%s"\n' "$1" "$2"
    shift 2
  done
}

ca_manifest() {
  cat <<YAML
apiVersion: v1
kind: ConfigMap
metadata:
  name: vault-ca
data:
  ca.pem: |
$(sed 's/^/    /')
YAML
}
