#!/usr/bin/env bash
# Submits a script with a file, waits until it has ended, and downloads its output files. Needs curl and jq.
#
# usage: RGRID_API_URL=http://127.0.0.1:8080 RGRID_API_KEY=rg_… examples/clients/curl.sh SCRIPT [FILE]
set -euo pipefail

api=${RGRID_API_URL:-http://127.0.0.1:8080}/api/v1
script=${1:?which script?}
file=${2:-}

call() {
  local answer
  answer=$(curl --silent --show-error --fail-with-body --retry 5 --retry-connrefused \
    ${RGRID_API_KEY:+--header "authorization: Bearer $RGRID_API_KEY"} "$@") || {
    # The body explains the error: application/problem+json, RFC 9457.
    jq -r '"error: \(.detail)", (.errors[]? | "  \(.field) \(.message)")' <<<"$answer" >&2
    return 1
  }
  printf %s "$answer"
}

job=$(jq -n --arg name "$(basename "$script")" --rawfile content "$script" '{script: {$name, $content}}')
if [[ -n $file ]]; then
  content=$(base64 -w0 "$file")
  # --rawfile instead of --arg, because an argument is limited to 128 KiB.
  job=$(jq --arg name "$(basename "$file")" --rawfile content <(printf %s "$content") \
    '. + {args: [$name], files: [{$name, content_base64: $content}]}' <<<"$job")
fi

# The key makes it safe to repeat the call: the server returns the first execution.
execution=$(call "$api/executions" --header "idempotency-key: $(cat /proc/sys/kernel/random/uuid)" --json @- <<<"$job")
id=$(jq -r .id <<<"$execution")
echo "submitted $id" >&2

# Each call waits at most 30 s; only the status shows whether the execution has ended.
until jq -e .completed_at <<<"$execution" >/dev/null; do execution=$(call "$api/executions/$id?wait=30"); done

jq -j .stdout <<<"$execution"
jq -j .stderr <<<"$execution" >&2
jq -r '.outputs[].name' <<<"$execution" | while IFS= read -r name; do
  call "$api/executions/$id/outputs/$(jq -rn --arg name "$name" '$name | @uri')" --output "$(basename "$name")"
  echo "got $(basename "$name")" >&2
done
jq -e '.status == "completed"' <<<"$execution" >/dev/null || {
  jq -r '"error: \(.execution_error)"' <<<"$execution" >&2
  exit 1
}
