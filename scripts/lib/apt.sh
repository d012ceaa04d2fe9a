# Installs missing Debian packages; updates the package lists once per run.
# Sourced, not run; needs say.sh and root.sh.
# shellcheck shell=bash

apt_updated=no

apt_update() {
  [[ $apt_updated == no ]] || return 0
  doing "package lists" "updating"
  # A third-party list that cannot be reached may not matter; otherwise the install fails.
  as_root apt-get update -qq || hint "some package lists could not be updated"
  apt_updated=yes
}

# apt_install WHAT PACKAGE...
apt_install() {
  local what=$1 log
  shift
  have apt-get || fail "$what is not installed, and this system has no apt-get" \
    "install it with the system's package manager (Debian packages: $*)"
  need_root "installing $what" "apt-get update && apt-get install -y --no-install-recommends $*"
  apt_update
  doing "$what" "installing ($*)"
  log=$(mktemp)
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" \
    </dev/null >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    fail "cannot install $what" "see the output above; try: apt-get install $*"
  }
  rm -f "$log"
}
