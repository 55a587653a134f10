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

# verdict NAME CONDITION: one condition of a connection, as "True Connected: what the message says".
verdict() {
  tell "$1: $2 $(kubectl get vconn "$1" --output \
    jsonpath="{range .status.conditions[?(@.type==\"$2\")]}{.status} ({.reason}): {.message}{end}")"
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
