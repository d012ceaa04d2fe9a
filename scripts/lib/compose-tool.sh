# Provides `docker compose` version 2, from Debian 13 if this machine lacks it (Debian 12 has version 1).
# Sourced, not run; needs say.sh and newer-debian.sh.
# shellcheck shell=bash

compose() {
  if docker compose version >/dev/null 2>&1; then docker compose "$@"; else "$PWD/target/tools/docker-compose" "$@"; fi
}

ensure_compose() {
  docker compose version >/dev/null 2>&1 || from_newer_debian docker-compose /usr/libexec/docker/cli-plugins/docker-compose ||
    fail "cannot download docker compose" "install it: https://docs.docker.com/compose/install/"
  ok "docker compose" "$(compose version --short)"
}
