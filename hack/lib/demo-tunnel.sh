# shellcheck shell=bash
# A tunnel out of a private network, as docs/howto/ssh-tunnel.md describes it, and a gateway and a connection that use it. Sourced
# by hack/demo; needs common.sh and servers.sh.
#
#   the cluster's side                         the private side
#   sshd, a SOCKS port on it  ◀── connects ──  ssh -N -R PORT ──▶ OpenBao
#                                              only it can resolve PRIVATE_HOST

PRIVATE_HOST=vault.private.example

# open_tunnel: starts both sides.
open_tunnel() {
  mkdir -p "$BED_DIR/demo/tunnel"
  tunnel_keys "$BED_DIR/demo/tunnel"
  echo "127.0.0.1 $PRIVATE_HOST" >"$BED_DIR/demo/tunnel/hosts"
  start_on_ports "$BED_DIR" sshd 2 launch_sshd
  restore_tunnel
}

# cut_tunnel: ends the private side, and with it the SOCKS port.
cut_tunnel() { stop "$BED_DIR" ssh; }

restore_tunnel() {
  launch_ssh "$BED_DIR" "$(tunnel_port)" || report_failure "$BED_DIR" ssh
}

# tunnel_port: where sshd listens; the SOCKS port is the next one.
tunnel_port() { cat "$BED_DIR/demo/tunnel/port"; }

tunnel_keys() {
  local dir=$1 name
  for name in client host; do
    [[ -e $dir/$name ]] || "$BED_BIN/openssh/ssh-keygen" -q -t ed25519 -N '' -f "$dir/$name"
  done
  echo "restrict,port-forwarding $(cat "$dir/client.pub")" >"$dir/authorized_keys"
}

# launch_sshd DIR PORT
launch_sshd() {
  local dir=$1 port=$2 tunnel=$1/demo/tunnel
  echo "$port" >"$tunnel/port"
  echo "[127.0.0.1]:$port $(cut -d ' ' -f 1,2 "$tunnel/host.pub")" >"$tunnel/known_hosts"
  cat >"$tunnel/sshd_config" <<TEXT
ListenAddress 127.0.0.1:$port
HostKey $tunnel/host
AuthorizedKeysFile $tunnel/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
AllowTcpForwarding remote
GatewayPorts no
PermitListen 127.0.0.1:$((port + 1))
PermitOpen none
PermitTTY no
MaxSessions 0
TEXT
  # The bed's sshd ends with the process that started it: the shell stays as that, also when the demo has ended.
  spawn "$dir" sshd sh -c '"$@"; exit' sh "$BED_BIN/openssh/sshd" -D -e -f "$tunnel/sshd_config"
  await "$dir" sshd 10 listening "$port" || {
    stop "$dir" sshd
    return 1
  }
}

# launch_ssh DIR PORT: the private side. It has a hosts file of its own.
launch_ssh() {
  local dir=$1 port=$2 tunnel=$1/demo/tunnel user
  # A server that does not stay root can let in only who it is itself.
  user=$(id -un)
  [[ $user != root ]] || user=nobody
  spawn "$dir" ssh env LD_PRELOAD="$BED_BIN/openssh/libnss_wrapper.so" NSS_WRAPPER_HOSTS="$tunnel/hosts" \
    "$BED_BIN/openssh/ssh" -N -T -F none -p "$port" -i "$tunnel/client" \
    -o UserKnownHostsFile="$tunnel/known_hosts" -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes \
    -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityAgent=none -o ExitOnForwardFailure=yes \
    -R "127.0.0.1:$((port + 1))" "$user@127.0.0.1"
  await "$dir" ssh 10 listening "$((port + 1))"
}

# tunnel_manifests: the gateway, and a connection through it. The certificate of the bed's OpenBao is for its address.
tunnel_manifests() {
  cat <<YAML
apiVersion: appconnections.dev/v1alpha1
kind: VaultGateway
metadata: {name: private-network}
spec:
  description: SSH tunnel into the private network
  endpoints: [{url: "socks5h://127.0.0.1:$(($(tunnel_port) + 1))"}]
  check: {interval: 10s, timeout: 2s}
---
apiVersion: appconnections.dev/v1alpha1
kind: VaultConnection
metadata: {name: my-vault-behind-a-gateway}
spec:
  instanceUrl: https://$PRIVATE_HOST:${BED_VAULT_TLS_ADDR##*:}
  gatewayRef: {name: private-network}
  auth: {token: {secretRef: {name: vault-token, key: token}}}
  tls: {caBundle: {configMapRef: {name: vault-ca, key: ca.pem}}, serverName: 127.0.0.1}
  check: {interval: 10s, timeout: 5s}
YAML
}
