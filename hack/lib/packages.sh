# shellcheck shell=bash
# The programs of the bed that come from the machine's distribution: OpenSSH, Chromium, valgrind, and runc with buildah. Sourced
# by install.sh.

# The first that can limit where a tunnel listens.
MIN_OPENSSH=7.8
OPENSSH_PACKAGES=(openssh-server openssh-client libnss-wrapper)
CHROMIUM_PACKAGES=(chromium-headless-shell fonts-dejavu-core)
# The first runc that tells its features, which containerd asks for.
MIN_RUNC=1.1

# --- OpenSSH: a folder with sshd, ssh, ssh-keygen, and libnss_wrapper.so, which gives one process a hosts file of its own

# own_openssh: where this machine has them, a line each; fails when it has not all of them.
own_openssh() {
  local program path
  for program in sshd ssh ssh-keygen; do
    path=$(PATH=$PATH:/usr/sbin type -P "$program") || return 1
    echo "$path"
  done
  PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null |
    awk '$1 == "libnss_wrapper.so" { print $NF; found = 1; exit } END { exit !found }'
}

gather_openssh() {
  local folder=$1 libraries=''
  local -a files
  mkdir "$folder" || return 1
  if own_openssh >"$folder.files"; then
    mapfile -t files <"$folder.files"
  else
    unpack_packages "$folder/root" "${OPENSSH_PACKAGES[@]}" || return 1
    cd "$folder" || return 1
    mapfile -t files < <(find root -path '*/bin/ssh' -o -path '*/bin/ssh-keygen' -o -path '*/sbin/sshd' \
      -o -name sshd-session -o -name sshd-auth -o -name libnss_wrapper.so)
    files=("${files[@]/#/\$here/}")
    libraries=$(library_folders)
  fi
  place "$folder" "$libraries" "${files[@]}"
}

# place FOLDER LIBRARIES FILE...: a launcher for each program, and a link to each library.
place() {
  local folder=$1 file
  for file in "${@:3}"; do
    if [[ $file == *.so ]]; then
      ln -s "${file#\$here/}" "$folder/${file##*/}"
    else
      write_launcher "$file" "$2" >"$folder/${file##*/}"
      chmod 755 "$folder/${file##*/}"
    fi
  done
}

# can_have NAME: whether this machine has openssh, chromium, valgrind or containers itself, or can unpack the packages.
can_have() { "own_$1" >/dev/null || [[ -n $(type -P apt-get) && -n $(type -P dpkg-deb) ]]; }

# unpack_packages FOLDER PACKAGE...: these, and what they depend on that is not installed. Nothing is installed, so it
# takes no root rights: apt has folders of its own, and no lock. The distribution signs for what it gives.
unpack_packages() {
  local folder=$1 apt=$1.apt package
  local -a options=(-o Dir::State::Lists="$apt/lists" -o Dir::Cache="$apt" -o Debug::NoLocking=true
    -o Acquire::Languages=none -o APT::Sandbox::User="$(id -un)")
  mkdir -p "$folder" "$apt/lists/partial" "$apt/archives/partial" || return 1
  apt-get "${options[@]}" --quiet update || return 1
  apt-get "${options[@]}" --quiet --yes --download-only --no-install-recommends --reinstall install "${@:2}" || return 1
  for package in "$apt"/archives/*.deb; do dpkg-deb --extract "$package" "$folder" || return 1; done
  rm -rf "$apt" "${folder:?}/etc"
  [[ ! -d $folder/usr/share ]] || find "$folder/usr/share" -mindepth 1 -maxdepth 1 ! -name fonts -exec rm -rf {} +
}

# library_folders: those below root/, as a launcher names them.
# shellcheck disable=SC2016  # the launcher expands it
library_folders() { find root -name '*.so' -o -name '*.so.*' | sed -E 's|^(.*)/.*|$here/\1|' | sort -u | paste -sd :; }

# write_launcher FILE LIBRARIES: a script that starts FILE with them. OpenSSH's server clears its environment before it
# starts itself anew, hence -r, and hence the scripts for its parts, which are programs of their own since 9.8.
# Started by root, the server would want a user and a folder that only its package makes; so it becomes nobody, who may
# still read what belongs to root. It ends with whoever started it.
write_launcher() {
  cat <<SCRIPT
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
${2:+LD_LIBRARY_PATH="\"$2\""
export LD_LIBRARY_PATH}
SCRIPT
  if [[ ${1##*/} == sshd ]]; then
    cat <<'SCRIPT'
