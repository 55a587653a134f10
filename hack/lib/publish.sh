# shellcheck shell=bash
# Signs and publishes what hack/release made. Sourced by hack/release; needs common.sh, install.sh, servers.sh, image.sh.
#
# With COSIGN_KEY (a file, or what else cosign takes for a key) that key signs. Without it, cosign gets a certificate for the identity of
# the workflow that it runs in, and an entry in the public transparency log.

# cosign_signs COMMAND ARGUMENT...: cosign, by the key or by the identity.
cosign_signs() {
  local -a by=()
  [[ -z ${COSIGN_KEY:-} ]] || by=(--key "$COSIGN_KEY" "${OUR_OWN[@]}")
  quietly "$(tool_path cosign)" "$1" --yes "${by[@]}" "${@:2}"
}

# cosign_verifies COMMAND ARGUMENT...: by the public key COSIGN_PUBLIC_KEY; there is no log to ask.
cosign_verifies() { "$(tool_path cosign)" "$1" --key "$COSIGN_PUBLIC_KEY" --insecure-ignore-tlog=true "${@:2}"; }

# begin_publishing: a folder for credentials and storage, which is removed at the end.
begin_publishing() {
  install_tools cosign helm4
  bring_buildah
  [[ -z ${PUBLISHING:-} ]] || return 0
  PUBLISHING=$(mktemp -d)
  trap 'rm -rf "$PUBLISHING"' EXIT
  export DOCKER_CONFIG=$PUBLISHING REGISTRY_AUTH_FILE=$PUBLISHING/config.json HELM_REGISTRY_CONFIG=$PUBLISHING/config.json
  # A key of ours signs without the services of Sigstore: these files name none.
  OUR_OWN=(--signing-config "$PUBLISHING/signing-config.json" --trusted-root "$PUBLISHING/trusted-root.json")
  "$(tool_path cosign)" signing-config create --out "$PUBLISHING/signing-config.json"
  "$(tool_path cosign)" trusted-root create --out "$PUBLISHING/trusted-root.json"
}

# provenance: an SLSA predicate, of where and from what this is made.
provenance() {
  local run=${GITHUB_RUN_ID:+$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/actions/runs/$GITHUB_RUN_ID/attempts/$GITHUB_RUN_ATTEMPT}
  cat <<JSON
{
  "buildDefinition": {
    "buildType": "https://appconnections.dev/hack-release/v1",
    "externalParameters": {"version": "$VERSION", "workflow": "${GITHUB_WORKFLOW_REF:-}"},
    "internalParameters": {"rustc": "$(rustc --version)", "sourceDateEpoch": "$EPOCH"},
    "resolvedDependencies": [{
      "uri": "git+${SOURCE_URL:-https://appconnections.dev}@${GITHUB_REF:-HEAD}",
      "digest": {"gitCommit": "$(git rev-parse HEAD)"}
    }]
  },
  "runDetails": {
    "builder": {"id": "${GITHUB_WORKFLOW_REF:+$GITHUB_SERVER_URL/}${GITHUB_WORKFLOW_REF:-local}"},
    "metadata": {"invocationId": "$run"}
  }
}
JSON
}

# statement DIR: the same of each file that SHA256SUMS names.
statement() {
  provenance | python3 -c '
import json, pathlib, sys
lines = pathlib.Path(sys.argv[1], "SHA256SUMS").read_text().splitlines()
subjects = [{"name": name, "digest": {"sha256": digest}} for digest, name in (line.split("  ", 1) for line in lines)]
predicate = json.load(sys.stdin)
json.dump({"_type": "https://in-toto.io/Statement/v1", "subject": subjects,
           "predicateType": "https://slsa.dev/provenance/v1", "predicate": predicate}, sys.stdout)' "$1"
}

