# Extracts a single program from a package of a newer Debian; it must need only the C library. Sourced, not run; needs say.sh, root.sh, apt.sh and recipes.sh.
# shellcheck shell=bash

# from_newer_debian PACKAGE PATH: extracts PATH from Debian 13's package into target/tools.
from_newer_debian() {
  local package=$1 path=$2 folder
  [[ ! -x target/tools/${path##*/} ]] || return 0
  base_image trixie || return 1
  doing "${path##*/}" "extracting it from Debian trixie"
  folder=$(mktemp -d)
  # shellcheck disable=SC2015  # clean up if any step fails
  docker run --rm --network host --volume "$folder:/out" --workdir /out rgrid-base:trixie sh -ec \
    "apt-get update -qq && apt-get download -qq $package && dpkg-deb -x $package*.deb ." >/dev/null 2>&1 &&
    install -D -m 755 "$folder$path" "target/tools/${path##*/}" || { rm -rf "$folder"; return 1; }
  rm -rf "$folder"
}
