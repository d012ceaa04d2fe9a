# Images from a registry, where one can be reached. Sourced, not run; needs say.sh.
# shellcheck shell=bash

# A registry that has not begun to answer after this time counts as not reachable, for the rest of this run.
registry_patience=20
registry=untried

# pull IMAGE: once the registry has begun to answer, the download may take its time.
pull() {
  [[ $registry != away ]] || return 1
  local log pid give_up=$((SECONDS + registry_patience))
  log=$(mktemp)
  timeout 900 docker pull "$1" </dev/null >"$log" 2>&1 &
  pid=$!
  while kill -0 $pid 2>/dev/null && ! grep -q 'Pulling from' "$log"; do
    if ((SECONDS >= give_up)); then
      kill $pid 2>/dev/null || true
      echo "no answer after $registry_patience s" >>"$log"
      break
    fi
    sleep 0.1
  done
  if wait $pid; then
    registry=there
    rm -f "$log"
    return
  fi
  grep -q 'Pulling from' "$log" || [[ $registry == there ]] || registry=away
  say "$1 … not pulled: $(tail -n 1 "$log" | tail -c 160)"
  rm -f "$log"
  return 1
}
