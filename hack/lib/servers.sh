# shellcheck shell=bash
# Starts and stops the servers of one folder. Sourced by hack/bed; needs common.sh.
#
#   DIR/pids/NAME.pid   the process of the server NAME       DIR/logs/NAME.log   what it printed since its last start
#
# A server is detached from whoever started it: it gets a session of its own, no open file of ours, and an empty
# environment. One thing is passed on: the bed that it was started from inside, if any, so that it ends with that bed.

# Ports are taken from below the range that the kernel gives to outgoing connections (32768 and up by default), so
# that only another bed can be in the way.
FIRST_PORT=20000
LAST_PORT=32000
# Where they listen; a bed with a node has another, which pods reach.
ADDRESS=127.0.0.1

# spawn DIR NAME COMMAND...: runs COMMAND in DIR as the server NAME. Returns when it is known to server_pid, or dead:
# so whoever looks next and sees no server knows that it has ended, and not that it has not begun.
spawn() {
  local dir=$1 name=$2 log=$1/logs/$2.log
  shift 2
  mkdir -p "$dir/pids" "$dir/logs"
  rm -f "$dir/pids/$name.pid"
  [[ ! -e $log ]] || cat "$log" >>"${log%.log}.earlier.log"
  (
    [[ -z ${LIFELINE:-} ]] || exec {LIFELINE}>&-
    cd "$dir" || exit
    echo "$BASHPID" >"pids/$name.pid"
    exec setsid env -i PATH="$PATH" HOME="$dir" ${BED_DIR:+BED_DIR="$BED_DIR"} "$@" </dev/null >"$log" 2>&1
  ) &
  while [[ -z $(server_pid "$dir" "$name") ]] && kill -0 $! 2>/dev/null; do sleep 0.01; done
}

# server_pid DIR NAME: prints the process of a running server. The command line of each server names a file in its
# DIR, so a number that the kernel has since given to somebody else is not taken for ours.
server_pid() {
  local pid line
  pid=$(cat "$1/pids/$2.pid" 2>/dev/null) || return 1
  # While a process turns into another program, which takes long when that is read from a slow disk, it has no command line. One that has
  # ended, and that nobody has asked about yet, has none, either, and no program.
  for _ in 1 2 3 4 5; do
    line=$(tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline") || return 1
    [[ -z $line && -e /proc/$pid/exe ]] || break
    sleep 0.05
  done
  [[ $line == *"$1/"* ]] && echo "$pid"
}

# await DIR NAME SECONDS PROBE...: waits until PROBE succeeds; fails when the server ends first or time is up.
await() {
  local dir=$1 name=$2 deadline=$(($(now_ms) + $3 * 1000))
  shift 3
  until "$@" &>/dev/null; do
    [[ -n $(server_pid "$dir" "$name") ]] || return 1
    (($(now_ms) < deadline)) || return 1
    sleep 0.05
  done
  # A probe may have been answered by a stranger on the port that our server just failed to get.
  [[ -n $(server_pid "$dir" "$name") ]]
}

# start_on_ports DIR NAME COUNT LAUNCH: calls LAUNCH with the first of COUNT neighbouring free ports. LAUNCH spawns
# the server and waits for it. Another bed may take a port between our look and the server's bind, hence the tries.
start_on_ports() {
  local dir=$1 name=$2 count=$3 launch=$4 attempt
  for attempt in 1 2 3 4 5; do
    "$launch" "$dir" "$(free_ports "$count")" && return
    grep -qi 'address already in use' "$dir/logs/$name.log" || break
    say "$name: a port was taken (attempt $attempt)"
  done
  report_failure "$dir" "$name"
}

report_failure() {
  local log=$1/logs/$2.log
  say "--- the end of $log"
  tail -n 20 "$log" >&2
  say "---"
  say "error: $2 did not become ready"
  return 1
}

free_ports() {
  local base port
  while true; do
    base=$((FIRST_PORT + RANDOM % (LAST_PORT - FIRST_PORT)))
    for ((port = base; port < base + $1; port++)); do
      listening "$port" && continue 2
    done
    echo "$base"
    return
  done
}

listening() { (exec 3<>"/dev/tcp/$ADDRESS/$1") 2>/dev/null; }

# How a server is asked to end.
STOP_SIGNAL=TERM

# stop DIR NAME...: asks each to end, in that order, and waits for it; one that has not after 5 seconds is killed.
stop() {
  local dir=$1 name pid deadline
  for name in "${@:2}"; do
    pid=$(server_pid "$dir" "$name") || continue
    kill -s "$STOP_SIGNAL" "$pid" 2>/dev/null || continue
    deadline=$(($(now_ms) + 5000))
    while [[ -n $(server_pid "$dir" "$name") ]]; do
      (($(now_ms) < deadline)) || kill -KILL "$pid" 2>/dev/null || true
      sleep 0.02
    done
  done
  for name in "${@:2}"; do rm -f "$dir/pids/$name.pid"; done
}

# end_processes_inside DIR: ends whatever has BED_DIR=DIR in its environment; what has not ended after 5 seconds is
# killed.
end_processes_inside() {
  local dir=$1 deadline=$(($(now_ms) + 5000))
  signal_processes_inside "$dir" TERM || return 0
  while signal_processes_inside "$dir" 0; do
    (($(now_ms) < deadline)) || signal_processes_inside "$dir" KILL || true
    sleep 0.05
  done
}

# signal_processes_inside DIR SIGNAL: fails when there was none. It runs in a trap, where a plain `return` would
# answer with the status that the script had before.
signal_processes_inside() {
  local -a environments
  mapfile -t environments < <(grep -lzsFx -- "BED_DIR=$1" /proc/[0-9]*/environ)
  ((${#environments[@]})) || return 1
  environments=("${environments[@]#/proc/}")
  kill -s "$2" "${environments[@]%/environ}" 2>/dev/null
}
