# Output of the scripts: progress on stdout, errors and hints on stderr, one line per step.
# Sourced, not run. The caller sets SAY to its name.
# shellcheck shell=bash

say() { printf '%s: %s\n' "${SAY:-rgrid}" "$*"; }

# ok "docker engine" "20.10.24"  →  setup: docker engine … ok (20.10.24)
ok() { say "$1 … ok${2:+ ($2)}"; }

doing() { say "$1 … $2"; }

hint() { printf '  hint: %s\n' "$*" >&2; }

# fail WHAT [HINT...]: prints the error and exits.
fail() {
  printf '%s: error: %s\n' "${SAY:-rgrid}" "$1" >&2
  shift
  local line
  for line in "$@"; do hint "$line"; done
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# missing_commands NAME...: prints the commands that are not in PATH.
missing_commands() {
  local name
  for name in "$@"; do have "$name" || printf '%s ' "$name"; done
}

# wait_until SECONDS COMMAND...: runs the command four times a second until it succeeds or the time is over.
wait_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.25
  done
}
