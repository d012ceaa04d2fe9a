# Root's rights: ours, or sudo's when it asks for no password, or none.
# Sourced, not run.
# shellcheck shell=bash

can_be_root() { ((EUID == 0)) || { have sudo && { sudo -n true 2>/dev/null || [[ -t 0 ]]; }; }; }

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# need_root WHY COMMAND: ends the script with the command that a person has to run.
need_root() {
  can_be_root || fail "$1 needs root, and there is neither root nor sudo here" "run as root: $2"
}
