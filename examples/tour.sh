#!/usr/bin/env bash
# A tour of RGrid: submit a script, watch its status, get its output and files; then other languages and Python versions,
# requirements, and a failure with its cause.
#
#   make up && examples/tour.sh
#
#   RGRID          the CLI               (target/release/rgrid, otherwise rgrid in PATH)
#   RGRID_API_URL  the address of rgridd (http://127.0.0.1:8080)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=${RGRID:-$here/../target/release/rgrid}
[[ -x $program ]] || program=$(command -v rgrid) || { echo "tour: rgrid is not installed; run: make build" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
begun=$SECONDS

bold() { if [[ -t 1 ]]; then printf '\033[1m%s\033[0m\n' "$*"; else printf '%s\n' "$*"; fi; }
title() { printf '\n'; bold "── $* ──"; }
rgrid() { "$program" "$@"; }
show() {
  printf '\n'
  bold "\$ $*"
  "$@"
}
# expect TEXT COMMAND...: shows the command, whose output must contain TEXT.
expect() {
  local text=$1 output
  shift
  printf '\n'
  bold "\$ $*"
  output=$("$@") || { printf '%s\n' "$output"; fail "exit code $?"; }
  printf '%s\n' "$output"
  [[ $output == *"$text"* ]] || fail "expected: $text"
}
fail() { printf 'tour: %s\n' "$*" >&2; exit 1; }

rgrid runtimes list >/dev/null || fail "the server cannot be reached; start one with: make up"

title "1. Submit a script"
cat >hello.py <<'PY'
import time
print("Hello from RGrid!")
time.sleep(2)
PY
bold "\$ rgrid run hello.py"
submitted=$(rgrid run hello.py)
printf '%s\n' "$submitted"
id=$(awk '/^Execution:/ { print $2 }' <<<"$submitted")

title "2. Watch its status"
seen=queued
give_up=$((SECONDS + 60))
while :; do
  status=$(rgrid status "$id" | awk '/^Status:/ { print $2 }')
  [[ $seen == *"$status" ]] || seen+=" → $status"
  case $status in completed | failed | cancelled) break ;; esac
  ((SECONDS < give_up)) || fail "it did not end within a minute"
  sleep 0.1
done
printf '%s\n' "$seen"
[[ $seen == "queued → running → completed" ]] || fail "expected: queued → running → completed"
expect "Exit Code: 0" rgrid status "$id"
expect "Hello from RGrid!" rgrid logs "$id"

title "3. Send a file and get the result back"
printf 'red\ngreen\nblue\n' >colours.txt
cat >count.py <<'PY'
import os, sys
lines = open(sys.argv[1]).read().split()
with open(sys.argv[2], "w") as result:
    result.write(f"{len(lines)} {os.environ['UNIT']}\n")
PY
show rgrid run -w -e UNIT=colours -o results count.py colours.txt count.txt
expect "3 colours" cat results/count.txt

title "4. Use other languages and Python versions"
show rgrid runtimes list
echo 'console.log("This is node", process.version)' >a.js
echo 'puts "This is Ruby #{RUBY_VERSION}"' >a.rb
echo 'import sys; print("This is Python", sys.version.split()[0])' >a.py
expect "This is node v20" rgrid run -w a.js
expect "This is Ruby 3.3" rgrid run -w a.rb
expect "This is Python 3.12" rgrid run -w -r python:3.12 a.py

title "5. Install requirements once"
# A small package without dependencies.
echo 'six==1.17.0' >requirements.txt
echo 'import six; print("six", six.__version__, "greeted")' >needs.py
expect "greeted" rgrid run -w needs.py
expect "greeted" rgrid run -w needs.py

title "6. See why a script failed"
rm requirements.txt
echo 'print({"apple": 1}["plum"])' >broken.py
bold "\$ rgrid run -w broken.py"
code=0
rgrid run -w broken.py || code=$?
printf '(exit code %s)\n' "$code"
[[ $code == 1 ]] || fail "expected the script's own exit code"

printf '\nThat was it, in %s s.\n' "$((SECONDS - begun))"
