# shellcheck shell=bash
# The servers of the demo, built in the background beside the operator. Sourced by hack/demo; needs common.sh, install.sh, demo.sh.

# What the demo needs. Helm is not among it: config/default is installed with kubectl.
export BED_TOOLS="bao kubectl openssh etcd kube-apiserver"

# begin_servers LOG: starts to build what is missing, as SERVERS; with the lowest priority, so that the operator comes first: with it,
# there is something to see. What a build lacks is said now, and not in some minutes.
begin_servers() {
  local name missing
  # shellcheck disable=SC2086 # a list of names
  missing=$(missing_tools $BED_TOOLS)
  [[ -n $missing ]] || return 0
  for name in $missing; do check_prerequisites "$name"; done
  # shellcheck disable=SC2086 # a list of names
  begin_job nice -n 19 hack/bed install $BED_TOOLS >"$1" 2>&1
  # shellcheck disable=SC2034 # for hack/demo
  SERVERS=$JOB
}

# await_servers LOG NAME...: waits until these programs are there, and says meanwhile what is missing, and how long it may take.
await_servers() {
  local log=$1
  local -a missing
  shift
  while [[ -n $SERVERS ]] && kill -0 "$SERVERS" 2>/dev/null; do
    mapfile -t missing < <(missing_tools "$@")
    ((${#missing[@]})) || break
    report_progress "${missing[@]}"
    sleep 1
  done
  end_progress
  [[ -z $(missing_tools "$@") ]] || die "the servers could not be built:
$(cat "$log")"
}

# --- progress

# What is being built, since when, and how many of its packages were there then.
BUILDING='' SINCE=0 PACKAGES_BEFORE=0
# When progress was last reported.
REPORTED=0

# expected NAME: about how many seconds and how many packages a program takes on 2 cores with empty caches.
expected() {
  case $1 in
    etcd) echo 45 568 ;;
    kube-apiserver) echo 240 1840 ;;
    *) echo 5 0 ;;
  esac
}

# packages_built NAME: how many packages the build of a program has compiled so far.
packages_built() {
  local log=$CACHE/logs/$1.log
  if [[ -e $log ]]; then wc -l <"$log"; else echo 0; fi
}

# seconds_left NAME...: how long these programs may still take, the first of which is being built. With enough of its packages seen, its
# own speed on this machine tells.
seconds_left() {
  local seconds packages built left name
  read -r seconds packages < <(expected "$1")
  built=$(packages_built "$1")
  if [[ $1 != "$BUILDING" ]]; then
    BUILDING=$1 SINCE=$(now_ms) PACKAGES_BEFORE=$built
  fi
  if ((packages == 0)); then
    left=$seconds
  elif ((built - PACKAGES_BEFORE >= 100)); then
    left=$((($(now_ms) - SINCE) * (packages - built) / (built - PACKAGES_BEFORE) / 1000))
  else
    left=$((seconds * (packages - built) / packages))
  fi
  shift
  for name in "$@"; do
    read -r seconds packages < <(expected "$name")
    left=$((left + seconds))
  done
  LEFT=$((left > 10 ? left : 10))
}

# report_progress NAME...: on a terminal, a line that changes every second and fits 80 columns; in a file, a line every 20 seconds.
report_progress() {
  local text=$1 built packages
  seconds_left "$@"
  built=$(packages_built "$1")
  read -r _ packages < <(expected "$1")
  ((packages == 0 || built == 0)) || text+=" ($built of $packages packages)"
  shift
  (($# == 0)) || text+=$(printf ', %s' "$@")
  text="[$(printf %7s "$(seconds_since "$DEMO_BEGIN")")] Building $text: about $LEFT s left"
  if [[ -t 1 ]]; then
    printf '\r\033[K%s' "${text:0:79}"
    REPORTED=$(now_ms)
  elif (($(now_ms) - REPORTED >= 20000)); then
    printf '%s\n' "$text"
    REPORTED=$(now_ms)
  fi
}

# end_progress: what comes next begins on a line of its own.
end_progress() {
  [[ ! -t 1 || $REPORTED == 0 ]] || printf '\r\033[K'
  REPORTED=0
}
