# shellcheck shell=bash
# The first chapter of the demo: `check` on files, against a real OpenBao, without a cluster. It is shown while the servers of the
# cluster are being built or started. Sourced by hack/demo; needs common.sh, demo.sh, demo-overlay.sh.

# first_chapter OPERATOR DIR: starts an OpenBao of its own, and checks a good, a wrong and a sealed case.
first_chapter() {
  local operator=$1 dir=$2
  chapter "Without a cluster: \`check\` reads manifests from files, and asks a real OpenBao."
  # The servers of the cluster start at the same time, and take longer.
  nice hack/bed vault-up "$dir" 2>&1 | sed "s/^/$INDENT/"
  # shellcheck source=/dev/null
  source "$dir/env"
  export BAO_ADDR=$BED_VAULT_ADDR BAO_TOKEN=$BED_VAULT_TOKEN
  local bao=$dir/bin/bao
  connection_file >"$dir/connection.yaml"
  secret_manifest vault-approle roleId "$("$bao" read -field role_id auth/approle/role/demo/role-id)" \
    secretId "$("$bao" write -force -field secret_id auth/approle/role/demo/secret-id)" >"$dir/good.yaml"
  sed 's/secretId: .*/secretId: "00000000-0000-0000-0000-000000000000"/' "$dir/good.yaml" >"$dir/wrong.yaml"
  check_files "$operator" "$dir" 0 good
  FIRST_RESULT=$(seconds_since "$DEMO_BEGIN")
  tell "A wrong secret ID:"
  check_files "$operator" "$dir" 1 wrong
  quietly "$bao" operator seal
  tell "The instance is sealed:"
  check_files "$operator" "$dir" 1 good
  hack/bed vault-down "$dir"
  unset BAO_ADDR BAO_TOKEN
  tell "The first result was there after $FIRST_RESULT."
}

# check_files OPERATOR DIR CODE NAME: shows a check, which must end with this exit code.
check_files() {
  local code=0
  # shellcheck disable=SC2153  # of demo-operator.sh
  tell "\$ $OPERATOR check -f connection.yaml -f $4.yaml"
  (cd "$2" && nice "$1" check -f connection.yaml -f "$4.yaml" --allow-address 127.0.0.1 --allow-plain-http --no-state-file) 2>&1 |
    sed "s/^/$INDENT/" || code=$?
  tell "exit code $code"
  [[ $code == "$3" ]] || die "check of $4.yaml ended with $code instead of $3"
}

connection_file() {
  cat <<YAML
apiVersion: appconnections.dev/v1alpha1
kind: VaultConnection
metadata: {name: my-vault-connection}
spec:
  instanceUrl: $BED_VAULT_ADDR
  auth:
    appRole:
      roleId: {secretRef: {name: vault-approle, key: roleId}}
      secretId: {secretRef: {name: vault-approle, key: secretId}}
YAML
}
