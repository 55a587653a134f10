# shellcheck shell=bash
# How the demo talks, waits and gives up. Sourced by hack/demo; needs common.sh, and DEMO_BEGIN.

INDENT='          '

# chapter TEXT: what the demo shows next, with the time since it began.
chapter() { printf '\n[%7s] %s\n' "$(seconds_since "$DEMO_BEGIN")" "$*"; }

tell() { printf '%s%s\n' "$INDENT" "$@"; }

# show COMMAND...: prints the command as a user would type it, and what it prints.
show() {
  printf '%s$ %s\n' "$INDENT" "$*"
  "$@" 2>&1 | sed "s/^/$INDENT/"
}

# expect SECONDS WHAT...: waits for a condition or a field of objects, as `kubectl wait --for=...` does.
#   expect 10 condition=Ready vconn/my-vault-connection
expect() {
  local seconds=$1 what=$2 output start
  shift 2
  start=$(now_ms)
  printf '%s$ kubectl wait --for=%s %s\n' "$INDENT" "$what" "$*"
  output=$(kubectl wait --for="$what" --timeout="${seconds}s" "$@" 2>&1) ||
    die "not within $seconds s: $what of $*: $output"
  tell "done after $(seconds_since "$start")"
}

# verdicts NAME CONDITION...: conditions of a connection, as "True (Connected): what the message says".
verdicts() {
  local name=$1 condition template='' line
  shift
  for condition in "$@"; do
    template+="{range .status.conditions[?(@.type==\"$condition\")]}{.type} {.status} ({.reason}): {.message}{'\n'}{end}"
  done
  kubectl get vconn "$name" --output jsonpath="$template" | while read -r line; do tell "$name: $line"; done
}

# pause_until MS: until the clock shows that time.
pause_until() {
  local left=$(($1 - $(now_ms)))
  ((left <= 0)) || sleep "$((left / 1000)).$(printf '%03d' $((left % 1000)))"
}

# begin_job COMMAND...: runs COMMAND in the background as JOB, in a process group of its own, so that it can be ended with all that it has
# started.
begin_job() {
  set -m
  "$@" </dev/null &
  # shellcheck disable=SC2034 # for whoever began it
  JOB=$!
  set +m
}

# end_job JOB: ends a job that may have ended. It looks instead of using `wait`, which can miss a job that is interrupted meanwhile.
end_job() {
  [[ -n $1 ]] || return 0
  kill -TERM -- "-$1" 2>/dev/null || return 0
  while kill -0 -- "-$1" 2>/dev/null; do sleep 0.02; done
}

# show_failure: what a person wants to see first when the demo did not go through.
show_failure() {
  say "
--- the connections and gateways"
  kubectl get vconn,vgw --all-namespaces --output wide >&2 || true
  if [[ -e $BED_DIR/logs/operator.log ]]; then
    say "--- the end of the operator's log, $BED_DIR/logs/operator.log"
    tail -n 25 "$BED_DIR/logs/operator.log" >&2
  fi
  say "---
the demo FAILED after $(seconds_since "$DEMO_BEGIN")"
}
