# shellcheck shell=bash
# One OpenBao, or the Vault that BED_VAULT names, in a folder of its own. Sourced by hack/bed; needs common.sh, install.sh, servers.sh, certificates.sh.
#
#   DIR/config.hcl  DIR/raft/  DIR/pki/  DIR/audit.log
#   DIR/root-token  DIR/unseal-key    exist once it is initialized
#   DIR/furnished                     exists once the engines, roles and policies below are in place
#   DIR/node-id                       its name, where it is one of several nodes (cluster.sh)
#   DIR/address                       where it listens
#   DIR/port                          the first of four: plain http, its cluster port, TLS, its cluster port
#
# Everything but the process outlives vault_down, so that the next vault_up is the same instance at the same address.

# vault_up DIR STATE PORT: STATE is active, sealed or uninitialized; PORT may be empty.
vault_up() {
  local dir=$1 state=$2 port=$3
  [[ $state != uninitialized || ! -e $dir/unseal-key ]] || die "the OpenBao in $dir is already initialized"
  mkdir -p "$dir/raft"
  # shellcheck disable=SC2153  # servers.sh has it
  [[ -e $dir/address ]] || echo "$ADDRESS" >"$dir/address"
  link_tools "$dir" bao
  serving_certificate "$dir/pki" openbao "IP:$(<"$dir/address")"
  [[ -n $port || ! -e $dir/port ]] || port=$(cat "$dir/port")
  if [[ -n $port ]]; then
    launch_openbao "$dir" "$port" || report_failure "$dir" openbao
  else
    start_on_ports "$dir" openbao 4 launch_openbao
  fi
  case $state in
    active)
      vault_unseal "$dir"
      vault_furnish "$dir"
      ;;
    # A fresh instance is furnished first, so that unsealing it is all that is left to do.
    sealed)
      if [[ ! -e $dir/furnished ]]; then
        vault_unseal "$dir"
        vault_furnish "$dir"
        vault_call "$dir" PUT sys/seal >/dev/null
      fi
      ;;
  esac
  vault_env "$dir" | write_env "$dir"
}

vault_down() {
  stop "$1" openbao
  rm -f "$1/env"
}

# vault_env DIR: what tests need to know, as NAME=value lines.
vault_env() {
  local dir=$1 port address
  port=$(cat "$dir/port")
  address=$(cat "$dir/address")
  echo "BED_VAULT_DIR=$dir"
  echo "BED_VAULT_ADDR=http://$address:$port"
  echo "BED_VAULT_TLS_ADDR=https://$address:$((port + 2))"
  echo "BED_VAULT_CA=$dir/pki/ca.pem"
  echo "BED_VAULT_TOKEN=$(cat "$dir/root-token" 2>/dev/null)"
  echo "BED_VAULT_UNSEAL_KEY=$(cat "$dir/unseal-key" 2>/dev/null)"
  echo "BED_VAULT_AUDIT=$dir/audit.log"
  # The community edition of HashiCorp Vault has none.
  if is_openbao; then echo "BED_VAULT_NAMESPACES=1"; else echo "BED_VAULT_NAMESPACES="; fi
}

# --- the server

# launch_openbao DIR PORT
launch_openbao() {
  local dir=$1 port=$2
  write_openbao_config "$dir" "$port" >"$dir/config.hcl"
  spawn "$dir" openbao "$dir/bin/bao" server -config="$dir/config.hcl"
  await "$dir" openbao 20 grep -qE '(OpenBao|Vault) server started' "$dir/logs/openbao.log" || {
    stop "$dir" openbao
    return 1
  }
  echo "$port" >"$dir/port"
}

# OpenBao 2.7 knows no file storage any more; raft is what keeps data on one machine. It accepts an audit device from
# its configuration only, never through the API, and a node leads only if it has the same as the node before it: so the
# path is relative to the node's own folder. HashiCorp Vault accepts one through the API only. That one would lock its memory,
# which takes a right that nobody has here. Each listener opens a cluster port, whether anybody wants it or not.
write_openbao_config() {
  local dir=$1 port=$2 address
  address=$(cat "$dir/address")
  cat <<HCL
listener "tcp" {
  address         = "$address:$port"
  cluster_address = "$address:$((port + 1))"
  tls_disable     = true
}
listener "tcp" {
  address         = "$address:$((port + 2))"
  cluster_address = "$address:$((port + 3))"
  tls_cert_file   = "$dir/pki/tls.pem"
  tls_key_file    = "$dir/pki/tls.key"
}
$(openbao_storage "$dir")
api_addr     = "http://$address:$port"
cluster_addr = "https://$address:$((port + 1))"
HCL
  if is_openbao; then
    cat <<HCL
audit "file" "file" {
  options = { file_path = "audit.log", log_raw = "false" }
}
HCL
  else
    echo 'disable_mlock = true'
  fi
}

