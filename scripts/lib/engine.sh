# Installs and starts the Docker engine if none responds. A running engine is never restarted or stopped.
# Sourced, not run; needs say.sh, root.sh and apt.sh.
# shellcheck shell=bash

engine_log=/var/log/dockerd.log

engine_answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

engine_version() { docker version --format '{{.Server.Version}}'; }

engine_needs_group() { [[ $(docker version 2>&1) == *'permission denied'* ]]; }

refuse_without_group() {
  fail "this user has no permission to use the Docker engine" \
    "run: sudo usermod -aG docker $(id -un); then log in again"
}

# A pid file can outlive its process (after kill -9 or a restored snapshot), and another process may have its pid now.
# dockerd then refuses to start, or waits for a containerd that does not exist.
drop_stale_pid_files() {
  local file pid
  for file in docker.pid:dockerd docker/containerd/containerd.pid:containerd; do
    pid=$(as_root cat "/var/run/${file%%:*}" 2>/dev/null) || continue
    [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "${file##*:}" ]] || as_root rm -f "/var/run/${file%%:*}"
  done
}

start_engine_in_background() {
  drop_stale_pid_files
  # In a session of its own, so that it survives `make`, the terminal and a CI step.
  as_root sh -c "exec setsid dockerd </dev/null >>$engine_log 2>&1 &"
}

start_engine() {
  need_root "starting the Docker engine" "systemctl enable --now docker (or, without systemd: setsid dockerd &)"
  if [[ -d /run/systemd/system ]]; then
    doing "docker engine" "starting (systemctl enable --now docker)"
    as_root systemctl enable --now docker >/dev/null
    wait_until 60 engine_answers || fail "docker.service does not respond" "see: journalctl -u docker -n 50"
    return
  fi
  # The package may be starting it already.
  if pidof dockerd >/dev/null; then wait_until 20 engine_answers && return; fi
  doing "docker engine" "starting dockerd (log: $engine_log)"
  start_engine_in_background
  wait_until 60 engine_answers || {
    as_root tail -n 20 "$engine_log" >&2
    fail "dockerd does not respond" "see the output above; full log: $engine_log"
  }
}

ensure_engine() {
  if have docker && engine_answers; then
    ok "docker engine" "$(engine_version)"
    return
  fi
  if [[ -n ${DOCKER_HOST:-} ]]; then
    fail "the Docker engine at DOCKER_HOST=$DOCKER_HOST does not respond" "start it, or unset DOCKER_HOST to use this machine's"
  fi
  if have docker && engine_needs_group; then refuse_without_group; fi
  have dockerd || apt_install "docker engine" docker.io
  # Since Debian 13 the client is a separate package.
  have docker || apt_install "docker client" docker-cli
  engine_answers || start_engine
  engine_answers || refuse_without_group
  ok "docker engine" "$(engine_version)"
}
