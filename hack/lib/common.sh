# shellcheck shell=bash
# Words that every other file here uses: what to print, what to demand, how to wait. Sourced by hack/bed.
#
# Progress goes to standard error, so that standard output belongs to the command that runs in a bed.

say() { printf '%s\n' "$*" >&2; }

die() {
  say "error: $*"
  exit 1
}

now_ms() { echo $((${EPOCHREALTIME//[.,]/} / 1000)); }

# seconds_since MS: how long ago that was, as in "3.2 s".
seconds_since() {
  local tenths=$((($(now_ms) - $1) / 100))
  printf '%d.%d s' $((tenths / 10)) $((tenths % 10))
}

# need PROGRAM WHAT_TO_INSTALL: stops with one clear line when PROGRAM is missing.
need() { [[ -n $(type -P "$1") ]] || die "$1 is missing: install $2"; }

# at_least HAVE WANT: whether version HAVE is WANT or newer.
at_least() { [[ $(printf '%s\n' "$1" "$2" | sort --version-sort | head -n 1) == "$2" ]]; }

# random_hex BYTES
random_hex() { od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'; }

# quietly COMMAND...: prints nothing unless it fails.
quietly() {
  local output
  output=$("$@" 2>&1) || die "$* failed: $output"
}
