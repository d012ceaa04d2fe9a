# The Docker engine: is one there, and start one when none is.
# An engine that answers is somebody's: it is used as it is, never started again, never stopped.
# Sourced, not run; needs say.sh, root.sh and apt.sh.
# shellcheck shell=bash

engine_log=/var/log/dockerd.log

engine_answers() { timeout 10 docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

engine_version() { docker version --format '{{.Server.Version}}'; }

engine_needs_group() { [[ $(docker version 2>&1) == *'permission denied'* ]]; }

refuse_without_group() {
  fail "the Docker engine is there, but this user may not use it" \
    "run: sudo usermod -aG docker $(id -un); then log in again"
}

# A pid file can outlive its process (kill -9, a machine that was restored), and its number can be another
# process's by now. dockerd then refuses to start, or waits for a containerd that never comes.
drop_stale_pid_files() {
  local file pid
  for file in docker.pid:dockerd docker/containerd/containerd.pid:containerd; do
    pid=$(as_root cat "/var/run/${file%%:*}" 2>/dev/null) || continue
    [[ $(cat "/proc/$pid/comm" 2>/dev/null) == "${file##*:}" ]] || as_root rm -f "/var/run/${file%%:*}"
  done
}

start_engine_behind() {
  drop_stale_pid_files
  # Out of this shell's session, so that it outlives `make`, a terminal and a CI step.
  as_root sh -c "exec setsid dockerd </dev/null >>$engine_log 2>&1 &"
}

start_engine() {
  need_root "starting the Docker engine" "systemctl enable --now docker (or, without systemd: setsid dockerd &)"
  if [[ -d /run/systemd/system ]]; then
    doing "docker engine" "starting (systemctl enable --now docker)"
    as_root systemctl enable --now docker >/dev/null
    wait_until 60 engine_answers || fail "docker.service does not answer" "see: journalctl -u docker -n 50"
    return
  fi
  # The package's own start script may have been at work.
  if pidof dockerd >/dev/null; then wait_until 20 engine_answers && return; fi
  doing "docker engine" "starting dockerd behind (log: $engine_log)"
  start_engine_behind
  wait_until 60 engine_answers || {
    as_root tail -n 20 "$engine_log" >&2
    fail "dockerd does not answer" "its last lines are above; the whole log: $engine_log"
  }
}

ensure_engine() {
  if have docker && engine_answers; then
    ok "docker engine" "$(engine_version)"
    return
  fi
  if [[ -n ${DOCKER_HOST:-} ]]; then
    fail "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST" "start it, or unset DOCKER_HOST to use this machine's"
  fi
  if have docker && engine_needs_group; then refuse_without_group; fi
  have dockerd || apt_install "docker engine" docker.io
  # From Debian 13 on the client is a package of its own.
  have docker || apt_install "docker client" docker-cli
  engine_answers || start_engine
  engine_answers || refuse_without_group
  ok "docker engine" "$(engine_version)"
}
