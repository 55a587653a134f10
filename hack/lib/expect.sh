# shellcheck shell=bash
# What a command must do, for tests that are shell scripts. Sourced by hack/installs and hack/node; needs common.sh, and LOG, a
# file for what the last command printed.

# passes COMMAND...: must succeed.
passes() { "$@" >"$LOG" 2>&1 || die "$* failed: $(cat "$LOG")"; }

# refuses WORDS COMMAND...: must fail, and say these words.
refuses() {
  ! "${@:2}" >"$LOG" 2>&1 || die "${*:2} succeeded"
  grep -qF -- "$1" "$LOG" || die "${*:2} does not say \"$1\": $(cat "$LOG")"
}

# is WANT COMMAND...: what the command prints.
is() {
  local got
  got=$("${@:2}" 2>&1) || true
  [[ $got == "$1" ]] || die "${*:2}: \"$1\" is wanted, and it is \"$got\""
}

# until_is WANT COMMAND...: what it prints, after a while.
until_is() {
  local deadline=$(($(now_ms) + ${PATIENCE:-30} * 1000)) got
  until got=$("${@:2}" 2>&1) || true; [[ $got == "$1" ]]; do
    (($(now_ms) < deadline)) || die "${*:2}: \"$1\" is wanted within ${PATIENCE:-30} s, and it is \"$got\""
    sleep 0.2
  done
}

# until_says WORDS COMMAND...: for what is so only after a while, such as that the API server follows a new policy.
until_says() {
  local deadline=$(($(now_ms) + ${PATIENCE:-30} * 1000)) said
  # The command may fail: what counts is what it says.
  until said=$("${@:2}" 2>&1) || true; grep -qF -- "$1" <<<"$said"; do
    (($(now_ms) < deadline)) || die "${*:2} does not say \"$1\" within ${PATIENCE:-30} s, but: $said"
    sleep 0.2
  done
}

part() { say "--- $*"; }
