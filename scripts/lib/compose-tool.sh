# `docker compose`, version 2: this machine's, or Debian's, whose one program is enough.
# Sourced, not run; needs say.sh, root.sh, apt.sh and recipes.sh.
# shellcheck shell=bash

compose_program=$PWD/target/tools/docker-compose

compose() { if docker compose version >/dev/null 2>&1; then docker compose "$@"; else "$compose_program" "$@"; fi; }

ensure_compose() {
  docker compose version >/dev/null 2>&1 || [[ -x $compose_program ]] || fetch_compose
  ok "docker compose" "$(compose version --short 2>/dev/null)"
}

# Debian 12 has version 1; so the package comes from 13. It needs nothing that 12 lacks.
fetch_compose() {
  local folder
  base_image trixie || fail "docker compose can't be had" "install it: https://docs.docker.com/compose/install/"
  doing "docker compose" "taking it from Debian trixie"
  folder=$(mktemp -d)
  docker run --rm --network host --volume "$folder:/out" --workdir /out rgrid-base:trixie sh -ec \
    'apt-get update -qq && apt-get download -qq docker-compose && dpkg-deb -x docker-compose_*.deb .' >/dev/null 2>&1 ||
    fail "docker compose can't be had" "install it: https://docs.docker.com/compose/install/"
  install -D -m 755 "$folder/usr/libexec/docker/cli-plugins/docker-compose" "$compose_program"
  rm -rf "$folder"
}
