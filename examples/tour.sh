#!/usr/bin/env bash
# What RGrid promises, to watch: a script goes in, runs by itself, and its status, output and files come back;
# then another language, another Python, requirements, and a failure that says why.
#
#   make up && examples/tour.sh
#
#   RGRID          the CLI            (target/release/rgrid, or else rgrid)
#   RGRID_API_URL  where rgridd is    (http://127.0.0.1:8080)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
program=${RGRID:-$here/../target/release/rgrid}
[[ -x $program ]] || program=$(command -v rgrid) || { echo "tour: there is no rgrid; run: make build" >&2; exit 1; }
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
# expect WORDS COMMAND...: shows the command, whose output must hold these words.
expect() {
  local words=$1 said
  shift
  printf '\n'
  bold "\$ $*"
  said=$("$@") || { printf '%s\n' "$said"; fail "exit code $?"; }
  printf '%s\n' "$said"
  [[ $said == *"$words"* ]] || fail "expected: $words"
}
fail() { printf 'tour: %s\n' "$*" >&2; exit 1; }

rgrid runtimes list >/dev/null || fail "no server; start one with: make up"

title "1. A script is submitted"
cat >hello.py <<'PY'
import time
print("Hello from RGrid!")
time.sleep(2)
PY
bold "\$ rgrid run hello.py"
submitted=$(rgrid run hello.py)
printf '%s\n' "$submitted"
id=$(awk '/^Execution:/ { print $2 }' <<<"$submitted")

title "2. It runs by itself"
seen=queued
give_up=$((SECONDS + 60))
while :; do
  status=$(rgrid status "$id" | awk '/^Status:/ { print $2 }')
  [[ $seen == *"$status" ]] || seen+=" → $status"
  case $status in completed | failed | cancelled) break ;; esac
  ((SECONDS < give_up)) || fail "it has not ended after a minute"
  sleep 0.1
done
printf '%s\n' "$seen"
[[ $seen == "queued → running → completed" ]] || fail "expected: queued → running → completed"
expect "Exit Code: 0" rgrid status "$id"
expect "Hello from RGrid!" rgrid logs "$id"

title "3. A file goes along, and what the script wrote comes back"
printf 'red\ngreen\nblue\n' >colours.txt
cat >count.py <<'PY'
import os, sys
lines = open(sys.argv[1]).read().split()
with open(sys.argv[2], "w") as result:
    result.write(f"{len(lines)} {os.environ['UNIT']}\n")
PY
show rgrid run -w -e UNIT=colours -o results count.py colours.txt count.txt
expect "3 colours" cat results/count.txt

title "4. Three languages, several Pythons"
show rgrid runtimes list
echo 'console.log("This is node", process.version)' >a.js
echo 'puts "This is Ruby #{RUBY_VERSION}"' >a.rb
echo 'import sys; print("This is Python", sys.version.split()[0])' >a.py
expect "This is node v20" rgrid run -w a.js
expect "This is Ruby 3.3" rgrid run -w a.rb
expect "This is Python 3.12" rgrid run -w -r python:3.12 a.py

title "5. What it requires is installed once, then kept"
# A package of the tour's own would need an index; this one is small and has no others behind it.
echo 'six==1.17.0' >requirements.txt
echo 'import six; print("six", six.__version__, "greeted")' >needs.py
expect "greeted" rgrid run -w needs.py
expect "greeted" rgrid run -w needs.py

title "6. A script that fails says why"
rm requirements.txt
echo 'print({"apple": 1}["plum"])' >broken.py
bold "\$ rgrid run -w broken.py"
code=0
rgrid run -w broken.py || code=$?
printf '(exit code %s)\n' "$code"
[[ $code == 1 ]] || fail "expected the script's own exit code"

printf '\nThat was it, in %s s.\n' "$((SECONDS - begun))"
