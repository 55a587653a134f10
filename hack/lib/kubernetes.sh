# shellcheck shell=bash
# One kube-apiserver with its etcd. Sourced by hack/bed; needs common.sh, install.sh, servers.sh, certificates.sh.
#
# Without a node (node.sh) there is no controller manager: nothing collects garbage, fills a namespace's default ServiceAccount, or finishes
# the deletion of a namespace. Everything else (schema, CEL, RBAC, tokens, server-side apply, watches) is real.

# kubernetes_up DIR
kubernetes_up() {
  local dir=$1
  serving_certificate "$dir/pki" kube-apiserver "IP:$SERVICE_ADDRESS" DNS:kubernetes.default.svc
  [[ -e $dir/pki/service-account.key ]] ||
    openssl ecparam -genkey -name prime256v1 -noout -out "$dir/pki/service-account.key"
  [[ -e $dir/pki/tokens.csv ]] || echo "$(random_hex 16),admin,admin,system:masters" >"$dir/pki/tokens.csv"
  start_etcd "$dir"
  if [[ -n $NODE_GROUP ]]; then
    launch_apiserver "$dir" 443 || report_failure "$dir" kube-apiserver
  else
    start_on_ports "$dir" kube-apiserver 1 launch_apiserver
  fi
}

kubernetes_down() { stop "$1" kube-apiserver etcd; }

# kubernetes_env DIR: what tests need to know, as NAME=value lines.
kubernetes_env() {
  echo "KUBECONFIG=$1/kubeconfig"
  echo "BED_APISERVER=$(cat "$1/apiserver-url")"
  echo "BED_APISERVER_CA=$1/pki/ca.pem"
  echo "BED_KUBE_AUDIT=$1/kube-audit.log"
}

# etcd listens on sockets in DIR, so it needs no port. Their names are relative: a socket's path is limited to 107
# bytes, and the path of a temporary folder may be longer.
start_etcd() {
  local dir=$1
  rm -f "$dir/etcd.sock" "$dir/etcd-peer.sock"
  spawn "$dir" etcd "$dir/bin/etcd" --name=bed --data-dir="$dir/etcd" \
    --listen-client-urls=unix://etcd.sock --advertise-client-urls=unix://etcd.sock \
    --listen-peer-urls=unix://etcd-peer.sock --initial-advertise-peer-urls=unix://etcd-peer.sock \
    --initial-cluster=bed=unix://etcd-peer.sock --unsafe-no-fsync --log-level=warn
  await "$dir" etcd 20 etcd_ready "$dir" || report_failure "$dir" etcd
}

etcd_ready() { cd "$1" && curl --silent --fail --max-time 2 --unix-socket etcd.sock http://localhost/readyz; }

# launch_apiserver DIR PORT: pods have tokens, and reach it at the address of its Service. Without a node, nobody makes the
# ServiceAccounts that pods are refused without.
launch_apiserver() {
  local dir=$1 port=$2 url=https://127.0.0.1:$2
  local -a flags=(--bind-address=127.0.0.1 --disable-admission-plugins=ServiceAccount)
  [[ -z $NODE_GROUP ]] || flags=(--bind-address=0.0.0.0 --advertise-address="$ADDRESS"
    --kubelet-preferred-address-types=InternalIP)
  spawn "$dir" kube-apiserver "$dir/bin/kube-apiserver" \
    "${flags[@]}" --secure-port="$port" --endpoint-reconciler-type=none \
    --tls-cert-file="$dir/pki/tls.pem" --tls-private-key-file="$dir/pki/tls.key" \
    --etcd-servers=unix://etcd.sock --service-cluster-ip-range=10.96.0.0/24 \
    --token-auth-file="$dir/pki/tokens.csv" --anonymous-auth=false --authorization-mode=RBAC \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file="$dir/pki/service-account.key" \
    --service-account-signing-key-file="$dir/pki/service-account.key" \
    --profiling=false \
    --audit-policy-file="$HACK/lib/audit-policy.yaml" --audit-log-path="$dir/kube-audit.log"
  # shellcheck disable=SC2086 # a list of names
  create_kinds "$dir" "$url" ${BED_CRDS:-} &
  await "$dir" kube-apiserver 60 apiserver_ready "$dir" "$url" || {
    stop "$dir" kube-apiserver
    return 1
  }
  wait $!
  echo "$url" >"$dir/apiserver-url"
  write_kubeconfig "$dir" "$url"
}

apiserver_ready() { apiserver_call "$1" --fail "$2/readyz"; }

# apiserver_call DIR CURL_ARGUMENT...: as administrator.
apiserver_call() {
  curl --silent --max-time 2 --cacert "$1/pki/ca.pem" --oauth2-bearer "$(cut -d, -f1 "$1/pki/tokens.csv")" "${@:2}"
}

# create_kinds DIR URL FILE...: creates CRDs of this checkout as soon as the API server takes them, which is a second or two before it calls itself ready; the first
# object of a kind that is younger than 2 s would have to wait.
create_kinds() {
  local dir=$1 path=$2/apis/apiextensions.k8s.io/v1/customresourcedefinitions file code
  for file in "${@:3}"; do
    until code=$(apiserver_call "$dir" --header 'Content-Type: application/yaml' --data-binary "@$HACK/../$file" \
      --output "$dir/kind.json" --write-out '%{http_code}' "$path") && [[ $code =~ ^(201|409)$ ]]; do
      [[ -n $(server_pid "$dir" kube-apiserver) ]] || return 0
      sleep 0.05
    done
  done
}

write_kubeconfig() {
  cat >"$1/kubeconfig" <<YAML
apiVersion: v1
kind: Config
current-context: bed
contexts: [{name: bed, context: {cluster: bed, user: admin}}]
clusters: [{name: bed, cluster: {server: "$2", certificate-authority-data: $(base64 -w 0 "$1/pki/ca.pem")}}]
users: [{name: admin, user: {token: $(cut -d, -f1 "$1/pki/tokens.csv")}}]
YAML
  chmod 600 "$1/kubeconfig"
}
