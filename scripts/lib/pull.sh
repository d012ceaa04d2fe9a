# Pulls images if a registry can be reached. Sourced, not run; needs say.sh.
# shellcheck shell=bash

# A registry that does not respond within this time is considered unreachable for the rest of the run.
registry_timeout=20
registry=unknown

# pull IMAGE: once the registry has responded, the download may take up to 15 minutes.
pull() {
  [[ $registry != unreachable ]] || return 1
  local log pid give_up=$((SECONDS + registry_timeout))
  log=$(mktemp)
  timeout 900 docker pull "$1" </dev/null >"$log" 2>&1 &
  pid=$!
  while kill -0 $pid 2>/dev/null && ! grep -q 'Pulling from' "$log"; do
    if ((SECONDS >= give_up)); then
      kill $pid 2>/dev/null || true
      echo "no response within $registry_timeout s" >>"$log"
      break
    fi
    sleep 0.1
  done
  if wait $pid; then
    registry=reachable
    rm -f "$log"
    return
  fi
  grep -q 'Pulling from' "$log" || [[ $registry == reachable ]] || registry=unreachable
  say "$1 … cannot be pulled: $(tail -n 1 "$log" | tail -c 160)"
  rm -f "$log"
  return 1
}
