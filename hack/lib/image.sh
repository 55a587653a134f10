# shellcheck shell=bash
# Images, by buildah with a storage of its own. Sourced by hack/bed, hack/node and hack/release; needs common.sh, install.sh.

# build_image STORAGE CONTEXT NAME ARCHIVE [FLAG...]: builds CONTEXT/Dockerfile, which pulls nothing, into an OCI archive.
build_image() {
  local storage=$1 context=$2 name=$3 archive=$4
  local -a options=(--root "$storage/root" --runroot "$storage/run" --storage-driver vfs)
  mkdir -p "$storage"
  trust_our_images "$storage/policy.json"
  "$(own_buildah)" "${options[@]}" build --signature-policy "$storage/policy.json" --isolation chroot --quiet --tag "$name" \
    "${@:5}" "$context" >/dev/null
  "$(own_buildah)" "${options[@]}" push --signature-policy "$storage/policy.json" --quiet "$name" "oci:$storage/layout:$name"
  pack_layout "$storage/layout" "$archive"
}

# trust_our_images FILE: a policy of whose images to trust: there is none but ours.
trust_our_images() { echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$1"; }

# pack_layout LAYOUT ARCHIVE: an OCI archive whose bytes depend on the image alone.
pack_layout() {
  tar --create --sort=name --format=ustar --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u+rwX,go=rX \
    --directory "$1" --file "$2" .
  rm -r "$1"
}

own_buildah() { type -P buildah || echo "$(tool_path containers)/buildah"; }

# bring_buildah: into the cache, unless this machine has one.
bring_buildah() { [[ -n $(type -P buildah) ]] || install_tools containers; }

# third_party notices|sbom: of what is linked into the binary.
third_party() { python3 hack/lib/third-party.py "$1"; }

# image_context FOLDER BINARY: what build_image takes to make our image of a program that is built already. The last stage of our
# Dockerfile stays as it is. In the place of the stage before it, whose base would have to be pulled, stands what that stage
# makes; and a program that is not static brings its libraries.
image_context() (
  umask 022
  folder=$1 binary=$2
  mkdir -p "$folder/built/build" "$folder/built/etc/ssl/certs" "$folder/libraries"
  cp LICENSE "$folder/built/build/"
  third_party notices >"$folder/built/THIRD-PARTY-NOTICES.txt"
  cp -L /etc/ssl/certs/ca-certificates.crt "$folder/built/etc/ssl/certs/"
  install -m 755 "$binary" "$folder/built/vault-connection-operator"
  # Of a static program, ldd has no path to say.
  { ldd "$binary" 2>/dev/null || true; } | { grep -oE '/[^ ]+' || true; } |
    xargs --no-run-if-empty cp -L --parents --target-directory "$folder/libraries"
  awk -v libraries="$(find "$folder/libraries" -type f | head -n 1)" '
    /^ARG / { next }
    /^FROM .* AS build$/ { print "FROM scratch AS build"; print "COPY built /"; skip = 1; next }
    /^FROM / { skip = 0; print; if (libraries) print "COPY libraries /"; next }
    !skip' Dockerfile >"$folder/Dockerfile"
)
