# shellcheck shell=bash
# A node for a bed: containerd with runc, kubelet, kube-scheduler and kube-controller-manager. Sourced by hack/bed and hack/node;
# needs common.sh, install.sh, servers.sh, image.sh.
#
# A bed with a node has namespaces of its own for processes, mounts and the network, and so has nothing to clean up there:
# when its first process ends, however it does, so do all pods, and mounts and links are gone. Only control groups are
# left, which are all below one that carries the bed's name. No kernel setting of the machine is changed.
#
#   10.88.0.1   the node, and OpenBao        10.96.0.1   the API server, where its Service is: there is no kube-proxy
#   10.89.0.0/24   the pods

NODE_ADDRESS=10.88.0.1
SERVICE_ADDRESS=10.96.0.1
POD_RANGE=10.89.0.0/24
CONTAINERD_SOCKET=/run/containerd/containerd.sock
# Where containerd and kubelet write outside the bed, in folders whose names cannot be changed.
NODE_FOLDERS=(/run /var/lib /var/log)

# --- outside the namespaces

# node_obstacle: prints why there can be no node on this machine; fails when there can.
node_obstacle() {
  local program said
  for program in unshare setpriv mount findmnt ip; do
    [[ -n $(type -P "$program") ]] || {
      echo "$program is missing"
      return
    }
  done
  if ((UID != 0)); then
    echo "it takes root"
  elif ! grep -qs '^memory' /proc/cgroups || [[ ! -d /sys/fs/cgroup/memory && ! -e /sys/fs/cgroup/cgroup.controllers ]]; then
    echo "there are no control groups for memory"
  elif ! said=$(make_groups "vco-try.$$" 2>&1 && remove_groups "vco-try.$$" 2>&1); then
    echo "control groups cannot be made: $said"
  elif ! said=$(unshare --net --mount --pid --fork --mount-proc bash -c "$TRY_NAMESPACES" 2>&1); then
    echo "namespaces, or links and mounts in them, cannot be made: $said"
  else
    return 1
  fi
}

# What a node does in its namespaces.
TRY_NAMESPACES='
set -e
ip link add bed0 type veth peer name bed1
mount -t tmpfs bed /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay bed -o lowerdir=/run,upperdir=/mnt/upper,workdir=/mnt/work /run
echo 1 >/mnt/value
mount --bind /mnt/value /proc/sys/vm/overcommit_memory'

# run_in_namespaces COMMAND...: as their first process; it is killed when this script is.
run_in_namespaces() {
  local job
  env --default-signal=INT,QUIT setpriv --pdeathsig KILL \
    unshare --net --mount --pid --fork --kill-child=KILL --mount-proc "$@" <&0 &
  job=$!
  # Whatever ends the bed ends it from the inside first, in its own order.
  trap 'signal_children "$job" INT' INT
  trap 'signal_children "$job" TERM' TERM HUP
  while kill -0 "$job" 2>/dev/null; do wait "$job" || true; done
  wait "$job"
}

