# shellcheck shell=bash
# A short run of each fuzz target. Sourced by hack/test; needs common.sh and install.sh, and runs in the checkout.
#
#   fuzz/corpus/TARGET        the seeds: what the target is to begin with, committed
#   target/fuzz/corpus/TARGET what earlier runs found worth keeping; a run goes on from there

# How many seconds each target runs, and from which seed: the same for everybody; another, or 0 for a random one, searches elsewhere.
FUZZ_SECONDS=${FUZZ_SECONDS:-5}
FUZZ_SEED=${FUZZ_SEED:-1}
FUZZ_DIR=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz

# build_fuzz_targets: without a sanitizer. Sanitizers need a nightly compiler, and there is no unsafe code for them to
# find anything in; the coverage that libFuzzer steers by comes from flags that the stable compiler has.
build_fuzz_targets() {
  need c++ "a C++ compiler, for libFuzzer"
  install_tools cargo-fuzz
  cargo metadata --locked --manifest-path fuzz/Cargo.toml --format-version 1 >/dev/null ||
    die "fuzz/Cargo.lock is not up to date: cargo update --workspace --manifest-path fuzz/Cargo.toml"
  cargo fmt --manifest-path fuzz/Cargo.toml --check
  # In a variable of its own, a target folder would be used by the operator's builds as well.
  env -u CARGO_TARGET_DIR "$(tool_path cargo-fuzz)" build --dev --sanitizer none --target-dir "$FUZZ_DIR"
}

run_fuzz_targets() {
  local target
  for target in fuzz/fuzz_targets/*.rs; do run_fuzz_target "$(basename "$target" .rs)"; done
}

# run_fuzz_target NAME: what it prints is shown only when it finds something.
run_fuzz_target() {
  local name=$1 binary log=$FUZZ_DIR/$1.log
  binary=$FUZZ_DIR/$(rustc -vV | sed -n 's/^host: //p')/debug/$name
  mkdir -p "$FUZZ_DIR/corpus/$name" "$FUZZ_DIR/artifacts"
  if ! "$binary" -max_total_time="$FUZZ_SECONDS" -seed="$FUZZ_SEED" -timeout=10 -rss_limit_mb=1024 \
    -artifact_prefix="$FUZZ_DIR/artifacts/$name-" "$FUZZ_DIR/corpus/$name" "fuzz/corpus/$name" >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    die "fuzz target $name failed; to see it again: $binary FILE, with the file that is named above"
  fi
  say "$name: $(sed -n 's/^Done \([0-9]*\) runs.*/\1 inputs/p' "$log")"
}
