# Runs commands as root, directly or with sudo.
# Sourced, not run.
# shellcheck shell=bash

can_be_root() { ((EUID == 0)) || { have sudo && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; }; }

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# need_root WHY COMMAND: fails and names the command to run if there are no root privileges.
need_root() {
  can_be_root || fail "$1 needs root privileges or sudo" "run as root: $2"
}
