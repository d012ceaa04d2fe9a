# One program out of a newer Debian's package, where this machine's own is too old: what is taken so needs no more than the
# C library. Sourced, not run; needs say.sh, root.sh, apt.sh and recipes.sh.
# shellcheck shell=bash

# from_newer_debian PACKAGE PATH: puts the program at PATH of Debian 13's package into target/tools.
from_newer_debian() {
  local package=$1 path=$2 folder
  [[ ! -x target/tools/${path##*/} ]] || return 0
  base_image trixie || return 1
  doing "${path##*/}" "taking it from Debian trixie"
  folder=$(mktemp -d)
  # shellcheck disable=SC2015  # both must be so
  docker run --rm --network host --volume "$folder:/out" --workdir /out rgrid-base:trixie sh -ec \
    "apt-get update -qq && apt-get download -qq $package && dpkg-deb -x $package*.deb ." >/dev/null 2>&1 &&
    install -D -m 755 "$folder$path" "target/tools/${path##*/}" || { rm -rf "$folder"; return 1; }
  rm -rf "$folder"
}