as_nobody=
if [ "$(id -u)" = 0 ]; then
  as_nobody="--reuid nobody --regid $(id -g nobody) --clear-groups
    --inh-caps=-all,+dac_override --ambient-caps=-all,+dac_override --no-new-privs"
fi
[ ! -e "$here/sshd-session" ] || set -- -o SshdSessionPath="$here/sshd-session" "$@"
[ ! -e "$here/sshd-auth" ] || set -- -o SshdAuthPath="$here/sshd-auth" "$@"
SCRIPT
    echo "exec setpriv --pdeathsig KILL \$as_nobody \"$1\" ${2:+-r }\"\$@\""
  else
    echo "exec \"$1\" \"\$@\""
  fi
}

# openssh_runs FOLDER: whether all of it starts, and is new enough.
openssh_runs() {
  local folder=$1 said
  "$folder/ssh-keygen" -q -t ed25519 -N '' -f "$folder.key" || return 1
  "$folder/sshd" -t -f /dev/null -h "$folder.key" || return 1
  said=$(LD_PRELOAD=$folder/libnss_wrapper.so "$folder/ssh" -V 2>&1) || return 1
  printf '%s\n' "$said"
  [[ $said =~ ^OpenSSH_([0-9]+\.[0-9]+) ]] && at_least "${BASH_REMATCH[1]}" "$MIN_OPENSSH"
}

# --- runc and buildah: a folder with both

own_containers() { PATH=$PATH:/usr/sbin:/sbin type -P runc && type -P buildah; }

gather_containers() {
  local folder=$1 libraries=''
  local -a files
  mkdir "$folder" || return 1
  if own_containers >"$folder.files"; then
    mapfile -t files <"$folder.files"
  else
    unpack_packages "$folder/root" runc buildah || return 1
    cd "$folder" || return 1
    # shellcheck disable=SC2016  # the launcher expands it
    files=('$here/root/usr/sbin/runc' '$here/root/usr/bin/buildah')
    libraries=$(library_folders)
  fi
  place "$folder" "$libraries" "${files[@]}"
}

# containers_run FOLDER: whether both start, and runc is new enough.
containers_run() {
  local said
  "$1/buildah" --version || return 1
  said=$("$1/runc" --version) || return 1
  printf '%s\n' "$said"
  [[ $said =~ ^runc\ version\ ([0-9]+\.[0-9]+) ]] && at_least "${BASH_REMATCH[1]}" "$MIN_RUNC"
}

# --- Chromium: a folder with the program chromium, which needs no window, and its fonts

# own_chromium: where this machine has one.
own_chromium() { type -P chromium-headless-shell || type -P chromium || type -P google-chrome; }

gather_chromium() {
  local folder=$1 own libraries
  mkdir "$folder" || return 1
  if own=$(own_chromium); then
    printf '#!/bin/sh\nexec "%s" --headless "$@"\n' "$own" >"$folder/chromium"
  else
    unpack_packages "$folder/root" "${CHROMIUM_PACKAGES[@]}" || return 1
    libraries=$(cd "$folder" && library_folders)
    # The machine need not have any fonts, nor a configuration for them.
    cat >"$folder/fonts.conf" <<'XML'
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">root/usr/share/fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>
XML
    cat >"$folder/chromium" <<SCRIPT
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
LD_LIBRARY_PATH="$libraries" FONTCONFIG_FILE="\$here/fonts.conf"
export LD_LIBRARY_PATH FONTCONFIG_FILE
exec "\$here/root/usr/lib/chromium/chromium-headless-shell" "\$@"
SCRIPT
  fi
  chmod 755 "$folder/chromium"
}

# --- valgrind: a folder with the program valgrind, its tools, and what it must know of the loader

own_valgrind() { type -P valgrind; }

gather_valgrind() {
  local folder=$1 own
  mkdir "$folder" || return 1
  if own=$(own_valgrind); then
    printf '#!/bin/sh\nexec "%s" "$@"\n' "$own" >"$folder/valgrind"
  else
    unpack_packages "$folder/root" valgrind libc6-dbg || return 1
    cat >"$folder/valgrind" <<'SCRIPT'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
VALGRIND_LIB="$here/root/usr/libexec/valgrind"
export VALGRIND_LIB
exec "$here/root/usr/bin/valgrind" --extra-debuginfo-path="$here/root/usr/lib/debug" "$@"
SCRIPT
  fi
  chmod 755 "$folder/valgrind"
}