# openbao_storage DIR: with BED_VAULT_STORAGE=memory, one that elects no leader, and forgets everything when it stops.
openbao_storage() {
  if [[ ${BED_VAULT_STORAGE:-} == memory ]]; then
    echo 'storage "inmem" {}'
    return
  fi
  cat <<HCL
storage "raft" {
  path                   = "$1/raft"
  node_id                = "$(node_id "$1")"
  performance_multiplier = 1
}
HCL
}

# node_id DIR: its name among the nodes of its instance; a node that is alone needs no other name.
node_id() { cat "$1/node-id" 2>/dev/null || echo bed; }

# --- the way to a usable instance

# vault_unseal DIR: initializes it if it is new, unseals it, and waits until it is active; one of several nodes may be a
# standby, too.
vault_unseal() {
  local dir=$1 health=sys/health
  [[ ! -e $dir/node-id ]] || health+='?standbyok=true'
  [[ -e $dir/unseal-key ]] || vault_initialize "$dir"
  vault_call "$dir" PUT sys/unseal "{\"key\": \"$(<"$dir/unseal-key")\"}" >/dev/null
  await "$dir" openbao 20 vault_call "$dir" GET "$health" || report_failure "$dir" openbao
}

# vault_initialize DIR: takes one to two seconds, the time of raft's first election.
vault_initialize() {
  local dir=$1 answer
  answer=$(vault_call "$dir" PUT sys/init '{"secret_shares": 1, "secret_threshold": 1}') ||
    die "the OpenBao in $dir cannot be initialized: $answer"
  sed -E 's/.*"root_token":"([^"]+)".*/\1/' <<<"$answer" >"$dir/root-token"
  sed -E 's/.*"keys":\["([^"]+)".*/\1/' <<<"$answer" >"$dir/unseal-key"
}

# vault_furnish DIR: what the documentation has a user set up, once in the root namespace and, where there are others,
# once in team-a.
vault_furnish() {
  local dir=$1
  [[ ! -e $dir/furnished ]] || return 0
  # Also the first of several nodes has to be active. One that only becomes it has no audit log yet, and answers 500.
  await "$dir" openbao 20 vault_call "$dir" GET sys/health || report_failure "$dir" openbao
  if is_openbao; then
    vault_call "$dir" PUT sys/namespaces/team-a '{}' >/dev/null
    furnish_namespace "$dir" team-a >/dev/null
  else
    vault_call "$dir" PUT sys/audit/file \
      "{\"type\": \"file\", \"options\": {\"file_path\": \"$dir/audit.log\"}}" >/dev/null
  fi
  furnish_namespace "$dir" "" >/dev/null
  await "$dir" openbao 10 vault_call "$dir" GET demo_mount/config || report_failure "$dir" openbao
  touch "$dir/furnished"
}

furnish_namespace() {
  local dir=$1 namespace=$2 policy
  policy=$(<"$HACK/lib/vault-connection.hcl")
  policy=${policy//\"/\\\"}
  vault_call "$dir" PUT sys/policies/acl/vault-connection "{\"policy\": \"${policy//$'\n'/\\n}\"}" "$namespace"
  vault_call "$dir" POST sys/mounts/demo_mount '{"type": "kv", "options": {"version": "2"}}' "$namespace"
  vault_call "$dir" POST sys/auth/approle '{"type": "approle"}' "$namespace"
  # A token of `demo` cannot outlive two checks; one of `long` is kept between them.
  vault_call "$dir" POST auth/approle/role/demo \
    '{"token_policies": "vault-connection", "token_ttl": "30s", "token_max_ttl": "2m"}' "$namespace"
  vault_call "$dir" POST auth/approle/role/long \
    '{"token_policies": "vault-connection", "token_ttl": "1h"}' "$namespace"
}

# vault_call DIR METHOD PATH [JSON [NAMESPACE]]: as root, once there is a root token.
vault_call() {
  local token=''
  [[ ! -e $1/root-token ]] || token=$(<"$1/root-token")
  curl --silent --show-error --fail-with-body --max-time 20 --request "$2" --header "X-Vault-Token: $token" \
    ${5:+--header "X-Vault-Namespace: $5"} ${4:+--data "$4"} "http://$(<"$1/address"):$(<"$1/port")/v1/$3"
}
