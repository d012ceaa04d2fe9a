# How the scripts speak: one line a step, on stdout what is, on stderr what a person must do.
# Sourced, not run. The caller sets SAY to its own name.
# shellcheck shell=bash

say() { printf '%s: %s\n' "${SAY:-rgrid}" "$*"; }

# ok "docker engine" "20.10.24"  →  setup: docker engine … ok (20.10.24)
ok() { say "$1 … ok${2:+ ($2)}"; }

doing() { say "$1 … $2"; }

hint() { printf '  hint: %s\n' "$*" >&2; }

# fail WHAT [HINT...] ends the script.
fail() {
  printf '%s: error: %s\n' "${SAY:-rgrid}" "$1" >&2
  shift
  local line
  for line in "$@"; do hint "$line"; done
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# The names of a function's arguments that are not on PATH.
missing_commands() {
  local name
  for name in "$@"; do have "$name" || printf '%s ' "$name"; done
}

# wait_until SECONDS COMMAND...: asks four times a second until the command succeeds.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.25
  done
}
