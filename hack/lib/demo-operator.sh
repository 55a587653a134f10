# shellcheck shell=bash
# The operator as a process of this machine, for the demo: the rights that users install, without the Pod. Sourced by
# hack/demo; needs common.sh and servers.sh.

OPERATOR=vault-connection-operator
OPERATOR_NAMESPACE=$OPERATOR-system

# The bed creates these while its API server starts.
export BED_CRDS="crds/vaultconnections.appconnections.dev.yaml crds/vaultgateways.appconnections.dev.yaml"

# install_operator: everything of config/default but the Deployment, since there is no node to run it on.
install_operator() {
  local rendered=$BED_DIR/demo/operator.yaml
  kubectl kustomize config/default | without_kind Deployment >"$rendered" && kubectl apply --filename "$rendered"
}

# without_kind KIND: copies a stream of YAML documents, but for those of that kind.
without_kind() {
  awk -v kind="kind: $1" '
    function flush() { if (!drop) printf "%s", document; document = ""; drop = 0 }
    /^---/ { flush() }
    $0 == kind { drop = 1 }
    { document = document $0 "\n" }
    END { flush() }'
}

# operator_kubeconfig: makes BED_DIR/demo/operator.kubeconfig, with a token of its ServiceAccount.
operator_kubeconfig() {
  local token
  token=$(kubectl create token "$OPERATOR" --namespace "$OPERATOR_NAMESPACE" --duration 24h)
  cat >"$BED_DIR/demo/operator.kubeconfig" <<YAML
apiVersion: v1
kind: Config
current-context: bed
contexts: [{name: bed, context: {cluster: bed, user: operator, namespace: $OPERATOR_NAMESPACE}}]
clusters: [{name: bed, cluster: {server: "$BED_APISERVER", certificate-authority: "$BED_APISERVER_CA"}}]
users: [{name: operator, user: {token: $token}}]
YAML
}

# start_operator BINARY: as a server of the bed, so that it ends with the bed.
start_operator() {
  ln -sfn "$1" "$BED_DIR/bin/$OPERATOR"
  start_on_ports "$BED_DIR" operator 1 launch_operator
}

operator_address() { cat "$BED_DIR/demo/operator-address"; }

# Loopback and plain http are what a user has to open on purpose, and here we want both; and with a list, a name that the
# private side of the tunnel resolves has to be on it.
OPERATOR_FLAGS=(--allow-address 127.0.0.1 --allow-address '*.private.example' --allow-plain-http --log-format json)

# launch_operator DIR PORT
launch_operator() {
  local dir=$1 address=127.0.0.1:$2
  spawn "$dir" operator env KUBECONFIG="$dir/demo/operator.kubeconfig" \
    "$dir/bin/$OPERATOR" run "${OPERATOR_FLAGS[@]}" --listen-address "$address"
  await "$dir" operator 20 curl --silent --fail --max-time 2 "http://$address/readyz" || {
    stop "$dir" operator
    return 1
  }
  echo "$address" >"$dir/demo/operator-address"
}