# sign DIR
sign() {
  local dir=$1
  check "$dir" >/dev/null
  begin_publishing
  cosign_signs sign-blob --bundle "$dir/SHA256SUMS.sigstore.json" "$dir/SHA256SUMS"
  statement "$dir" >"$PUBLISHING/statement.json"
  cosign_signs attest-blob --statement "$PUBLISHING/statement.json" --bundle "$dir/provenance.sigstore.json"
}

# log_in: where REGISTRY_USER and REGISTRY_PASSWORD are given.
log_in() {
  local host=${REGISTRY%%/*}
  [[ -n ${REGISTRY_USER:-} ]] || return 0
  "$(own_buildah)" login "${BUILDAH_TLS[@]}" --authfile "$REGISTRY_AUTH_FILE" --username "$REGISTRY_USER" --password-stdin "$host" \
    <<<"$REGISTRY_PASSWORD" >/dev/null
}

# publish DIR
publish() {
  local dir=$1 chart
  BUILDAH_TLS=() HELM_TLS=() COSIGN_TLS=()
  if [[ -n ${REGISTRY_PLAIN_HTTP:-} ]]; then
    BUILDAH_TLS=(--tls-verify=false) HELM_TLS=(--plain-http) COSIGN_TLS=(--allow-http-registry)
  fi
  [[ -n ${REGISTRY:-} ]] || die "REGISTRY is not set: the host and path for image and charts"
  check "$dir" >/dev/null
  begin_publishing
  log_in
  provenance >"$PUBLISHING/provenance.json"
  push_image "$dir"
  published "$NAME" "$(cat "$PUBLISHING/digest")"
  cosign_signs attest "${COSIGN_TLS[@]}" --type cyclonedx --predicate "$dir/$NAME-$VERSION.cdx.json" "$REGISTRY/$NAME@$(cat "$PUBLISHING/digest")"
  for chart in "$NAME" "$NAME-crds"; do
    # Helm writes the file's time into the manifest, whose digest would change with it.
    touch --date "@$EPOCH" "$dir/$chart-$VERSION.tgz"
    "$(tool_path helm4)" push "${HELM_TLS[@]}" "$dir/$chart-$VERSION.tgz" "oci://$REGISTRY/charts" >"$PUBLISHING/pushed" 2>&1 ||
      die "$chart cannot be pushed: $(cat "$PUBLISHING/pushed")"
    published "charts/$chart" "$(sed -n 's/^Digest: //p' "$PUBLISHING/pushed")"
  done
}

# push_image DIR: one index for all processors; its digest goes into PUBLISHING/digest.
push_image() {
  local archive policy=$PUBLISHING/policy.json
  local -a buildah
  buildah=("$(own_buildah)" --root "$PUBLISHING/root" --runroot "$PUBLISHING/run" --storage-driver vfs)
  trust_our_images "$policy"
  "${buildah[@]}" manifest create "$NAME" >/dev/null
  for archive in "$1/$NAME-$VERSION"-linux-*.oci.tar; do
    [[ -e $archive ]] || die "there is no image in $1: first run hack/release image"
    "${buildah[@]}" manifest add "$NAME" "oci-archive:$archive" >/dev/null
  done
  "${buildah[@]}" manifest push "${BUILDAH_TLS[@]}" --signature-policy "$policy" --quiet --all --format oci \
    --digestfile "$PUBLISHING/digest" "$NAME" "docker://$REGISTRY/$NAME:$VERSION"
}

# published PATH DIGEST: signs it, and attaches its provenance.
published() {
  [[ $2 == sha256:* ]] || die "$REGISTRY/$1 was pushed, but the digest is not known"
  cosign_signs sign "${COSIGN_TLS[@]}" "$REGISTRY/$1@$2"
  cosign_signs attest "${COSIGN_TLS[@]}" --type slsaprovenance1 --predicate "$PUBLISHING/provenance.json" "$REGISTRY/$1@$2"
  say "published: $REGISTRY/$1:$VERSION@$2"
}

# github DIR TAG: with what the changelog says of this version.
github() {
  local changes
  [[ $2 == "v$VERSION" ]] || die "the tag is $2, and Cargo.toml has the version $VERSION"
  changes=$(awk -v heading="## [$VERSION]" 'index($0, heading) == 1 { on = 1; next } /^## / { on = 0 } on' CHANGELOG.md)
  [[ -n $changes ]] || die "CHANGELOG.md has no section for $VERSION"
  need gh "the GitHub CLI, https://cli.github.com"
  gh release create "$2" --repo "$GITHUB_REPOSITORY" --verify-tag --notes-file - "$1"/* <<<"$changes"
}

# --- here

# rehearse DIR: into a copy of it, so that no signature of a rehearsal is published.
rehearse() {
  local dir
  begin_rehearsal "$1"
  dir=$PUBLISHING/dist
  sign "$dir"
  publish "$dir"
  quietly cosign_verifies verify-blob --bundle "$dir/SHA256SUMS.sigstore.json" "$dir/SHA256SUMS"
  quietly verify_provenance "$dir" install.yaml
  echo >>"$dir/install.yaml"
  refuses_change "$dir" install.yaml
  verify_published "$NAME" cyclonedx slsaprovenance1
  verify_published "charts/$NAME" slsaprovenance1
  verify_published "charts/$NAME-crds" slsaprovenance1
  quietly "$(tool_path helm4)" show chart "${HELM_TLS[@]}" "oci://$REGISTRY/charts/$NAME" --version "$VERSION"
  say "signed, published and verified"
}

verify_provenance() {
  cosign_verifies verify-blob-attestation --type slsaprovenance1 --bundle "$1/provenance.sigstore.json" "$1/$2"
}

# refuses_change DIR FILE: no provenance is found for a file that was changed since.
refuses_change() {
  local said
  ! said=$(verify_provenance "$1" "$2" 2>&1) || die "$2 was changed, and still has a provenance"
  grep -qi "digest" <<<"$said" || die "$2 was changed, and cosign complains of something else: $said"
}

# verify_published PATH TYPE...: its signature, and its attestations of these types.
verify_published() {
  local type
  quietly cosign_verifies verify "${COSIGN_TLS[@]}" "$REGISTRY/$1:$VERSION"
  for type in "${@:2}"; do
    quietly cosign_verifies verify-attestation "${COSIGN_TLS[@]}" --type "$type" "$REGISTRY/$1:$VERSION"
  done
}

# begin_rehearsal DIR: a registry that wants a password, and a key.
begin_rehearsal() {
  install_tools cosign registry
  export REGISTRY_USER=rehearsal REGISTRY_PASSWORD COSIGN_PASSWORD
  REGISTRY_PASSWORD=$(random_hex 16) COSIGN_PASSWORD=$(random_hex 16)
  COSIGN_KEY=rehearsal
  PUBLISHING=''
  begin_publishing
  (cd "$PUBLISHING" && quietly "$(tool_path cosign)" generate-key-pair)
  COSIGN_KEY=$PUBLISHING/cosign.key COSIGN_PUBLIC_KEY=$PUBLISHING/cosign.pub
  cp -r "$1" "$PUBLISHING/dist"
  mkdir "$PUBLISHING/registry"
  trap 'stop "$PUBLISHING/registry" registry; rm -rf "$PUBLISHING"' EXIT
  start_on_ports "$PUBLISHING/registry" registry 1 launch_registry || die "the registry does not start"
}

# launch_registry DIR PORT
launch_registry() {
  REGISTRY=127.0.0.1:$2/rehearsal REGISTRY_PLAIN_HTTP=1
  spawn "$1" registry env REGISTRY_USER="$REGISTRY_USER" REGISTRY_PASSWORD="$REGISTRY_PASSWORD" \
    "$(tool_path registry)" "127.0.0.1:$2" "$1/"
  await "$1" registry 20 curl --silent --max-time 2 "http://127.0.0.1:$2/v2/"
}
