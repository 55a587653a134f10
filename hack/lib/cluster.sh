# shellcheck shell=bash
# Three OpenBao nodes that are one instance, by raft. Sourced by hack/bed; needs vault.sh.
#
#   DIR/node-1 .. DIR/node-3    a folder each, as vault.sh has it; which of them leads changes
#
# Only the first is initialized and furnished; the others join it and are unsealed with its key. What raft has agreed on
# outlives the processes, so that each node can be taken down and brought back alone: `vault-down`, `vault-up`.

CLUSTER_NODES=(1 2 3)

# cluster_up DIR: fresh, or the same instance again.
cluster_up() {
  local dir=$1 node
  for node in "${CLUSTER_NODES[@]}"; do
    mkdir -p "$dir/node-$node"
    echo "node-$node" >"$dir/node-$node/node-id"
  done
  # Two of them are needed to elect a leader, so nobody waits for one before they run.
  if [[ -e $dir/node-1/furnished ]]; then
    for node in "${CLUSTER_NODES[@]}"; do vault_up "$dir/node-$node" active ""; done
  else
    vault_up "$dir/node-1" active ""
    for node in 2 3; do join_node "$dir/node-$node" "$dir/node-1"; done
  fi
  await "$dir/node-1" openbao 30 cluster_is_whole "$dir" || report_failure "$dir/node-1" openbao
}

cluster_down() {
  local node
  for node in "${CLUSTER_NODES[@]}"; do vault_down "$1/node-$node"; done
}

# join_node DIR FIRST: a new node, which takes everything from the node in FIRST.
join_node() {
  local dir=$1 first=$2
  vault_up "$dir" uninitialized ""
  vault_call "$dir" POST sys/storage/raft/join \
    "{\"leader_api_addr\": \"http://127.0.0.1:$(<"$first/port")\"}" >/dev/null
  cp "$first/root-token" "$first/unseal-key" "$first/furnished" "$dir"
  vault_unseal "$dir"
  vault_env "$dir" | write_env "$dir"
}

# cluster_is_whole DIR: whether each node may elect and be elected.
cluster_is_whole() {
  local peers
  peers=$(vault_call "$1/node-1" GET sys/storage/raft/configuration) || return 1
  [[ $(grep -o '"voter":true' <<<"$peers" | wc -l) == "${#CLUSTER_NODES[@]}" ]]
}