signal_children() {
  local -a children
  read -ra children <"/proc/$1/task/$1/children" || true
  ((${#children[@]} == 0)) || kill -s "$2" "${children[@]}"
}

# make_groups GROUP: the parent of all control groups of pods, in each hierarchy.
make_groups() {
  local root file
  for root in $(group_roots); do
    mkdir "$root/$1"
    # A new group of the first version may use no processor and no memory.
    for file in cpuset.cpus cpuset.mems; do
      [[ ! -e $root/$file ]] || cat "$root/$file" >"$root/$1/$file"
    done
  done
}

# group_roots: where control groups are: one folder in their second version, else one a controller.
group_roots() {
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    echo /sys/fs/cgroup
  else
    findmnt --noheadings --list --types cgroup,cgroup2 --output TARGET
  fi
}

# remove_groups GROUP: the control groups of the pods, which may still be ending.
remove_groups() {
  local deadline=$(($(now_ms) + 5000)) root left
  while
    left=''
    for root in $(group_roots); do
      [[ ! -d $root/$1 ]] || find "$root/$1" -depth -type d -exec rmdir {} \; 2>/dev/null || true
      [[ ! -d $root/$1 ]] || left=1
    done
    [[ -n $left ]] && (($(now_ms) < deadline))
  do sleep 0.05; done
}

# --- inside them

# enter_node DIR: what the namespaces need before anything starts in them. What is written in NODE_FOLDERS goes into memory, and is
# seen by nobody else.
enter_node() {
  local layers=$1/node/layers folder
  ip link set lo up
  ip address add "$NODE_ADDRESS/32" dev lo
  ip address add "$SERVICE_ADDRESS/32" dev lo
  mkdir -p "$layers"
  mount -t tmpfs bed "$layers"
  for folder in "${NODE_FOLDERS[@]}"; do
    mkdir -p "$layers/upper$folder" "$layers/work$folder"
    mount -t overlay bed -o "lowerdir=$folder,upperdir=$layers/upper$folder,workdir=$layers/work$folder" "$folder"
  done
  # kubelet wants these settings, and would make them for the whole machine.
  pretend vm/overcommit_memory 1
  pretend vm/panic_on_oom 0
  pretend kernel/panic 10
  pretend kernel/panic_on_oops 1
  pretend kernel/keys/root_maxkeys 1000000
  pretend kernel/keys/root_maxbytes 25000000
}

# pretend SETTING VALUE: for whoever reads or writes the setting in these namespaces; the kernel keeps its own.
pretend() {
  local file=$TARGET/node/${1//\//.}
  echo "$2" >"$file"
  mount --bind "$file" "/proc/sys/$1"
}

# leave_node DIR: so that DIR can be removed while pods still end.
leave_node() {
  local -a mounts
  mapfile -t mounts < <(awk -v dir="$1/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts | tac)
  ((${#mounts[@]} == 0)) || umount --lazy "${mounts[@]}"
}

# node_up DIR: once the API server is there.
node_up() {
  local dir=$1
  mkdir -p "$dir/node/cni" "$dir/node/manifests"
  write_containerd_config "$dir" >"$dir/node/containerd.toml"
  write_network_config >"$dir/node/cni/bed.conflist"
  write_kubelet_config "$dir" >"$dir/node/kubelet.yaml"
  # What they make has to be readable for pods.
  umask 022
  spawn "$dir" kube-scheduler "$dir/bin/kube-scheduler" --kubeconfig="$dir/kubeconfig" --leader-elect=false --secure-port=0
  spawn "$dir" kube-controller-manager "$dir/bin/kube-controller-manager" --kubeconfig="$dir/kubeconfig" \
    --leader-elect=false --secure-port=0 --root-ca-file="$dir/pki/ca.pem" \
    --service-account-private-key-file="$dir/pki/service-account.key"
  spawn "$dir" containerd env PATH="$dir/bin:$PATH" "$dir/bin/containerd" --config="$dir/node/containerd.toml"
  await "$dir" containerd 30 "$dir/bin/ctr" --address "$CONTAINERD_SOCKET" version || report_failure "$dir" containerd
  import_pause "$dir"
  spawn "$dir" kubelet "$dir/bin/kubelet" --config="$dir/node/kubelet.yaml" --kubeconfig="$dir/kubeconfig" \
    --root-dir="$dir/kubelet" --cert-dir="$dir/node/pki" --hostname-override=node --node-ip="$NODE_ADDRESS"
  await "$dir" kubelet 60 node_ready "$dir" || report_failure "$dir" kubelet
}

# node_down DIR: what pods still run ends with the namespaces.
node_down() { stop "$1" kubelet containerd kube-scheduler kube-controller-manager; }

node_ready() {
  "$1/bin/kubectl" --kubeconfig "$1/kubeconfig" get node node \
    --output 'jsonpath={.status.conditions[?(@.type=="Ready")].status}{.spec.taints[*].key}' | grep -qx True
}

# node_env: what tests need to know besides.
node_env() {
  echo "BED_NODE=$NODE_GROUP"
  echo "CONTAINERD_ADDRESS=$CONTAINERD_SOCKET"
}

# The native snapshotter copies, and so works on every file system.
write_containerd_config() {
  cat <<TOML
version = 3
root = "$1/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
address = "$CONTAINERD_SOCKET"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "native"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "localhost/pause:bed"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["$1/bin"]
conf_dir = "$1/node/cni"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
snapshotter = "native"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "$1/bin/containers/runc"
Root = "/run/containerd/runc"
TOML
}

write_network_config() {
  cat <<JSON
{
  "cniVersion": "1.0.0",
  "name": "bed",
  "plugins": [
    {
      "type": "ptp",
      "ipam": {
        "type": "host-local",
        "dataDir": "/var/lib/cni/networks",
        "ranges": [[{"subnet": "$POD_RANGE"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    }
  ]
}
JSON
}

# No eviction for a full disk, no iptables, and whoever reaches kubelet may use it: it is alone in its network.
write_kubelet_config() {
  cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix://$CONTAINERD_SOCKET
cgroupDriver: cgroupfs
cgroupRoot: /$NODE_GROUP
enforceNodeAllocatable: []
failCgroupV1: false
failSwapOn: false
protectKernelDefaults: true
makeIPTablesUtilChains: false
evictionHard: {memory.available: 10Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}
imageGCHighThresholdPercent: 100
podLogsDir: $1/logs/pods
volumePluginDir: $1/node/plugins
syncFrequency: 5s
shutdownGracePeriod: 0s
YAML
}

# import_pause DIR: the image of each pod's first process.
import_pause() {
  local dir=$1 context=$1/node/pause
  mkdir -p "$context"
  cp "$(tool_path pause)" "$context/pause"
  printf '%s\n' 'FROM scratch' 'COPY pause /' 'ENTRYPOINT ["/pause"]' >"$context/Dockerfile"
  build_image "$dir/node/images" "$context" localhost/pause:bed "$context.tar"
  import_image "$context.tar"
}

# import_image ARCHIVE: so that kubelet finds it.
import_image() {
  local said
  said=$("$(tool_path ctr)" --address "$CONTAINERD_SOCKET" --namespace k8s.io images import --local --snapshotter native "$1" 2>&1) ||
    die "$1 cannot be imported: $said"
}
